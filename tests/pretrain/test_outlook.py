"""What a plan asks of a pretraining before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from mec_transfer.common.config import load_config
from mec_transfer.common.errors import ConfigError, DataError
from mec_transfer.common.paths import find_config
from pretrain.config import PretrainConfig
from pretrain.identity import CHECKPOINT, identify, mark_finished
from pretrain.outlook import look_ahead

CONFIG = find_config("mec_r50_100ep", "pretrain")


@pytest.mark.parametrize(
    ("overrides", "processes"), [([], 8), (["batch_size=512"], 4), (["batch_size=16"], 1), (["chunk_size=256"], 1)]
)
def test_as_many_processes_as_have_the_published_share(tmp_path: Path, overrides: list[str], processes: int) -> None:
    outlook = look_ahead(CONFIG, overrides, tmp_path / "no-data", tmp_path, 0)
    assert outlook.processes == processes and not outlook.finished  # and no image was looked for


def test_finished_is_this_very_run_alone(tmp_path: Path) -> None:
    data, out, overrides = tmp_path / "data", tmp_path / "out", ["batch_size=2"]
    for folder in (data, out):
        folder.mkdir()
    for name in "abc":
        (data / f"{name}.png").touch()
    (out / CHECKPOINT).write_text("weights")
    mark_finished(out, identify(load_config(PretrainConfig, CONFIG, overrides), 5, data))
    assert look_ahead(CONFIG, overrides, data, out, 5).finished
    assert not look_ahead(CONFIG, overrides, data, out, 6).finished
    assert not look_ahead(CONFIG, [*overrides, "epochs=20"], data, out, 5).finished
    (out / CHECKPOINT).write_text("other weights")
    assert not look_ahead(CONFIG, overrides, data, out, 5).finished


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="colour"):
        look_ahead(CONFIG, ["colour=1"], tmp_path, tmp_path, 0)
    (tmp_path / CHECKPOINT).touch()
    (tmp_path / "done.json").write_text("{}")
    with pytest.raises(DataError):
        look_ahead(CONFIG, [], tmp_path / "gone", tmp_path, 0)
