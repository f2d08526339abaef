from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.sample import sample_indices
from tests.datasets.reading import summarise

FILES = st.dictionaries(
    st.text("abcé ", min_size=1, max_size=4).filter(lambda s: s.strip() == s).map(lambda s: f"{s}.png"),
    st.binary(max_size=6),
    min_size=1,
    max_size=5,
)


def write(folder: str, files: dict[str, bytes], backwards: bool = False) -> Path:
    root = Path(folder)
    for name in sorted(files, reverse=backwards):
        path = root / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[name])
    return root / "set"


def fingerprint_of(files: dict[str, bytes], backwards: bool = False) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return summarise(write(folder, files, backwards), "unlabelled").fingerprint


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(FILES, st.data())
def test_any_change_of_few_files_is_seen_and_nothing_else(files: dict[str, bytes], data: st.DataObject) -> None:
    base = fingerprint_of(files)
    assert base == fingerprint_of(files, backwards=True)
    victim = data.draw(st.sampled_from(sorted(files)))
    rest = {name: content for name, content in files.items() if name != victim}
    changed = [
        rest | {victim: files[victim] + b"x"},  # longer
        rest | {victim: bytes(255 - b for b in files[victim]) or b"x"},  # as long, other bytes
        rest | {f"new_{victim}": files[victim]},  # renamed
        files | {"zz.png": b"1"},  # added
        *([rest] if rest else []),  # removed
    ]
    assert base not in {fingerprint_of(other) for other in changed}


def test_location_times_and_stray_files_do_not_matter(folder_set: Path, tmp_path: Path) -> None:
    before = summarise(folder_set, "imagefolder")
    assert (before.splits, before.classes) == ({"train": 6, "val": 4}, 2)
    copy = tmp_path / "far/away/other name"
    shutil.copytree(folder_set, copy)
    for path in copy.rglob("*.JPEG"):
        os.utime(path, (1, 1))
    (copy / "README").write_text("hello")
    (copy / "train/.DS_Store").write_text("x")
    assert summarise(copy, "imagefolder") == before


def test_moving_an_image_to_another_class_or_split_matters(folder_set: Path) -> None:
    seen = {summarise(folder_set, "imagefolder").fingerprint}
    shutil.move(folder_set / "train/cat/cat_0.JPEG", folder_set / "train/dog/cat_0.JPEG")
    seen.add(summarise(folder_set, "imagefolder").fingerprint)
    shutil.move(folder_set / "train/dog/cat_0.JPEG", folder_set / "val/dog/cat_0.JPEG")
    seen.add(summarise(folder_set, "imagefolder").fingerprint)
    assert len(seen) == 3


def test_labels_of_a_label_file_matter(make_images: Callable[..., Path]) -> None:
    root = make_images("train/a/1.png", "train/b/1.png", "val/1.png", "val/2.png")
    (root / "val.txt").write_text("1.png a\n2.png b\n")
    before = summarise(root, "imagefolder")
    (root / "val.txt").write_text("1.png 0\n2.png 1\n")
    assert summarise(root, "imagefolder") == before
    (root / "val.txt").write_text("1.png b\n2.png a\n")
    assert summarise(root, "imagefolder").fingerprint != before.fingerprint


def test_only_a_sample_is_read(make_images: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_images(*[f"{i:04d}.png" for i in range(300)])
    read: list[Path] = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (read.append(path), real(path))[1])
    summarise(root, "unlabelled")
    assert 40 <= len(read) <= 64


def test_wrong_data_is_a_data_error(tmp_path: Path, folder_set: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        summarise(tmp_path / "nowhere", "imagefolder")
    (folder_set / "val/cat/gone.JPEG").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"gone.JPEG: cannot be read"):
        summarise(folder_set, "imagefolder")


@given(st.integers(1, 10**7), st.integers(1, 100))
def test_sample_is_sorted_distinct_and_within(total: int, count: int) -> None:
    sample = sample_indices(total, count)
    assert sample == sorted(set(sample)) == sample_indices(total, count)
    assert sample[0] >= 0 and sample[-1] < total and len(sample) <= count
    assert total > count or sample == list(range(total))
