"""mec-transfer track on the published data, on a part of it, and on a folder of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mec_transfer.cli.main import main

SETTINGS = ["--set", "recipe.crop_size=72", "--device", "cpu"]


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two OTB sequences of two frames each."""
    for name in ("Fox", "Owl"):
        folder = tmp_path / "clips" / name
        (folder / "img").mkdir(parents=True)
        for number in (1, 2):
            pixels = np.full((60, 70, 3), 40 * number, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "img" / f"{number:04d}.png")
        (folder / "groundtruth_rect.txt").write_text("11,12,20,18\n12,12,20,18\n")
    return tmp_path / "clips"


def track(data: Path, out: Path, *options: str) -> int:
    return main(["track", "random:resnet18", "--data", str(data), "--out", str(out), *SETTINGS, *options])


def test_data_of_ones_own_has_its_own_name_and_protocol(clips: Path, tmp_path: Path) -> None:
    assert track(clips, tmp_path / "out", "--config", "sot_xcorr", "--split", "all", "--sequences", " Owl") == 0
    record = json.loads((tmp_path / "out/record.json").read_text())
    assert record["dataset"]["name"] == "clips" and record["dataset"]["num_images"] == 2
    assert record["benchmark"]["protocol"].startswith("otb2015-sot-xcorr-unitrack+custom-")
    assert list(record["details"]["by_sequence"]) == ["Owl"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--config", "vos_dino", "--split", "all"], "'recipe.crop_size' is not an option"),
        (["--config", "sot_xcorr"], "Basketball, Biker, Bird1, Bird2, BlurBody, ... (data of your own: name its part"),
        ([], "--config is needed: one of deepsort_mot17"),
        (["--config", "knn_dino"], "knn_dino: no such config"),
        (["--config", "sot_xcorr", "--split", "val"], "has no split 'val'"),
        (
            ["--config", "sot_xcorr", "--split", "all", "--sequences", "Fox,Elk"],
            "has no sequence 'Elk'; it has Fox, Owl",
        ),
    ],
)
def test_a_wrong_part_is_one_line(
    clips: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert track(clips, tmp_path / "out", *options) == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_broken_line_gets_no_advice_about_splits(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (clips / "Owl" / "groundtruth_rect.txt").write_text("11,12,20,18\n12,x\n")
    options = ["--config", "demo_sot_xcorr", "--set", "dataset.sequences=[Owl]"]
    assert track(clips, tmp_path / "out", *options) == 2
    printed = capsys.readouterr().err
    assert "groundtruth_rect.txt:2: " in printed and "data of your own" not in printed
