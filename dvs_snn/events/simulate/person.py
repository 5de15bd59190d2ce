"""Who stands before the camera: body size, clothes, hair, light, background and camera, all drawn at random.

Lengths are metres, image quantities pixels, tones linear reflectance. The body frame has its origin between the
shoulders, x to the image's right (the subject's left), y down, z towards the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dvs_snn.events.stream import Sensor

Array = NDArray[np.float64]
Texture = NDArray[np.float32]

TEXTURE_ROWS, TEXTURE_COLUMNS = 40, 24
SLEEVE, FOREARM, HAND = 0, 1, 2  # textures of a limb: upper arm, forearm, hand and fingers


@dataclass(frozen=True)
class Person:
    """One subject's body; lengths in metres."""

    upper_arm: float
    forearm: float
    hand: float
    shoulder: float  # half the distance between the shoulder joints
    hip: float  # half-width at the hips
    waist: float  # half-width at the waist
    torso: float  # shoulder line to belt
    neck: float  # shoulder line to chin
    head_width: float
    head_height: float
    upper_radius: tuple[float, float]
    fore_radius: tuple[float, float]
    hand_radius: float
    finger_radius: float
    fingers_open: float  # 0 fist .. 1 spread
    limb_textures: Texture  # [3, rows, columns]
    torso_texture: Texture
    head_texture: Texture
    neck_tone: float


@dataclass(frozen=True)
class View:
    """Camera, light and background of one recording."""

    focal_px: float
    distance_m: float
    centre_px: tuple[float, float]  # where the point between the shoulders is seen
    tilt_rad: float
    roll_rad: float
    soft_px: float
    light: Array  # direction x, y, z; ambient share; brightness
    shadow: Array  # strength, reach px, offset x, y px
    background: Texture


def noise_texture(rng: Generator, rows: int, columns: int, size: float, strength: float) -> Array:
    """Smooth noise with a standard deviation of `strength` in log reflectance; `size` is its grain in texels."""
    field = gaussian_filter(rng.standard_normal((rows, columns)), size, mode="nearest")
    return np.asarray(strength * field / (field.std() + 1e-9))


def _pattern(rng: Generator, rows: int, columns: int) -> Array:
    """Log reflectance of cloth: plain, stripes, checks, blocks or blotches, and always some folds."""
    u, v = np.meshgrid(np.linspace(0, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    kind = rng.choice(["plain", "stripes", "bars", "checks", "blotches", "block"], p=[0.5, 0.12, 0.07, 0.08, 0.13, 0.1])
    strength = rng.uniform(0.15, 0.9)
    pattern = np.zeros((rows, columns))
    count = rng.uniform(3, 9)
    if kind == "stripes":
        pattern = strength * np.sin(2 * np.pi * (count * u + rng.random()))
    elif kind == "bars":
        pattern = strength * np.sin(np.pi * (count * v + rng.random()))
    elif kind == "checks":
        pattern = strength * 0.6 * (np.sin(2 * np.pi * count * u) + np.sin(np.pi * count * v))
    elif kind == "blotches":
        pattern = noise_texture(rng, rows, columns, rng.uniform(1.2, 4.0), strength)
    elif kind == "block":
        pattern = strength * np.tanh(8 * (u - rng.uniform(0.2, 0.8))) * rng.choice([-1.0, 1.0])
    folds = noise_texture(rng, rows, columns, rng.uniform(0.8, 2.5), rng.uniform(0.05, 0.3))
    return pattern + folds


def _head_texture(rng: Generator, skin: float) -> Texture:
    """Face seen from the front: hair, brows, eyes, nose, mouth, beard, glasses."""
    rows, columns = 48, 40
    q, p = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    tone = np.full((rows, columns), np.log(skin)) + noise_texture(rng, rows, columns, 2.5, 0.06)
    hair = np.log(float(np.exp(rng.uniform(np.log(0.02), np.log(0.35)))))

    def paint(mask: Array, value: float, opacity: float = 1.0) -> None:
        tone[:] = tone + np.clip(mask, 0, 1) * opacity * (value - tone)

    def spot(x: float, y: float, rx: float, ry: float) -> Array:
        return np.asarray(np.clip(2.5 - 2.5 * np.hypot((p - x) / rx, (q - y) / ry) + 0.5, 0, 1))

    eye_y, eye_x = rng.uniform(-0.2, -0.02), rng.uniform(0.32, 0.42)
    dark = rng.uniform(0.4, 1.3)
    for side in (-1.0, 1.0):
        paint(spot(side * eye_x, eye_y, 0.17, 0.09), np.log(skin) - dark)
        paint(spot(side * eye_x, eye_y - 0.16, 0.2, 0.05), np.log(skin) - rng.uniform(0.1, 0.9))
    paint(spot(0.06 * rng.choice([-1, 1]), 0.22, 0.12, 0.14), np.log(skin) - rng.uniform(0.0, 0.4))
    paint(spot(0, 0.48, rng.uniform(0.22, 0.34), 0.07), np.log(skin) - rng.uniform(0.3, 1.0))
    if rng.random() < 0.3:  # beard
        paint(np.clip((q - 0.35) * 5, 0, 1) * (1 - spot(0, 0.48, 0.3, 0.1)), hair, rng.uniform(0.3, 0.9))
    if rng.random() < 0.3:  # glasses
        for side in (-1.0, 1.0):
            ring = np.abs(np.hypot((p - side * eye_x) / 0.26, (q - eye_y) / 0.18) - 1)
            paint(np.clip(1.5 - 5 * ring, 0, 1), np.log(0.04), rng.uniform(0.4, 0.9))
    if rng.random() < 0.92:
        line = rng.uniform(-0.75, -0.35) + rng.uniform(0.0, 0.5) * p**2
        sides = rng.choice([0.0, 1.0], p=[0.7, 0.3]) * np.clip((np.abs(p) - rng.uniform(0.65, 0.85)) * 8, 0, 1)
        paint(np.maximum(np.clip((line - q) * 8, 0, 1), sides), hair)
    tone += noise_texture(rng, rows, columns, 1.0, rng.uniform(0.02, 0.12))
    return np.exp(tone).astype(np.float32)


def random_person(rng: Generator) -> Person:
    """A body, its skin and its clothes."""
    size = float(np.clip(rng.normal(1.0, 0.08), 0.8, 1.2))
    girth = float(np.clip(rng.normal(1.0, 0.15), 0.7, 1.45))
    skin = float(np.exp(rng.uniform(np.log(0.1), np.log(0.75))))
    cloth = float(np.exp(rng.uniform(np.log(0.025), np.log(0.9))))
    trousers = float(np.exp(rng.uniform(np.log(0.02), np.log(0.5))))
    rows, columns = TEXTURE_ROWS, TEXTURE_COLUMNS

    torso_rows = 64
    torso = np.log(cloth) + _pattern(rng, torso_rows, 48)
    u, v = np.meshgrid(np.linspace(0, 1.6, torso_rows), np.linspace(-1, 1, 48), indexing="ij")
    if rng.random() < 0.3:  # print on the chest
        x, y, w, h = rng.uniform(-0.2, 0.2), rng.uniform(0.25, 0.5), rng.uniform(0.15, 0.5), rng.uniform(0.06, 0.2)
        inside = (np.abs(v - x) < w) & (np.abs(u - y) < h)
        torso += np.where(
            inside, rng.choice([-1, 1]) * rng.uniform(0.3, 1.2) + noise_texture(rng, torso_rows, 48, 1, 0.3), 0
        )
    if rng.random() < 0.35:  # open jacket, zip or tie
        torso += np.where(np.abs(v) < rng.uniform(0.04, 0.3), rng.choice([-1, 1]) * rng.uniform(0.3, 1.2), 0)
    collar = np.hypot(v / rng.uniform(0.2, 0.5), u / rng.uniform(0.05, 0.16)) < 1
    torso = np.where(collar, np.log(skin * 0.85), torso)
    belt = rng.uniform(0.92, 1.2)
    torso = np.where(u > belt, np.log(trousers) + noise_texture(rng, torso_rows, 48, 1.5, 0.12), torso)

    style = rng.choice(["long", "short", "rolled", "bare"], p=[0.42, 0.4, 0.12, 0.06])
    limbs = np.empty((3, rows, columns))
    skin_noise = lambda: np.log(skin) + noise_texture(rng, rows, columns, rng.uniform(1.5, 4), rng.uniform(0.03, 0.12))  # noqa: E731
    along = np.linspace(0, 1, rows)[:, None]
    sleeve = np.log(cloth) + _pattern(rng, rows, columns)
    sleeve_end = {"long": 9.0, "short": rng.uniform(0.4, 0.98), "rolled": 9.0, "bare": rng.uniform(-0.1, 0.2)}[style]
    limbs[SLEEVE] = np.where(along < sleeve_end, sleeve, skin_noise())
    cuff = {"long": 9.0, "short": -1.0, "rolled": rng.uniform(0.1, 0.6), "bare": -1.0}[style]
    limbs[FOREARM] = np.where(along < cuff, np.log(cloth) + _pattern(rng, rows, columns), skin_noise())
    if rng.random() < 0.25:  # watch or cuff
        limbs[FOREARM] += np.where(np.abs(along - 0.92) < 0.05, rng.choice([-1.0, 1.0]) * 0.8, 0)
    limbs[HAND] = skin_noise() + noise_texture(rng, rows, columns, 1.2, rng.uniform(0.05, 0.2))
    limbs = gaussian_filter(limbs, (0, 0.7, 0.7))  # no texel edge sharper than the optics

    loose = rng.uniform(0.0, 0.018)
    upper = (0.054 * girth + loose * (sleeve_end > 0.3), 0.043 * girth + loose * (sleeve_end > 0.9))
    fore = (0.043 * girth + loose * (cuff > 0.2), 0.029 * girth + loose * (cuff > 1))
    return Person(
        upper_arm=0.285 * size * rng.uniform(0.93, 1.07),
        forearm=0.25 * size * rng.uniform(0.93, 1.07),
        hand=0.18 * size * rng.uniform(0.92, 1.08),
        shoulder=0.175 * size * rng.uniform(0.9, 1.12),
        hip=0.155 * size * girth * rng.uniform(0.9, 1.1),
        waist=0.14 * size * girth * rng.uniform(0.88, 1.12),
        torso=0.5 * size * rng.uniform(0.93, 1.07),
        neck=0.085 * size * rng.uniform(0.6, 1.3),
        head_width=0.155 * rng.uniform(0.9, 1.15),
        head_height=0.235 * rng.uniform(0.92, 1.12),
        upper_radius=upper,
        fore_radius=fore,
        hand_radius=0.036 * size * rng.uniform(0.85, 1.2),
        finger_radius=0.0095 * size * rng.uniform(0.85, 1.25),
        fingers_open=float(rng.choice([0.0, rng.uniform(0.1, 0.5), rng.uniform(0.5, 1.0)], p=[0.25, 0.45, 0.3])),
        limb_textures=np.exp(np.clip(limbs, np.log(0.012), np.log(0.97))).astype(np.float32),
        torso_texture=np.exp(np.clip(gaussian_filter(torso, 0.6), np.log(0.012), np.log(0.97))).astype(np.float32),
        head_texture=_head_texture(rng, skin),
        neck_tone=skin,
    )


def _background(rng: Generator, sensor: Sensor, margin: int) -> Texture:
    height, width = sensor.height + 2 * margin + 2, sensor.width + 2 * margin + 2
    tone = np.full((height, width), rng.uniform(np.log(0.03), np.log(0.75)))
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    tone += rng.normal(0, 0.25) * x + rng.normal(0, 0.25) * y
    unit = min(sensor.width, sensor.height) / 128
    if rng.random() < 0.5:  # posters, doors, windows, shelves
        for _ in range(rng.integers(1, 6)):
            cx, cy = rng.uniform(-1, 1, 2)
            w, h = rng.uniform(0.05, 0.6, 2)
            tone += np.where((np.abs(x - cx) < w) & (np.abs(y - cy) < h), rng.normal(0, 0.6), 0)
    if rng.random() < 0.3:  # curtain or panelling
        tone += rng.uniform(0.05, 0.3) * np.sin(rng.uniform(8, 40) * x + rng.uniform(0, 6))
    if rng.random() < 0.5:
        tone += noise_texture(rng, height, width, rng.uniform(2, 12) * unit, rng.uniform(0.05, 0.35))
    tone = gaussian_filter(tone, rng.uniform(0.6, 1.5) * unit)
    return np.exp(np.clip(tone, np.log(0.015), np.log(0.95))).astype(np.float32)


def random_view(rng: Generator, sensor: Sensor) -> View:
    """A camera one to two metres away that sees the upper body; the person fills any sensor alike."""
    unit = min(sensor.width, sensor.height) / 128
    distance = rng.uniform(0.95, 2.0)
    scale = float(np.clip(rng.normal(107, 13), 78, 142)) * unit  # px per metre at the body
    angle = rng.uniform(-1.1, 1.1)
    up = rng.uniform(-0.75, 0.1)
    direction = np.array([np.sin(angle) * np.cos(up), np.sin(up), np.cos(angle) * np.cos(up)])
    brightness = float(np.exp(rng.uniform(np.log(0.25), np.log(1.1))))
    return View(
        focal_px=scale * distance,
        distance_m=distance,
        centre_px=(
            sensor.width / 2 + float(np.clip(rng.normal(3, 10), -22, 26)) * unit,
            sensor.height * 0.51 + float(np.clip(rng.normal(-1, 8), -22, 14)) * unit,
        ),
        tilt_rad=float(np.clip(rng.normal(0, 0.08), -0.2, 0.2)),
        roll_rad=float(rng.normal(0, 0.03)),
        soft_px=float(rng.uniform(1.1, 2.8)),
        light=np.array([*direction, rng.uniform(0.3, 0.75), brightness]),
        shadow=np.array([rng.uniform(0, 0.45), rng.uniform(2, 7) * unit, *(rng.uniform(-3, 3, 2) * unit)]),
        background=_background(rng, sensor, 4),
    )
