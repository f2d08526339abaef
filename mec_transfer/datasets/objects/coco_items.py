"""One annotation of a COCO file, and back.

Boxes, areas and segmentations stay as the file has them, since the published evaluator measures against these; what
Detectron2 clips or leaves out in training is clipped or left out where Detectron2 does it.
"""

from __future__ import annotations

from typing import Any

from mec_transfer.datasets import values
from mec_transfer.datasets.objects.annotation import ObjectAnnotation, Segmentation
from mec_transfer.datasets.objects.polygons import measurable
from mec_transfer.datasets.objects.splits import ObjectSplit, box_problem
from mec_transfer.datasets.rle import mask_runs


def read_object(item: dict[str, Any], class_index: int, width: int, height: int) -> ObjectAnnotation:
    """Read an annotation of an image of that size. Raises ValueError with what is wrong."""
    bbox = item.get("bbox")
    try:
        if not isinstance(bbox, list) or len(bbox) != 4:
            raise ValueError("not four")
        x, y, w, h = map(float, values.numbers(bbox, "a number"))
    except ValueError:
        raise ValueError(f"a bbox is four numbers (x, y, width, height), found {values.show(bbox)}") from None
    box = (x, y, x + w, y + h)
    if problem := box_problem(box, width, height):
        raise ValueError(problem)
    if values.flag(item.get("ignore"), "ignore"):
        raise ValueError(
            "'ignore' is set, which COCO's evaluator passes over; set iscrowd for what is not to be counted"
        )
    area = None if item.get("area") is None else values.number(item["area"], "area")
    if area is not None and area < 0:
        raise ValueError(f"its area is {area:g}")
    segmentation = item.get("segmentation") or None
    return ObjectAnnotation(
        class_index=class_index,
        box=box,
        xywh=(x, y, w, h),
        crowd=values.flag(item.get("iscrowd"), "iscrowd"),
        segmentation=None if segmentation is None else _segmentation(segmentation, height, width),
        area=area,
    )


def to_coco_json(split: ObjectSplit, masks: bool = True) -> dict[str, Any]:
    """Return a split as COCO's annotation dict: category and image ids from 1 on, in the split's order.

    VOC's difficult objects become crowds, which is how COCO says that an object is not to be counted.

    Args:
        split: the images and their objects.
        masks: with segmentations, and of the objects that have a usable one alone.
    """
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(split.images, start=1):
        for thing in image.objects:
            x0, y0, x1, y1 = thing.box
            bbox = (x0, y0, x1 - x0, y1 - y0) if thing.xywh is None else thing.xywh
            item = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": thing.class_index + 1,
                "bbox": list(bbox),
                "area": bbox[2] * bbox[3] if thing.area is None else thing.area,
                "iscrowd": int(thing.crowd or thing.difficult),
            }
            if masks and thing.segmentation is not None:
                segmentation = measurable(thing.segmentation)
                if segmentation is None:
                    continue
                item["segmentation"] = segmentation
            annotations.append(item)
    return {
        "info": {},
        "images": [
            {"id": number, "file_name": image.path.name, "width": image.width, "height": image.height}
            for number, image in enumerate(split.images, start=1)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(split.classes, start=1)],
        "annotations": annotations,
    }


def _segmentation(found: Any, height: int, width: int) -> Segmentation:
    """Check polygons (of any number of points) or an RLE. Raises ValueError with what is wrong."""
    if isinstance(found, dict):
        return _run_lengths(found, height, width)
    if not isinstance(found, list) or not all(isinstance(polygon, list) for polygon in found):
        raise ValueError(
            f"a segmentation is a list of polygons ([[x, y, ...], ...]) or an RLE, found {values.show(found)}"
        )
    return [values.numbers(polygon, "a number of a polygon") for polygon in found]


def _run_lengths(found: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    counts, size = found.get("counts"), found.get("size")
    if not isinstance(size, list) or size != [height, width] or not isinstance(counts, list | str):
        raise ValueError(f"an RLE segmentation needs counts and the image's size, [{height}, {width}] (height, width)")
    if isinstance(counts, str):
        mask_runs(counts, height, width)
    elif not all(type(n) is int and n >= 0 for n in counts) or sum(counts) != height * width:
        raise ValueError(f"an RLE's counts must be whole numbers that add up to the image's {height * width} pixels")
    return {"size": [height, width], "counts": counts}
