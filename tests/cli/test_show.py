"""`mec-transfer show`: every config, as a file that is the same benchmark."""

from __future__ import annotations

from pathlib import Path

import pytest

from mec_transfer.cli.main import main
from mec_transfer.common.config import load_config
from mec_transfer.suite.registry import benchmark_config, benchmark_files
from pretrain.config import PretrainConfig


@pytest.mark.parametrize("path", benchmark_files(), ids=lambda path: path.stem)
def test_what_is_shown_is_the_same_benchmark(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", path.stem]) == 0
    (tmp_path / path.name).write_text(capsys.readouterr().out, encoding="utf-8")
    shown, own = benchmark_config(tmp_path / path.name), benchmark_config(path)
    assert shown == own and shown.sha256 == own.sha256


def test_a_recipe_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "mec_r50_100ep", "--set", "epochs=200"]) == 0
    printed = capsys.readouterr().out
    assert "  # Range of the crop's share of the image's area.\n  crop_scale: [0.2, 1.0]" in printed
    (tmp_path / "shown.yaml").write_text(printed)
    assert load_config(PretrainConfig, tmp_path / "shown.yaml").epochs == 200


def test_published_numbers_stand_below_and_overrides_above(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "knn_dino"]) == 0
    printed = capsys.readouterr().out
    assert "#   DINO, resnet50, 800 epochs: top1 67.5 (facebookresearch/dino README.md)" in printed
    assert "  # All that are reported.\n  ks: [10, 20, 100, 200]" in printed
    assert main(["show", "knn_dino", "--set", "recipe.k=10"]) == 0
    changed = capsys.readouterr().out
    assert "  k: 10\n" in changed and "DINO, resnet50" not in changed  # another protocol by now


def test_what_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "knn_dno"]) == 2
    assert "Did you mean 'knn_dino'?" in capsys.readouterr().err
    assert main(["show", "mec_r50_demo", "--set", "epoch=1"]) == 2
    assert "Did you mean 'epochs'?" in capsys.readouterr().err
