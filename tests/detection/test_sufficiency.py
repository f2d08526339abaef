"""Nothing to learn from or to measure on is an error with an account of the rows, before anything is computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mec_transfer.datasets.objects.annotation import ObjectAnnotation, ObjectImage
from mec_transfer.datasets.objects.splits import ObjectSplit
from mec_transfer.detection.coco_ap import coco_metrics
from mec_transfer.detection.predictions import measure
from mec_transfer.detection.sufficiency import check_sufficiency

BOX = (10.0, 10.0, 50.0, 40.0)


def make(name: str, *images: list[ObjectAnnotation], skipped: tuple[str, ...] = ()) -> ObjectSplit:
    listed = tuple(
        ObjectImage(path=Path(f"{number}.jpg"), image_id=number, width=80, height=64, objects=tuple(objects))
        for number, objects in enumerate(images)
    )
    return ObjectSplit(name=name, classes=("blue", "red", "green"), images=listed, skipped=skipped)


def thing(label: int = 0, **flags: bool) -> ObjectAnnotation:
    return ObjectAnnotation(class_index=label, box=BOX, **flags)


FULL = make("train", [thing(0), thing(1), thing(2)])


@pytest.mark.parametrize(
    ("test", "account"),
    [
        (make("test", [], []), "2 images, 2 of them without an object, 0 objects"),
        (make("test", [thing(crowd=True)], [thing(1, crowd=True)]), "2 objects, 2 of them crowds, 0 difficult"),
        (make("test", [thing(difficult=True), thing(crowd=True)]), "2 objects, 1 of them crowds, 1 difficult"),
        (
            make("test", [], skipped=("a.xml:3: unknown class 'cat'", "a.xml:9: unknown class 'dog'")),
            "2 annotations left out as broken, the first: a.xml:3: unknown class 'cat'",
        ),
    ],
    ids=["empty", "crowds", "difficult", "other classes"],
)
def test_a_test_split_without_truth_is_an_error_that_accounts_for_the_rows(test: ObjectSplit, account: str) -> None:
    (problem,) = check_sufficiency(FULL, test)
    assert problem.severity == "error" and "\n" not in problem.message
    assert problem.message.startswith("split 'test': has nothing to measure on (") and account in problem.message


def test_a_train_split_of_crowds_alone_is_an_error_and_difficult_objects_are_learnt() -> None:
    (problem,) = check_sufficiency(make("train", [thing(crowd=True)], []), FULL)
    assert problem.severity == "error" and "split 'train': has nothing to learn from (2 images, 1 of" in problem.message
    assert not check_sufficiency(make("train", [thing(0, difficult=True), thing(1), thing(2)]), FULL)


def test_classes_that_a_split_lacks_are_named_in_warnings() -> None:
    found = check_sufficiency(
        make("train", [thing(0), thing(1)]), make("test", [thing(0), thing(1, difficult=True), thing(2)])
    )
    assert [problem.severity for problem in found] == ["warning", "warning"]
    assert "split 'train': 1 of 3 classes have no object to learn from" in found[0].message
    assert "(green)" in found[0].message
    assert "split 'test': 1 of 3 classes have no object to measure on: AP is the mean over the others (red)" in (
        found[1].message
    )


@pytest.mark.parametrize("metric", ["voc07", "voc", "coco"])
def test_ap_is_the_mean_over_the_classes_with_truth(metric: str) -> None:
    """One object, found: 100, whatever difficult or crowd objects the other classes have. Nothing found: 0."""
    split = make("test", [thing(0), thing(1, difficult=True)], [thing(2, crowd=True)])
    x0, y0, x1, y1 = BOX
    right = {"image_id": 1, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": 0.9}
    metrics = measure(split, [right], metric, masks=False)
    assert metrics["AP"] == pytest.approx(100) and metrics["AP/blue"] == pytest.approx(100)
    assert not {"AP/red", "AP/green"} & metrics.keys()
    nothing = measure(split, [], metric, masks=False)
    assert nothing["AP"] == nothing["AP50"] == nothing["AP/blue"] == 0
    assert not {"AP/red", "AP/green"} & nothing.keys()


def test_both_coco_backends_agree_on_what_is_to_be_found() -> None:
    split = make("test", [thing(0), thing(1, difficult=True)])
    wrong = {"image_id": 1, "category_id": 2, "bbox": [0.0, 0.0, 9.0, 9.0], "score": 0.5}
    for backend in ("faster", "pycocotools"):
        assert coco_metrics(split, [wrong], masks=False, backend=backend)["AP"] == 0
