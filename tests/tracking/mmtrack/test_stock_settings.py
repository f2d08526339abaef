"""What protocol cards show of the stock MMTracking files is what those files say."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest

pytest.importorskip("mmtrack")

from mec_transfer.common.paths import CONFIGS
from mec_transfer.tracking.mmtrack import engine
from mec_transfer.tracking.mmtrack.stock_settings import STOCK_SETTINGS

engine.load()

from mmcv import Config  # noqa: E402

FOLDER = CONFIGS / "tracking" / "mmtrack"


def test_every_stock_file_but_the_demos_is_there() -> None:
    assert set(STOCK_SETTINGS) == {path.name for path in FOLDER.glob("*.py") if not path.stem.endswith("demo")}


@pytest.mark.parametrize("name", STOCK_SETTINGS)
def test_the_settings_are_those_of_the_file(name: str) -> None:
    config = Config.fromfile(str(FOLDER / name)).to_dict()
    for key, value in STOCK_SETTINGS[name].items():
        assert plain(reduce(lambda node, part: node[part], key.split("."), config)) == value, key


def plain(value: Any) -> Any:
    return [plain(part) for part in value] if isinstance(value, (list, tuple)) else value
