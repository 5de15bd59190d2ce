"""The eleventh class: a family of other motions, each different from the ten by construction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dvs_snn.events.simulate.motion import LEFT, RIGHT, Clock, Motion, direction

SIDES = (RIGHT, LEFT)


def _flapping(clock: Clock, motion: Motion) -> None:
    """Stretched arms go up and down at the sides, together: in turn they would drum."""
    u = clock.uniform
    phase = clock.phase(clock.log_uniform(0.6, 2.2))
    low, high = np.deg2rad(u(5, 50)), np.deg2rad(u(80, 165))
    azimuth = np.deg2rad(u(-10, 45))
    for side in SIDES:
        wave = 0.5 - 0.5 * np.cos(phase)
        ray = direction(low + (high - low) * wave * clock.amplitude(1, 0.06), azimuth)
        motion.wrist[side] = clock.reach * u(0.9, 0.99) * ray
        motion.elbow_hint[side] = clock.reach * 0.5 * ray + [0.1, 0.2, -0.1]
    if clock.chance(0.4):
        motion.neck[:, 1] += u(0.01, 0.05) * np.cos(2 * phase)


def _punching(clock: Clock, motion: Motion) -> None:
    """Fists go forward from the chest, in turn."""
    u, reach = clock.uniform, clock.reach
    phase = clock.phase(clock.log_uniform(0.7, 2.2))
    for side in SIDES:
        push = np.clip(np.sin(phase + (np.pi if side == LEFT else 0)), -0.2, 1) ** 2
        motion.wrist[side] = clock.path(
            u(-0.3, 0.0) * reach, u(0.0, 0.35) * reach, (u(0.3, 0.4) + u(0.4, 0.58) * push) * reach
        )
        motion.wrist[side, :, 1] -= u(-0.05, 0.2) * reach * push
        motion.elbow_hint[side] = clock.constant(0.5, 0.8, -0.3)
        motion.hand[side] = clock.constant(0, 0, 1.0)
        motion.fingers[side] = 0
    motion.yaw += u(0.05, 0.3) * np.sin(phase)


def _to_and_fro(clock: Clock, motion: Motion) -> None:
    """One hand (or both) travels between two poses and waits at each: salute, pointing, reaching."""
    u, reach = clock.uniform, clock.reach
    poses = {
        "head": (u(-0.15, 0.1) - 0.1, u(-0.55, -0.3), u(0.15, 0.35)),
        "side": (u(0.75, 0.95), u(-0.15, 0.2), u(0.0, 0.3)),
        "front": (u(-0.2, 0.2), u(0.0, 0.3), u(0.8, 0.92)),
        "up": (u(0.0, 0.3), u(-0.95, -0.8), u(0.0, 0.3)),
        "down": (u(0.05, 0.2), u(0.85, 0.95), u(0.0, 0.2)),
        "shoulder": (u(-0.6, -0.35), u(0.0, 0.15), u(0.3, 0.45)),
        "belly": (u(-0.4, -0.2), u(0.5, 0.75), u(0.25, 0.4)),
    }
    both = clock.chance(0.35)
    phase = clock.phase(clock.log_uniform(0.35, 1.1))
    rest = np.tanh(u(1.2, 3.0) * np.sin(phase)) * 0.5 + 0.5
    names = clock.rng.permutation(list(poses))[:2]
    chosen = SIDES if both else (int(clock.rng.integers(2)),)
    first, second = (np.array(poses[str(name)]) * reach for name in names)
    for side in chosen:
        motion.wrist[side] = first + rest[:, None] * (second - first) + clock.jitter(0.006)
        motion.elbow_hint[side] = clock.constant(0.6, 0.7, 0.0)


def _both_up(clock: Clock, motion: Motion) -> None:
    """Both raised arms swing or wave, in step or against each other."""
    u, person = clock.uniform, clock.person
    phase = clock.phase(clock.log_uniform(0.9, 3.5))
    parallel = clock.chance(0.5)
    stretched = clock.chance(0.5)
    wide = np.deg2rad(u(12, 38))
    for side, sign in ((RIGHT, -1.0), (LEFT, 1.0)):
        swing = np.sin(phase) * (sign if parallel else 1.0)
        if stretched:
            upper = direction(np.deg2rad(u(125, 165)) - wide * 0.7 * swing, np.deg2rad(u(0, 30)))
            elbow, wrist = person.upper_arm * upper, clock.reach * 0.97 * upper
        else:
            lean = np.deg2rad(u(-5, 25)) + wide * swing
            elbow = person.upper_arm * direction(np.deg2rad(u(20, 100)), np.deg2rad(u(0, 60))) + 0 * lean[:, None]
            wrist = elbow + person.forearm * np.stack([np.sin(lean), -np.cos(lean), 0 * lean + u(0, 0.4)], -1)
        motion.wrist[side], motion.elbow_hint[side] = wrist, elbow
        motion.fingers[side] = u(0.6, 1.5)


def _both_circles(clock: Clock, motion: Motion) -> None:
    """Both arms circle at once: mirrored, or like a windmill."""
    u = clock.uniform
    phase = clock.phase(clock.log_uniform(0.55, 1.7)) * clock.rng.choice([-1.0, 1.0])
    mirrored = clock.chance(0.65)
    azimuth, cone = np.deg2rad(u(25, 88)), np.deg2rad(u(25, 80))
    offset = u(0, 2 * np.pi) if clock.chance(0.3) else 0.0
    for side in SIDES:
        angle = phase if side == RIGHT or mirrored else -phase + offset
        axis = np.array([np.cos(azimuth), 0, np.sin(azimuth)])
        across = np.array([np.sin(azimuth), 0, -np.cos(azimuth)])
        ray = np.cos(cone) * axis + np.sin(cone) * (
            np.cos(angle)[:, None] * [0, -1.0, 0] + np.sin(angle)[:, None] * across
        )
        motion.wrist[side] = clock.reach * u(0.85, 0.98) * ray
        motion.elbow_hint[side] = clock.reach * 0.5 * ray + [0.1, 0.2, -0.1]


def _shrugging(clock: Clock, motion: Motion) -> None:
    """Shoulders go up and down, hands may open to the sides."""
    u, reach = clock.uniform, clock.reach
    wave = 0.5 - 0.5 * np.cos(clock.phase(clock.log_uniform(0.6, 1.8)))
    motion.shrug += u(0.03, 0.08) * wave
    motion.head[:, 1] += u(0.0, 0.02) * wave
    if clock.chance(0.5):
        for side in SIDES:
            motion.wrist[side] = clock.path(
                (0.15 + u(0.1, 0.35) * wave) * reach, (0.75 - u(0.05, 0.25) * wave) * reach, u(0.3, 0.5) * reach
            )
            motion.elbow_hint[side] = clock.constant(0.2, 0.8, -0.2)


def _bowing(clock: Clock, motion: Motion) -> None:
    """The upper body goes forward and down, or bends the knees, and comes back."""
    u = clock.uniform
    wave = 0.5 - 0.5 * np.cos(clock.phase(clock.log_uniform(0.4, 1.2)))
    motion.neck[:, 1] += u(0.06, 0.25) * wave
    motion.neck[:, 2] += u(0.0, 0.3) * wave
    motion.head_nod += u(0.0, 0.35) * wave


def _swaying(clock: Clock, motion: Motion) -> None:
    """The trunk bends or shifts from side to side, arms hanging or on the hips."""
    u, reach = clock.uniform, clock.reach
    wave = np.sin(clock.phase(clock.log_uniform(0.4, 1.5)))
    motion.neck[:, 0] += u(0.04, 0.16) * wave
    motion.hip_x += u(-0.04, 0.08) * wave
    if clock.chance(0.5):
        for side in SIDES:
            motion.wrist[side] = clock.constant(u(-0.05, 0.1) * reach, u(0.68, 0.8) * reach, u(0.0, 0.2) * reach)
            motion.elbow_hint[side] = clock.constant(0.7, 0.4, -0.1)


def _twisting(clock: Clock, motion: Motion) -> None:
    """The trunk turns about its axis and takes the arms along."""
    u, reach = clock.uniform, clock.reach
    wave = np.sin(clock.phase(clock.log_uniform(0.4, 1.4)))
    motion.yaw += u(0.35, 0.9) * wave
    motion.head_yaw += u(0.0, 0.5) * wave
    level = u(0.0, 0.5) * reach
    bent = u(0.45, 0.9)
    for side, sign in ((RIGHT, -1.0), (LEFT, 1.0)):
        turn = u(0.2, 0.6) * wave * sign
        motion.wrist[side] = clock.path(
            bent * reach * np.cos(turn) * u(0.4, 1.0), level, reach * (0.25 + 0.5 * turn * bent)
        )
        motion.elbow_hint[side] = clock.constant(0.8, 0.5, -0.1)


def _head(clock: Clock, motion: Motion) -> None:
    """Nodding or shaking the head."""
    u = clock.uniform
    wave = np.sin(clock.phase(clock.log_uniform(0.8, 2.8)))
    if clock.chance(0.5):
        motion.head_yaw += u(0.2, 0.5) * wave
        motion.head[:, 0] += u(0.0, 0.02) * wave
    else:
        motion.head_nod += u(0.15, 0.4) * wave
        motion.head[:, 1] += u(0.0, 0.02) * wave


def _opening(clock: Clock, motion: Motion) -> None:
    """Arms open wide and come together without meeting: breast stroke, an embrace, an accordion."""
    u, reach = clock.uniform, clock.reach
    wave = 0.5 - 0.5 * np.cos(clock.phase(clock.log_uniform(0.4, 1.1)))
    level = u(0.0, 0.4) * reach
    for side in SIDES:
        motion.wrist[side] = clock.path(
            (u(0.0, 0.15) + 0.8 * wave) * reach,
            level + u(-0.1, 0.1) * wave,
            (0.85 - 0.65 * wave**2) * reach * u(0.85, 1),
        )
        motion.elbow_hint[side] = clock.constant(0.7, 0.6, 0.0)


def _curling(clock: Clock, motion: Motion) -> None:
    """Forearms fold up to the shoulders and stretch down again together, slowly, elbows at the sides."""
    u, person = clock.uniform, clock.person
    phase = clock.phase(clock.log_uniform(0.4, 1.2))
    for side in SIDES if clock.chance(0.75) else (int(clock.rng.integers(2)),):
        fold = (0.5 - 0.5 * np.cos(phase)) * np.deg2rad(u(115, 145))
        elbow = person.upper_arm * direction(np.deg2rad(u(3, 18)), np.deg2rad(u(0, 60)))
        spread = u(0.0, 0.4)
        fore = np.stack([spread * np.sin(fold), np.cos(fold), np.sin(fold)], -1)
        motion.wrist[side] = elbow + person.forearm * fore / np.linalg.norm(fore, axis=-1, keepdims=True)
        motion.elbow_hint[side] = elbow + 0 * fore
        motion.fingers[side] = 0.2


def _rubbing(clock: Clock, motion: Motion) -> None:
    """A hand rubs the belly or the head, or pats the chest."""
    u, reach = clock.uniform, clock.reach
    side = int(clock.rng.integers(2))
    phase = clock.phase(clock.log_uniform(0.7, 2.2)) * clock.rng.choice([-1.0, 1.0])
    place = clock.rng.choice(["belly", "head", "chest"])
    at = {
        "belly": (u(-0.4, -0.25), u(0.55, 0.75), 0.3),
        "head": (u(-0.35, -0.2), u(-0.65, -0.5), 0.1),
        "chest": (u(-0.4, -0.2), u(0.15, 0.4), 0.3),
    }[str(place)]
    size = u(0.03, 0.07)
    motion.wrist[side] = np.array(at) * reach + size * np.stack(
        [np.sin(phase), 0.6 * np.cos(phase), 0.3 * np.cos(phase)], -1
    )
    motion.elbow_hint[side] = clock.constant(0.8, 0.3, 0.0)
    motion.hand[side] = clock.constant(-1.0, 0.0, 0.0)


def _dribbling(clock: Clock, motion: Motion) -> None:
    """One hand bounces a ball beside the body, or throws."""
    u, reach = clock.uniform, clock.reach
    side = int(clock.rng.integers(2))
    wave = 0.5 - 0.5 * np.cos(clock.phase(clock.log_uniform(0.9, 2.4)))
    size = u(0.15, 0.4)
    motion.wrist[side] = clock.path(
        u(0.25, 0.6) * reach, (0.75 - size * wave) * reach, (0.35 + u(0, 0.1) * wave) * reach
    )
    motion.elbow_hint[side] = clock.constant(0.5, 0.5, -0.4)


def _twirling(clock: Clock, motion: Motion) -> None:
    """A hand twirls in small quick circles, the arm almost still."""
    u, reach = clock.uniform, clock.reach
    side = int(clock.rng.integers(2))
    phase = clock.phase(clock.log_uniform(1.5, 4.0)) * clock.rng.choice([-1.0, 1.0])
    centre = np.array([u(0.0, 0.5), u(-0.5, 0.3), u(0.4, 0.6)]) * reach
    size = u(0.01, 0.025)  # far below the arm circles' and the waves' least
    motion.wrist[side] = centre + size * np.stack([np.sin(phase), -np.cos(phase), 0 * phase], -1)
    motion.elbow_hint[side] = clock.constant(0.4, 0.8, 0.0)
    motion.hand[side] = 0.25 * np.stack([np.sin(phase), -np.cos(phase), 0.5 + 0 * phase], -1)


def _marching(clock: Clock, motion: Motion) -> None:
    """Arms swing forward and back in turn, the body bobs."""
    u, reach = clock.uniform, clock.reach
    phase = clock.phase(clock.log_uniform(0.7, 1.8))
    bend = u(0.72, 0.97)
    for side in SIDES:
        swing = np.deg2rad(u(20, 60)) * np.sin(phase + (np.pi if side == LEFT else 0))
        motion.wrist[side] = clock.path(
            u(0.02, 0.15) * reach, bend * reach * np.cos(swing), bend * reach * np.sin(swing)
        )
        motion.elbow_hint[side] = clock.constant(0.2, 0.5, -0.5)
    motion.neck[:, 1] += u(0.0, 0.03) * np.cos(2 * phase)


def _wandering(clock: Clock, motion: Motion) -> None:
    """One or both arms move without a pattern."""
    u, reach = clock.uniform, clock.reach
    for side in SIDES if clock.chance(0.6) else (int(clock.rng.integers(2)),):
        every = clock.log_uniform(0.15, 0.5)
        size = u(0.12, 0.35) * reach
        centre = np.array([u(-0.2, 0.6), u(-0.4, 0.7), u(0.3, 0.6)]) * reach
        motion.wrist[side] = centre + np.stack([clock.wander(size, every) for _ in range(3)], -1)
        motion.elbow_hint[side] = clock.constant(0.6, 0.7, 0.0)


def _still(clock: Clock, motion: Motion) -> None:
    """Nothing but the sway of standing."""


OTHER_MOTIONS: tuple[tuple[Callable[[Clock, Motion], None], float], ...] = (
    (_flapping, 1.2),
    (_punching, 1.0),
    (_to_and_fro, 2.0),
    (_both_up, 1.3),
    (_both_circles, 1.3),
    (_shrugging, 0.6),
    (_bowing, 0.7),
    (_swaying, 0.8),
    (_twisting, 0.8),
    (_head, 0.6),
    (_opening, 1.2),
    (_curling, 0.9),
    (_rubbing, 0.6),
    (_dribbling, 0.6),
    (_twirling, 0.5),
    (_marching, 0.8),
    (_wandering, 0.8),
    (_still, 0.5),
)


def other(clock: Clock, motion: Motion) -> None:
    """One of the family, by weight."""
    weights = np.array([weight for _, weight in OTHER_MOTIONS])
    chosen = OTHER_MOTIONS[int(clock.rng.choice(len(weights), p=weights / weights.sum()))][0]
    chosen(clock, motion)
