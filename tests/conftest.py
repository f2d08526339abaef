"""Shared by all tests: one thread a test process, since several run side by side."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first, so that it does not run on alone when all others are done."""
    items.sort(key=lambda item: "integration" not in item.path.parts)
