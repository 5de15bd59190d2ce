"""Recordings of the eleven gestures of DVS128 Gesture, as a person before a simulated camera would make them.

Labels and their order are Tonic's. The subject faces the camera, so the right hand is at the image's left, and
"clockwise" is as the subject sees it: it turns counter-clockwise in the image (Amir et al. 2017).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dvs_snn.errors import ConfigError
from dvs_snn.events.array import Events, empty_events
from dvs_snn.events.simulate.dvs import DvsConfig, DvsModel
from dvs_snn.events.simulate.motion import LEFT, RIGHT, Clock, Motion, follow_through, standing
from dvs_snn.events.simulate.motions import circling, clapping, drumming, rolling, strumming, waving
from dvs_snn.events.simulate.others import other
from dvs_snn.events.simulate.person import Person, View, random_person, random_view
from dvs_snn.events.simulate.render import blend, depth_order, draw_parts, draw_slow
from dvs_snn.events.simulate.scene import build_scene, frame_times
from dvs_snn.events.stream import Sensor

GESTURES: tuple[str, ...] = (
    "Hand clapping",
    "Right hand wave",
    "Left hand wave",
    "Right arm clockwise",
    "Right arm counter clockwise",
    "Left arm clockwise",
    "Left arm counter clockwise",
    "Arm roll",
    "Air drums",
    "Air guitar",
    "Other gestures",
)

STEP_S = 1e-3  # motion is computed every millisecond; frames and key times are chosen among these instants
TRANSITION_S = 0.3


def gesture_index(label: str | int) -> int:
    """A label's index from its name (any case, spaces or underscores) or number."""
    text = str(label).strip()
    if text.isdigit() and int(text) < len(GESTURES):
        return int(text)
    names = {name.lower(): index for index, name in enumerate(GESTURES)}
    key = text.lower().replace("_", " ")
    if key not in names:
        raise ConfigError(f"unknown gesture {label!r}: give 0..{len(GESTURES) - 1} or one of {', '.join(GESTURES)}")
    return names[key]


def perform(label: int, clock: Clock) -> Motion:
    """A person who does gesture `label` all the time, with what the rest of the body does meanwhile."""
    motion = standing(clock)
    if label == 0:
        clapping(clock, motion)
    elif label in (1, 2):
        waving(clock, motion, RIGHT if label == 1 else LEFT)
    elif label in (3, 4):
        circling(clock, motion, RIGHT, outward_from_top=label == 3)
    elif label in (5, 6):
        circling(clock, motion, LEFT, outward_from_top=label == 6)
    elif label == 7:
        rolling(clock, motion)
    elif label == 8:
        drumming(clock, motion)
    elif label == 9:
        strumming(clock, motion)
    else:
        other(clock, motion)
    return follow_through(clock, motion)


def random_dvs(rng: Generator) -> DvsConfig:
    """A sensor like a DVS128 of unknown biases and light; ranges cover what was measured in real recordings."""
    threshold = float(np.exp(rng.uniform(np.log(0.14), np.log(0.42))))
    lean = float(np.exp(rng.normal(0, 0.1)))

    def sometimes(share: float, low: float, high: float) -> float:
        return float(rng.uniform(low, high)) if rng.random() < share else 0.0

    return DvsConfig(
        threshold_on=threshold * lean,
        threshold_off=threshold / lean,
        mismatch=float(rng.uniform(0.04, 0.28)),
        column_mismatch=sometimes(0.7, 0.0, 0.12),
        bandwidth_hz=float(np.exp(rng.uniform(np.log(120), np.log(3000)))),
        bandwidth_follows_light=bool(rng.random() < 0.7),
        refractory_us=float(np.exp(rng.uniform(np.log(100), np.log(1500)))),
        leak_hz=sometimes(0.6, 0.0, 0.12),
        shot_noise_hz=float(np.exp(rng.uniform(np.log(0.02), np.log(0.6)))),
        shot_on_share=float(rng.uniform(0.3, 0.7)),
        hot_pixels=int(rng.integers(0, 8)),
        hot_pixel_hz=float(rng.uniform(5, 60)),
        dark=float(np.exp(rng.uniform(np.log(0.003), np.log(0.04)))),
        repeat_probability=sometimes(0.8, 0.05, 0.25),
        rebound_on=sometimes(0.8, 0.05, 0.65),
        rebound_off=sometimes(0.7, 0.0, 0.3),
        rebound_us=float(rng.uniform(300, 900)),
        stray_probability=sometimes(0.85, 0.02, 0.2),
        stray_px=float(rng.uniform(5, 26)),
        row_streak_hz=sometimes(0.5, 0.5, 8),
        hold_below=0.004,
    )


def _blended(motions: Sequence[Motion], weights: Sequence[NDArray[np.float64]]) -> Motion:
    """Motions one after another: every signal is the weighted mean, so the change from one to the next is smooth."""
    values: dict[str, NDArray[np.float64]] = {}
    for name in Motion.__dataclass_fields__:
        total: NDArray[np.float64] = np.zeros(())
        for motion, weight in zip(motions, weights, strict=True):
            value = getattr(motion, name)
            total = total + value * (weight if value.shape[-1] == len(weight) else weight[:, None])
        values[name] = total
    return Motion(**values)


def _film(person: Person, view: View, motion: Motion, sensor: Sensor, model: DvsModel, rng: Generator) -> Events:
    """Draw the motion at adaptive frame times and push the frames through the sensor."""
    scene = build_scene(person, view, motion, sensor, rng)
    step_us = STEP_S * 1e6
    unit = min(sensor.width, sensor.height) / 128
    shake = rng.choice([0.0, rng.uniform(0.02, 0.35)], p=[0.85, 0.15]) * unit
    n = len(scene.parts)
    shaking = np.stack([_shake(rng, n, shake), _shake(rng, n, shake)], -1)
    frames = frame_times(_speed(scene.parts[:, :, [0, 1, 3, 4]]), step_us, 0.8, step_us, 5 * step_us)
    slow = np.concatenate([scene.torso[:, :2], scene.torso[:, :2] + 60 * scene.torso[:, 2:4], scene.head[:, :2]], -1)
    slow = np.concatenate([slow, scene.head[:, 6:8] * scene.head[:, 2:4], shaking, 4 * scene.torso[:, 5:7]], -1)
    keys = frame_times(_speed(slow.reshape(n, 1, -1)), step_us, 0.5, 4 * step_us, 25 * step_us)

    shape = (sensor.height, sensor.width)
    layers = [(np.empty(shape, np.float32), np.empty(shape, np.float32)) for _ in range(2)]

    def draw(index: int, layer: tuple[NDArray[np.float32], NDArray[np.float32]]) -> None:
        draw_slow(
            *layer, view.background, shaking[index], scene.torso[index], scene.widths, person.torso_texture,
            scene.neck[index], scene.head[index], person.head_texture, person.neck_tone, view.soft_px, view.light,
        )  # fmt: skip

    picture, cover = np.empty(shape, np.float32), np.empty(shape, np.float32)
    order = np.arange(scene.parts.shape[1])
    draw(keys[0], layers[0])
    draw(keys[min(1, len(keys) - 1)], layers[1])
    k = 0
    packets = []
    for index in frames:
        while k + 2 < len(keys) and index > keys[k + 1]:
            k += 1
            layers.reverse()
            draw(keys[k + 1], layers[1])
        span = max(keys[min(k + 1, len(keys) - 1)] - keys[k], 1)
        (first, first_cover), (second, second_cover) = layers
        blend(picture, cover, first, second, first_cover, second_cover, (index - keys[k]) / span)
        parts = scene.parts[index]
        depth_order(parts[:, 6], order)
        draw_parts(
            picture, cover, parts, order, scene.kinds, person.limb_textures, view.soft_px, view.light, view.shadow
        )
        packets.append(model.push(index * step_us, picture))
    return np.concatenate(packets) if packets else empty_events()


def _speed(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest displacement of any coordinate from one instant to the next, [n]."""
    moved = np.abs(np.diff(points.reshape(len(points), -1), axis=0)).max(axis=1)
    return np.concatenate([[0.0], moved])


def _shake(rng: Generator, n: int, size: float) -> NDArray[np.float64]:
    """A camera that trembles by `size` pixels at a few hertz; never beyond the background's margin."""
    t = np.arange(n) * STEP_S
    waves = [np.sin(2 * np.pi * rng.uniform(0.5, 9) * t + rng.uniform(0, 6.3)) for _ in range(3)]
    return np.asarray(np.clip(size * np.sum(waves, axis=0) / 1.7, -3.0, 3.0))


def simulate_gesture_sequence(
    labels: Sequence[int],
    seconds_each: float,
    seed: int,
    sensor: Sensor = Sensor(128, 128),  # noqa: B008
) -> tuple[Events, list[tuple[int, int, int]]]:
    """One person who does several gestures one after another, each for `seconds_each`.

    Returns the events (t from 0, sorted) and the truth, rows (start_us, end_us, label); between two rows the arms pass
    smoothly from one gesture to the next within 0.3 s around the border. Everything is drawn from `seed`. Raises
    `ConfigError` for an unknown label or a length that is not positive.
    """
    for label in labels:
        if not 0 <= label < len(GESTURES):
            raise ConfigError(f"gesture {label}: labels are 0..{len(GESTURES) - 1}")
    if not labels or not seconds_each * len(labels) >= 0.01:
        raise ConfigError(f"{len(labels)} gestures of {seconds_each} s: give at least one label and 10 ms")
    rng = np.random.default_rng([seed, 0x6E57])
    person, view, config = random_person(rng), random_view(rng, sensor), random_dvs(rng)
    each_us = round(seconds_each * 1e6)
    n = int(np.ceil(each_us * len(labels) * 1e-6 / STEP_S)) + 1
    t = np.arange(n, dtype=np.float64) * STEP_S
    motions: list[Motion] = []
    weights: list[NDArray[np.float64]] = []
    half = min(TRANSITION_S, seconds_each) / 2
    for index, label in enumerate(labels):
        motions.append(perform(int(label), Clock(t, rng, person)))
        weight = np.ones(n)
        for border, rising in ((index, True), (index + 1, False)):
            if 0 < border < len(labels):
                x = np.clip((t - border * seconds_each) / (2 * half) + 0.5, 0, 1)
                smooth = x * x * (3 - 2 * x)
                weight *= smooth if rising else 1 - smooth
        weights.append(weight)
    motion = motions[0] if len(motions) == 1 else _blended(motions, weights)
    events = _film(person, view, motion, sensor, DvsModel(sensor, config, seed), rng)
    truth = [(index * each_us, (index + 1) * each_us, int(label)) for index, label in enumerate(labels)]
    return events[events["t"] < truth[-1][1]], truth


def simulate_gesture(label: int, seconds: float, seed: int, sensor: Sensor = Sensor(128, 128)) -> Events:  # noqa: B008
    """One recording of gesture `label`: events with t from 0, sorted; person, motion and sensor come from `seed`.

    Raises `ConfigError` for an unknown label or a length that is not positive.
    """
    return simulate_gesture_sequence([label], seconds, seed, sensor)[0]
