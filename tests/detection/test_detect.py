"""The command, end to end on tiny data of both layouts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from mec_transfer.cli.main import main
from mec_transfer.common.errors import DataError
from mec_transfer.common.paths import CONFIGS
from mec_transfer.detection import engine
from mec_transfer.suite.registry import benchmark_files, load_benchmark
from tests.datasets.objects.test_cityscapes import square
from tests.datasets.objects.test_cityscapes import write as write_street
from tests.detection.conftest import SHORT

engine.load()

from detectron2.config import get_cfg  # noqa: E402
from detectron2.modeling import build_model  # noqa: E402

from mec_transfer.detection.network import read_config  # noqa: E402

CHANGES = "recipe.changes=" + json.dumps({k: v for k, v in SHORT.items() if k != "SOLVER.IMS_PER_BATCH"})
SHORTEST = ("--set", "recipe.images_per_batch=null", "--set", "recipe.changes=" + json.dumps(SHORT))
"""Three iterations, where their number does not matter."""
FILES = sorted(
    path for path in benchmark_files() if path.parent.name == "detection" and not path.stem.startswith("demo_")
)


def detect(data: Path, out: Path, *options: str, config: str = "coco_fpn_1x") -> int:
    small = ("--set", CHANGES, "--set", "recipe.images_per_batch=2", "--device", "cpu", "--workers", "0")
    command = ["detect", "random:resnet18:2", "--config", config, "--data", str(data), "--out", str(out)]
    return main([*command, *small, *options])


@pytest.mark.integration
def test_masks_on_coco_data_of_ones_own(boxes, tmp_path, capsys):
    assert detect(boxes / "coco", tmp_path / "out") == 0
    printed = capsys.readouterr()
    assert "its 2 classes are trained on train and measured on test" in printed.err
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["status"] == "ok" and record["benchmark"]["protocol"].startswith("coco-fpn-1x-moco+custom-")
    details = record["details"]
    assert details["classes"] == ["blue", "red"] and details["precision"] == "float32"
    assert (details["images_per_batch"], details["images_per_process"], details["processes"]) == (2, 2, 1)
    assert "2 images on 1 process; the published runs had 2 on each of 8" in record["warnings"]
    assert {"AP", "AP50", "mask_AP", "mask_AP50"} <= record["metrics"].keys()
    assert any(
        "2 images a batch in place of 16: rate times 0.125, 24 iterations" in line for line in record["warnings"]
    )
    assert main(["verify", str(tmp_path / "out")]) == 0
    pictures = sorted((tmp_path / "out" / "pictures").glob("*.png"))
    assert len(pictures) in (0, 2, 4)
    assert (tmp_path / "out" / "model_final.pth").is_file() and not list((tmp_path / "out").glob("training_*"))
    plain = get_cfg()
    plain.merge_from_file(str(tmp_path / "out" / "detectron2.yaml"))
    build_model(plain).load_state_dict(torch.load(tmp_path / "out" / "model_final.pth")["model"])
    before = (tmp_path / "out" / "record.json").read_bytes()
    assert detect(boxes / "coco", tmp_path / "out") == 0  # finished: nothing is repeated
    assert (tmp_path / "out" / "record.json").read_bytes() == before


@pytest.mark.integration
def test_masks_of_cityscapes_polygons_under_a_protocol_of_its_own(tmp_path, capsys):
    data, out = tmp_path / "streets", tmp_path / "out"
    for split, count in (("train", 3), ("val", 2)):
        for number in range(count):
            things = [square("car", 3 + number, 4, 12), square("bus", 20, 6, 14), square("pole", 25, 2, 3)]
            write_street(data, split, f"ulm_{number:06d}_000019", things)
    assert detect(data, out, *SHORTEST, config="cityscapes_fpn") == 0
    record = json.loads((out / "record.json").read_text())
    assert record["benchmark"]["protocol"].startswith("cityscapes-fpn-d2-cocoap+custom-")
    assert record["primary"] == "mask_AP" and {"AP", "mask_AP", "mask_AP50"} <= record["metrics"].keys()
    assert record["dataset"]["num_images"] == 5 and record["details"]["classes"][:3] == ["person", "rider", "car"]
    assert main(["verify", str(out)]) == 0
    assert "MASK_FORMAT: bitmask" in (out / "detectron2.yaml").read_text()


def test_masks_cannot_be_the_number_where_none_are_learnt(boxes, tmp_path, capsys):
    bare = ("--set", f"recipe.changes={json.dumps(SHORT | {'MODEL.MASK_ON': False})}")
    assert detect(boxes / "voc", tmp_path / "out", *bare, config="cityscapes_fpn") == 2
    said = capsys.readouterr().err
    assert "metrics.primary: 'mask_AP' is not one of AP, AP50, AP75, which this run measures" in said


@pytest.mark.integration
def test_boxes_on_voc_data_with_a_broken_annotation_left_out(boxes, tmp_path, capsys):
    data = tmp_path / "mine"
    shutil.copytree(boxes / "voc", data)
    broken = data / "Annotations" / "000.xml"
    broken.write_text(broken.read_text().replace("<name>red", "<name>green", 1))
    one_class = tuple(("--set", f"recipe.{key}") for key in ("config=coco_fpn_1x_d2.yaml", "metric=voc07"))
    options = [word for pair in one_class for word in pair]
    assert detect(data, tmp_path / "out", *options, "--classes", "blue, red", config="voc07_c4") == 2
    assert re.search(r"000.xml:3: unknown class 'green'; there are blue, red", capsys.readouterr().err)
    Image.new("RGB", (9, 9)).save(data / "JPEGImages" / "001.jpg")  # the truth then lies outside the image
    assert detect(data, tmp_path / "out", *options, config="voc07_c4") == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "001.xml:3: box" in line and "lies outside the image (9x9)" in line and "--skip-invalid" in line


@pytest.mark.integration
def test_images_that_testing_would_stumble_over_are_found_before_training(boxes, tmp_path, capsys):
    import shutil

    data = tmp_path / "mine"
    shutil.copytree(boxes / "coco", data)
    cut, other = sorted((data / "test").glob("*.jpg"))[:2]
    cut.write_bytes(cut.read_bytes()[:-700])
    Image.new("RGB", (9, 9)).save(other)
    flat = json.loads((data / "annotations" / "train.json").read_text())
    flat["annotations"][0]["bbox"][3] = 0  # as two of COCO's own: no mistake
    (data / "annotations" / "train.json").write_text(json.dumps(flat))
    assert detect(data, tmp_path / "out") == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.search(rf"test.json:1: image 9: {cut.name}: not a readable image \(image file is truncated", line)
    assert f"{other.name}: has 9x9 pixels, its annotation says" in line
    assert not (tmp_path / "out" / "record.json").exists()
    assert main(["data", "check", str(data), "--layout", "coco"]) == 2
    assert capsys.readouterr().out.count("problem: ") == 2
    assert detect(data, tmp_path / "out", "--skip-invalid") == 0
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["details"]["test_images"] == 2 and record["dataset"]["num_images"] == 10
    assert any("2 broken annotations are left out, the first: " in line for line in record["warnings"])
    assert any("1 object without width or height is not trained on, as Detectron2" in w for w in record["warnings"])


@pytest.mark.integration
def test_what_skip_invalid_left_out_is_counted_in_the_record_and_verified(boxes, tmp_path, capsys):
    data, out = tmp_path / "mine", tmp_path / "out"
    shutil.copytree(boxes / "coco", data)
    for split, faults in (("train", 2), ("test", 1)):
        path = data / "annotations" / f"{split}.json"
        content = json.loads(path.read_text())
        for item in content["annotations"][:faults]:
            item["category_id"] = 9
        path.write_text(json.dumps(content, indent=1))
    assert detect(data, out, *SHORTEST) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "train.json:" in said and "unknown class number 9" in said and "--skip-invalid" in said
    assert not (out / "record.json").exists()
    assert detect(data, out, *SHORTEST, "--skip-invalid") == 0
    record = json.loads((out / "record.json").read_text())
    assert "3 broken annotations left out" in record["dataset"]["note"] and record["dataset"]["name"] == "mine"
    assert any(
        re.match(r"3 broken annotations are left out, the first: .*train.json:\d+: annotation 1", line)
        for line in record["warnings"]
    )
    assert "+custom-" in record["benchmark"]["protocol"]
    assert record["benchmark"] == json.loads((out / "job.json").read_text())["benchmark"]
    assert json.loads((out / "job.json").read_text())["config"]["dataset"]["skip_invalid"] is True
    assert main(["verify", str(out)]) == 0
    assert detect(data, out, *SHORTEST) == 2  # without the option the mistakes are mistakes again


@pytest.mark.integration
def test_a_mended_test_image_is_measured_with_the_detector_that_was_trained(boxes, tmp_path, capsys, monkeypatch):
    """It cannot be read after the training; the same command measures, and gives what an undisturbed run gives."""
    from mec_transfer.detection import inference, training

    data, out = tmp_path / "mine", tmp_path / "out"
    shutil.copytree(boxes / "coco", data)

    def broken(*_: object) -> None:
        raise DataError(f"{data}/test/009.jpg: cannot be read (truncated); replace or remove it")

    with monkeypatch.context() as patch:
        patch.setattr(inference, "predict", broken)
        assert detect(data, out, *SHORTEST) == 2
    failed = json.loads((out / "record.json").read_text())
    assert failed["status"] == "failed" and "009.jpg: cannot be read" in failed["error"]
    assert (out / training.CHECKPOINT).is_file()
    test_image, train_image = data / "test" / "009.jpg", data / "train" / "003.jpg"
    Image.open(test_image).save(test_image, quality=60)

    seen = train_image.read_bytes()
    Image.open(train_image).save(train_image, quality=60)  # the detector saw another: it has to be trained again
    capsys.readouterr()
    assert detect(data, out, *SHORTEST) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "holds another job" in said and "was trained on other training data than is there now" in said
    assert (out / training.CHECKPOINT).is_file()
    train_image.write_bytes(seen)

    with monkeypatch.context() as patch:
        patch.setattr(training.Stepper, "step", lambda *_: pytest.fail("trained again"))
        assert detect(data, out, *SHORTEST) == 0
    assert not list(out.glob("training*"))
    assert detect(data, tmp_path / "undisturbed", *SHORTEST) == 0
    mended, undisturbed = (
        json.loads((folder / "record.json").read_text()) for folder in (out, tmp_path / "undisturbed")
    )
    assert mended["metrics"] == undisturbed["metrics"] and mended["dataset"] == undisturbed["dataset"]
    for name in ("predictions.json.gz", "truth.json.gz"):
        assert (out / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()


def test_a_test_split_of_crowds_alone_is_refused_before_training(boxes, tmp_path, capsys):
    data = tmp_path / "mine"
    shutil.copytree(boxes / "coco", data)
    path = data / "annotations" / "test.json"
    content = json.loads(path.read_text())
    content["annotations"] = [{**item, "iscrowd": 1} for item in content["annotations"]]
    path.write_text(json.dumps(content))
    assert detect(data, tmp_path / "out") == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert (
        "split 'test': has nothing to measure on (4 images, 0 of them without an object, 8 objects, 8 of them" in said
    )
    assert not (tmp_path / "out" / "record.json").exists()


@pytest.mark.parametrize(
    ("config", "options", "processes", "expected"),
    [
        ("voc07_c4", [], 8, None),
        ("voc07_c4", [], 1, r"16 images on 1 process: Detectron2 pads .* published runs had 2 images on each of 8"),
        ("coco_c4_1x", [], 4, r"16 images on 4 processes: Detectron2 pads"),
        (
            "voc07_c4",
            ["recipe.images_per_batch=8"],
            1,
            r"^8 images on 1 process; the published runs had 2 on each of 8$",
        ),
        ("demo_mask_rcnn", [], 1, None),
    ],
)
def test_other_shares_than_the_published_ones_are_said(monkeypatch, config, options, processes, expected):
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    benchmark = load_benchmark(CONFIGS / "detection" / f"{config}.yaml", options)
    stock = read_config(CONFIGS / "detection" / benchmark.config.recipe.config)
    notes = benchmark._note_of_shares(benchmark.config.recipe.images_per_batch or stock.SOLVER.IMS_PER_BATCH)
    assert [bool(re.search(expected, note)) for note in notes] == [True] if expected else not notes


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_published_config_is_what_its_stock_yaml_says(path):
    benchmark = load_benchmark(path).config
    config = read_config(CONFIGS / "detection" / benchmark.recipe.config)
    assert config.MODEL.RESNETS.STRIDE_IN_1X1 is False and config.MODEL.BACKBONE.FREEZE_AT == 0
    assert config.INPUT.FORMAT == "RGB" and config.TEST.PRECISE_BN.ENABLED
    assert config.MODEL.PIXEL_MEAN == [123.675, 116.28, 103.53]
    assert (8 if benchmark.id == "cityscapes_fpn" else 16) == config.SOLVER.IMS_PER_BATCH
    years = {
        "voc07": ("voc_2007_trainval",),
        "voc0712": ("voc_2007_trainval", "voc_2012_trainval"),
        "cityscapes": ("cityscapes_fine_instance_seg_train",),
    }
    assert tuple(config.DATASETS.TRAIN) == years.get(benchmark.dataset.name, ("coco_2017_train",))
    assert (benchmark.dataset.layout != "voc") == config.MODEL.MASK_ON
    rates = {"voc0712_c4_barlow": 0.1, "coco_c4_1x_barlow": 0.03, "cityscapes_fpn": 0.01}
    assert rates.get(benchmark.id, 0.02) == config.SOLVER.BASE_LR
    lengths = {"voc07": 12500, "voc0712": 24000, "cityscapes": 24000}
    lengths["coco2017"] = 180000 if benchmark.id == "coco_c4_2x" else 90000
    assert lengths[benchmark.dataset.name] == config.SOLVER.MAX_ITER
    warmup = {"voc07_c4": 100, "voc0712_c4": 100}
    assert warmup.get(benchmark.id, 1000) == config.SOLVER.WARMUP_ITERS
    native = {"voc07_c4", "voc0712_c4_vissl", "voc0712_c4_barlow", "coco_fpn_1x", "cityscapes_fpn"}
    assert ("SyncBN" if benchmark.id in native else "naiveSyncBN") == config.MODEL.RESNETS.NORM
    assert benchmark.trials == (5 if benchmark.dataset.layout == "voc" else 1) and benchmark.published


def test_cityscapes_is_trained_by_detectron2s_own_settings():
    from detectron2 import model_zoo

    ours = read_config(CONFIGS / "detection" / "cityscapes_fpn_d2.yaml")
    theirs = model_zoo.get_config("Cityscapes/mask_rcnn_R_50_FPN.yaml")
    ours.INPUT.FORMAT = theirs.INPUT.FORMAT  # the checkpoint decides
    assert (ours.INPUT, ours.SOLVER, ours.DATASETS) == (theirs.INPUT, theirs.SOLVER, theirs.DATASETS)
    for part in ("RPN", "ROI_HEADS", "ROI_BOX_HEAD", "ROI_MASK_HEAD", "ANCHOR_GENERATOR"):
        assert ours.MODEL[part] == theirs.MODEL[part], part


def test_every_source_has_a_protocol_id_of_its_own():
    protocols = [load_benchmark(path).config.protocol for path in FILES]
    assert len(set(protocols)) == len(protocols) == 9


def test_the_stock_yamls_load_in_plain_detectron2_and_name_its_data_sets():
    """In a process that never imports this project, but for the head of MoCo's that the C4 files name."""
    program = """
import sys, warnings
warnings.simplefilter("ignore")
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog
from detectron2.modeling import ROI_HEADS_REGISTRY, build_model
for path in sys.argv[1:]:
    config = get_cfg()
    config.merge_from_file(path)
    assert set(config.DATASETS.TRAIN + config.DATASETS.TEST) <= set(DatasetCatalog.list()), path
    assert config.MODEL.ROI_HEADS.NAME in ROI_HEADS_REGISTRY or config.MODEL.ROI_HEADS.NAME == "Res5ROIHeadsExtraNorm"
config.MODEL.DEVICE = "cpu"
build_model(config)
assert not any(name.startswith("mec_transfer") for name in sys.modules)
"""
    stock = sorted((CONFIGS / "detection").glob("*_d2.yaml"), key=lambda path: "fpn" in path.stem)
    done = subprocess.run([sys.executable, "-c", program, *stock], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("SOLVER.MAX_ITER: 100", r"SOLVER.STEPS \[18000, 22000\] must lie before SOLVER.MAX_ITER 100"),
        ("SOLVER.AMP.ENABLED: true", "SOLVER.AMP.ENABLED is set, which this training does not do"),
        ("INPUT.FORMAT: BGR", "INPUT.FORMAT has no effect"),
        ("SOLVER.MAXITER: 100", "not a config that Detectron2 reads"),
        ("SOLVER.BASE_LR: high", "not a config that Detectron2 reads"),
    ],
)
def test_a_change_that_would_do_nothing_or_break_later_is_refused_at_once(boxes, tmp_path, capsys, changes, message):
    command = ["detect", "random:resnet50", "--config", "voc0712_c4", "--data", str(boxes / "voc"), "--device", "cpu"]
    assert main([*command, "--out", str(tmp_path / "out"), "--set", f"recipe.changes={{{changes}}}"]) == 2
    assert re.search(message, capsys.readouterr().err.splitlines()[-1])
    assert not (tmp_path / "out" / "record.json").exists()


def test_the_stock_yaml_is_part_of_the_hash(tmp_path):
    path = CONFIGS / "detection" / "voc07_c4.yaml"
    stock = tmp_path / "mine_d2.yaml"
    stock.write_text("MODEL: {MASK_ON: false}\n")
    override = [f"recipe.config={stock}"]
    first = load_benchmark(path, override).config
    stock.write_text("MODEL: {MASK_ON: true}\n")
    assert load_benchmark(path, override).config.sha256 != first.sha256
    assert first.protocol.startswith("voc07-c4-vissl12k5+custom-")


def test_wrong_folders_and_splits_are_one_line(boxes, tmp_path, capsys):
    assert detect(tmp_path / "nowhere", tmp_path / "out") == 2
    assert "nowhere: no such folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert detect(tmp_path / "empty", tmp_path / "out") == 2
    assert "neither a VOC folder" in capsys.readouterr().err
    assert detect(boxes / "voc", tmp_path / "out", "--train", "trainval") == 2
    assert "has no split 'trainval' to train on; it has test, train" in capsys.readouterr().err
