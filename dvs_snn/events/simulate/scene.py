"""From a body in motion to rounded cones in the image: inverse kinematics, hands, pinhole projection, frame times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dvs_snn.events.simulate.motion import LEFT, RIGHT, Motion
from dvs_snn.events.simulate.person import FOREARM, HAND, SLEEVE, Person, View
from dvs_snn.events.simulate.render import PART_FIELDS
from dvs_snn.events.stream import Sensor

Array = NDArray[np.float64]

FINGERS = 4
PARTS_PER_ARM = 3 + 1 + FINGERS  # upper arm, forearm, palm, thumb, fingers
SHOULDER_DROP = 0.055  # metres from the base of the neck down to the shoulder joints
TORSO_ROWS = 64
NEAREST_M = 0.25


def _unit(vector: Array) -> Array:
    return np.asarray(vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-9))


def elbow_of(wrist: Array, hint: Array, upper: float, fore: float) -> tuple[Array, Array]:
    """Two-bone inverse kinematics from the shoulder at the origin: wrists moved into reach, and the elbows.

    The elbow lies on the hint's side of the line from shoulder to wrist, at the distances the two bones allow.
    """
    distance = np.linalg.norm(wrist, axis=-1, keepdims=True)
    reachable = np.clip(distance, abs(upper - fore) + 0.03, 0.998 * (upper + fore))
    axis = wrist / np.maximum(distance, 1e-9)
    wrist = axis * reachable
    along = (reachable**2 + upper**2 - fore**2) / (2 * reachable)
    aside = np.sqrt(np.maximum(upper**2 - along**2, 0))
    bend = hint - np.sum(hint * axis, axis=-1, keepdims=True) * axis
    return wrist, axis * along + _unit(bend) * aside


@dataclass(frozen=True)
class Scene:
    """Everything the renderer needs, per instant; pixels."""

    parts: Array  # [n, parts, fields of PART_FIELDS]
    kinds: NDArray[np.int64]  # [parts] index of the part's texture
    torso: Array  # [n, 9]
    widths: Array  # [rows]
    neck: Array  # [n, 5]
    head: Array  # [n, 8]


def _project(points: Array, view: View, sensor: Sensor) -> tuple[Array, Array]:
    """Body coordinates to pixels [..., 2] and pixels per metre [...]; the camera turns about the body's origin."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    cos, sin = np.cos(view.tilt_rad), np.sin(view.tilt_rad)
    y, z = y * cos - z * sin, y * sin + z * cos
    cos, sin = np.cos(view.roll_rad), np.sin(view.roll_rad)
    x, y = x * cos - y * sin, x * sin + y * cos
    scale = view.focal_px / np.maximum(view.distance_m - z, NEAREST_M)
    # The body's origin is seen at `centre_px`, as if the lens were shifted: the same as aiming, to first order.
    return np.stack([view.centre_px[0] + x * scale, view.centre_px[1] + y * scale], -1), scale


def _torso_widths(person: Person, rng: Generator) -> Array:
    """Half-width of the trunk in metres for rows from the base of the neck (0) to 1.6 torso lengths below."""
    at = np.array([0.0, 0.05, 0.11, 0.17, 0.3, 0.45, 0.72, 1.0, 1.12, 1.6])
    loose = rng.uniform(0.0, 0.02)
    shoulder = person.shoulder
    chest = shoulder * rng.uniform(0.84, 0.98)
    width = np.array(
        [
            0.055,
            0.55 * shoulder,
            shoulder + 0.01,
            shoulder + 0.03,
            chest + loose,
            0.5 * (chest + person.waist) + loose,
            person.waist + loose,
            person.hip + loose,
            person.hip * 1.02,
            person.hip * rng.uniform(0.9, 1.05),
        ]
    )
    return np.interp(np.linspace(0, 1.6, TORSO_ROWS), at, width)


def build_scene(person: Person, view: View, motion: Motion, sensor: Sensor, rng: Generator) -> Scene:
    """Joints, then cones with perspective sizes, for every instant of `motion`."""
    n = motion.neck.shape[0]
    parts = np.zeros((n, 2 * PARTS_PER_ARM, len(PART_FIELDS)))
    kinds = np.zeros(2 * PARTS_PER_ARM, np.int64)
    cos_yaw, sin_yaw = np.cos(motion.yaw), np.sin(motion.yaw)
    for side, sign in ((RIGHT, -1.0), (LEFT, 1.0)):
        wrist, elbow = elbow_of(motion.wrist[side], motion.elbow_hint[side], person.upper_arm, person.forearm)
        heading = _unit(_unit(wrist - elbow) + motion.hand[side])
        mirror = np.array([sign, 1.0, 1.0])
        shoulder = motion.neck + np.stack(
            [
                sign * person.shoulder * cos_yaw,
                SHOULDER_DROP - motion.shrug[side],
                -sign * person.shoulder * sin_yaw,
            ],
            -1,
        )
        elbow, wrist, heading = shoulder + elbow * mirror, shoulder + wrist * mirror, heading * mirror
        first = side * PARTS_PER_ARM
        _arm(parts, kinds, first, person, view, sensor, shoulder, elbow, wrist)
        _hand(
            parts,
            kinds,
            first + 2,
            person,
            view,
            sensor,
            wrist,
            heading,
            motion.palm_roll[side],
            sign,
            motion.fingers[side],
        )

    # --- trunk
    scale = view.focal_px / view.distance_m
    neck_at, neck_scale = _project(motion.neck, view, sensor)
    hip = np.stack([motion.hip_x, np.full(n, person.torso), np.zeros(n)], -1)
    hip[:, 1] += np.maximum(motion.neck[:, 1] - 0.12, 0)  # a deep bow bends the knees as well
    hip_at, _ = _project(hip, view, sensor)
    down = hip_at - neck_at
    length = np.maximum(np.linalg.norm(down, axis=-1), 8.0)
    down /= length[:, None]
    widths = _torso_widths(person, rng) * scale
    grow = neck_scale / scale
    rows_per_torso = (TORSO_ROWS - 1) / 1.6
    # Cloth is pulled by the arms: its folds shift with the hand's height and reach, differently from person to person.
    pull = (
        rng.uniform(0, 0.06, (2, 1)) * motion.wrist[:, :, 1] + rng.uniform(-0.05, 0.05, (2, 1)) * motion.wrist[:, :, 0]
    )
    lift = (rng.uniform(0.3, 1.2) * motion.shrug - pull) * scale / (length / rows_per_torso)
    torso = np.stack(
        [
            neck_at[:, 0],
            neck_at[:, 1],
            down[:, 0],
            down[:, 1],
            length / rows_per_torso,
            lift[RIGHT],
            lift[LEFT],
            grow * np.clip(cos_yaw + 0.15 * sin_yaw, 0.5, 1.2),
            grow * np.clip(cos_yaw - 0.15 * sin_yaw, 0.5, 1.2),
        ],
        -1,
    )
    # --- head
    chin = motion.neck + motion.head * 0.7 + np.array([0, -person.neck * 0.7, 0.02])
    middle = motion.neck + motion.head + np.array([0, -person.neck - person.head_height / 2, 0.03])
    chin_at, _ = _project(chin, view, sensor)
    middle_at, head_scale = _project(middle, view, sensor)
    roll = np.arctan2(-down[:, 0], down[:, 1]) * 0.6 + view.roll_rad
    head = np.stack(
        [
            middle_at[:, 0],
            middle_at[:, 1],
            person.head_width / 2 * head_scale,
            person.head_height / 2 * head_scale,
            np.cos(roll),
            np.sin(roll),
            -0.5 * np.sin(motion.head_yaw + 0.5 * motion.yaw),
            -0.5 * np.sin(motion.head_nod),
        ],
        -1,
    )
    neck = np.concatenate([chin_at, neck_at, (0.4 * person.head_width * head_scale)[:, None]], -1)
    return Scene(parts, kinds, torso, widths, neck, head)


def _put(
    parts: Array, index: int, view: View, sensor: Sensor, a: Array, b: Array, ra: Array | float, rb: Array | float,
    u0: float, u1: float, nearer: float = 0.0,
) -> None:  # fmt: skip
    at_a, scale_a = _project(a, view, sensor)
    at_b, scale_b = _project(b, view, sensor)
    part = parts[:, index]
    part[:, 0:2], part[:, 2] = at_a, ra * scale_a
    part[:, 3:5], part[:, 5] = at_b, rb * scale_b
    part[:, 6] = 0.5 * (a[:, 2] + b[:, 2]) + nearer
    part[:, 7], part[:, 8] = u0, u1
    part[:, 9] = part[:, 6] < -0.1


def _arm(
    parts: Array, kinds: NDArray[np.int64], first: int, person: Person, view: View, sensor: Sensor,
    shoulder: Array, elbow: Array, wrist: Array,
) -> None:  # fmt: skip
    ru, rf = person.upper_radius, person.fore_radius
    _put(parts, first, view, sensor, shoulder, elbow, ru[0], ru[1], 0.0, 1.0)
    _put(parts, first + 1, view, sensor, elbow, wrist, rf[0], rf[1], 0.0, 1.0, 0.02)
    kinds[first], kinds[first + 1] = SLEEVE, FOREARM


def _hand(
    parts: Array, kinds: NDArray[np.int64], first: int, person: Person, view: View, sensor: Sensor,
    wrist: Array, heading: Array, palm_roll: Array, sign: float, fingers: Array,
) -> None:  # fmt: skip
    """Palm, thumb and four fingers; a closed hand has fingers of length zero inside a thicker palm."""
    open_share = np.clip(person.fingers_open * fingers, 0, 1)[:, None]
    towards = np.array([0.0, 0.0, 1.0])
    level = _unit(np.cross(heading, towards) + 1e-6)
    normal = np.cross(level, heading)
    across = np.cos(palm_roll)[:, None] * level + np.sin(palm_roll)[:, None] * normal
    palm = 0.5 * person.hand
    tip = wrist + heading * palm
    radius = person.hand_radius * (1.0 - 0.25 * open_share[:, 0])
    _put(parts, first, view, sensor, wrist, tip, 0.72 * radius, radius, 0.0, 0.5, 0.03)
    finger = 0.48 * person.hand * np.clip(0.25 + open_share * 1.5, 0, 1)
    base = wrist + heading * 0.3 * palm
    thumb = base + (0.5 * heading + (0.4 + 0.5 * open_share) * across * -sign) * 0.4 * person.hand
    _put(parts, first + 1, view, sensor, base, thumb, 1.3 * person.finger_radius, person.finger_radius, 0.2, 0.6, 0.035)
    for k in range(FINGERS):
        aside = (k - 1.5) / 1.5
        start = tip + across * aside * 0.62 * person.hand_radius - heading * 0.15 * palm
        end = start + _unit(heading + across * aside * 0.3 * open_share) * finger * (1 - 0.12 * abs(aside))
        _put(
            parts, first + 2 + k, view, sensor, start, end,
            person.finger_radius * 1.1, person.finger_radius * 0.85, 0.5, 1.0, 0.032,
        )  # fmt: skip
    kinds[first : first + 2 + FINGERS] = HAND


def frame_times(
    speed: Array, step_us: float, pixels: float, shortest_us: float, longest_us: float
) -> NDArray[np.int64]:
    """Indices of instants so that `speed` (pixels per instant) moves about `pixels` from one to the next.

    Steps stay between `shortest_us` and `longest_us`; the first and the last instant are always chosen.
    """
    rate = np.clip(speed / pixels, step_us / longest_us, step_us / shortest_us)
    progress = np.concatenate([[0.0], np.cumsum(rate[1:])])
    marks = np.arange(0, np.floor(progress[-1]) + 1)
    chosen = np.searchsorted(progress, marks)
    return np.unique(np.concatenate([[0], np.minimum(chosen, len(speed) - 1), [len(speed) - 1]]))
