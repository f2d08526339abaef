"""What a detection run keeps so that `verify` can measure it again: predictions and truth, as compressed JSON."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mec_transfer.common.errors import UserError, one_line
from mec_transfer.common.files import write_bytes
from mec_transfer.datasets.objects.annotation import ObjectAnnotation, ObjectImage
from mec_transfer.datasets.objects.splits import ObjectSplit
from mec_transfer.units import Units

PREDICTIONS = "predictions.json.gz"
TRUTH = "truth.json.gz"
_AGAIN = "delete the folder and run the job again"


def measure(split: ObjectSplit, predictions: Sequence[dict[str, Any]], metric: str, masks: bool) -> dict[str, float]:
    """Return the metrics in percent: `metric` is voc07, voc or coco; masks are measured by COCO's alone."""
    if metric == "coco":
        from mec_transfer.detection.coco_ap import coco_metrics

        return coco_metrics(split, predictions, masks)
    from mec_transfer.detection.voc_ap import voc_metrics

    return voc_metrics(split, predictions, eleven_points=metric == "voc07")


def save_predictions(folder: Path, split: ObjectSplit, predictions: Sequence[dict[str, Any]]) -> None:
    """Write predictions and truth into `folder`, atomically, the same bytes for the same content."""
    images = [
        [image.path.name, image.width, image.height, [_plain(o) for o in image.objects]] for image in split.images
    ]
    _write(folder / TRUTH, {"name": split.name, "classes": split.classes, "images": images})
    _write(folder / PREDICTIONS, predictions)


def measure_saved(folder: Path, metric: str, masks: bool) -> dict[str, float]:
    """Return the metrics of what `save_predictions` left in `folder`, as `measure` does.

    Raises:
        UserError: a file is missing or damaged, or the two do not belong together.
    """
    truth, predictions = _read_both(folder, masks)
    return measure(truth, predictions, metric, masks)


def image_units(folder: Path, metric: str, masks: bool) -> Units:
    """Return each image's part in the metrics of what `save_predictions` left. Raises as `measure_saved` does."""
    truth, predictions = _read_both(folder, masks)
    same = hashlib.sha256(_unpack(folder / TRUTH)).hexdigest()
    if metric == "coco":
        from mec_transfer.detection.coco_units import CocoUnits

        return CocoUnits(truth, predictions, same)
    from mec_transfer.detection.voc_units import VocUnits

    return VocUnits(truth, predictions, same, eleven_points=metric == "voc07")


def _read_both(folder: Path, masks: bool) -> tuple[ObjectSplit, list[dict[str, Any]]]:
    truth, predictions = read_truth(folder), read_predictions(folder)
    sizes = [[image.height, image.width] for image in truth.images]
    for number, prediction in enumerate(predictions, start=1):
        if not _fits(prediction, len(truth.classes), sizes, masks):
            raise UserError(f"{folder / PREDICTIONS}: prediction {number} does not fit {TRUTH}; {_AGAIN}")
    return truth, predictions


def _fits(prediction: dict[str, Any], classes: int, sizes: Sequence[list[int]], masks: bool) -> bool:
    try:
        image, label = prediction["image_id"], prediction["category_id"]
        numbers = [*prediction["bbox"], prediction["score"]]
        sound = len(numbers) == 5 and all(map(math.isfinite, numbers))
        if not (sound and 0 < image <= len(sizes) and 0 < label <= classes):
            return False
        return not masks or prediction["segmentation"]["size"] == sizes[image - 1]
    except (TypeError, KeyError):
        return False


def read_predictions(folder: Path) -> list[dict[str, Any]]:
    """Read the predictions back. Raises UserError where they are not whole."""
    found = _read(folder / PREDICTIONS)
    if not isinstance(found, list):
        raise UserError(f"{folder / PREDICTIONS}: is damaged (not a list); {_AGAIN}")
    return found


def read_truth(folder: Path) -> ObjectSplit:
    """Read the truth back. Raises UserError where it is not whole."""
    data = _read(folder / TRUTH)
    try:
        images = tuple(
            ObjectImage(
                path=Path(name),
                image_id=number,
                width=width,
                height=height,
                objects=tuple(ObjectAnnotation(**_tuples(thing)) for thing in objects),
            )
            for number, (name, width, height, objects) in enumerate(data["images"], start=1)
        )
        return ObjectSplit(name=data["name"], classes=tuple(data["classes"]), images=images)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise UserError(f"{folder / TRUTH}: is damaged ({error}); {_AGAIN}") from None


def _plain(thing: ObjectAnnotation) -> dict[str, Any]:
    return {name: value for name, value in vars(thing).items() if value is not None and value is not False}


def _tuples(thing: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if name in ("box", "xywh") else value for name, value in thing.items()}


def _write(path: Path, value: Any) -> None:
    write_bytes(path, gzip.compress(json.dumps(value, separators=(",", ":")).encode(), mtime=0))


def _read(path: Path) -> Any:
    try:
        return json.loads(_unpack(path))
    except ValueError as error:
        raise UserError(f"{path}: cannot be read ({one_line(error)}); {_AGAIN}") from None


def _unpack(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the job left none") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({one_line(error)}); {_AGAIN}") from None
