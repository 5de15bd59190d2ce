"""A scene of moving shapes: what is in it, where everything is at any time, and its picture.

Targets come first among the bodies, static occluders (bars, pillars) after them; `order` is from far to near. A camera
that shakes moves the whole image, so its shift is part of every position and velocity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dvs_snn.events.simulate.shapes_config import ShapesConfig
from dvs_snn.events.simulate.shapes_kernel import (
    BLOB,
    ELLIPSE,
    GEOMETRY,
    HARMONICS,
    POLYGON,
    POSE,
    RECTANGLE,
    draw_background,
    draw_bodies,
    signed_distances,
)
from dvs_snn.events.simulate.shapes_paths import (
    MEETING_PATHS,
    Meeting,
    Path,
    Region,
    random_path,
)
from dvs_snn.events.simulate.shapes_textures import BACKGROUNDS, pattern
from dvs_snn.events.stream import Sensor

Array = NDArray[np.float64]

CORNERS = 12
OUTLINE_POINTS = 720  # of a blob; its box is then exact to a hundredth of a pixel
TEXTURE = 96
DARKEST, BRIGHTEST = 0.01, 1.5


@dataclass(frozen=True)
class Body:
    """One rigid shape: outline, texture and motion; lengths in px at scale 1."""

    kind: str
    geometry: Array
    corners: Array  # [n, 2], of a polygon
    texture: NDArray[np.float32]
    path: Path
    turn: tuple[float, float, float, float, float]  # angle, rad/s, and a swing: size, rad/s, phase
    growth: tuple[float, float, float]  # log scale: size, rad/s, phase

    def outline(self) -> Array | None:
        """Points whose extremes are the shape's, [n, 2]; None for an ellipse, which has them in closed form."""
        if self.geometry[0] == ELLIPSE:
            return None
        if self.geometry[0] != BLOB:
            return self.corners
        phi = np.linspace(0, 2 * np.pi, OUTLINE_POINTS, endpoint=False)
        k = np.arange(2, 2 + HARMONICS)[:, None]
        waves = self.geometry[8::2, None] * np.cos(k * phi) + self.geometry[9::2, None] * np.sin(k * phi)
        radius = self.geometry[1] * (1 + waves.sum(axis=0))
        return np.stack([radius * np.cos(phi), radius * np.sin(phi)], axis=-1)


@dataclass(frozen=True)
class Motion:
    """Where all bodies are at `n` instants: arrays [n, bodies] but for positions and velocities, [n, bodies, 2]."""

    position: Array
    velocity: Array
    angle: Array
    spin: Array  # rad/s
    scale: Array
    swell: Array  # change of scale per second

    def poses(self) -> Array:
        """Rows of `shapes_kernel.POSE`, [n, bodies, 5]."""
        poses = np.empty((*self.angle.shape, len(POSE)))
        poses[..., :2] = self.position
        poses[..., 2], poses[..., 3] = np.cos(self.angle), np.sin(self.angle)
        poses[..., 4] = self.scale
        return poses


class ShapesScene:
    """Background, bodies and camera, all drawn from `rng`; `targets` shapes, of which the truth speaks."""

    def __init__(self, rng: Generator, sensor: Sensor, seconds: float, targets: int, config: ShapesConfig) -> None:
        self.sensor, self.targets, self.config = sensor, targets, config
        self.unit = min(sensor.width / 240, sensor.height / 180)
        shaken = rng.random() < config.shake_chance
        self._shake = _shake_waves(rng, float(rng.uniform(*config.shake_px)) * self.unit if shaken else 0.0)
        self.margin = int(np.ceil(np.abs(self._shake[0]).sum(axis=0).max())) + 2
        self.flicker_hz = 0.0
        if rng.random() < config.flicker_chance:
            self.flicker_hz, self._flicker_depth = float(rng.choice([100.0, 120.0])), float(rng.uniform(0.02, 0.15))
        self.tone = float(np.exp(rng.uniform(np.log(0.12), np.log(0.6))))
        self.background = self._random_background(rng)
        self.soft = float(rng.uniform(*config.edge_px))

        radii = self._random_radii(rng, targets)
        bodies = [
            self._random_target(rng, radius, path)
            for radius, path in zip(radii, self._random_paths(rng, radii, seconds), strict=True)
        ]
        if targets and rng.random() < config.occluder_chance:
            bodies += [self._random_occluder(rng) for _ in range(int(rng.integers(1, 4)))]
        self.bodies: list[Body] = bodies
        self.order = rng.permutation(len(bodies)).astype(np.int64)
        self.geometry = np.array([body.geometry for body in bodies]).reshape(len(bodies), len(GEOMETRY))
        self.counts = np.array([len(body.corners) for body in bodies], np.int64)
        self.vertices = np.zeros((len(bodies), CORNERS, 2))
        for body, row in zip(bodies, self.vertices, strict=True):
            row[: len(body.corners)] = body.corners
        self.textures = np.array([body.texture for body in bodies], np.float32).reshape(-1, TEXTURE, TEXTURE)

    # --- where things are

    def motion(self, t: Array) -> Motion:
        """Positions, angles and scales of all bodies with their derivatives at times `t` [n] in seconds."""
        n, count = len(t), len(self.bodies)
        position, velocity = np.empty((n, count, 2)), np.empty((n, count, 2))
        angle, spin, scale, swell = (np.empty((n, count)) for _ in range(4))
        for k, body in enumerate(self.bodies):
            position[:, k], velocity[:, k] = body.path(t)
            start, rate, swing, omega, phase = body.turn
            angle[:, k] = start + rate * t + swing * np.sin(omega * t + phase)
            spin[:, k] = rate + swing * omega * np.cos(omega * t + phase)
            size, omega, phase = body.growth
            scale[:, k] = np.exp(size * np.sin(omega * t + phase))
            swell[:, k] = scale[:, k] * size * omega * np.cos(omega * t + phase)
        shift, speed = self.camera(t)
        return Motion(position + shift[:, None], velocity + speed[:, None], angle, spin, scale, swell)

    def camera(self, t: Array) -> tuple[Array, Array]:
        """Shift of the image in px and its velocity, each [n, 2]."""
        size, omega, phase = self._shake
        turn = omega * t[:, None, None] + phase
        return np.sum(size * np.sin(turn), axis=1), np.sum(size * omega * np.cos(turn), axis=1)

    def frame_times(self, seconds: float) -> Array:
        """Times in seconds so that nothing in the image moves more than about `config.frame_px` between two."""
        grid = np.linspace(0, seconds, max(2, round(seconds * 1000) + 1))
        rate = np.full(len(grid), 1 / self.config.longest_frame_s)
        rate = np.maximum(rate, np.hypot(*self.camera(grid)[1].T) / self.config.frame_px)
        if self.flicker_hz:
            rate = np.maximum(rate, 8 * self.flicker_hz)
        motion = self.motion(grid)
        far = np.array([self.sensor.width, self.sensor.height])
        for k, body in enumerate(self.bodies):
            reach = body.geometry[5] * motion.scale[:, k]
            at = motion.position[:, k]
            near = np.all((at > -reach[:, None] - 2) & (at < far + reach[:, None] + 2), axis=1)
            speed = np.hypot(*motion.velocity[:, k].T) + np.abs(motion.swell[:, k]) * body.geometry[5]
            if body.geometry[1] != body.geometry[2] or body.kind not in ("disc", "ring") or np.ptp(body.texture) > 0:
                speed += np.abs(motion.spin[:, k]) * reach
            rate = np.where(near, np.maximum(rate, speed / self.config.frame_px), rate)
        rate = np.minimum(rate, 1 / self.config.shortest_frame_s)
        progress = np.concatenate([[0.0], np.cumsum(0.5 * (rate[1:] + rate[:-1]) * np.diff(grid))])
        frames = max(2, int(np.ceil(progress[-1])) + 1)
        return np.interp(np.linspace(0, progress[-1], frames), progress, grid)

    def draw(self, out: NDArray[np.float32], t: float, poses: Array, shift: Array) -> None:
        """The picture at `t` seconds, linear intensity, from the bodies' poses and the camera's shift at that time."""
        light = 1.0
        if self.flicker_hz:
            light = 1.0 + self._flicker_depth * np.sin(2 * np.pi * self.flicker_hz * t)
        draw_background(out, self.background, self.margin, shift[0], shift[1], light)
        draw_bodies(
            out, poses, self.order, self.geometry, self.vertices, self.counts, self.textures, self.soft, light
        )  # fmt: skip

    def samples(self, count: int = 512) -> Array:
        """Points spread evenly over each target's area in its own coordinates, [targets, count, 2]."""
        # The additive sequence of the plastic number (Roberts 2018) fills a square evenly for any length.
        steps = np.array([0.7548776662466927, 0.5698402909980532])
        square = 2 * np.mod(0.5 + np.arange(1, 24 * count)[:, None] * steps, 1.0) - 1
        samples = np.empty((self.targets, count, 2))
        for n in range(self.targets):
            points = square * self.geometry[n, 6:8]
            distance = np.empty(len(points))
            signed_distances(distance, self.geometry[n], self.vertices[n], self.counts[n], points)
            samples[n] = points[distance < 0][:count]
        return samples

    # --- what is there

    def _random_background(self, rng: Generator) -> NDArray[np.float32]:
        rows, columns = (size + 2 * self.margin + 1 for size in (self.sensor.height, self.sensor.width))
        value = np.zeros((rows, columns))
        if rng.random() < self.config.background_chance:
            kind = str(rng.choice(BACKGROUNDS))
            value = pattern(rng, kind, columns / 2, rows / 2, columns, rows)
            value *= rng.uniform(*self.config.background_contrast)
        return np.clip(self.tone * np.exp(value), DARKEST, BRIGHTEST).astype(np.float32)

    def _random_radii(self, rng: Generator, count: int) -> Array:
        low, high = np.log(self.config.size_px)
        return np.asarray(np.maximum(np.exp(rng.uniform(low, high, count)) * self.unit, 1.5))

    def _random_paths(self, rng: Generator, radii: Array, seconds: float) -> list[Path]:
        """A path per target; with `crossing_chance`, shapes are paired and each pair meets at some place and time."""
        config, whole = self.config, np.array([self.sensor.width, self.sensor.height]) - 1.0
        count = len(radii)
        meetings: list[Meeting | None] = [None] * count
        meeting_kinds = [kind for kind in config.paths if kind in MEETING_PATHS]
        if count > 1 and meeting_kinds and rng.random() < config.crossing_chance:
            for first in range(0, count - 1, 2):
                place = whole * rng.uniform(0.25, 0.75, 2)
                meetings[first] = meetings[first + 1] = Meeting(float(rng.uniform(0.2, 0.8) * seconds), place)
        paths = []
        for radius, meeting in zip(radii, meetings, strict=True):
            border = -1.5 * radius if rng.random() < config.leave_chance else 1.05 * radius
            border = np.minimum(border, 0.4 * whole)
            kinds = meeting_kinds if meeting else config.paths
            kind = str(rng.choice(kinds))
            speed = config.median_speed_px_s * np.exp(config.speed_spread * rng.standard_normal())
            speed = float(np.clip(speed, *config.speed_px_s)) * self.unit
            low = np.broadcast_to(border, 2)
            region = Region(low, np.maximum(whole - border, low + 1))  # of at least a pixel, in the smallest sensor
            paths.append(random_path(rng, kind, region, speed, seconds, meeting))
        return paths

    def _random_target(self, rng: Generator, radius: float, path: Path) -> Body:
        config = self.config
        kind = str(rng.choice(config.kinds))
        geometry, corners = random_outline(rng, kind, radius)
        contrast = float(rng.uniform(*config.contrast))
        tone = self.tone * np.exp(contrast * rng.choice([-1.0, 1.0]))
        if not 0.02 < tone < 1.3:  # the other polarity then has room
            tone = self.tone**2 / tone
        texture = self._texture(rng, str(rng.choice(config.textures)), geometry, tone, contrast)
        spin = config.spin_rad_s if rng.random() < 0.75 else 0.0
        turn = (
            rng.uniform(0, 2 * np.pi), spin * rng.standard_normal(),
            min(spin, 1.0) * rng.uniform(0, 0.5), 2 * np.pi * rng.uniform(0.2, 1.2), rng.uniform(0, 2 * np.pi),
        )  # fmt: skip
        growth = (config.growth * rng.random(), 2 * np.pi * rng.uniform(0.1, 0.6), rng.uniform(0, 2 * np.pi))
        return Body(kind, geometry, corners, texture, path, turn, growth)

    def _random_occluder(self, rng: Generator) -> Body:
        """A pillar, a beam or a slanted bar that spans the image."""
        half_length = 0.9 * float(np.hypot(self.sensor.width, self.sensor.height))
        geometry = np.zeros(len(GEOMETRY))
        half_width = max(1.5, rng.uniform(4, 14) * self.unit)
        geometry[:3] = RECTANGLE, half_width, half_length
        tile = min(half_length, 45 * self.unit)  # the texture is repeated, mirrored, along the bar
        geometry[4:8] = half_width, np.hypot(half_width, half_length), half_width, tile
        corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * geometry[1:3]
        tone = float(np.clip(self.tone * np.exp(rng.uniform(-1.2, 1.2)), 0.02, 1.3))
        texture = self._texture(rng, str(rng.choice(self.config.textures)), geometry, tone, 0.8)
        at = np.array([self.sensor.width, self.sensor.height]) * rng.uniform(0.12, 0.88, 2)
        angle = float(rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)], p=[0.55, 0.2, 0.25]))
        still = random_path(rng, "still", Region(at, at), 0.0, 0.0)
        return Body("rectangle", geometry, corners, texture, still, (angle, 0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0))

    @staticmethod
    def _texture(rng: Generator, kind: str, geometry: Array, tone: float, contrast: float) -> NDArray[np.float32]:
        value = pattern(rng, kind, geometry[6], geometry[7], TEXTURE, TEXTURE)
        depth = rng.uniform(0.15, 0.6) * min(contrast, 1.2)
        return np.clip(tone * np.exp(depth * value), DARKEST, BRIGHTEST).astype(np.float32)


def random_outline(rng: Generator, kind: str, radius: float) -> tuple[Array, Array]:
    """Geometry (columns of `shapes_kernel.GEOMETRY`) and corners [n, 2] of a shape of about `radius` px."""
    geometry = np.zeros(len(GEOMETRY))
    corners = np.zeros((0, 2))
    inside = reach = radius
    if kind == "disc":
        geometry[:3] = ELLIPSE, radius, radius
    elif kind == "ring":
        geometry[:4] = ELLIPSE, radius, radius, radius * rng.uniform(0.35, 0.7)
    elif kind == "ellipse":
        inside = radius * rng.uniform(0.45, 0.85)
        geometry[:3] = ELLIPSE, radius, inside
    elif kind == "rectangle":
        inside = radius * rng.uniform(0.4, 1.0)
        geometry[:3] = RECTANGLE, radius, inside
        corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * geometry[1:3]
        reach = float(np.hypot(radius, inside))
    elif kind == "blob":
        size = rng.normal(0, 0.5, (HARMONICS, 2)) * np.array([0.22, 0.14, 0.08, 0.05])[:, None]
        size *= min(1.0, 0.45 / np.abs(size).sum())
        geometry[0], geometry[1], geometry[8:] = BLOB, radius, size.ravel()
        inside, reach = radius * (1 - np.abs(size).sum()), radius * (1 + np.abs(size).sum())
    else:
        tips = 3 if kind == "triangle" else int(rng.integers(4, 7))
        if kind == "triangle":
            angle = 2 * np.pi * np.arange(3) / 3 + rng.uniform(-0.3, 0.3, 3)
            length = radius * rng.uniform(0.85, 1.15, 3)
        else:
            angle = np.pi * np.arange(2 * tips) / tips
            length = radius * np.where(np.arange(2 * tips) % 2, rng.uniform(0.35, 0.62), 1.0)
        corners = length[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        geometry[0] = POLYGON
        reach = float(length.max())
        edge = np.roll(corners, -1, axis=0) - corners
        distance = np.abs(corners[:, 0] * edge[:, 1] - corners[:, 1] * edge[:, 0]) / np.hypot(*edge.T)
        inside = float(distance.min())
    geometry[4], geometry[5] = inside, reach
    half = np.array([reach, reach]) if len(corners) == 0 else np.abs(corners).max(axis=0)
    if kind == "ellipse":
        half = geometry[1:3]
    geometry[6:8] = half
    return geometry, corners


def _shake_waves(rng: Generator, size_px: float) -> tuple[Array, Array, Array]:
    """Amplitudes, angular rates and phases [3, 2] of a trembling hand or robot; fast waves are smaller."""
    hertz = np.exp(rng.uniform(np.log(1), np.log(12), (3, 2)))
    size = rng.uniform(0.3, 1.0, (3, 2)) / np.sqrt(hertz)
    return size_px * size / size.sum(axis=0), 2 * np.pi * hertz, rng.uniform(0, 2 * np.pi, (3, 2))
