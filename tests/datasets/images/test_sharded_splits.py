"""An ImageFolder whose splits lie in shards is the same data set."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.images.folders import open_splits, open_unlabelled
from mec_transfer.datasets.images.labels import label_subset
from mec_transfer.datasets.images.shard_writer import write_splits
from mec_transfer.datasets.images.shards import INDEX, ShardedImages
from tests.datasets.reading import find_problems, summarise

CLASSES = ("cat", "cat-2", "Cat", "\u00fc \u6f22")
"""By path alone `cat-2/...` comes before `cat/...`: the classes' own order is another."""


@pytest.fixture
def plain(make_images: Callable[..., Path]) -> Path:
    train = [f"train/{name}/{i}.png" for name in CLASSES for i in range(5)]
    return make_images(*train, "train/cat/more/deep.png", *[f"val/{name}/v{i}.png" for name in CLASSES for i in (1, 2)])


def shard(plain: Path, out: Path, splits: Sequence[str] = ("train", "val")) -> Path:
    """Write the splits as shards, the others as they are."""
    for split in ("train", "val"):
        if split in splits:
            write_splits({"": open_unlabelled(plain / split)}, out / split, 8000)
        else:
            shutil.copytree(plain / split, out / split)
    return out


@pytest.mark.parametrize("splits", [("train", "val"), ("train",), ("val",)])
def test_shards_are_the_data_set_that_they_were_made_from(plain: Path, tmp_path: Path, splits: tuple[str, ...]) -> None:
    sharded = shard(plain, tmp_path / "shards", splits)
    loose, packed = open_splits(plain), open_splits(sharded)
    for split in ("train", "val"):
        mine, theirs = loose[split], packed[split]
        assert isinstance(theirs, ShardedImages) == (split in splits)
        assert theirs.paths == mine.paths and theirs.classes == mine.classes == tuple(sorted(CLASSES))
        assert np.array_equal(theirs.labels, mine.labels) and np.array_equal(theirs.sizes(), mine.sizes())
        assert [theirs.read(i) for i in range(len(mine))] == [mine.read(i) for i in range(len(mine))]
        assert np.array_equal(np.asarray(theirs.load(3)), np.asarray(mine.load(3)))
        picked = theirs.subset([5, 2])
        assert picked.paths == mine.subset([5, 2]).paths and picked.read(1) == mine.read(2)
    assert summarise(sharded, "imagefolder") == summarise(plain, "imagefolder")
    assert find_problems(sharded, "imagefolder") == []
    drawn = [label_subset(images["train"], "40%", dataset="x", root=plain, seed=0) for images in (loose, packed)]
    assert drawn[0].sha256 == drawn[1].sha256 and np.array_equal(drawn[0].indices, drawn[1].indices)


def test_what_is_wrong_with_labelled_shards_is_one_line(plain: Path, tmp_path: Path) -> None:
    sharded = shard(plain, tmp_path / "shards")

    def error() -> str:
        with pytest.raises(DataError) as caught:
            open_splits(sharded)
        message = str(caught.value)
        assert "\n" not in message and message in find_problems(sharded, "imagefolder")
        return message

    (sharded / "train" / "eel").mkdir()
    assert f"{sharded / 'train'}: holds eel beside its shards" in error()
    (sharded / "train" / "eel").rmdir()
    tar = sharded / "train" / "shard-000001.tar"
    whole = tar.read_bytes()
    tar.write_bytes(whole[:-512])
    assert f"{tar}: truncated" in error()
    tar.write_bytes(whole)
    extra = sharded / "val" / "more.tar"
    extra.write_bytes(whole)
    assert f"{extra}: is not in {INDEX}" in error()
    extra.unlink()
    (sharded / "val" / INDEX).rename(tmp_path / INDEX)
    assert f"{sharded / 'val'}: holds 2 .tar files and no {INDEX}" in error()
    shutil.rmtree(sharded / "val")
    write_splits({"": open_unlabelled(plain / "val" / "cat")}, sharded / "val", 8000)
    assert "no label file" in error()
    shutil.rmtree(sharded / "train")
    write_splits({"": open_unlabelled(plain / "train" / "cat")}, sharded / "train", 8000)
    assert "5 images lie beside 1 class folders (0.png, 1.png, 2.png" in error()
    shutil.copytree(plain / "train", sharded / "train", dirs_exist_ok=True)
    sharded = sharded / "val"
    assert "it holds the shards of one split" in error()


def test_shards_of_a_split_are_not_passed_over_where_labels_do_not_matter(plain: Path, tmp_path: Path) -> None:
    sharded = shard(plain, tmp_path / "shards", ["train"])
    with pytest.raises(DataError, match=rf"holds folders of shards \(train\); give one of them, {sharded / 'train'}"):
        open_unlabelled(sharded)
    assert set(open_unlabelled(sharded / "train").paths) == set(open_splits(sharded)["train"].paths)


def test_a_damaged_image_is_named_with_its_shard(plain: Path, tmp_path: Path) -> None:
    sharded = shard(plain, tmp_path / "shards")
    tar = sharded / "train" / "shard-000000.tar"
    tar.write_bytes(tar.read_bytes().replace(b"IHDR", b"XHDR", 1))
    (problem,) = find_problems(sharded, "imagefolder")
    assert f"{tar}: Cat/0.png: not a readable image" in problem
