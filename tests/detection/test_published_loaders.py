"""Data as it is, against the published code: Detectron2's loaders and mapper, pycocotools and the VOC evaluator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from mec_transfer.common.paths import CONFIGS
from mec_transfer.datasets.objects.headers import load_shown
from mec_transfer.datasets.objects.notes import mask_notes, training_notes
from mec_transfer.datasets.objects.splits import ObjectSplit
from mec_transfer.detection import engine
from mec_transfer.detection.coco_ap import coco_metrics
from mec_transfer.detection.pictures import draw_best_and_worst
from mec_transfer.detection.predictions import read_truth, save_predictions
from mec_transfer.detection.voc_ap import voc_metrics
from tests.datasets.objects.objects_world import voc_object, write_voc
from tests.datasets.reading import open_splits

engine.load()

from detectron2.data.build import filter_images_with_only_crowd_annotations  # noqa: E402
from detectron2.data.datasets.coco import load_coco_json  # noqa: E402
from detectron2.data.datasets.pascal_voc import load_voc_instances  # noqa: E402
from detectron2.data.detection_utils import read_image  # noqa: E402
from detectron2.evaluation.pascal_voc_evaluation import voc_eval  # noqa: E402

from mec_transfer.detection.loading import MappedImages, training_records  # noqa: E402
from mec_transfer.detection.network import read_config  # noqa: E402

WIDTH, HEIGHT = 90, 60
BOXES = {
    "no height": [29.65, 38.33, 1.03, 0.0],
    "no width, at the border": [90.0, 5.0, 0.0, 10.0],
    "out at the right": [70.2, 10.1, 31.7, 20.4],
    "out on all sides": [-3.4, -2.2, 99.9, 70.1],
    "out by rounding": [59.97, 0.0, 30.04, 60.0],
}
"""Besides ordinary ones: all are in the truth, the first two are not trained on, the others are clipped."""


def outline(box: list[float]) -> list[float]:
    x, y, w, h = box
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def awkward(seed: int) -> dict[str, Any]:
    """Twelve images: random boxes, COCO's degenerate ones, crowds of both kinds of RLE, polygons of two points."""
    chance = np.random.default_rng(seed)
    images = [{"id": n, "file_name": f"{n}.png", "width": WIDTH, "height": HEIGHT} for n in (9, 4, 30, *range(11, 20))]
    items: list[dict[str, Any]] = []

    def add(image: int, box: list[float], **more: Any) -> None:
        area = float(chance.uniform(0.2, 1.2) * box[2] * box[3])  # not the box's, nor the polygon's
        item = {"id": len(items) + 1, "image_id": image, "category_id": int(chance.choice([3, 17]))}
        items.append({**item, "bbox": box, "area": area, "iscrowd": 0, "segmentation": [outline(box)], **more})

    for image in images[:-2]:
        for _ in range(int(chance.integers(1, 4))):
            size = chance.uniform(4, 40, 2)
            corner = chance.uniform(0, np.array([WIDTH, HEIGHT]) - size)
            add(image["id"], [round(float(v), 2) for v in (*corner, *size)])
    for place, box in enumerate(BOXES.values()):
        add(images[place]["id"], box)
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8, order="F")
    mask[5:50, 10:60] = 1
    packed = coco_mask.encode(mask)
    packed["counts"] = packed["counts"].decode()
    runs = np.diff(np.flatnonzero(np.diff(mask.flatten(order="F"), prepend=0, append=2)), prepend=0).tolist()
    for place, rle in enumerate((packed, {"size": [HEIGHT, WIDTH], "counts": runs})):
        add(images[place]["id"], [10.0, 5.0, 50.0, 45.0], iscrowd=1, segmentation=rle)
        add(images[-1]["id"], [10.0, 5.0, 50.0, 45.0], iscrowd=1, segmentation=rle)  # an image of crowds alone
    whole = outline([20.0, 20.0, 30.0, 25.0])
    add(images[2]["id"], [20.0, 20.0, 30.0, 25.0], segmentation=[whole, [30.0, 30.0, 40.0, 40.0], whole[:7]])
    add(images[3]["id"], [20.0, 20.0, 30.0, 25.0], segmentation=[[20.0, 20.0, 30.0, 25.0]])
    items[0]["area"] = None
    del items[1]["area"]
    categories = [{"id": 17, "name": "dog"}, {"id": 3, "name": "cat"}]
    return {"images": images, "annotations": items, "categories": categories}


def write(root: Path, data: dict[str, Any]) -> Path:
    (root / "annotations").mkdir(parents=True)
    (root / "val").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for image in data["images"]:
        Image.fromarray(pixels).save(root / "val" / image["file_name"])
    path = root / "annotations" / "instances_val.json"
    path.write_text(json.dumps(data))
    return path


def mapped(items: list[dict[str, Any]], masks: bool) -> list[dict[str, Any]]:
    changes = {"MODEL.MASK_ON": masks, "INPUT.MIN_SIZE_TRAIN": [64, 80], "INPUT.FORMAT": "RGB"}
    images = MappedImages(items, read_config(CONFIGS / "detection" / "coco_c4_1x_d2.yaml", changes), seed=5)
    return [images[3, 0, index] for index in range(len(items))]


def same_instances(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], masks: bool) -> int:
    """Check that images and instances are equal bit by bit; return how many instances there are."""
    assert len(ours) == len(theirs)
    for mine, stock in zip(ours, theirs):
        assert torch.equal(mine["image"], stock["image"])
        one, two = mine["instances"], stock["instances"]
        assert torch.equal(one.gt_boxes.tensor, two.gt_boxes.tensor)
        assert torch.equal(one.gt_classes, two.gt_classes)
        if masks:
            for polygons, stocks in zip(one.gt_masks.polygons, two.gt_masks.polygons, strict=True):
                assert all(np.array_equal(p, q) for p, q in zip(polygons, stocks, strict=True))
    return sum(len(item["instances"]) for item in ours)


@pytest.mark.parametrize("masks", [True, False])
def test_coco_is_trained_on_what_detectron2s_own_loader_gives(tmp_path, masks):
    data = awkward(0)
    path = write(tmp_path, data)
    split = open_splits(tmp_path, "coco", ["val"], look="sample")["val"]
    theirs = filter_images_with_only_crowd_annotations(load_coco_json(str(path), str(tmp_path / "val"), "awkward_coco"))
    items = training_records(split, masks)
    assert [Path(item["file_name"]).name for item in items] == [Path(item["file_name"]).name for item in theirs]
    assert "19.png" not in {Path(item["file_name"]).name for item in items}
    count = same_instances(mapped(items, masks), mapped(theirs, masks), masks)
    notes = training_notes(split)
    assert mask_notes(split)[0].endswith("left out of the truth of the masks: 1, the first in 11.png")
    assert count == sum(item["iscrowd"] == 0 for item in data["annotations"]) - 3
    assert notes == [
        "val: 2 objects without width or height are not trained on, as Detectron2 does; the first in 4.png",
        "val: 1 object without a polygon of three points is not trained on, as Detectron2 does; the first in 11.png",
        "val: 2 polygons of under three points or an odd number of values are left out, as Detectron2 does; "
        "the first in 30.png",
        "val: 2 boxes beyond the border of the image are clipped in training, as Detectron2 does; the first in 11.png",
    ]


@pytest.mark.parametrize("seed", range(3))
def test_coco_ap_is_pycocotools_on_the_raw_file_bit_by_bit(tmp_path, seed):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    data = awkward(seed)
    write(tmp_path, data)
    split = open_splits(tmp_path, "coco", ["val"])["val"]
    chance = np.random.default_rng(seed)
    found = []
    for item in data["annotations"]:
        for _ in range(int(chance.integers(0, 3))):
            moved = np.array(item["bbox"]) + chance.normal(0, 2, 4)
            box = [float(v) for v in (*moved[:2], *moved[2:].clip(1))]
            mask = coco_mask.merge(coco_mask.frPyObjects([outline(box)], HEIGHT, WIDTH))
            mask["counts"] = mask["counts"].decode()
            more = {"bbox": box, "score": round(float(chance.random()), 2), "segmentation": mask}
            found.append({"image_id": item["image_id"], "category_id": item["category_id"], **more})
    places = {number: place for place, number in enumerate(sorted(i["id"] for i in data["images"]), start=1)}
    mine = [f | {"image_id": places[f["image_id"]], "category_id": {3: 1, 17: 2}[f["category_id"]]} for f in found]
    save_predictions(tmp_path, split, mine)
    assert read_truth(tmp_path).images[0].objects == split.images[0].objects
    truths = {kind: COCO() for kind in ("bbox", "segm")}
    for kind, truth in truths.items():  # pycocotools needs an area, and raises for a mask of two points
        items = [item | {"area": item.get("area") or item["bbox"][2] * item["bbox"][3]} for item in data["annotations"]]
        truth.dataset = data | {"annotations": items if kind == "bbox" else items[:-1]}
        truth.createIndex()
    for backend in ("pycocotools", "faster"):
        ours = coco_metrics(read_truth(tmp_path), mine, masks=True, backend=backend)
        for kind, prefix in (("bbox", ""), ("segm", "mask_")):
            items = [{k: v for k, v in f.items() if kind == "bbox" or k != "bbox"} for f in found]
            evaluation = COCOeval(truths[kind], truths[kind].loadRes(items), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            for place, name in enumerate(("AP", "AP50", "AP75", "APs", "APm")):
                if evaluation.stats[place] >= 0:
                    expected = 100 * evaluation.stats[place]
                    # The faster one sums in another order.
                    assert ours[prefix + name] == (pytest.approx(expected) if backend == "faster" else expected)
    assert 5 < ours["AP"] < 95


VOC_BOXES = [(1, 1, 90, 60), (0, 0, 20, 20), (10, 10, 95, 70), (30, 20, 30, 20), (50, 5, 80, 40)]
"""The whole image, one counted from 0, one that reaches out, one pixel, and an ordinary one."""


def write_awkward_voc(root: Path) -> Path:
    extra = "<pose>x</pose><truncated>0</truncated><name>"
    images = {}
    for number in range(6):
        boxes = [VOC_BOXES[(number + i) % 5] for i in range(3)] if number < 5 else []
        objects = [voc_object(("cat", "dog")[i % 2], box, difficult=int(i == 2)) for i, box in enumerate(boxes)]
        images[f"{number:03d}"] = "".join(objects).replace("<name>", extra)
    write_voc(root, images, size=(WIDTH, HEIGHT))
    for name in images:
        Image.new("RGB", (WIDTH, HEIGHT), (int(name), 90, 20)).save(root / "JPEGImages" / f"{name}.jpg")
    return root


def test_voc_is_trained_on_what_detectron2s_own_loader_gives(tmp_path):
    split = open_splits(write_awkward_voc(tmp_path), "voc", ["trainval"], look="sample")["trainval"]
    theirs = load_voc_instances(str(tmp_path), "trainval", split.classes)
    theirs = filter_images_with_only_crowd_annotations(theirs)
    items = training_records(split, masks=False)
    for mine, stock in zip(items, theirs, strict=True):
        assert (mine["file_name"], mine["width"], mine["height"]) == tuple(
            stock[key] for key in ("file_name", "width", "height")
        )
        assert [a["bbox"] for a in mine["annotations"]] == [a["bbox"] for a in stock["annotations"]]
    assert same_instances(mapped(items, False), mapped(theirs, False), False) == 15


@pytest.mark.parametrize("eleven", [True, False])
def test_voc_ap_is_detectron2s_on_the_raw_files(tmp_path, eleven):
    split = open_splits(write_awkward_voc(tmp_path / "voc"), "voc", ["trainval"])["trainval"]
    chance = np.random.default_rng(1)
    found = []
    for number, image in enumerate(split.images, start=1):
        for thing in image.objects:
            x0, y0, x1, y1 = np.array(thing.box) + chance.normal(0, 1, 4)
            box = [float(v) for v in (x0, y0, max(x1 - x0, 1), max(y1 - y0, 1))]
            score = len(found) / 100  # no ties, which the two sort differently
            found.append({"image_id": number, "category_id": thing.class_index + 1, "bbox": box, "score": score})
    ours = voc_metrics(split, found, eleven_points=eleven)
    for label, name in enumerate(split.classes):
        lines = [
            f"{f['image_id'] - 1:03d} {f['score']:.3f} {x + 1:.1f} {y + 1:.1f} {x + w:.1f} {y + h:.1f}"
            for f in found
            if f["category_id"] == label + 1
            for x, y, w, h in [f["bbox"]]
        ]
        if not lines:
            continue
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
        where = (tmp_path / "{}.txt", tmp_path / "voc/Annotations/{}.xml", tmp_path / "voc/ImageSets/Main/trainval.txt")
        theirs = voc_eval(*map(str, where), name, ovthresh=0.5, use_07_metric=eleven)[2]
        assert ours[f"AP50/{name}"] == pytest.approx(100 * theirs, abs=1e-9)
        assert ours[f"AP50/{name}"] > 5


def shown_square(folder: Path, orientation: int) -> ObjectSplit:
    """Two pictures stored turned, with a red square where the annotation of the shown picture says."""
    (folder / "JPEGImages").mkdir(parents=True)
    shown = Image.new("RGB", (60, 40), "white")
    shown.paste("red", (5, 10, 20, 25))
    back = {5: 5, 6: 2, 7: 6, 8: 4, 2: 0, 3: 3, 4: 1}[orientation]  # the transpose that undoes Detectron2's
    exif = Image.Exif()
    exif[0x0112] = orientation
    write_voc(folder, {name: voc_object(box=(6, 11, 20, 25)) for name in "ab"}, size=(60, 40))
    for name in "ab":
        stored = shown.transpose(Image.Transpose(back))
        stored.save(folder / "JPEGImages" / f"{name}.jpg", quality=100, subsampling=0, exif=exif)
    return open_splits(folder, "voc", ["trainval"], look="sample" if orientation > 4 else "no")["trainval"]


@pytest.mark.parametrize("orientation", range(2, 9))
def test_boxes_lie_on_the_picture_that_detectron2_shows(tmp_path, orientation):
    split = shown_square(tmp_path / "voc", orientation)
    path = split.images[0].path
    assert np.array_equal(np.asarray(load_shown(path)), read_image(str(path), "RGB"))
    for item in mapped(training_records(split, masks=False), masks=False):
        x0, y0, x1, y1 = (round(v) for v in item["instances"].gt_boxes.tensor[0].tolist())
        picture = item["image"].float()
        inside, outside = picture[:, y0 + 2 : y1 - 2, x0 + 2 : x1 - 2], picture.clone()
        outside[:, y0 - 2 : y1 + 2, x0 - 2 : x1 + 2] = 255
        assert inside[0].min() > 200 and inside[1:].max() < 60 and outside.min() > 200
    box = {"image_id": 1, "category_id": 1, "bbox": [5, 10, 15, 15], "score": 0.9}
    picture = Image.open(draw_best_and_worst(split, [box], tmp_path / "pictures", number=1)[0]).convert("RGB")
    scale = 480 / 60
    for left in (0, 486):
        assert picture.getpixel((left + round(12 * scale), 18 + round(17 * scale)))[1] < 60
        assert picture.getpixel((left + round(40 * scale), 18 + round(17 * scale)))[1] > 200
