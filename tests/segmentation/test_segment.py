"""The command from end to end, on data of one's own."""

from __future__ import annotations

import shutil
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from mec_transfer.cli.main import main
from mec_transfer.common.errors import DataError, RunError
from mec_transfer.results.record import Record, read_record
from mec_transfer.results.store import Store
from mec_transfer.segmentation import segment
from mec_transfer.suite.registry import benchmark_config, find_benchmark, saved_units
from tests.datasets.segments.drawn import CLASSES, write_cityscapes, write_voc
from tests.segmentation.conftest import LONGER, SHORT, words


def test_squares_of_two_colours_are_learnt(finished: tuple[Path, Record]) -> None:
    out, record = finished
    assert record.metrics["mIoU"] > 40  # 27 for background alone
    assert record.metrics.keys() == {"mIoU", "mAcc", "aAcc", *(f"IoU/{name}" for name in CLASSES)}
    assert record.selection is not None and (record.selection.chosen, record.selection.by) == (
        "iteration 50",
        "protocol",
    )
    confusion = np.array(record.details["confusion"])
    union = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    assert record.metrics["mIoU"] == pytest.approx(100 * (confusion.diagonal() / union).mean())
    assert not list(out.glob("training*"))


def test_pictures_show_photo_truth_and_prediction(finished: tuple[Path, Record]) -> None:
    found = sorted(path.name for path in (finished[0] / "pictures").iterdir())
    assert [name.partition("_p")[0] for name in found] == ["best_1", "median_1", "worst_1"]
    assert len({name.partition("_p")[2] for name in found}) == 3
    with Image.open(finished[0] / "pictures" / found[0]) as image:
        assert image.width == 3 * (image.width - 12) // 3 + 12 and image.height > 300


def test_a_number_is_not_lost_for_a_picture(
    masks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(segment, "draw_examples", Mock(side_effect=RunError("the disk is full")))
    assert main(words(masks, tmp_path / "out")) == 0
    assert "pictures: not drawn (the disk is full)" in capsys.readouterr().err


def test_verify_recomputes_it_and_sees_a_changed_count(
    finished: tuple[Path, Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished[0], tmp_path / "job")
    assert main(["verify", str(tmp_path / "job")]) == 0
    saved = dict(np.load(tmp_path / "job" / "predictions.npz"))
    for name in ("intersection", "predicted", "truth"):
        saved[name][0, 0] += 1
    saved["confusion"][0, 0] += 1
    np.savez(tmp_path / "job" / "predictions.npz", **saved)
    capsys.readouterr()
    assert main(["verify", str(tmp_path / "job")]) == 1
    assert "mIoU = " in capsys.readouterr().out


def test_images_are_the_units_of_a_comparison(finished: tuple[Path, Record]) -> None:
    (stored,) = Store.read(finished[0]).stored
    units = saved_units(stored)
    assert units is not None and (units.kind, units.count) == ("images", 4)
    ones = np.ones((4, 1), dtype=np.int32)
    for name, value in finished[1].metrics.items():
        assert units.measure(name, ones) == pytest.approx([value])


def test_a_finished_job_is_not_run_again_and_another_is_refused(
    finished: tuple[Path, Record], masks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished[0] / "record.json").stat().st_mtime_ns
    assert main(words(masks, finished[0], *LONGER)) == 0
    assert (finished[0] / "record.json").stat().st_mtime_ns == before
    assert main(words(masks, finished[0])) == 2
    assert "holds another job" in capsys.readouterr().err


def test_a_network_whose_test_images_are_mended_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise DataError("a test image cannot be read")

    root = write_voc(tmp_path / "mine", {"train": range(6), "val": range(6, 8)})
    with monkeypatch.context() as patch:
        patch.setattr(segment, "predict_all", fail)
        assert main(words(root, tmp_path / "out")) == 2
    assert read_record(tmp_path / "out").status == "failed" and (tmp_path / "out" / "training_state.pt").exists()
    mask = root / "SegmentationClass" / "p006.png"
    Image.fromarray(np.array(Image.open(mask))[::-1]).save(mask)
    capsys.readouterr()
    assert main(words(root, tmp_path / "out")) == 0
    assert "going on from iteration 4 of 4" in capsys.readouterr().err
    assert read_record(tmp_path / "out").status == "ok" and not list((tmp_path / "out").glob("training*"))


def test_data_of_ones_own_gets_a_protocol_of_its_own(
    masks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(masks, tmp_path / "out", config="voc12aug_fcn_moco")) == 0
    record = read_record(tmp_path / "out")
    assert record.dataset is not None and record.dataset.name == "mine" and record.dataset.classes == 3
    confusion = np.array(record.details["confusion"])
    one_alone = "every pixel of the 4 test images was called "
    assert any(line.startswith(one_alone) for line in record.warnings) == ((confusion.sum(axis=0) > 0).sum() == 1)
    assert record.benchmark.protocol.startswith("voc12aug-fcn-d16-slotcon+custom-")
    said = capsys.readouterr().err
    assert "is not voc12aug: it is called 'mine', its 3 classes are trained on train and measured on val" in said


def test_a_layout_is_found_for_the_folder_that_is_there(tmp_path: Path) -> None:
    for split, names in (("train", "abcd"), ("val", "ef")):
        write_cityscapes(tmp_path / "streets", split, [f"ulm_0_{name}" for name in names])
    out, more = tmp_path / "out", ("recipe.batch=2", "recipe.auxiliary=null", "recipe.schedule={kind: steps}")
    settings = [word for one in (*SHORT, *more) for word in ("--set", one) if "schedule.steps" not in one]
    data = ["--data", str(tmp_path / "streets"), "--out", str(out), "--device", "cpu"]
    assert main(["segment", "random:resnet18", "--config", "voc12aug_fcn_mmseg", *data, *settings]) == 0
    record = read_record(out)
    assert record.dataset is not None and record.dataset.classes == 19
    assert {name for name in record.metrics if name.startswith("IoU/")} >= {"IoU/road", "IoU/sky", "IoU/car"}
    assert any("no training image has a pixel of 16 of 19 classes" in line for line in record.warnings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("recipe.batch=16",), "10 training images do not fill a batch of 16; override recipe.batch"),
        (("metrics.primary=AP",), "metrics.primary: 'AP' is not one of mIoU, mAcc, aAcc, IoU/background"),
        (("recipe.augmentation.crop=4",), "recipe.augmentation.crop"),
        (("recipe.augmentation.ratio=[2,1]",), "'ratio' must be two numbers above 0"),
        (("recipe.scale=[0,40]",), "recipe.scale"),
        (("recipe.slide={crop: 16, stride: 20}",), "'stride' must not be larger than 'crop'"),
        (("dataset.classes=[a,b]",), "has the label 2 in"),
    ],
)
def test_mistakes_are_one_line_before_any_training(
    masks: Path, tmp_path: Path, changes: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(masks, tmp_path / "out", *changes)) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("warning: ")]
    assert message in said[-1] and not (tmp_path / "out" / "record.json").exists()


def test_a_card_shows_the_settings_that_are_set() -> None:
    shown = benchmark_config(find_benchmark("voc12aug_fcn_mmseg", Path())).settings()
    assert shown["align_corners"] is False and shown["schedule"] == {"kind": "poly", "power": 0.9, "min_lr": 0.0001}
    assert not {"tf32", "slide", "unscaled_pixels"} & shown.keys()


def test_many_broken_masks_are_named_by_five_and_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_voc(tmp_path / "mine", {"train": range(8), "val": range(8, 10)})
    for path in (root / "SegmentationClass").iterdir():
        Image.open(path).convert("RGB").save(path)
    assert main(words(root, tmp_path / "out")) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.count("has colours in place of labels") == 5
    assert f"and 5 more, which mec-transfer data check {root} --layout voc_seg lists" in said


def test_masks_of_0_and_255_have_one_class_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_voc(tmp_path / "mine", {"train": range(6), "val": range(6, 8)})
    for path in (root / "SegmentationClass").iterdir():
        Image.fromarray(np.where(np.array(Image.open(path)) > 0, 255, 0).astype(np.uint8)).save(path)
    assert main(words(root, tmp_path / "out")) == 2
    assert "have pixels of background alone; two classes are needed, and 255 in a mask" in capsys.readouterr().err


def test_images_of_both_splits_are_a_warning(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "mine", {"train": range(6), "val": range(5, 8)})
    assert main(words(root, tmp_path / "out")) == 0
    assert any("1 of the 3 test images are trained on: p005" in line for line in read_record(tmp_path / "out").warnings)


@pytest.mark.parametrize(
    "name", ["voc12aug_fcn_moco", "voc12aug_fcn_mmseg", "cityscapes_fcn_moco", "cityscapes_fcn_mmseg"]
)
def test_how_a_test_image_is_looked_at_leaves_the_training_as_it_is(name: str) -> None:
    path = find_benchmark(name, Path())
    plain = benchmark_config(path)
    slid = benchmark_config(path, ["recipe.slide={crop: 512, stride: 256}"])
    longer = benchmark_config(path, ["recipe.lr=0.02"])
    hashes = [config.training_sha256 for config in (plain, slid, longer)]  # type: ignore[attr-defined]
    assert hashes[0] == hashes[1] != hashes[2] and plain.sha256 != slid.sha256
