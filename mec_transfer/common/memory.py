"""Controls what the C library does with memory that the process has freed."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""glibc's numbers for what `mallopt` sets (malloc.h)."""


def keep_freed_memory() -> None:
    """Let the process use freed memory again instead of giving it back to the system after every use.

    glibc maps a large block anew each time it is asked for one, and the kernel fills its pages with zeros as they are
    touched: a sixth of the time of a ResNet-50's forward pass on a CPU. What is computed stays the same, and so does
    the most memory the process ever holds, which it then holds to its end. Does nothing where malloc is not glibc's.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # Windows, macOS or musl
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, -1)
