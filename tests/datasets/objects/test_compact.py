"""What was read is kept for the next process, and read anew as soon as anything that it was made from has changed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mec_transfer.datasets import states
from mec_transfer.datasets.objects import coco, compact, headers, voc
from mec_transfer.datasets.objects.layout import Look
from mec_transfer.datasets.objects.splits import ObjectSplit
from tests.datasets.objects.objects_world import coco_data, voc_object, write_coco, write_voc
from tests.datasets.reading import read_splits

LAYOUTS = ("coco", "voc")


class Reads:
    """Counts how often annotations and headers of images are read."""

    def __init__(self, patch: pytest.MonkeyPatch, root: Path, kept: Path) -> None:
        self.root, self.kept, self.annotations, self.looks = root, kept, 0, 0
        for module, name in ((coco, "CocoSource"), (voc, "VocSource"), (headers, "image_problems")):
            patch.setattr(module, name, self._counted(getattr(module, name)))

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if function.__name__ == "image_problems":
                self.looks += 1
            else:
                self.annotations += 1
            return function(*args, **options)

        return call

    def read(self, layout: str, look: Look = "sample") -> tuple[ObjectSplit, int, int]:
        """Read a split; return it with the numbers of readings of annotations and of looks at images that it took."""
        before = self.annotations, self.looks
        split = read_splits(self.root, layout, ["train2017"], look=look, kept=self.kept)["train2017"]
        return split, self.annotations - before[0], self.looks - before[1]


def settle(root: Path, seconds: int = 100) -> None:
    """Give everything below `root` a time of change some seconds ago."""
    stamp = (root.stat().st_ctime - seconds,) * 2
    for path in [*root.rglob("*"), root]:
        os.utime(path, stamp)


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reads]:
    root = tmp_path / "data"
    data = coco_data()
    data["annotations"].append({**data["annotations"][0], "id": 3, "category_id": 99})
    write_coco(root, data)
    write_voc(root, {"a": voc_object(difficult=1), "b": voc_object("dog") + voc_object(box=(9, 9, 3, 3))}, "train2017")
    settle(root)
    monkeypatch.setattr(states, "_SETTLED_NS", -(10**18))  # nobody can set a ctime back
    yield Reads(monkeypatch, root, tmp_path / "kept")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_second_reading_takes_what_is_kept(reads, layout):
    first = reads.read(layout)
    assert first[1:] == (1, 1) and len(first[0].skipped) == 1 and first[0].num_objects == 2
    again = reads.read(layout)
    assert again == (first[0], 0, 0) and tuple(again[0].images) == tuple(first[0].images)
    assert reads.read(layout, look="all")[1:] == (0, 1)
    assert reads.read(layout, look="no")[1:] == (0, 0)


def change_annotation(root: Path, layout: str) -> None:
    name = "annotations/instances_train2017.json" if layout == "coco" else "Annotations/b.xml"
    path, time = root / name, root.stat().st_mtime
    path.write_text(path.read_text().replace("dog", "cat") + " ")
    os.utime(path, (time, time + 1))
    for folder in (path.parent, root):
        os.utime(folder, (time, time))


def add_image(root: Path, layout: str) -> None:
    folder = root / ("train2017" if layout == "coco" else "JPEGImages")
    shutil.copy(next(folder.iterdir()), folder / "new.jpg")
    os.utime(folder, (root.stat().st_mtime + 1,) * 2)


def rename_image(root: Path, layout: str) -> None:
    path = root / ("train2017/x.png" if layout == "coco" else "JPEGImages/a.jpg")
    path.rename(path.with_suffix(".gif"))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("change", [change_annotation, add_image, rename_image])
def test_whatever_has_changed_is_read_anew(reads, layout, change):
    reads.read(layout)
    change(reads.root, layout)
    found, annotations, _ = reads.read(layout)
    assert annotations == 1
    fresh = read_splits(reads.root, layout, ["train2017"], look="sample")["train2017"]
    assert found == fresh


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_image_that_is_overwritten_is_looked_at_again_and_named_with_its_line(reads, layout):
    first = reads.read(layout)[0]
    path = first.images[0].path
    time = path.stat().st_mtime
    Image.new("RGB", (31, 20)).save(path)
    os.utime(path, (time + 1, time + 1))
    broken, _, looks = reads.read(layout)
    assert looks == 1 and len(broken.images) == len(first.images) - 1
    fresh = read_splits(reads.root, layout, ["train2017"], look="sample")["train2017"]
    assert broken == fresh and "has 31x20 pixels" in broken.skipped[-1] and ":" in broken.skipped[-1]
    assert reads.read(layout) == (broken, 1, 1)  # what is wrong may be mended in place: it is looked at every time


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "version", "not a file"])
def test_a_damaged_file_loses_time_alone(reads, monkeypatch, damage):
    first = reads.read("coco")[0]
    for path in sorted(reads.kept.iterdir()):
        data = path.read_bytes()
        if damage == "cut":
            path.write_bytes(data[: len(data) * 2 // 3])
        elif damage == "flipped":
            middle = data.index(np.float64(30.4).tobytes()) if b"numbers" in data else len(data) // 2
            path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        elif damage == "empty":
            path.write_bytes(b"")
        elif damage == "not a file":
            path.unlink()
            path.mkdir()
    if damage == "version":
        monkeypatch.setattr(compact, "_VERSION", "mec-transfer objects 0")
    found, annotations, _ = reads.read("coco")
    assert found == first and annotations == 1
    if damage != "not a file":
        assert reads.read("coco") == (first, 0, 0)


def test_what_changed_a_moment_ago_is_not_kept(reads, monkeypatch):
    monkeypatch.setattr(states, "_SETTLED_NS", 2_000_000_000)
    (reads.root / "train2017" / "y.png").touch()
    reads.read("coco")
    assert reads.read("coco")[1:] == (1, 1)


def test_an_image_that_is_not_there_is_looked_for_every_time(reads):
    path = reads.read("coco")[0].images[0].path
    path.unlink()
    path.symlink_to(reads.root.parent / "disk.png")  # not mounted yet
    assert any("missing" in line for line in reads.read("coco")[0].skipped)
    Image.new("RGB", (30, 20)).save(reads.root.parent / "disk.png")
    now = reads.read("coco")[0].skipped
    assert not any("missing" in line for line in now), now


def test_a_folder_whose_time_was_set_back_is_read_anew(reads):
    reads.read("voc")
    times = {path: path.stat() for path in (reads.root / "Annotations", reads.root / "Annotations/b.xml")}
    change_annotation(reads.root, "voc")
    for path, before in times.items():
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert reads.read("voc")[1] == 1


def test_other_questions_have_their_own_files(reads):
    reads.read("coco")
    one = read_splits(reads.root, "coco", ["train2017"], ("kite", "ball", "bat"), kept=reads.kept)["train2017"]
    assert one.classes == ("kite", "ball", "bat") and one.images[0].objects[0].class_index == 0
    assert reads.read("coco")[1:] == (0, 0)


def test_a_folder_that_cannot_be_written_is_a_warning(reads, capsys):
    reads.kept.write_text("a file")
    assert reads.read("coco")[0].num_objects == 2
    assert "the annotations are read anew by every process" in capsys.readouterr().err


def test_paths_and_messages_begin_with_the_root_as_it_is_given(reads, monkeypatch):
    reads.read("coco")
    monkeypatch.chdir(reads.root.parent)
    reads.root = Path("data")
    split = reads.read("coco")[0]
    assert str(split.images[0].path) == "data/train2017/x.png" and split.skipped[0].startswith("data/annotations")
    assert reads.read("coco") == (split, 0, 0)


def test_ids_of_every_kind_are_kept(reads):
    data = coco_data()
    data["images"] += [{**data["images"][0], "id": name} for name in ("b", 10**30, -4)]
    (reads.root / "annotations" / "instances_train2017.json").write_text(json.dumps(data))
    settle(reads.root)
    first = reads.read("coco")[0]
    assert [image.image_id for image in first.images] == [-4, 7, 10**30, "b"]
    assert reads.read("coco") == (first, 0, 0)
