"""A dynamic vision sensor: brightness over time in, events out.

Each pixel follows the log of its intensity through a first-order low pass, remembers the level of its last event, and
fires when the difference passes its ON or OFF threshold (Gallego et al. 2020, eq. 1-3). What makes a sensor differ from
that ideal follows the description of v2e (Hu et al. 2021): thresholds differ from pixel to pixel, bandwidth falls with
intensity, a pixel is blind for a refractory period after each event, its memory leaks towards ON events, and it fires
without cause (shot noise, hot pixels). Four more effects were measured in recordings of a DVS128: an event read out
twice, an opposite event within a millisecond of a true one, stray events around places of activity (scattered light),
and rows that fire as a streak.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from dvs_snn.errors import ConfigError
from dvs_snn.events.array import EVENT_DTYPE, Events, empty_events
from dvs_snn.events.simulate.dvs_kernel import KEY_PIXEL_BITS, advance, stray_events
from dvs_snn.events.stream import Sensor


@dataclass(frozen=True)
class DvsConfig:
    """What one sensor is like; the default is an ideal pixel array without noise.

    Thresholds are steps of natural log intensity. `mismatch` is the standard deviation of a pixel's thresholds relative
    to their mean; `column_mismatch` raises both in odd columns and lowers them in even ones (pixels are laid out in
    mirrored pairs). `bandwidth_hz` is the cut-off of the low pass at intensity 1 (0: no low pass); at intensity I it is
    `bandwidth_hz * (0.1 + 0.9 I)` when `bandwidth_follows_light`. `leak_hz` and `shot_noise_hz` are events per second
    and pixel without any motion, `hot_pixel_hz` is the mean rate of a hot pixel. `dark` is added to the intensity
    before the log: it stands for the dark current and keeps black finite.

    Read-out effects: with `repeat_probability` an event is read out twice; with `rebound_on` (`rebound_off`) an ON
    (OFF) event is followed by one of the other polarity after about `rebound_us`, without a change of light; with
    `stray_probability` another pixel fires at once, `stray_px` away on average; `row_streak_hz` streaks per second run
    along a row.

    `hold_below` is for speed: a relative change of intensity below it waits until it has grown, which moves an event by
    at most that share of a threshold (0.004 saves half of the time of a scene that sways).
    """

    threshold_on: float = 0.25
    threshold_off: float = 0.25
    mismatch: float = 0.0
    column_mismatch: float = 0.0
    bandwidth_hz: float = 0.0
    bandwidth_follows_light: bool = False
    refractory_us: float = 0.0
    leak_hz: float = 0.0
    shot_noise_hz: float = 0.0
    shot_on_share: float = 0.5
    hot_pixels: int = 0
    hot_pixel_hz: float = 20.0
    dark: float = 1e-3
    repeat_probability: float = 0.0
    rebound_on: float = 0.0
    rebound_off: float = 0.0
    rebound_us: float = 500.0
    stray_probability: float = 0.0
    stray_px: float = 15.0
    row_streak_hz: float = 0.0
    hold_below: float = 0.0

    def __post_init__(self) -> None:
        if self.threshold_on <= 0 or self.threshold_off <= 0:
            raise ConfigError(f"thresholds {self.threshold_on}, {self.threshold_off}: both must be above 0")
        for name in ("mismatch", "bandwidth_hz", "refractory_us", "leak_hz", "shot_noise_hz", "hot_pixels"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} {getattr(self, name)}: must not be negative")
        for name in ("repeat_probability", "rebound_on", "rebound_off", "stray_probability", "shot_on_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} {getattr(self, name)}: a probability lies in 0..1")
        if self.dark <= 0:
            raise ConfigError(f"dark {self.dark}: must be above 0, or the log of black is minus infinity")


class DvsModel:
    """Turns frames of linear intensity into events, with times between the frames.

    Between two frames the log intensity of a pixel is taken as a straight line, so a frame rate that follows the motion
    (a pixel per frame) is enough; crossing times are exact for that line. Same seed and frames, same events.
    """

    def __init__(self, sensor: Sensor, config: DvsConfig | None = None, seed: int = 0) -> None:
        self.sensor = sensor
        self.config = config = config or DvsConfig()
        height, width = sensor.height, sensor.width
        rng = np.random.default_rng([seed, 0xD5])
        columns = 1 + config.column_mismatch * np.where(np.arange(width) % 2, 1.0, -1.0)
        # A floor under the thresholds: a Gaussian tail would otherwise hold pixels that never stop firing.
        self._theta_on, self._theta_off = (
            mean * columns * np.maximum(1 + config.mismatch * rng.standard_normal((height, width)), 0.2)
            for mean in (config.threshold_on, config.threshold_off)
        )
        count = min(config.hot_pixels, width * height)
        self._hot = rng.choice(width * height, count, replace=False).astype(np.int64)
        self._hot_hz = config.hot_pixel_hz * rng.exponential(1.0, count)
        self._hot_on = (rng.random(count) < 0.7).astype(np.int64)
        self._random = rng.integers(1, 2**63, 1, dtype=np.uint64)
        self._start_leak = rng.random((height, width))

        self._intensity = np.zeros((height, width), np.float32)
        self._log = np.zeros((height, width))
        self._low = np.zeros((height, width))
        self._difference = np.zeros((height, width))
        self._updated_us = np.zeros((height, width))
        self._blind_until_us = np.full((height, width), -np.inf)
        self._wake_us = np.zeros((height, width))
        self._rebound_us = np.full((height, width), np.inf)
        self._rebound_on = np.zeros((height, width), np.bool_)
        self._keys = np.empty(4096, np.int64)
        self._time_us: float | None = None
        self._parameters = np.array(
            [
                config.bandwidth_hz,
                float(config.bandwidth_follows_light),
                config.refractory_us,
                config.leak_hz,
                config.shot_noise_hz,
                config.shot_on_share,
                config.dark,
                config.repeat_probability,
                config.rebound_on,
                config.rebound_off,
                config.rebound_us,
                config.stray_probability,
                config.row_streak_hz,
                config.stray_px,
                config.hold_below,
            ]
        )

    def push(self, t_us: float, intensity: Float32[np.ndarray, "height width"]) -> Events:
        """Events since the last frame, sorted by time; the first frame only sets every pixel's memory.

        `intensity` is linear, in any unit with 1 = bright. Raises `ConfigError` for a frame of another size or a time
        that does not rise.
        """
        if intensity.shape != (self.sensor.height, self.sensor.width):
            height, width = intensity.shape
            raise ConfigError(f"a frame of {width}x{height} for a sensor of {self.sensor}")
        if self._time_us is None:
            self._begin(float(t_us), intensity)
            return empty_events()
        if t_us <= self._time_us:
            raise ConfigError(f"frame at {t_us} us after a frame at {self._time_us} us: time must rise")
        first_us = self._time_us
        self._keys, count = advance(
            self._keys,
            self._random,
            first_us,
            float(t_us),
            intensity,
            self._intensity,
            self._log,
            self._low,
            self._difference,
            self._updated_us,
            self._blind_until_us,
            self._wake_us,
            self._rebound_us,
            self._rebound_on,
            self._theta_on,
            self._theta_off,
            self._parameters,
        )
        self._keys, count = stray_events(
            self._keys,
            count,
            self._random,
            first_us,
            float(t_us),
            intensity,
            self._difference,
            self._updated_us,
            self._blind_until_us,
            self._wake_us,
            self._theta_on,
            self._hot,
            self._hot_hz,
            self._hot_on,
            self._parameters,
        )
        self._time_us = float(t_us)
        return _decode(np.sort(self._keys[:count]), int(first_us), self.sensor.width)

    def _begin(self, t_us: float, intensity: NDArray[np.float32]) -> None:
        self._intensity[:] = intensity
        self._log[:] = np.log(intensity.astype(np.float64) + self.config.dark)
        self._low[:] = self._log
        # Leaks of different pixels must not fire in step, so each starts somewhere on its way to the next event.
        self._difference[:] = self._start_leak * self._theta_on if self.config.leak_hz > 0 else 0.0
        self._updated_us[:] = t_us
        self._wake_us[:] = t_us
        self._time_us = t_us


def _decode(keys: NDArray[np.int64], first_us: int, width: int) -> Events:
    """Sorted keys (time, pixel, polarity packed by the kernel) as events."""
    events = np.empty(len(keys), EVENT_DTYPE)
    events["t"] = (keys >> KEY_PIXEL_BITS) + first_us
    pixel = (keys & ((1 << KEY_PIXEL_BITS) - 1)) >> 1
    events["y"] = pixel // width
    events["x"] = pixel % width
    events["p"] = keys & 1
    return events
