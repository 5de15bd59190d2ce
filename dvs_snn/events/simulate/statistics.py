"""Numbers that describe a recording as a whole, to compare simulated recordings with real ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dvs_snn.errors import ConfigError
from dvs_snn.events.array import Events, pixel_index
from dvs_snn.events.stream import Sensor

REPEAT_US = 1
SHORT_US = 1200
NOISE_BLOCKS = 8  # the sensor is cut into 8 x 8 blocks; the quietest tenth of them is taken to show noise alone


@dataclass(frozen=True)
class RecordingStatistics:
    """Rates in events per second, positions and spreads in pixels, times in microseconds, shares in 0..1.

    `pixels_of_half` and `pixels_of_most` are the shares of pixels that hold 50 % and 90 % of the events; `noise_hz` is
    per pixel, in the quietest blocks; intervals are between events of one pixel: `repeated` those of at most 1 us (one
    event read out twice), `rebounding` the rest below 1.2 ms, `interval_us` the median of all but the repeated.
    """

    rate_hz: float
    on_share: float
    centre_x: float
    centre_y: float
    spread_x: float
    spread_y: float
    pixels_of_half: float
    pixels_of_most: float
    silent_share: float
    noise_hz: float
    repeated: float
    rebounding: float
    interval_us: float


def recording_statistics(events: Events, sensor: Sensor) -> RecordingStatistics:
    """Describe a recording of at least 100 events, sorted by time; raises `ConfigError` for a shorter one."""
    if len(events) < 100 or events["t"][-1] <= events["t"][0]:
        raise ConfigError(f"{len(events)} events: statistics need at least 100 over some time")
    seconds = float(events["t"][-1] - events["t"][0]) * 1e-6
    pixel = pixel_index(events, sensor.width)
    counts = np.bincount(pixel, minlength=sensor.width * sensor.height)
    share = np.cumsum(np.sort(counts)[::-1]) / len(events)

    order = np.argsort(pixel, kind="stable")
    same = np.diff(pixel[order]) == 0
    intervals = np.diff(events["t"][order])[same]
    distinct = intervals[intervals > REPEAT_US]

    height = sensor.height // NOISE_BLOCKS * NOISE_BLOCKS
    width = sensor.width // NOISE_BLOCKS * NOISE_BLOCKS
    blocks = counts.reshape(sensor.height, sensor.width)[:height, :width]
    blocks = blocks.reshape(NOISE_BLOCKS, height // NOISE_BLOCKS, NOISE_BLOCKS, width // NOISE_BLOCKS).mean((1, 3))
    quiet = np.sort(blocks.ravel())[: max(1, blocks.size // 10)].mean()
    pairs = max(1, len(intervals))
    return RecordingStatistics(
        rate_hz=len(events) / seconds,
        on_share=float(np.mean(events["p"])),
        centre_x=float(np.median(events["x"])),
        centre_y=float(np.median(events["y"])),
        spread_x=float(np.std(events["x"])),
        spread_y=float(np.std(events["y"])),
        pixels_of_half=float(np.searchsorted(share, 0.5) + 1) / len(counts),
        pixels_of_most=float(np.searchsorted(share, 0.9) + 1) / len(counts),
        silent_share=float(np.mean(counts == 0)),
        noise_hz=float(quiet) / seconds,
        repeated=float(np.count_nonzero(intervals <= REPEAT_US)) / pairs,
        rebounding=float(np.count_nonzero(distinct < SHORT_US)) / pairs,
        interval_us=float(np.median(distinct)) if len(distinct) else float("inf"),
    )


def turning_rate(events: Events, sensor: Sensor, bin_us: int = 20_000) -> float:
    """Turns per second of the events' centroid about its mean path, positive clockwise in the image (y grows down).

    The centroid of the 20 % of pixels that hold most events is followed from bin to bin; the signed area that its path
    sweeps, over the area of the ellipse it covers, counts turns.
    """
    if len(events) < 100:
        raise ConfigError(f"{len(events)} events: a turn needs at least 100")
    start = int(events["t"][0])
    bins = ((events["t"] - start) // bin_us).astype(np.int64)
    n = int(bins[-1]) + 1
    pixel = pixel_index(events, sensor.width)
    counts = np.bincount(pixel, minlength=sensor.width * sensor.height)
    busy = counts[pixel] >= np.quantile(counts, 0.8)
    number = np.bincount(bins[busy], minlength=n)
    kept = number > 0
    x = np.bincount(bins[busy], events["x"][busy], minlength=n)[kept] / number[kept]
    y = np.bincount(bins[busy], events["y"][busy], minlength=n)[kept] / number[kept]
    dx, dy = x - x.mean(), y - y.mean()
    covariance = np.cov(np.stack([dx, dy]))
    ellipse = 2 * np.pi * np.sqrt(max(float(np.linalg.det(covariance)), 1e-9))
    area = 0.5 * float(np.sum(dx[:-1] * dy[1:] - dx[1:] * dy[:-1]))
    return area / ellipse / (n * bin_us * 1e-6)
