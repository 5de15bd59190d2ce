"""Tests of learning run plain scans on one thread: for networks this small, compiling and waiting take longest.

That the fused scans equal the plain ones is tested in `nn`.
"""

import pytest
import torch

from tests.learning.tiny_run import plain_scans


@pytest.fixture(autouse=True, scope="package")
def _plain_scans():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with plain_scans():
        yield
    torch.set_num_threads(before)
