"""What layouts of named images share: the hint at the right folder, and that an image counts once, below its folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.config import PoolDatasetConfig
from mec_transfer.datasets.images.image_list import ImageList
from mec_transfer.datasets.images.named import check_named
from mec_transfer.datasets.registry import open_data
from tests.datasets.images.test_cdfsl import CDFSL_WORLDS
from tests.datasets.images.test_cifar import write_batches
from tests.datasets.images.test_listed import WORLDS
from tests.datasets.images.test_voc_labels import write_parts

LAYOUTS = {**WORLDS, **CDFSL_WORLDS, "cifar": write_batches, "voc2007_classes": write_parts}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_folder_below_or_above_is_suggested_where_it_can_be_read(layout: str, tmp_path: Path) -> None:
    config, right = PoolDatasetConfig(name="x", layout=layout), tmp_path / "data" / "right"
    right.mkdir(parents=True)
    LAYOUTS[layout](right)
    (right / "notes").mkdir()
    for wrong in (right.parent, right / "notes"):
        with pytest.raises(DataError) as caught:
            open_data(config, wrong)
        assert str(caught.value).endswith(f"; did you mean {right}?") and "\n" not in str(caught.value)
    with pytest.raises(DataError) as caught:
        open_data(config, tmp_path)
    assert "did you mean" not in str(caught.value)


def listed(root: Path, *paths: str) -> ImageList:
    return ImageList(root, paths, np.zeros(len(paths), dtype=np.int64), ("cat",))


def test_an_image_counts_once_in_all_splits(tmp_path: Path) -> None:
    train, val = listed(tmp_path, "a/1.jpg", "a/2.jpg"), listed(tmp_path, "b/1.jpg")
    check_named(tmp_path, {"train": train, "val": val})
    check_named(tmp_path, {"train": train, "val": listed(tmp_path / "b", "a/1.jpg")})  # of another folder
    for splits in (
        {"train": train, "val": listed(tmp_path, "a/1.jpg")},
        {"all": listed(tmp_path, "a/1.jpg", "a/1.jpg")},
    ):
        with pytest.raises(DataError, match=r"name 1 of the images more than once \(.*a/1\.jpg\)"):
            check_named(tmp_path, splits)


@pytest.mark.parametrize("path", ["/etc/passwd", "images//etc/passwd", "images/../1.jpg", "./1.jpg"])
def test_a_path_that_leads_elsewhere_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no path of an image below a folder"):
        check_named(tmp_path, {"all": listed(tmp_path, "a/1.jpg", path)})
