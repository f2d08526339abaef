"""Shared by all tests: one thread a test process, since several run side by side."""

from __future__ import annotations

import os
import signal

import pytest

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, and what they start, ignore it
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first, so that it does not run on alone when all others are done."""
    items.sort(key=lambda item: "integration" not in item.path.parts)
