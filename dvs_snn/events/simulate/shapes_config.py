"""What a scene of shapes may contain; lengths and speeds are for 240x180 and grow with the sensor."""

from __future__ import annotations

from dataclasses import dataclass

from dvs_snn.errors import ConfigError
from dvs_snn.events.simulate.dvs import DvsConfig
from dvs_snn.events.simulate.shapes_paths import PATHS
from dvs_snn.events.simulate.shapes_textures import TEXTURES

SHAPES = ("disc", "ellipse", "rectangle", "triangle", "star", "ring", "blob")


@dataclass(frozen=True)
class ShapesConfig:
    """Chances (`_chance`, 0..1) and ranges (low, high) a scene is drawn from; the default is wide, for training.

    `targets` is the range of their number when none is asked for; `size_px` are half-sizes. Speeds are log-normal about
    `median_speed_px_s` with `speed_spread`, cut to `speed_px_s`; `paths`, `kinds` and `textures` are drawn evenly
    (repeat a name to draw it more often). `crossing_chance` is that of a scene whose shapes are paired to meet,
    `leave_chance` that of a shape that may leave the image. `contrast` is the natural log of a shape's intensity over
    the background's mean, of either sign; `background_contrast` that of the background's own pattern. `spin_rad_s` is a
    standard deviation, `growth` the largest log scale. `edge_px` is the width of edges. `dvs` fixes the sensor; None
    draws one, with noise.

    Truth is given every `step_us`. Frames are chosen so that nothing moves more than `frame_px` between two of them,
    within `shortest_frame_s` and `longest_frame_s`.
    """

    targets: tuple[int, int] = (1, 6)
    kinds: tuple[str, ...] = SHAPES
    textures: tuple[str, ...] = TEXTURES
    paths: tuple[str, ...] = ("line", "line", "sines", "circle", "spline", "spline", "stops")
    size_px: tuple[float, float] = (6.0, 30.0)
    speed_px_s: tuple[float, float] = (10.0, 1500.0)
    median_speed_px_s: float = 170.0
    speed_spread: float = 0.8
    contrast: tuple[float, float] = (0.5, 1.8)
    background_chance: float = 0.75
    background_contrast: tuple[float, float] = (0.1, 0.9)
    crossing_chance: float = 0.5
    leave_chance: float = 0.35
    occluder_chance: float = 0.35
    shake_chance: float = 0.35
    shake_px: tuple[float, float] = (0.3, 4.0)
    flicker_chance: float = 0.03
    spin_rad_s: float = 1.5
    growth: float = 0.25
    edge_px: tuple[float, float] = (1.0, 2.0)
    dvs: DvsConfig | None = None
    step_us: int = 1000
    frame_px: float = 0.7
    shortest_frame_s: float = 1.5e-4
    longest_frame_s: float = 4e-3

    def __post_init__(self) -> None:
        for name, known in (("kinds", SHAPES), ("textures", TEXTURES), ("paths", PATHS)):
            chosen = getattr(self, name)
            if not chosen or not set(chosen) <= set(known):
                raise ConfigError(f"{name} {list(chosen)}: give at least one of {', '.join(known)}")
        for name in (
            "targets", "size_px", "speed_px_s", "contrast", "background_contrast", "shake_px", "edge_px",
        ):  # fmt: skip
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ConfigError(f"{name} {low}..{high}: give two rising numbers from 0 up")
        for name in self.__dataclass_fields__:
            if name.endswith("_chance") and not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} {getattr(self, name)}: a chance lies in 0..1")
        if self.size_px[0] <= 0 or self.edge_px[0] <= 0:
            raise ConfigError("size_px and edge_px must be above 0")
        if min(self.speed_spread, self.spin_rad_s, self.growth) < 0 or self.median_speed_px_s <= 0:
            raise ConfigError("speed_spread, spin_rad_s and growth must not be negative, median_speed_px_s above 0")
        if self.step_us < 1:
            raise ConfigError(f"step_us {self.step_us}: must be at least 1")
        if not (self.frame_px > 0 and 0 < self.shortest_frame_s <= self.longest_frame_s):
            raise ConfigError("frame_px, shortest_frame_s <= longest_frame_s: all must be above 0")
