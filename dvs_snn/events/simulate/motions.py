"""The ten gestures of DVS128 Gesture as random cyclic motions of the arms.

Each function overwrites the arms of a standing `Motion`. Ranges are wide on purpose: a network that has seen only these
must recognise people it has not. What keeps classes apart is stated where it is enforced.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvs_snn.events.simulate.motion import LEFT, RIGHT, Clock, Motion, direction

Array = NDArray[np.float64]


def clapping(clock: Clock, motion: Motion) -> None:
    """Both hands meet before chest or belly and part again, each along its own line; one may do most of the way.

    Both hands move, and they meet high enough to be seen by a camera that shows the upper body.
    """
    u, reach = clock.uniform, clock.reach
    hertz = clock.log_uniform(1.5, 4.8)
    phase = clock.phase(hertz)
    dwell = u(0.55, 1.6)
    apart = (0.5 - 0.5 * np.cos(phase + u(0, 0.35) * np.sin(phase))) ** dwell
    travel = np.clip(clock.log_uniform(0.2, 0.6) * (2.4 / hertz) ** 0.5, 0.14, 0.6)  # metres, both hands together
    share = float(np.clip(clock.rng.normal(0.5, 0.2), 0.2, 0.8))
    meet = clock.path(u(-0.09, 0.09), u(0.05, 0.42) * reach, u(0.35, 0.78) * reach) + clock.jitter(0.006)
    tilt = float(np.clip(clock.rng.normal(0, 0.5), -1.1, 1.1))  # the line of the clap is not level
    common = u(-0.25, 0.6)
    if clock.chance(0.25):  # one hand is held out and the other slaps onto it, mostly from above
        share, common, steep = u(0.72, 0.85), u(-0.2, 0.3), u(0.2, 0.8)
        tilt = steep
        if clock.chance(0.5):
            share, tilt = 1 - share, -steep
    for side, sign in ((RIGHT, -1.0), (LEFT, 1.0)):
        way = travel * (share if side == RIGHT else 1 - share) * clock.amplitude(1.0, 0.1)
        climb = common + (tilt if side == RIGHT else -tilt)
        back = u(-0.5, 0.35)
        line = np.array([np.cos(climb), -np.sin(climb), -back])
        gap = u(0.012, 0.035)
        hand = clock.person.hand * 0.6
        base = meet * np.array([sign, 1.0, 1.0]) + [gap - clock.person.shoulder, 0.0, 0.0]
        motion.wrist[side] = base + (way * apart)[:, None] * line
        rise, ahead = u(-0.4, 1.2), u(0.2, 1.0)
        motion.wrist[side] += np.array([0.02, rise, -ahead]) / np.hypot(rise, ahead) * hand * 0.5
        motion.hand[side] = np.array([u(-0.3, 0.1), -rise, ahead]) + (apart * u(0, 0.4))[:, None] * [1.0, 0, 0]
        motion.elbow_hint[side] = clock.constant(u(0.15, 0.9), u(0.5, 1.0), u(-0.4, 0.2))
        motion.palm_roll[side] = np.pi / 2 + clock.rng.normal(0, 0.4)


def waving(clock: Clock, motion: Motion, side: int) -> None:
    """One raised arm: the forearm (or the whole stretched arm, or mostly the hand) swings left and right."""
    u, person = clock.uniform, clock.person
    style = clock.rng.choice(["bent", "stretched", "low", "wrist"], p=[0.56, 0.14, 0.15, 0.15])
    hertz = clock.log_uniform(1.1, 4.5)
    phase = clock.phase(hertz)
    swing = np.sin(phase + u(-0.3, 0.3) * np.sin(2 * phase + u(0, 6)))
    calm = min(1.0, (2.6 / hertz) ** 0.6)  # a fast wave is a small wave
    flex = np.deg2rad(u(-8, 35))
    if style == "stretched":
        abduction = np.deg2rad(u(115, 168)) + np.deg2rad(u(8, 26)) * calm * swing * clock.amplitude(1.0, 0.12)
        upper = direction(abduction, np.deg2rad(u(0, 45)))
        bend = np.deg2rad(u(-5, 30)) + np.deg2rad(u(0, 20)) * np.sin(phase - u(0.1, 0.6))
        lean, tilt = np.pi - abduction - bend, np.deg2rad(u(0, 25))
    else:
        wide = {"bent": (14.0, 52.0), "low": (16.0, 48.0), "wrist": (9.0, 20.0)}[str(style)]
        abduction = np.deg2rad({"bent": u(12, 105), "low": u(5, 40), "wrist": u(10, 95)}[str(style)])
        upper = direction(abduction + np.deg2rad(u(0, 9)) * swing, np.deg2rad(u(-5, 75)))
        centre = np.deg2rad({"bent": u(-14, 30), "low": u(0, 45), "wrist": u(-14, 35)}[str(style)])
        lean = centre + np.deg2rad(u(*wide)) * calm * swing * clock.amplitude(1.0, 0.12)
        tilt = np.deg2rad(u(35, 62) if style == "low" else u(0, 42))
        if style == "wrist":
            flex = np.deg2rad(u(22, 48))
    fore = np.stack([np.sin(lean) * np.cos(tilt), -np.cos(lean) * np.cos(tilt), np.full_like(lean, np.sin(tilt))], -1)
    elbow = person.upper_arm * upper
    motion.wrist[side] = elbow + person.forearm * fore + clock.jitter(0.004)
    motion.elbow_hint[side] = elbow
    bend = flex * np.sin(phase - u(-0.2, 0.9))
    motion.hand[side] = clock.path(np.tan(np.clip(bend, -1.0, 1.0)), 0.0, u(-0.3, 0.3))
    motion.palm_roll[side] = clock.rng.normal(0, 0.35)
    motion.fingers[side] = u(0.6, 1.6)


def circling(clock: Clock, motion: Motion, side: int, outward_from_top: bool) -> None:
    """One arm turns about its shoulder on a cone (or, bent, the hand on a circle before the body).

    `outward_from_top`: from its highest point the hand moves away from the body's middle. The cone's axis points at
    least 36 degrees forward and the hand's circle spans at least a fifth of the arm both ways, so that the image shows
    a turn.
    """
    u, reach, person = clock.uniform, clock.reach, clock.person
    hertz = clock.log_uniform(0.55, 2.3)
    phase = clock.phase(hertz, 0.1)
    phase = phase + u(0, 0.3) * np.sin(phase + u(0, 6.3))  # gravity and joints make some parts faster
    if not outward_from_top:
        phase = -phase
    bent = clock.chance(0.3)
    if bent:
        size = np.clip(clock.log_uniform(0.22, 0.6) * min(1.0, (1.6 / hertz) ** 0.5), 0.2, 0.6) * reach
        ratio = clock.log_uniform(0.65, 1.5)
        centre = np.array([u(-0.1, 0.55), u(-0.3, 0.45), u(0.4, 0.7)]) * reach
        across, up = size * np.sqrt(ratio), size / np.sqrt(ratio)
        turn = np.stack(
            [across * np.sin(phase), -up * np.cos(phase), u(-0.5, 0.5) * size * np.cos(phase + u(0, 6))], -1
        )
        motion.wrist[side] = centre + turn * clock.amplitude(1.0, 0.08)[:, None] + clock.jitter(0.006)
        motion.elbow_hint[side] = clock.constant(u(0.3, 1.0), u(0.1, 0.9), u(-0.2, 0.4))
    else:
        azimuth, climb = np.deg2rad(u(36, 90)), np.deg2rad(clock.rng.normal(0, 10))
        narrow = np.deg2rad(u(22, 82))
        narrow = np.clip(narrow * min(1.0, (1.7 / hertz) ** 0.4), np.arcsin(min(0.95, 0.24 / np.sin(azimuth))), 1.45)
        cone = np.clip(narrow + clock.wander(0.06, 0.6), 0.2, 1.5)
        axis = np.array([np.cos(azimuth) * np.cos(climb), -np.sin(climb), np.sin(azimuth) * np.cos(climb)])
        across = np.array([np.sin(azimuth), 0.0, -np.cos(azimuth)])
        up = np.array(
            [-np.cos(azimuth) * np.sin(climb), -np.cos(climb), -np.sin(azimuth) * np.sin(climb)]
        )  # axis, across and up are orthonormal
        ray = np.cos(cone)[:, None] * axis + np.sin(cone)[:, None] * (
            np.cos(phase)[:, None] * up + np.sin(phase)[:, None] * across
        )
        stretch = np.clip(u(0.82, 0.995) + u(0, 0.06) * np.cos(phase + u(0, 6)), 0.7, 0.995)
        motion.wrist[side] = reach * stretch[:, None] * ray + clock.jitter(0.004)
        motion.elbow_hint[side] = reach * 0.5 * ray + np.array([u(-0.1, 0.3), u(0.05, 0.4), u(-0.3, 0.1)])
    motion.hand[side] = clock.constant(*clock.rng.normal(0, 0.15, 3))
    motion.fingers[side] = u(0.0, 1.0)
    motion.neck[:, 0] += (1 if side == LEFT else -1) * u(-0.004, 0.02) * np.sin(phase + u(0, 6))
    motion.shrug[side] += u(0.0, 0.02) * np.cos(phase) * person.shoulder / 0.175


def rolling(clock: Clock, motion: Motion) -> None:
    """Level forearms before the body roll around each other in the plane of up and forward, in either sense."""
    u, reach, person = clock.uniform, clock.reach, clock.person
    hertz = clock.log_uniform(0.8, 3.4)
    phase = clock.phase(hertz) * clock.rng.choice([-1.0, 1.0])
    size = np.clip(clock.log_uniform(0.11, 0.34) * min(1.0, (2.0 / hertz) ** 0.5), 0.09, 0.36) * reach
    deep = size * u(0.5, 1.3)
    centre = clock.path(u(-0.04, 0.04), u(0.08, 0.6) * reach, u(0.28, 0.62) * reach) + clock.jitter(0.008)
    offset = np.pi + clock.rng.normal(0, 0.25)
    level = clock.rng.normal(0, 0.12)
    for side, sign in ((RIGHT, -1.0), (LEFT, 1.0)):
        angle = phase + (offset if side == LEFT else 0.0)
        beyond = u(-0.14, 0.03)  # how far the wrist stays on its own side of the middle
        strength = clock.amplitude(1.0, 0.08)
        motion.wrist[side] = centre * np.array([sign, 1.0, 1.0]) + np.stack(
            [
                beyond - person.shoulder + u(0, 0.03) * np.sin(angle),
                -size * strength * np.cos(angle) + sign * level * 0.1,
                deep * strength * np.sin(angle),
            ],
            axis=-1,
        )
        motion.elbow_hint[side] = clock.path(u(0.6, 1.2), u(0.25, 0.6) + u(-0.08, 0.08) * np.cos(angle), u(-0.1, 0.3))
        motion.hand[side] = clock.path(u(-0.9, -0.1), u(-0.2, 0.2), u(-0.1, 0.3))
        motion.palm_roll[side] = u(-np.pi, np.pi)
        motion.fingers[side] = u(0.0, 0.7)


def drumming(clock: Clock, motion: Motion) -> None:
    """Both forearms beat down and lift, mostly in turn, hands apart before belly or chest, wandering sideways."""
    u, reach, person = clock.uniform, clock.reach, clock.person
    hertz = clock.log_uniform(1.4, 5.0)
    style = clock.rng.choice(["turns", "together", "free"], p=[0.72, 0.14, 0.14])
    shared = clock.phase(hertz, 0.1)
    height, ahead = u(0.2, 0.6) * reach, u(0.4, 0.75) * reach
    stroke = np.clip(clock.log_uniform(0.14, 0.75) * min(1.0, (2.4 / hertz) ** 0.6), 0.12, 0.75) * reach
    for side in (RIGHT, LEFT):
        phase = shared if side == RIGHT else shared + (np.pi + clock.rng.normal(0, 0.3) if style == "turns" else 0.0)
        if style == "free":
            phase = clock.phase(hertz * clock.log_uniform(0.6, 1.6), 0.2)
        sharp = u(0.0, 0.6)
        lift = (0.5 - 0.5 * np.cos(phase + sharp * np.sin(phase + u(-0.5, 0.5)))) ** u(0.7, 1.4)
        strength = stroke * u(0.7, 1.15) * clock.amplitude(1.0, 0.18)
        out = u(-0.14, 0.3) * reach - 0.15 * person.shoulder + clock.wander(u(0.0, 0.05), 0.7)
        motion.wrist[side] = clock.path(
            out + u(-0.08, 0.2) * strength * lift, height - strength * lift, ahead - u(-0.1, 0.5) * strength * lift
        ) + clock.jitter(0.006)
        motion.elbow_hint[side] = clock.constant(u(0.05, 0.6), u(0.5, 1.0), u(-0.4, 0.1))
        knock = u(0.0, 0.8)
        motion.hand[side] = clock.path(u(-0.4, 0.2), knock * (0.5 - lift), u(0.0, 0.5))
        motion.fingers[side] = u(0.0, 0.4)
    motion.head[:, 1] += u(0, 0.008) * np.cos(shared)
    motion.head_nod += u(0, 0.06) * np.cos(shared)


def strumming(clock: Clock, motion: Motion) -> None:
    """One hand strums at the belly, the other holds a neck out to the side and slides on it now and then.

    The stroke goes mostly down and up, at the belly, within sight; the other hand stays where the neck would be.
    """
    u, reach, person = clock.uniform, clock.reach, clock.person
    strum, hold = (RIGHT, LEFT) if not clock.chance(0.05) else (LEFT, RIGHT)
    hertz = clock.log_uniform(1.2, 5.2)
    phase = clock.phase(hertz, 0.12)
    swing = np.sin(phase + u(-0.3, 0.3) * np.sin(phase + u(0, 6)))
    size = np.clip(clock.log_uniform(0.06, 0.3) * min(1.0, (2.8 / hertz) ** 0.5), 0.06, 0.3) * reach
    slant = clock.rng.normal(0.15, 0.3)  # of the stroke, from vertical
    middle = np.array([u(-0.16, 0.14) - person.shoulder * 0.75, u(0.38, 0.68) * reach, u(0.22, 0.5) * reach])
    stroke = (size * swing * clock.amplitude(1.0, 0.2))[:, None] * np.array(
        [np.sin(slant), np.cos(slant), u(-0.3, 0.3)]
    )
    motion.wrist[strum] = middle + stroke + clock.jitter(0.006)
    motion.elbow_hint[strum] = clock.constant(u(0.5, 1.2), u(0.3, 0.8), u(-0.4, 0.0))
    motion.hand[strum] = clock.path(u(-1.0, -0.2), u(-0.1, 0.9) + u(0, 0.7) * swing, u(0.0, 0.4))
    motion.fingers[strum] = u(0.0, 0.8)

    neck = np.array([u(0.2, 0.75), u(-0.25, 0.62), u(0.15, 0.6)])
    neck *= reach * min(1.0, 0.96 / float(np.linalg.norm(neck)))
    slide = clock.wander(u(0.0, 0.05), u(0.25, 0.8))[:, None] * np.array([0.85, -0.35, 0.2])
    motion.wrist[hold] = neck + slide + clock.jitter(clock.log_uniform(0.002, 0.014))
    motion.elbow_hint[hold] = clock.constant(u(0.2, 0.8), u(0.6, 1.2), u(-0.3, 0.1))
    motion.hand[hold] = clock.path(u(-0.8, 0.4), u(-1.0, 0.0), u(0.0, 0.8)) + clock.jitter(u(0.02, 0.25))
    motion.fingers[hold] = u(0.2, 1.0)
    if clock.chance(0.4):  # the body rocks with the music
        beat = clock.phase(clock.uniform(0.8, 2.0))
        motion.neck[:, 0] += u(0.003, 0.03) * np.sin(beat)
        motion.neck[:, 1] += u(0.0, 0.015) * np.cos(2 * beat)
        motion.head_nod += u(0.0, 0.12) * np.sin(2 * beat)
        for side, sign in ((RIGHT, -1.0), (LEFT, 1.0)):
            motion.wrist[side, :, 0] += sign * u(0.0, 0.02) * np.sin(beat)
