from __future__ import annotations

from pathlib import Path

import pytest

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.images.folders import open_split


def test_a_list_gives_bytes_and_names(folder_set: Path) -> None:
    images = open_split(folder_set, "train")
    path = images.root / images.paths[1]
    assert images.read(1) == path.read_bytes() and images.name(1) == str(path)
    path.unlink()
    with pytest.raises(DataError, match=f"{path}: .*No such file"):
        images.read(1)


def test_subset_keeps_order_and_classes(folder_set: Path) -> None:
    images = open_split(folder_set, "train")
    chosen = images.subset([4, 1])
    assert chosen.paths == (images.paths[4], images.paths[1])
    assert (chosen.labels.tolist(), chosen.classes) == ([1, 0], images.classes)
