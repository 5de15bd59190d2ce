"""Seeds, and the door to the real recordings."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# No deadline: the first example of a kernel compiles it.
settings.register_profile("default", deadline=None, max_examples=50)
settings.load_profile("default")

REAL_DATA = Path(os.environ.get("DVS_SNN_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def data_dir() -> Path:
    """Folder of real recordings; a test that needs it is skipped, visibly, where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"real recordings not found at {REAL_DATA} (set DVS_SNN_DATA)")
    return REAL_DATA
