"""CIFAR's batches as Python 2 wrote them, beside what torchvision reads of them, and batches that mean harm."""

from __future__ import annotations

import io
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from PIL import Image

from mec_transfer.cli.main import main
from mec_transfer.common.errors import DataError
from mec_transfer.datasets.config import DatasetConfig
from mec_transfer.datasets.images.cifar import BatchImages, CifarLayout
from mec_transfer.datasets.images.data import ImageData
from mec_transfer.datasets.registry import open_data

NAMES = ("airplane", "automobile", "bird")
TRAIN, TEST = 4, 3
"""Images of a batch."""


def text(value: bytes) -> bytes:
    """A string as Python 2 pickled it."""
    return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value


def numbers(values: list[int]) -> bytes:
    return b"](" + b"".join(b"K" + bytes([value]) for value in values) + b"e"


def array(pixels: np.ndarray) -> bytes:
    """An array of uint8 as NumPy under Python 2 pickled it: its bytes stand in a string."""
    rows, columns = pixels.shape
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"M" + struct.pack("<H", rows) + b"M" + struct.pack("<H", columns) + b"\x86"
    return made + b"(K\x01" + shape + kind + b"\x89" + text(pixels.tobytes()) + b"tb"


def pickled(**values: bytes) -> bytes:
    return b"\x80\x02}(" + b"".join(text(key.encode()) + value for key, value in values.items()) + b"u."


def names(values: tuple[str, ...] = NAMES) -> bytes:
    return b"](" + b"".join(text(value.encode()) for value in values) + b"e"


def write_batches(folder: Path, edition: int = 10) -> Path:
    """Noise in the files of an edition; return the folder of the batches."""
    root = folder / ("cifar-10-batches-py" if edition == 10 else "cifar-100-python")
    root.mkdir(parents=True)
    key, rng = "labels" if edition == 10 else "fine_labels", np.random.default_rng(edition)
    batches = {f"data_batch_{n}": TRAIN for n in range(1, 6)} | {"test_batch": TEST}
    for file, count in (batches if edition == 10 else {"train": 5 * TRAIN, "test": TEST}).items():
        labels = [place % 3 for place in range(count)]
        pixels = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        (root / file).write_bytes(pickled(data=array(pixels), **{key: numbers(labels)}, batch_label=text(b"a batch")))
    if edition == 10:
        (root / "batches.meta").write_bytes(pickled(label_names=names(), num_vis=b"M\x00\x0c"))
    else:
        (root / "meta").write_bytes(pickled(fine_label_names=names(), coarse_label_names=names(("a", "b"))))
    return root


def opened(folder: Path, layout: str = "cifar") -> ImageData:
    data = open_data(DatasetConfig(name="x", layout=layout), folder)
    assert isinstance(data, ImageData)
    return data


@pytest.mark.parametrize("edition", [10, 100])
def test_images_and_labels_are_those_of_torchvision(
    edition: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_batches(tmp_path, edition)
    theirs = torchvision.datasets.CIFAR10 if edition == 10 else torchvision.datasets.CIFAR100
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda path, md5: True)  # of the real archives
    data = opened(tmp_path)
    assert data.problems == [] and data.splits == {"train": 5 * TRAIN, "val": TEST}
    for split, train in (("train", True), ("val", False)):
        ours, expected = data.images[split], theirs(tmp_path, train=train)
        assert ours.classes == tuple(expected.classes) == NAMES and ours.labels.tolist() == expected.targets
        for index, (image, _) in enumerate(expected):
            assert np.array_equal(np.asarray(ours.load(index)), np.asarray(image))


def test_the_folder_of_the_batches_and_the_one_above_are_the_same_data(tmp_path: Path) -> None:
    root = write_batches(tmp_path)
    assert opened(root).fingerprint == opened(tmp_path).fingerprint
    assert opened(root).fingerprint == opened(tmp_path).fingerprint
    assert opened(tmp_path).images["val"].paths == tuple(f"test_batch/0000{place}" for place in range(3))


def test_a_subset_survives_pickling_and_knows_its_places(tmp_path: Path) -> None:
    images = opened(write_batches(tmp_path)).images["train"]
    some = pickle.loads(pickle.dumps(images.subset([7, 2])))
    assert isinstance(some, BatchImages) and some.labels.tolist() == images.labels[[7, 2]].tolist()
    assert some.read(0) == images.read(7) and some.name(0).endswith("data_batch_2: image 3")


def test_a_changed_pixel_or_label_changes_the_fingerprint(tmp_path: Path) -> None:
    root = write_batches(tmp_path)
    before = opened(root)
    before_all, before_train = before.fingerprint, before.train_fingerprint
    file = root / "test_batch"
    content = bytearray(file.read_bytes())
    content[content.index(b"T\x00\x24\x00\x00") + 5] ^= 1  # the first byte of 3 x 3072
    file.write_bytes(content)
    after = opened(root)
    assert after.fingerprint != before_all and after.train_fingerprint == before_train


def test_image_files_have_another_fingerprint_and_are_data_of_ones_own(tmp_path: Path) -> None:
    root = write_batches(tmp_path)
    for split, images in opened(root).images.items():
        for index, label in enumerate(images.labels):
            path = tmp_path / "files" / split / images.classes[label] / f"{index:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            images.load(index).save(path)
    files, batches = opened(tmp_path / "files", "imagefolder"), opened(root, "imagefolder")
    assert files.splits == batches.splits and files.fingerprint != batches.fingerprint
    config, layout = DatasetConfig(name="cifar10", layout="cifar"), CifarLayout("cifar")
    assert layout.adapt(config, tmp_path / "files", {}) == {"layout": "imagefolder"}
    assert layout.adapt(config, root, {}) == layout.adapt(config, tmp_path, {}) == {}
    with pytest.raises(DataError, match="neither is nor holds cifar-10-batches-py"):
        opened(tmp_path / "files")


class Harm:
    """Leaves a file where a pickle of it is loaded by Python's own means."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("file", ["batches.meta", "data_batch_3"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_batch_runs_no_code(tmp_path: Path, file: str, inside: bool) -> None:
    root, harm = write_batches(tmp_path), tmp_path / "harm"
    keys = ("label_names",) if file == "batches.meta" else ("data", "labels")
    content = pickle.dumps(dict.fromkeys(keys, Harm(harm)) if inside else Harm(harm))
    (root / file).write_bytes(content)
    with pytest.raises(DataError, match=f"{file}: not one of CIFAR's files, or damaged"):
        opened(root)
    assert not harm.exists()
    pickle.loads(content)  # the harm is real
    assert harm.exists()


PIXELS = array(np.zeros((2, 3072), dtype=np.uint8))


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("test_batch", None, "test_batch: cannot be read (No such file"),
        ("test_batch", b"", "test_batch: not one of CIFAR's files, or damaged"),
        ("test_batch", b"\x80\x02].", "holds no dict"),
        ("test_batch", pickled(data=PIXELS), "has no 'labels'"),
        ("test_batch", pickled(data=PIXELS, labels=numbers([0])), "1 labels, and images of shape (2, 3072)"),
        ("test_batch", pickled(data=PIXELS, labels=numbers([0, 3])), "label 3 of 3 classes"),
        ("test_batch", pickled(data=PIXELS, labels=b"](K\x00U\x01xe"), "label 'x' of 3 classes"),
        ("test_batch", pickled(data=numbers([1]), labels=numbers([1])), "its images are no array"),
        ("test_batch", pickled(data=array(np.zeros((2, 8), np.uint8)), labels=numbers([0, 1])), "shape (2, 8)"),
        ("batches.meta", pickled(label_names=numbers([1, 2])), "'label_names' is no list of names"),
        ("batches.meta", pickled(label_names=names(("a", "a"))), "'label_names' is no list of names"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, file: str, content: bytes | None, told: str) -> None:
    path = write_batches(tmp_path) / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as error:
        opened(tmp_path)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_a_batch_cut_anywhere_is_told(tmp_path: Path) -> None:
    path = write_batches(tmp_path) / "test_batch"
    whole = path.read_bytes()
    for end in range(0, len(whole), 211):
        path.write_bytes(whole[:end])
        with pytest.raises(DataError, match="test_batch: not one of CIFAR's files"):
            opened(tmp_path)


def test_both_data_sets_in_one_folder_is_ambiguous(tmp_path: Path) -> None:
    write_batches(tmp_path, 10)
    write_batches(tmp_path, 100)
    with pytest.raises(DataError, match="holds cifar-10-batches-py and cifar-100-python; name one of them"):
        opened(tmp_path)


def test_data_check_takes_them_with_any_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_batches(tmp_path)
    for layout in ("cifar", "imagefolder"):
        assert main(["data", "check", str(tmp_path), "--layout", layout, "--thorough"]) == 0
        assert "train: 20 images, 3 classes\nval: 3 images, 3 classes\nno problems found" in capsys.readouterr().out
    assert Image.open(io.BytesIO(opened(tmp_path).images["val"].read(0))).size == (32, 32)
