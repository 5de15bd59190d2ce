"""Recordings of textured shapes on random smooth paths, with exact boxes, ids and velocities: food for a tracker.

Shapes cross, hide behind each other and behind static bars, leave the image and come back, turn, grow, bounce and
stop; the camera may shake, and the sensor has noise.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from dvs_snn.errors import ConfigError
from dvs_snn.events.array import Events, empty_events, join_events
from dvs_snn.events.simulate.dvs import DvsConfig, DvsModel
from dvs_snn.events.simulate.gestures import random_dvs
from dvs_snn.events.simulate.shapes_config import ShapesConfig
from dvs_snn.events.simulate.shapes_scene import ShapesScene
from dvs_snn.events.simulate.shapes_truth import ShapesTruth, scene_truth
from dvs_snn.events.stream import Sensor

MOST_TARGETS = 200
_BLOCK = 1024  # frames whose poses are computed at once


def simulate_shapes(
    seconds: float,
    seed: int,
    sensor: Sensor = Sensor(240, 180),  # noqa: B008
    targets: int | None = None,
    config: ShapesConfig | None = None,
) -> tuple[Events, ShapesTruth]:
    """One recording of moving shapes and the truth about them; everything is drawn from `seed`.

    Returns events (t from 0, sorted, before `seconds`) and the truth at every `config.step_us` from 0 to the end.
    `targets` None draws their number from `config.targets`; 0 gives a scene without any. Raises `ConfigError` for a
    length below 10 ms or a number of targets that is out of range.
    """
    config = config or ShapesConfig()
    scene, dvs = build_shapes(seconds, seed, sensor, targets, config)
    end_us = round(seconds * 1e6)
    events = film(scene, end_us * 1e-6, DvsModel(sensor, dvs, seed))
    truth = scene_truth(scene, np.arange(0, end_us + 1, config.step_us, dtype=np.int64))
    return events[: np.searchsorted(events["t"], end_us)], truth


def build_shapes(
    seconds: float, seed: int, sensor: Sensor, targets: int | None, config: ShapesConfig
) -> tuple[ShapesScene, DvsConfig]:
    """The scene and the sensor that `seed` stands for, not filmed yet."""
    if not 0.01 <= seconds <= 36_000:
        raise ConfigError(f"{seconds} s of shapes: give 0.01 to 36000")
    if seed < 0:
        raise ConfigError(f"seed {seed}: must not be negative")
    rng = np.random.default_rng([seed, 0x5A4E5])
    drawn = int(rng.integers(config.targets[0], config.targets[1] + 1))
    count = drawn if targets is None else targets
    if not 0 <= count <= MOST_TARGETS:
        raise ConfigError(f"{count} targets: give 0 to {MOST_TARGETS}")
    dvs = random_shapes_dvs(rng)
    return ShapesScene(rng, sensor, seconds, count, config), config.dvs or dvs


def random_shapes_dvs(rng: Generator) -> DvsConfig:
    """A sensor of unknown biases and light, as for gestures, but biased for fast motion, and noisier."""
    return replace(
        random_dvs(rng),
        bandwidth_hz=float(np.exp(rng.uniform(np.log(400), np.log(6000)))),
        refractory_us=float(np.exp(rng.uniform(np.log(50), np.log(1000)))),
        shot_noise_hz=float(np.exp(rng.uniform(np.log(0.02), np.log(4.0)))),
        hot_pixels=int(rng.integers(0, 12)),
    )


def film(scene: ShapesScene, seconds: float, model: DvsModel) -> Events:
    """Draw the scene at frame times that follow its motion and push the frames through the sensor."""
    times = scene.frame_times(seconds)
    picture = np.empty((scene.sensor.height, scene.sensor.width), np.float32)
    packets = []
    for start in range(0, len(times), _BLOCK):
        block = times[start : start + _BLOCK]
        poses, (shift, _) = scene.motion(block).poses(), scene.camera(block)
        for k, t in enumerate(block):
            scene.draw(picture, float(t), poses[k], shift[k])
            packet = model.push(float(t) * 1e6, picture)
            if len(packet):
                packets.append(packet)
    return join_events(packets) if packets else empty_events()
