"""Memory that tensors free is used again without page faults."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from dvs_snn.learning.kept_memory import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        torch.full((2**24,), 1.0)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
given_back = faults()
print(given_back, keep_freed_memory(), faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt belongs to glibc")
def test_freed_memory_is_taken_again_without_faults():
    told = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout.split()
    given_back, kept = int(told[0]), int(told[2])
    assert told[1] == "True"
    assert kept < given_back / 4  # the first of the eight still meets fresh pages
