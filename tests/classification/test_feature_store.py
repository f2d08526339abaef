from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from mec_transfer.classification import feature_store
from mec_transfer.classification.feature_store import FeatureStore
from mec_transfer.common.errors import RunError


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(25, 6)).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path, values: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    monkeypatch.setattr(feature_store, "PART_IMAGES", 10)
    store = FeatureStore(tmp_path / "features", {"split": "train"}, 25, 6)
    for part, rows in enumerate(store.parts):
        store.write(part, values[rows.start : rows.stop])
    return store


def test_a_cache_of_any_earlier_version_is_read(store: FeatureStore, values: np.ndarray) -> None:
    """A part's bytes, and the sha256 of what they stand for and of them: whoever changes that loses hours of work."""
    for part, shape in enumerate(["(10, 6)", "(10, 6)", "(5, 6)"]):
        data = values[10 * part : 10 * part + 10].tobytes()
        digest = hashlib.sha256(f"{store.key} {part} {shape} float32".encode() + data).digest()
        assert store.path(part).read_bytes() == data + digest


def test_a_mapped_part_is_what_was_written(store: FeatureStore, values: np.ndarray) -> None:
    for part, rows in enumerate(store.parts):
        assert store.is_whole(part) and store.is_present(part)
        assert torch.equal(store.open(part), torch.from_numpy(values[rows.start : rows.stop]))


def test_a_mapped_part_is_no_memory_and_no_descriptor(store: FeatureStore) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    maps = [store.open(part) for part in (0, 1, 2) * 20]
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(store.folder) in line]
    assert len(mapped) >= 3 and len(maps) == 60


def test_a_mapped_part_outlives_its_file(store: FeatureStore, values: np.ndarray) -> None:
    mapped = store.open(1)
    store.path(1).unlink()
    store.write(1, values[:10])
    store.remove()
    assert torch.equal(mapped, torch.from_numpy(values[10:20]))


def test_a_folder_may_have_a_name_that_is_not_utf8(tmp_path: Path, values: np.ndarray) -> None:
    store = FeatureStore(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")), {"split": "train"}, 25, 6)
    store.write(0, values)
    assert torch.equal(store.open(0), torch.from_numpy(values))


@pytest.mark.parametrize(
    ("damage", "reason"), [("gone", "No such file or directory"), ("short", "the file is too short")]
)
def test_a_part_that_cannot_be_mapped_is_named(store: FeatureStore, damage: str, reason: str) -> None:
    path = store.path(1)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:100])
    assert not store.is_present(1) and not store.is_whole(1)
    with pytest.raises(
        RunError, match=rf"part-00001\.f32: features cannot be read back \({reason}\); run the job again"
    ):
        store.open(1)


def test_a_part_that_another_run_wrote_first_stays(store: FeatureStore, values: np.ndarray) -> None:
    """Without locks two runs compute the same part: who has mapped it keeps it. A damaged one is replaced."""
    file = store.path(0).stat().st_ino
    store.write(0, values[10:20])
    assert store.path(0).stat().st_ino == file and torch.equal(store.open(0), torch.from_numpy(values[:10]))
    store.path(0).write_bytes(b"x" + store.path(0).read_bytes()[1:])
    store.write(0, values[10:20])
    assert store.is_whole(0) and torch.equal(store.open(0), torch.from_numpy(values[10:20]))


@pytest.mark.parametrize("place", [0, 100, -1])
def test_one_wrong_bit_is_found_out(store: FeatureStore, place: int) -> None:
    data = bytearray(store.path(0).read_bytes())
    data[place] ^= 1
    store.path(0).write_bytes(data)
    assert store.is_present(0) and not store.is_whole(0)
