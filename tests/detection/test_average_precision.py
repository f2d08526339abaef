"""AP by VOC's rules and by COCO's, against Detectron2's evaluator, pycocotools, and cases worked out by hand."""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask

from mec_transfer.common.errors import UserError
from mec_transfer.datasets.objects.annotation import ObjectAnnotation, ObjectImage
from mec_transfer.datasets.objects.coco_items import to_coco_json
from mec_transfer.datasets.objects.splits import ObjectSplit
from mec_transfer.detection import engine
from mec_transfer.detection.coco_ap import coco_metrics, pairs
from mec_transfer.detection.predictions import measure, measure_saved, read_predictions, read_truth, save_predictions
from mec_transfer.detection.voc_ap import voc_metrics


def random_split(seed: int, masks: bool = False) -> tuple[ObjectSplit, list[dict]]:
    """Twelve images of two classes, and predictions: near ones, far ones, doubles and strangers."""
    random = np.random.default_rng(seed)
    images, predictions = [], []
    for number in range(1, 13):
        objects = []
        for _ in range(int(random.integers(0, 5))):
            x0, y0 = (int(v) for v in random.integers(0, 60, 2))
            w, h = (int(v) for v in random.integers(5, 40, 2))
            polygon = [[x0, y0, x0 + w, y0, x0 + w, y0 + h, x0, y0 + h]]
            thing = ObjectAnnotation(
                class_index=int(random.integers(2)),
                box=(float(x0), float(y0), float(x0 + w), float(y0 + h)),
                difficult=bool(random.random() < 0.2) and not masks,
                segmentation=polygon if masks else None,
            )
            objects.append(thing)
            for _ in range(int(random.integers(0, 3))):
                moved = np.array([x0, y0, w, h]) + random.normal(0, 3, 4)
                moved = [float(v) for v in (*moved[:2].clip(0), *moved[2:].clip(2))]
                label = thing.class_index if random.random() < 0.9 else 1 - thing.class_index
                item = {"image_id": number, "category_id": label + 1, "bbox": moved, "score": float(random.random())}
                if masks:
                    x, y, w2, h2 = moved
                    outline = [[x, y, x + w2, y, x + w2, y + h2, x, y + h2]]
                    item["segmentation"] = mask.merge(mask.frPyObjects(outline, 100, 100))
                predictions.append(item)
        image = ObjectImage(path=Path(f"{number:03d}.jpg"), image_id=f"{number:03d}", width=100, height=100, objects=())
        images.append(dataclasses.replace(image, objects=tuple(objects)))
    return ObjectSplit(name="test", classes=("cat", "dog"), images=tuple(images)), predictions


def perfect(split: ObjectSplit) -> list[dict]:
    return [
        {"image_id": n, "category_id": o.class_index + 1, "score": 0.9}
        | {"bbox": [o.box[0], o.box[1], o.box[2] - o.box[0], o.box[3] - o.box[1]]}
        for n, image in enumerate(split.images, start=1)
        for o in image.objects
    ]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("eleven", [True, False])
def test_voc_is_detectron2s_evaluator(seed, eleven, tmp_path):
    engine.load()
    from detectron2.evaluation.pascal_voc_evaluation import voc_eval

    split, predictions = random_split(seed)
    (tmp_path / "list.txt").write_text("".join(f"{image.image_id}\n" for image in split.images))
    for image in split.images:
        objects = "".join(
            f"<object><name>{split.classes[o.class_index]}</name><pose>x</pose><truncated>0</truncated>"
            f"<difficult>{int(o.difficult)}</difficult><bndbox><xmin>{int(o.box[0]) + 1}</xmin>"
            f"<ymin>{int(o.box[1]) + 1}</ymin><xmax>{int(o.box[2])}</xmax>"
            f"<ymax>{int(o.box[3])}</ymax></bndbox></object>"
            for o in image.objects
        )
        (tmp_path / f"{image.image_id}.xml").write_text(f"<annotation>{objects}</annotation>")
    ours = voc_metrics(split, predictions, eleven_points=eleven)
    theirs = np.zeros((2, 10))
    for label, name in enumerate(split.classes):
        lines = [
            f"{item['image_id']:03d} {item['score']:.3f} {x + 1:.1f} {y + 1:.1f} {x + w:.1f} {y + h:.1f}\n"
            for item in predictions
            if item["category_id"] == label + 1
            for x, y, w, h in [item["bbox"]]
        ]
        (tmp_path / f"{name}.txt").write_text("".join(lines))
        for place, threshold in enumerate(range(50, 100, 5)):
            where = (str(tmp_path / "{}.txt"), str(tmp_path / "{}.xml"), str(tmp_path / "list.txt"))
            voc_eval.__globals__["parse_rec"].cache_clear()
            theirs[label, place] = 100 * voc_eval(*where, name, ovthresh=threshold / 100, use_07_metric=eleven)[2]
    assert ours["AP50"] == pytest.approx(theirs[:, 0].mean(), abs=1e-9)
    assert ours["AP75"] == pytest.approx(theirs[:, 5].mean(), abs=1e-9)
    assert ours["AP"] == pytest.approx(theirs.mean(), abs=1e-9)
    assert [ours["AP50/cat"], ours["AP50/dog"]] == pytest.approx(theirs[:, 0].tolist(), abs=1e-9)
    assert [ours["AP/cat"], ours["AP/dog"]] == pytest.approx(theirs.mean(axis=1).tolist(), abs=1e-9)
    assert 5 < ours["AP50"] < 95


def test_voc_by_hand():
    """Two objects, found at ranks 1 and 3: precision 1 to recall 1/2, then 2/3."""
    boxes = ((10.0, 10.0, 30.0, 30.0), (50.0, 50.0, 80.0, 80.0))
    things = tuple(ObjectAnnotation(class_index=0, box=box) for box in boxes)
    image = ObjectImage(path=Path("a.jpg"), image_id="a", width=100, height=100, objects=things)
    split = ObjectSplit(name="t", classes=("cat",), images=(image,))
    found = [([10, 10, 20, 20], 0.9), ([0, 60, 20, 20], 0.8), ([50, 50, 30, 30], 0.7)]
    predictions = [{"image_id": 1, "category_id": 1, "bbox": box, "score": score} for box, score in found]
    assert voc_metrics(split, predictions, eleven_points=False)["AP50"] == pytest.approx(100 * (0.5 + 0.5 * 2 / 3))
    assert voc_metrics(split, predictions, eleven_points=True)["AP50"] == pytest.approx(100 * (6 + 5 * 2 / 3) / 11)
    assert voc_metrics(split, [], eleven_points=True)["AP"] == 0


@pytest.mark.parametrize("metric", ["voc07", "voc", "coco"])
def test_perfect_predictions_are_perfect_and_shuffled_ones_poor(metric):
    split, _ = random_split(3)
    found = perfect(split)
    assert measure(split, found, metric, masks=False)["AP"] == pytest.approx(100)
    strangers = [{**item, "image_id": item["image_id"] % 12 + 1} for item in found]
    assert measure(split, strangers, metric, masks=False)["AP"] < 20


@pytest.mark.parametrize("seed", range(2))
def test_coco_is_pycocotools_called_directly_whatever_the_backend(seed):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    split, predictions = random_split(seed, masks=True)
    truth = COCO()
    truth.dataset = to_coco_json(split)
    truth.createIndex()
    expected = {}
    for kind, prefix in (("bbox", ""), ("segm", "mask_")):
        items = [
            {k: v for k, v in item.items() if k != ("segmentation" if kind == "bbox" else "bbox")}
            for item in predictions
        ]
        evaluation = COCOeval(truth, truth.loadRes(items), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        expected |= {f"{prefix}{name}": 100 * evaluation.stats[i] for i, name in enumerate(("AP", "AP50", "AP75"))}
    for backend in ("faster", "pycocotools"):
        ours = coco_metrics(split, predictions, masks=True, backend=backend)
        assert {name: ours[name] for name in expected} == pytest.approx(expected, abs=1e-6)
        assert ours["AP"] == pytest.approx((ours["AP/cat"] + ours["AP/dog"]) / 2, abs=1e-6)
    assert 5 < expected["AP"] < 95 and expected["AP"] != expected["mask_AP"]


def test_predictions_and_truth_come_back_as_they_were(tmp_path):
    split, predictions = random_split(1)
    save_predictions(tmp_path, split, predictions)
    first = (tmp_path / "predictions.json.gz").read_bytes()
    save_predictions(tmp_path, split, predictions)
    assert (tmp_path / "predictions.json.gz").read_bytes() == first
    again = measure(read_truth(tmp_path), read_predictions(tmp_path), "voc07", masks=False)
    assert again == measure(split, predictions, "voc07", masks=False)
    (tmp_path / "truth.json.gz").write_bytes(first[:40])
    with pytest.raises(Exception, match="truth.json.gz: cannot be read"):
        read_truth(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("predictions.json.gz", None, r"predictions\.json\.gz: no such file"),
        ("truth.json.gz", None, r"truth\.json\.gz: no such file"),
        ("predictions.json.gz", {}, r"predictions\.json\.gz: is damaged \(not a list\)"),
        ("predictions.json.gz", [3], "prediction 1 does not fit truth"),
        ("predictions.json.gz", [{"image_id": 1}], "prediction 1 does not fit truth"),
        ("predictions.json.gz", ("image_id", 13), "prediction 2 does not fit truth"),
        ("predictions.json.gz", ("image_id", 0), "prediction 2 does not fit truth"),
        ("predictions.json.gz", ("category_id", 9), "prediction 2 does not fit truth"),
        ("predictions.json.gz", ("bbox", [1, 2, 3]), "prediction 2 does not fit truth"),
        ("predictions.json.gz", ("score", "high"), "prediction 2 does not fit truth"),
        ("predictions.json.gz", ("segmentation", {"size": [1, 1], "counts": ""}), "prediction 2 does not fit truth"),
        ("predictions.json.gz", ("segmentation", None), "prediction 2 does not fit truth"),
        ("truth.json.gz", [1], r"truth\.json\.gz: is damaged"),
        ("truth.json.gz", {"name": "val", "classes": ["a"], "images": [["a", 1, 1, [3]]]}, "is damaged"),
    ],
)
def test_what_is_missing_damaged_or_of_another_run_is_one_line(tmp_path, name, content, message):
    split, predictions = random_split(1, masks=True)
    for item in predictions:
        item["segmentation"]["counts"] = item["segmentation"]["counts"].decode()
    save_predictions(tmp_path, split, predictions)
    assert measure_saved(tmp_path, "coco", masks=True) == measure(split, predictions, "coco", masks=True)
    if isinstance(content, tuple):
        key, value = content
        content = [predictions[0], {**predictions[1], key: value}]
    path = tmp_path / name
    path.unlink() if content is None else path.write_bytes(gzip.compress(json.dumps(content).encode()))
    with pytest.raises(UserError, match=message) as caught:
        measure_saved(tmp_path, "coco", masks=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["predictions.json.gz", "truth.json.gz"])
def test_a_flipped_bit_anywhere_is_one_line_or_nothing(tmp_path, name):
    """Nothing in the header's time and name; wherever there is content, the checksum or the unpacking tells."""
    split, predictions = random_split(1)
    save_predictions(tmp_path, split, predictions)
    path, expected = tmp_path / name, measure(split, predictions, "voc07", masks=False)
    content = path.read_bytes()
    for place in range(0, len(content), max(1, len(content) // 60)):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        try:
            assert measure_saved(tmp_path, "voc07", masks=False) == expected
        except UserError as error:
            assert f"{name}: cannot be read (" in str(error)


def test_pairs_take_each_truth_once_and_mind_the_class():
    truth = np.array([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    boxes = np.array([[0.0, 0, 10, 9], [0, 0, 10, 10], [20, 20, 30, 30]])
    assert pairs(boxes, np.array([0, 0, 0]), truth, np.array([0, 1]), 0.5) == [0, -1, -1]
