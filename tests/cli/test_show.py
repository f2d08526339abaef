"""`mec-transfer show`: every config, as a file that is the same benchmark."""

from __future__ import annotations

from pathlib import Path

import pytest

from mec_transfer.cli.main import main
from mec_transfer.common.config import load_config
from mec_transfer.suite.registry import benchmark_config, benchmark_files, find_benchmark
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
    assert main(["show", "mec_r18_demo", "--set", "epoch=1"]) == 2
    assert "Did you mean 'epochs'?" in capsys.readouterr().err


def test_a_card_says_what_moves_the_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "voc0712_c4", "--cards"]) == 0
    card = capsys.readouterr().out
    assert "`voc0712-c4-moco`" in card and "mean of 5 trials" in card and "4,952 images in `2007_test`" in card
    assert "`MODEL.RESNETS.NORM: naiveSyncBN`" in card  # of the stock yaml's base
    assert "| MoCo v2 | resnet50, 800 epochs | 82.5 | 57.4 | 64.0 | its authors | facebookresearch/moco" in card
    assert "tf32" not in card and "images_per_batch" not in card
    assert main(["show", "knn_dino", "--cards", "--set", "recipe.k=10"]) == 0
    changed = capsys.readouterr().out
    assert "imagenet-knn-dino+custom-" in changed and "`k: 10`" in changed and "none are quoted" in changed


def test_settings_without_meaning_for_a_variant_are_left_out() -> None:
    def settings(name: str) -> set[str]:
        return set(benchmark_config(find_benchmark(name, Path())).settings())

    assert "sigma" in settings("sot_dcf") - settings("sot_xcorr")
    assert "short_side" in settings("vos_dino") - settings("vos_unitrack")
    assert "interval" in settings("siamrpn_vot2018") - settings("siamrpn_lasot")
    assert {"optimizer.lr", "model.tracker.match_iou_thr"} <= settings("deepsort_mot17")


def test_every_benchmark_but_the_demos_has_a_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--cards"]) == 0
    printed = capsys.readouterr().out
    for path in benchmark_files():
        there = f"**Config**: `{path.stem}`\n" in printed or f"\n| `{path.stem}` | " in printed
        assert there == (not path.stem.startswith("demo_"))


@pytest.mark.parametrize("path", benchmark_files(), ids=lambda path: path.stem)
def test_deviations_are_sentences_and_are_shown(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = benchmark_config(path)
    assert main(["show", path.stem]) == 0
    printed = " ".join(capsys.readouterr().out.replace("''", "'").split())
    for sentence in config.deviations:
        assert sentence[0].isupper() and sentence.endswith(".") and sentence in printed


def test_cards_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show"]) == 2
    assert "name a CONFIG" in capsys.readouterr().err
    assert main(["show", "--cards", "--set", "recipe.k=10"]) == 2
    assert "--set changes one benchmark: name its CONFIG" in capsys.readouterr().err
    assert main(["show", "mec_r18_demo", "--cards"]) == 2
    assert "no such benchmark" in capsys.readouterr().err
