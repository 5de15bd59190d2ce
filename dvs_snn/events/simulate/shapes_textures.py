"""Patterns on shapes and backgrounds, as arrays in [-1, 1]; sizes are in pixels, so that no pattern is too fine."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Array = NDArray[np.float64]

TEXTURES = ("plain", "stripes", "checks", "spots", "gradient", "noise")
BACKGROUNDS = ("gradient", "noise", "clutter", "checks", "stripes", "spots")
EDGE_PX = 1.0  # half-width of the soft edges within a pattern
FINEST_PX = 6.0  # shortest period


def pattern(rng: Generator, kind: str, half_width: float, half_height: float, columns: int, rows: int) -> Array:
    """A pattern [rows, columns] that spans 2 half-widths by 2 half-heights in px."""
    x, y = np.meshgrid(np.linspace(-half_width, half_width, columns), np.linspace(-half_height, half_height, rows))
    small = max(min(half_width, half_height), FINEST_PX)
    angle = rng.uniform(0, np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    if kind == "plain":
        return np.zeros((rows, columns))
    if kind == "gradient":
        return np.asarray(along / max(float(np.abs(along).max()), 1e-6))
    if kind in ("stripes", "checks"):
        period = float(np.exp(rng.uniform(np.log(FINEST_PX), np.log(max(1.5 * small, 1.3 * FINEST_PX)))))
        shift = rng.uniform(0, period, 2)
        wave = _square_wave(along + shift[0], period)
        return wave if kind == "stripes" else wave * _square_wave(across + shift[1], period)
    if kind == "spots":
        return _spots(rng, x, y, small)
    if kind == "clutter":
        return _clutter(rng, x, y)
    pixels_per_cell = 2 * half_width / columns
    grain = rng.uniform(2.0, max(3.0, 0.4 * small)) / pixels_per_cell
    noise = gaussian_filter(rng.standard_normal((rows, columns)), grain, mode="reflect")
    if rng.random() < 0.5:
        noise += 0.5 * noise.std() / 0.3 * gaussian_filter(rng.standard_normal((rows, columns)), 0.3 * grain)
    return np.clip(noise / (2 * max(float(noise.std()), 1e-9)), -1, 1)


def _square_wave(position: Array, period: float) -> Array:
    return np.clip(np.sin(2 * np.pi * position / period) * period / (2 * np.pi * EDGE_PX), -1, 1)


def _spots(rng: Generator, x: Array, y: Array, small: float) -> Array:
    value = -np.ones_like(x)
    area = 4 * float(np.abs(x).max()) * float(np.abs(y).max())
    typical = max(2.0, rng.uniform(0.12, 0.3) * min(small, 60))
    count = int(np.clip(0.4 * area / (np.pi * typical**2), 2, 60))
    for _ in range(count):
        radius = typical * rng.uniform(0.7, 1.3)
        px, py = rng.uniform(-1, 1) * np.abs(x).max(), rng.uniform(-1, 1) * np.abs(y).max()
        value = np.maximum(value, np.clip((radius - np.hypot(x - px, y - py)) / EDGE_PX, -1, 1))
    return value


def _clutter(rng: Generator, x: Array, y: Array) -> Array:
    """Overlapping boxes and discs of many greys, like a room."""
    value = np.full_like(x, rng.uniform(-0.5, 0.5))
    wide, tall = float(np.abs(x).max()), float(np.abs(y).max())
    for _ in range(int(rng.integers(6, 26))):
        px, py = rng.uniform(-wide, wide), rng.uniform(-tall, tall)
        a, b = np.exp(rng.uniform(np.log(4), np.log(max(0.5 * tall, 6)), 2))
        angle = rng.choice([0.0, rng.uniform(0, np.pi)])
        u = (x - px) * np.cos(angle) + (y - py) * np.sin(angle)
        v = (y - py) * np.cos(angle) - (x - px) * np.sin(angle)
        distance = np.hypot(u, v) - a if rng.random() < 0.3 else np.maximum(np.abs(u) - a, np.abs(v) - b)
        cover = np.clip(0.5 - 0.5 * distance / EDGE_PX, 0, 1)
        value = value * (1 - cover) + rng.uniform(-1, 1) * cover
    return value
