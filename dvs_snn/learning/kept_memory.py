"""Freed memory stays with the process: a training step then meets no fresh page."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
"""Names of `mallopt`'s options in glibc's malloc.h."""
KEPT_BYTES, MORE_BYTES = 2**31 - 1, 2**26


def keep_freed_memory() -> bool:
    """Have the C library keep what tensors free; false where it is not glibc, which is no error.

    By default glibc takes each tensor of over 32 MB from the system and gives it back when it is freed; the next one
    then costs a page fault for every 4 KiB. A step of training frees and takes gigabytes, always the same ones.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return False
    return all(mallopt(*pair) for pair in ((MMAP_MAX, 0), (TRIM_THRESHOLD, KEPT_BYTES), (TOP_PAD, MORE_BYTES)))
