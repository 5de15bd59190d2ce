"""Tracks are drawn where they are: boxes around the target, trails behind it, nothing outside the events."""

import numpy as np
import pytest

from dvs_snn.events import Sensor, Window, empty_events
from dvs_snn.pipeline import Track, Tracks
from dvs_snn.viz import Overlay, TrackPlot, Trails
from dvs_snn.viz.surface import BACKGROUND, EventView
from dvs_snn.viz.tracks import TRAIL_US, TrackLayer, track_colour

SENSOR = Sensor(120, 90)


def track(number: int, x: float, y: float, side: float = 20.0, score: float = 0.9) -> Track:
    return Track(number, x, y, side, side, 100.0, 0.0, score)


def drawn(layer: TrackLayer) -> tuple[np.ndarray, EventView]:
    overlay = Overlay(SENSOR, ())
    overlay.see(Window(empty_events(), 0, 10_000, True))
    picture = overlay.draw()
    blank = picture.copy()
    layer.draw(picture, overlay.view)
    return (picture != blank).any(axis=2), overlay.view


def test_a_box_lies_around_its_target() -> None:
    changed, view = drawn(TrackLayer((track(1, 60, 45),), {}))
    left, top = view.place(50.5, 35.5)
    right, bottom = view.place(70.5, 55.5)
    for x, y in ((left, (top + bottom) // 2), (right, (top + bottom) // 2), ((left + right) // 2, bottom)):
        assert changed[y - 2 : y + 3, x - 2 : x + 3].any(), "an edge"
    x, y = view.place(60.5, 45.5)
    assert changed[y, x], "the centre"
    rows, columns = np.nonzero(changed)
    ahead, _ = view.place(60.5 + 5, 45.5)
    assert columns.min() >= left - 3 and columns.max() <= max(right, ahead) + 3
    assert rows.max() <= bottom + 3


def test_nothing_is_drawn_outside_the_events() -> None:
    changed, view = drawn(TrackLayer((track(1, 0, 0, 300.0), track(2, 500, 500)), {2: [(0.0, 0.0), (500.0, 500.0)]}))
    inside = np.zeros_like(changed)
    inside[view.top_px : view.top_px + view.height_px, view.left_px : view.left_px + view.width_px] = True
    assert changed.any() and not (changed & ~inside).any()


def test_trails_follow_and_are_forgotten() -> None:
    trails = Trails()
    for k in range(100):
        (layer,) = trails(Tracks(k * 10_000, (track(1, k, 45),)))
    assert isinstance(layer, TrackLayer)
    points = layer.trails[1]
    assert points[-1] == (99.0, 45.0) and len(points) == TRAIL_US // 10_000 + 1
    (layer,) = trails(Tracks(1_000_000 + TRAIL_US + 1, ()))
    assert layer.trails == {}, "gone with its target"
    (layer,) = trails(Tracks(0, (track(2, 5, 5),)))
    assert list(layer.trails) == [2], "a restarted clock begins anew"


def test_colours_differ_between_neighbours_and_from_the_background() -> None:
    colours = [track_colour(number) for number in range(8)]
    assert len(set(colours)) == 8
    assert min(np.abs(np.subtract(a, BACKGROUND)).max() for a in colours) > 100


def test_a_plot_is_written_whole_or_not_at_all(tmp_path) -> None:
    plot = TrackPlot("a title")
    for k in range(20):
        plot.see(Tracks(k * 10_000, (track(1, k, 45), track(2, 90 - k, 20)) if k != 10 else ()))
    plot.see(None)
    plot.save(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError):
        plot.save(tmp_path / "a.nosuchformat")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
