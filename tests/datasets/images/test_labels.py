from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.images import labels, simclr
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.images.labels import balanced_indices, label_subset
from mec_transfer.datasets.images.simclr import PublishedList

SHARES = st.fractions(Fraction(1, 1000), 1)


def image_list(counts: list[int], prefix: str = "") -> ImageList:
    paths = tuple(f"c{c:02d}/{prefix}{i:03d}.jpg" for c, count in enumerate(counts) for i in range(count))
    numbers = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    return ImageList(Path("train"), paths, numbers, tuple(f"c{c:02d}" for c in range(len(counts))))


TRAIN = image_list([20, 20, 20])


def choose(text: str, seed: int = 0, train: ImageList = TRAIN) -> labels.LabelSubset:
    return label_subset(train, text, dataset="demo", root=Path("nowhere"), seed=seed)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), SHARES, SHARES, st.integers(0, 2**40))
def test_balanced_split_sizes_and_nesting(counts: list[int], one: Fraction, other: Fraction, seed: int) -> None:
    train = image_list(counts)
    small, large = (balanced_indices(train, share, seed) for share in sorted((one, other)))
    assert set(small.tolist()) <= set(large.tolist())
    for share, chosen in ((min(one, other), small), (max(one, other), large)):
        assert chosen.dtype == np.int64
        assert (np.diff(chosen) > 0).all()
        kept = np.bincount(train.labels[chosen], minlength=len(counts))
        for count, keep in zip(counts, kept.tolist()):
            assert keep == max(1, (share * count * 2 + 1) // 2)


def test_balanced_split_is_the_same_everywhere_and_moves_with_the_seed() -> None:
    first = choose("10%")
    assert first.indices.tolist() == GOLDEN
    assert choose("10%", seed=1).indices.tolist() != GOLDEN
    assert first.name == "10%"
    assert first.note == "class-balanced split drawn with seed 0, not a published list"
    chosen = "".join(f"{TRAIN.paths[i]}\n" for i in first.indices)
    assert first.sha256 == hashlib.sha256(chosen.encode()).hexdigest()


GOLDEN = [12, 17, 23, 32, 48, 56]


def test_a_class_does_not_depend_on_the_others() -> None:
    alone = balanced_indices(image_list([20]), Fraction(1, 4), 3)
    beside = balanced_indices(image_list([20, 9]), Fraction(1, 4), 3)
    assert beside[: len(alone)].tolist() == alone.tolist()


@pytest.mark.parametrize("text", ["0%", "-1%", "101%", "x%", "%", "1/0%", "nan%", "inf%"])
def test_wrong_shares(text: str) -> None:
    with pytest.raises(DataError, match="a share above 0% and up to 100%"):
        choose(text)


def test_share_may_have_decimals_and_be_all() -> None:
    assert len(choose("100%").indices) == 60
    assert len(choose("12.5%").indices) == 3 * 3  # 2.5 rounds up


def test_list_file(tmp_path: Path) -> None:
    train = image_list([3, 3], prefix="x")
    unique = ImageList(train.root, (*train.paths[:-1], "c01/last one.jpg"), train.labels, train.classes)
    file = tmp_path / "mine.txt"
    file.write_text("\ufeff# mine\n\nc01/x001.jpg\r\n  last one.jpg\nc00/x000.jpg\n", encoding="utf-8")
    subset = choose(str(file), train=unique)
    assert subset.indices.tolist() == [0, 4, 5]
    assert subset.name == "mine.txt"
    assert subset.note == "labels listed in mine.txt, not a published list"


def test_classes_that_a_list_leaves_without_a_label_are_told(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("c01/000.jpg\n")
    note = "labels listed in mine.txt, not a published list; 2 of 3 classes have no label in it (c00, c02)"
    assert choose(str(tmp_path / "mine.txt")).note == note


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("c00/000.jpg\nc00/nix.jpg\n", "list.txt, line 2: 'c00/nix.jpg' is not an image of train"),
        ("# x\n000.jpg\n", "list.txt, line 2: '000.jpg' stands for 3 images; write the class folder too"),
        ("c00/000.jpg\nc01/000.jpg\n\nc00/000.jpg\n", "list.txt, line 4: 'c00/000.jpg' stands on line 1 already"),
        ("# nothing\n\n", "list.txt: names no image"),
    ],
)
def test_wrong_list_files(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(DataError) as caught:
        choose(str(tmp_path / "list.txt"))
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_missing_and_binary_list_files(tmp_path: Path) -> None:
    for name in ("10 percent", "10" * 5000, "10\0"):
        with pytest.raises(DataError, match="neither a share such as 10% nor a file"):
            choose(name)
    (tmp_path / "binary").write_bytes(b"\xff\x00\xff")
    with pytest.raises(DataError, match="binary:1: not a text file"):
        choose(str(tmp_path / "binary"))
    with pytest.raises(DataError, match="cannot be read"):
        choose(str(tmp_path))


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A list of two images published in place of SimCLR's 1 %."""
    text = b"n01_5.JPEG\nn02_1.JPEG\n"
    entry = PublishedList("1percent.txt", 2, hashlib.sha256(text).hexdigest())
    monkeypatch.setitem(simclr.PUBLISHED, "1%", entry)
    return text


IMAGENET = ImageList(
    Path("train"),
    ("n01/n01_1.JPEG", "n01/n01_5.JPEG", "n02/n02_1.JPEG", "n02/n02_2.JPEG"),
    np.array([0, 0, 1, 1]),
    ("n01", "n02"),
)


@pytest.mark.parametrize("place", ["data/imagenet_subsets", "data", "imagenet_subsets"])
def test_published_list_is_found_verified_and_carries_no_note(tmp_path: Path, published: bytes, place: str) -> None:
    root = tmp_path / "data"
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "1percent.txt").write_bytes(published)
    subset = label_subset(IMAGENET, "1%", dataset="imagenet", root=root, seed=7)
    assert subset.indices.tolist() == [1, 2]
    assert (subset.name, subset.note) == ("1%", "")


def test_published_list_missing_wrong_or_without_its_images(tmp_path: Path, published: bytes) -> None:
    def message(train: ImageList = IMAGENET) -> str:
        with pytest.raises(DataError) as caught:
            label_subset(train, "1%", dataset="imagenet", root=tmp_path, seed=0)
        return str(caught.value)

    assert f"`mec-transfer data subset --fetch --out {tmp_path / 'imagenet_subsets'}`" in message()
    (tmp_path / "1percent.txt").write_bytes(published.replace(b"n02_1", b"n02_2"))
    assert "is not SimCLR's list: 2 names and sha256" in message()
    (tmp_path / "1percent.txt").write_bytes(published)
    without = message(IMAGENET.subset([0, 1]))
    assert "1 of the 2 images in SimCLR's 1% list are missing, first n02_1.JPEG" in without


def test_other_shares_of_imagenet_are_drawn_and_say_so() -> None:
    subset = label_subset(IMAGENET, "50%", dataset="imagenet", root=Path("nowhere"), seed=3)
    assert len(subset.indices) == 2
    assert "drawn with seed 3, not a published list" in subset.note


@pytest.mark.parametrize("text", ["c01\\x001.jpg,\r\nc00/x000.jpg ;\r\n", "c01/x001.jpg\rc00/x000.jpg"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_list_as_a_spreadsheet_or_another_system_writes_it(tmp_path: Path, text: str, encoding: str) -> None:
    (tmp_path / "mine.csv").write_bytes(text.encode(encoding))
    assert choose(str(tmp_path / "mine.csv"), train=image_list([3, 3], prefix="x")).indices.tolist() == [0, 4]
