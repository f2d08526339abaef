"""Shared by all tests: one thread a test process, since several run side by side."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs, and what they start, ignore it
os.environ.setdefault("OMP_NUM_THREADS", "1")


TESTS = Path(__file__).parent
SLOW = (
    "backbone/test_convert.py",
    "backbone/test_layouts.py",
    "backbone/test_proof.py",
    "backbone/test_syncbn.py",
    "classification/test_features.py",
    "classification/test_semisup.py",
    "classification/test_sharded_images.py",
    "classification/test_shared_cache.py",
    "classification/test_training.py",
    "classification/test_training_processes.py",
    "cli/test_endings.py",
    "datasets/images/test_shards.py",
    "datasets/test_loading.py",
    "demo_world",
    "detection",
    "integration",
    "launchers",
    "pretrain/test_chunks.py",
    "pretrain/test_objective.py",
    "pretrain/test_observe.py",
    "pretrain/test_online_knn.py",
    "pretrain/test_processes.py",
    "pretrain/test_run.py",
    "pretrain/test_shards.py",
    "pretrain/test_trainer.py",
    "report/test_browser.py",
    "segmentation/test_segment.py",
    "segmentation/test_training.py",
    "suite/test_run.py",
    "suite/test_run_slurm.py",
    "test_on_a_gpu.py",
    "test_python_door.py",
    "tracking/mmtrack",
    "tracking/sot/test_search.py",
)
"""What `--fast` leaves out: files and folders that train, start processes or need an engine."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --fast."""
    parser.addoption("--fast", action="store_true", help="leave out what trains, starts processes or needs an engine")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Whether a file or folder is slow, and a fast check is asked for."""
    slow = {TESTS / name for name in SLOW} if config.getoption("--fast") else set()
    return True if collection_path in slow else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that none runs on alone when all others are done: integration, slow files, the rest."""
    slow = {TESTS / name for name in SLOW}
    items.sort(
        key=lambda item: 0 if "integration" in item.path.parts else 2 - bool(slow & {item.path, *item.path.parents})
    )
