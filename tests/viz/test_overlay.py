"""What is drawn is where the events are, in the colour of their polarity, and fades with time."""

import numpy as np
import pytest

from dvs_snn.errors import ConfigError
from dvs_snn.events import Events, Sensor, Window, empty_events, make_events
from dvs_snn.viz import EventSurface, EventView, Overlay, Verdict
from dvs_snn.viz.surface import BACKGROUND, OFF_COLOUR, ON_COLOUR

LABELS = tuple(f"class {index}" for index in range(11))
SENSORS = [Sensor(128, 128), Sensor(34, 34), Sensor(346, 260), Sensor(640, 480), Sensor(1280, 720), Sensor(1, 700)]


def window(events: Events, end_us: int = 10_000, first: bool = False) -> Window:
    return Window(events, end_us - 10_000, end_us, first)


def one(x: int, y: int, on: bool, t_us: int = 9_999) -> Events:
    return make_events([t_us], [x], [y], [on])


@pytest.mark.parametrize("sensor", SENSORS, ids=str)
@pytest.mark.parametrize("on", [True, False])
def test_event_lights_its_own_square_in_the_colour_of_its_polarity(sensor: Sensor, on: bool) -> None:
    overlay = Overlay(sensor, LABELS)
    for x, y in {(0, 0), (sensor.width - 1, sensor.height - 1), (sensor.width // 2, sensor.height // 3)}:
        overlay.see(window(one(x, y, on), first=True))
        picture, view = overlay.draw(), overlay.view
        left, top = view.place(x // view.shrink * view.shrink, y // view.shrink * view.shrink)
        square = picture[top : top + view.grow, left : left + view.grow].astype(int)
        assert square.size and np.abs(square - (ON_COLOUR if on else OFF_COLOUR)).max() <= 1
        events = picture[view.top_px : view.top_px + view.height_px, : view.width_px].copy()
        events[top - view.top_px : top - view.top_px + view.grow, left : left + view.grow] = BACKGROUND
        assert (events == BACKGROUND).all()


@pytest.mark.parametrize("sensor", SENSORS, ids=str)
def test_pictures_have_even_sizes_and_hold_the_whole_sensor(sensor: Sensor) -> None:
    overlay = Overlay(sensor, LABELS)
    picture, view = overlay.draw(), overlay.view
    assert picture.shape[0] % 2 == 0 and picture.shape[1] % 2 == 0
    right, bottom = view.place(sensor.width, sensor.height)
    assert 0 <= right <= view.width_px and 0 < bottom - view.top_px <= view.height_px
    assert picture.shape[0] < 720 and picture.shape[1] < 1280


def test_event_fades_to_one_over_e_after_the_fade_time() -> None:
    surface = EventSurface(EventView.fitted(Sensor(8, 8)), fade_us=30_000.0)
    surface.push(window(one(3, 4, True)))
    for step in range(1, 4):
        surface.push(window(empty_events(), 10_000 + 10_000 * step))
    picture = surface.picture()
    y, x = (4 * surface.view.grow, 3 * surface.view.grow)
    expected = np.asarray(BACKGROUND) + np.exp(-1.0) * (np.asarray(ON_COLOUR) - BACKGROUND)
    assert np.abs(picture[y, x] - expected).max() <= 1.0


def test_last_event_of_a_pixel_gives_its_colour() -> None:
    surface = EventSurface(EventView.fitted(Sensor(8, 8)))
    surface.push(window(make_events([1, 5, 9_999], [2, 2, 2], [2, 2, 2], [1, 1, 0])))
    picture = surface.picture()
    assert np.abs(picture[2 * surface.view.grow, 2 * surface.view.grow].astype(int) - OFF_COLOUR).max() <= 1


def test_first_window_of_a_sequence_clears_the_scene() -> None:
    surface = EventSurface(EventView.fitted(Sensor(8, 8)))
    surface.push(window(one(1, 1, True)))
    surface.push(window(empty_events(), 20_000, first=True))
    assert (surface.picture() == BACKGROUND).all()


def test_callers_events_are_not_changed() -> None:
    events = make_events([1, 2], [1, 7], [0, 5], [1, 0])
    before = events.copy()
    overlay = Overlay(Sensor(8, 8), LABELS)
    overlay.see(window(events))
    overlay.draw()
    assert (events == before).all()


def test_posterior_bars_are_as_long_as_the_posteriors() -> None:
    overlay = Overlay(Sensor(128, 128), LABELS)
    empty = overlay.draw(Verdict(posteriors=np.zeros(11)))
    lengths = []
    for value in (0.25, 0.5, 1.0):
        posteriors = np.zeros(11)
        posteriors[4] = value
        changed = (overlay.draw(Verdict(posteriors=posteriors)) != empty).any(axis=2)
        row = changed[112 + 4 * 30 + 2]  # above the text
        lengths.append(int(row.sum()))
        assert changed[112 + 5 * 30 :].sum() == 0  # no other bar
    assert lengths[1] == pytest.approx(2 * lengths[0], abs=2) and lengths[2] == pytest.approx(4 * lengths[0], abs=3)


def test_event_rate_settles_at_the_true_rate() -> None:
    overlay = Overlay(Sensor(16, 16), LABELS)
    for index in range(200):
        events = make_events(np.full(50, index * 10_000), np.zeros(50), np.zeros(50), np.ones(50))
        overlay.see(window(events, (index + 1) * 10_000))
    assert overlay._rate_hz == pytest.approx(5_000.0, rel=1e-3)


def test_layer_is_drawn_at_the_sensors_coordinates() -> None:
    class Dot:
        def draw(self, picture: np.ndarray, view: EventView) -> None:
            x, y = view.place(64.0, 32.0)
            picture[y, x] = (255, 255, 255)

    overlay = Overlay(Sensor(128, 128), LABELS)
    picture = overlay.draw(layers=[Dot()])
    assert (picture[128 + overlay.view.top_px, 256] == 255).all()


def test_number_of_posteriors_must_be_that_of_the_labels() -> None:
    with pytest.raises(ConfigError, match="3 posteriors for 11 labels"):
        Overlay(Sensor(8, 8), LABELS).draw(Verdict(posteriors=np.zeros(3)))


def test_many_classes_are_listed_by_likelihood() -> None:
    overlay = Overlay(Sensor(32, 32), [str(index) for index in range(100)])
    posteriors = np.zeros(100)
    unlikely = overlay.draw(Verdict(posteriors=posteriors))
    posteriors[99] = 1.0
    assert (overlay.draw(Verdict(posteriors=posteriors)) != unlikely).any()
