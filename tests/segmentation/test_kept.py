"""What a job leaves beside its record: the trained network, and a mask for each test image."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mec_transfer.cli.main import main
from mec_transfer.common.errors import CheckpointError, RunError, UserError
from mec_transfer.common.interrupt import Interrupted
from mec_transfer.datasets.segments.cityscapes import IDS
from mec_transfer.results.record import Record, read_record
from mec_transfer.segmentation.masks import MaskFolder
from mec_transfer.segmentation.pictures import colour
from mec_transfer.segmentation.trained import load_segmenter
from tests.datasets.segments.drawn import CLASSES, write_cityscapes, write_voc
from tests.segmentation.conftest import words


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Record]:
    """Two of the test images have one name, in two cities; the masks of one of them are train ids."""
    root = tmp_path_factory.mktemp("streets") / "streets"
    write_cityscapes(root, "train", [f"ulm_0_{name}" for name in "abcd"])
    write_cityscapes(root, "val", ["0_e", "0_f"])
    write_cityscapes(root, "val", ["0_e"], "labelTrainIds", "bonn")
    assert main(words(root, root.parent / "out", "recipe.batch=2", "recipe.slide={crop: 24, stride: 16}")) == 0
    return root, root.parent / "out", read_record(root.parent / "out")


def score(pairs: Iterable[tuple[np.ndarray, np.ndarray]], ids: Iterable[int]) -> float:
    """The mean over the classes of intersection over union, in percent, pixel by pixel, of true and predicted ids."""
    seen = [pair for truth, found in pairs for pair in zip(truth.ravel().tolist(), found.ravel().tolist(), strict=True)]
    counted = [(true, said) for true, said in seen if true in set(ids)]
    ratios = []
    for one in ids:
        both = sum(true == one and said == one for true, said in counted)
        either = sum(true == one or said == one for true, said in counted)
        if either:
            ratios.append(both / either)
    return 100 * sum(ratios) / len(ratios)


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "P"
        return np.array(image)


def test_saved_masks_of_voc_score_what_the_record_says(masks: Path, finished: tuple[Path, Record]) -> None:
    out, record = finished
    found = {path.name: read(path) for path in (out / "masks").iterdir()}
    assert sorted(found) == [f"p{number:03d}.png" for number in range(10, 14)]
    assert len(set(np.concatenate([mask.ravel() for mask in found.values()]).tolist())) > 1, "one class says little"
    truth = {name: read(masks / "SegmentationClass" / name) for name in found}
    scored = score(((truth[name], found[name]) for name in found), range(len(CLASSES)))
    assert record.metrics["mIoU"] == pytest.approx(scored, abs=1e-9)


def test_saved_masks_of_cityscapes_have_the_ids_of_its_evaluation(streets: tuple[Path, Path, Record]) -> None:
    root, out, record = streets
    folder = out / "masks"
    found = {path.relative_to(folder).as_posix(): read(path) for path in folder.rglob("*.png")}
    assert sorted(found) == ["bonn/0_e_leftImg8bit.png", "ulm/0_e_leftImg8bit.png", "ulm/0_f_leftImg8bit.png"]
    assert {int(number) for mask in found.values() for number in np.unique(mask)} <= set(IDS)
    pairs = []
    for name, mask in found.items():
        place = root / "gtFine/val" / name.replace("leftImg8bit", "gtFine_labelIds")
        truth = root / "gtFine/val/ulm/0_e_gtFine_labelIds.png" if "bonn" in name else place  # drawn the same
        pairs.append((np.array(Image.open(truth)), mask))
    assert record.metrics["mIoU"] == pytest.approx(score(pairs, IDS), abs=1e-9)


def test_a_mask_is_shown_in_the_colours_of_the_pictures(finished: tuple[Path, Record]) -> None:
    with Image.open(finished[0] / "masks/p010.png") as image:
        palette = np.array(image.getpalette()).reshape(-1, 3)
    assert [tuple(palette[label]) for label in range(3)] == [colour(label, CLASSES) for label in range(3)]


@pytest.mark.parametrize("layout", ["voc", "streets"])
def test_the_network_that_is_kept_predicts_the_masks_that_are_kept(
    layout: str, masks: Path, finished: tuple[Path, Record], streets: tuple[Path, Path, Record]
) -> None:
    out = finished[0] if layout == "voc" else streets[1]
    images = masks / "JPEGImages" if layout == "voc" else streets[0] / "leftImg8bit/val"
    trained = load_segmenter(out / "model_final.pth", "cpu")
    assert trained.classes[:2] == (("background", "red") if layout == "voc" else ("road", "sidewalk"))
    for path in (out / "masks").rglob("*.png"):
        image = images / path.relative_to(out / "masks")
        assert np.array_equal(np.array(trained.ids)[trained.predict(image)], read(path))
        pixels = np.array(Image.open(image).convert("RGB"))
        assert np.array_equal(trained.predict(pixels), trained.predict(image))


def test_the_network_that_is_kept_holds_a_backbone_for_every_other_command(
    finished: tuple[Path, Record], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(finished[0] / "model_final.pth")]) == 0
    assert "resnet18" in capsys.readouterr().out


def test_a_network_trained_before_is_not_mistaken(finished: tuple[Path, Record], tmp_path: Path) -> None:
    whole = (finished[0] / "model_final.pth").read_bytes()
    content = torch.load(finished[0] / "model_final.pth", weights_only=True)
    wrong: Mapping[str, tuple[object, str]] = {
        "missing": (None, "no such file"),
        "short": (whole[: len(whole) // 2], "cannot be read as a trained network"),
        "text": (b"hello", "cannot be read as a trained network"),
        "other": ({"model": {}}, "is not the model_final.pth of a job"),
        "list": ([1], "is not the model_final.pth of a job"),
        "newer": (content | {"format": "mec-transfer/segmenter/2"}, "its format is mec-transfer/segmenter/1"),
        "lacking": ({key: value for key, value in content.items() if key != "recipe"}, "not a whole .*recipe"),
        "classes": (content | {"classes": ["a", "b"]}, "not a whole trained network"),
    }
    for name, (value, message) in wrong.items():
        path = tmp_path / f"{name}.pth"
        if isinstance(value, bytes):
            path.write_bytes(value)
        elif value is not None:
            torch.save(value, path)
        with pytest.raises(CheckpointError, match=rf"^{path}: .*{message}") as found:
            load_segmenter(path, "cpu")
        assert "\n" not in str(found.value)


@pytest.mark.parametrize("pixels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_image_is_said(finished: tuple[Path, Record], pixels: np.ndarray, tmp_path: Path) -> None:
    trained = load_segmenter(finished[0] / "model_final.pth", "cpu")
    with pytest.raises(UserError, match=r"must be RGB pixels, \(H, W, 3\) uint8, not \("):
        trained.predict(pixels)
    with pytest.raises(UserError, match=r"none.png: cannot be read"):
        trained.predict(tmp_path / "none.png")


@pytest.mark.parametrize("error", [RunError("the disk is full"), Interrupted(signal.SIGTERM)])
def test_a_test_that_was_stopped_is_made_anew_with_whole_masks_alone(
    masks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    out, write = tmp_path / "out", MaskFolder.write

    def fail(self: MaskFolder, at: int, labels: np.ndarray) -> None:
        if at == 2:
            raise error
        write(self, at, labels)

    with monkeypatch.context() as patch:
        patch.setattr(MaskFolder, "write", fail)
        assert main(words(masks, out)) not in (0, 2)
    assert (out / "model_final.pth").exists() and (out / "training_state.pt").exists()
    (out / "masks/removed.png").write_bytes(b"of an image that the test split no longer has")
    assert main(words(masks, out)) == 0
    found = {path.name: read(path) for path in (out / "masks").iterdir()}
    assert sorted(found) == [f"p{number:03d}.png" for number in range(10, 14)]
    truth = ((read(masks / "SegmentationClass" / name), mask) for name, mask in found.items())
    assert read_record(out).metrics["mIoU"] == pytest.approx(score(truth, range(3)), abs=1e-9)
    assert not list(out.glob("training*"))


def test_masks_of_somebody_elses_are_left_alone(
    masks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "out/masks/p010.png"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"drawn by hand")
    assert main(words(masks, tmp_path / "out")) == 2
    assert f"{own.parent}: is there, and not of this job" in capsys.readouterr().err.splitlines()[-1]
    assert own.read_bytes() == b"drawn by hand"


def test_room_is_needed_for_the_network_and_the_masks_too(
    masks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    free = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free._replace(free=1 << 20))
    assert main(words(masks, tmp_path / "out")) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "1.0 MiB free" in said and "for the training state, the trained network and the masks" in said


def test_two_processes_write_their_own_images_masks(tmp_path: Path) -> None:
    root, out = write_voc(tmp_path / "mine", {"train": range(6), "val": range(10, 15)}), tmp_path / "out"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    command = [sys.executable, "-m", "mec_transfer.cli.main", *words(root, out)]
    runs = [
        subprocess.Popen(command, env={**os.environ, **where, "RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    said = [run.communicate(timeout=240)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    found = {path.name: read(path) for path in (out / "masks").iterdir()}
    assert sorted(found) == [f"p{number:03d}.png" for number in range(10, 15)]
    truth = ((read(root / "SegmentationClass" / name), mask) for name, mask in found.items())
    assert read_record(out).metrics["mIoU"] == pytest.approx(score(truth, range(3)), abs=1e-9)
