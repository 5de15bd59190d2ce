"""Curves are written whole, in a form that is known."""

from pathlib import Path

import pytest

from dvs_snn.errors import ConfigError
from dvs_snn.viz import draw_lines

ROWS = {"a": [(16, 3.0), (64, 3.1), (256, 3.3)], "b": [(16, 10.0), (64, 40.0), (256, 160.0)]}


@pytest.mark.parametrize("logarithmic", [False, True])
def test_curves_are_drawn(tmp_path: Path, logarithmic: bool) -> None:
    draw_lines(tmp_path / "a.png", ROWS, "bins", "MB", "title", logarithmic=logarithmic)
    assert (tmp_path / "a.png").stat().st_size > 5000 and len(list(tmp_path.iterdir())) == 1


def test_unknown_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="png"):
        draw_lines(tmp_path / "a.xyz", ROWS, "bins", "MB")
