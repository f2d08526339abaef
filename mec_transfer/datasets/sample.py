"""Picking a few of many files, the same ones on every machine and under every library version."""

from __future__ import annotations

import hashlib


def sample_indices(total: int, count: int) -> list[int]:
    """Return up to `count` different indices below `total`, sorted; they depend on the two numbers alone."""
    if total <= count:
        return list(range(total))
    drawn = (int.from_bytes(hashlib.sha256(f"{k}/{total}".encode()).digest()[:8]) % total for k in range(count))
    return sorted(set(drawn))
