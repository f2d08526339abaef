"""What a detection run keeps so that `verify` can measure it again: predictions and truth, as compressed JSON."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mec_transfer.common.errors import UserError
from mec_transfer.common.files import write_bytes
from mec_transfer.datasets.objects.annotation import ObjectAnnotation, ObjectImage
from mec_transfer.datasets.objects.splits import ObjectSplit

PREDICTIONS = "predictions.json.gz"
TRUTH = "truth.json.gz"


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


def read_predictions(folder: Path) -> list[dict[str, Any]]:
    """Read the predictions back. Raises UserError where they are not whole."""
    found: list[dict[str, Any]] = _read(folder / PREDICTIONS)
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
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(f"{folder / TRUTH}: is damaged ({error})") from None


def _plain(thing: ObjectAnnotation) -> dict[str, Any]:
    return {name: value for name, value in vars(thing).items() if value is not None and value is not False}


def _tuples(thing: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if name in ("box", "xywh") else value for name, value in thing.items()}


def _write(path: Path, value: Any) -> None:
    write_bytes(path, gzip.compress(json.dumps(value, separators=(",", ":")).encode(), mtime=0))


def _read(path: Path) -> Any:
    try:
        return json.loads(gzip.decompress(path.read_bytes()))
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
