"""Images with objects in them: what detection and instance segmentation train and are measured on.

`open_objects` reads a VOC or a COCO layout into the same few plain classes. Every broken annotation is collected, with
its file and line, before anything is computed: a box that is silently clipped or dropped moves a number.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.sample import sample_indices

Layout = Literal["voc", "coco"]
SHOWN = 5
"""Of many problems, how many an error names."""
_SAMPLED_FILES = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectAnnotation:
    """One object."""

    class_index: int
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in absolute half-open pixel coordinates: VOC's xmin of 1 is x0 = 0, its xmax of W is x1 = W."""
    difficult: bool = False
    """VOC: not to be counted when measuring."""
    crowd: bool = False
    """COCO: a region of many; what is found in it does not count."""
    segmentation: list[list[float]] | dict[str, Any] | None = None
    """Polygons (x, y, x, y, ...) or an RLE, as pycocotools takes them."""
    area: float | None = None
    """Of the segmentation, in pixels; None: the box's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectImage:
    """An image and its objects."""

    path: Path
    image_id: str | int
    width: int
    height: int
    objects: tuple[ObjectAnnotation, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectSplit:
    """Images in the order of the split's list (VOC) or of their ids (COCO)."""

    name: str
    classes: tuple[str, ...]
    images: tuple[ObjectImage, ...]
    skipped: tuple[str, ...] = ()
    """What `skip_invalid` left out, a line each."""

    @property
    def num_objects(self) -> int:
        """Objects of all images together."""
        return sum(len(image.objects) for image in self.images)


def open_objects(
    root: Path, layout: Layout, split: str, classes: tuple[str, ...] | None = None, skip_invalid: bool = False
) -> ObjectSplit:
    """Read the annotations of a split; of the images themselves at most the headers.

    Args:
        root: VOC: a devkit (VOC2007 and so on in it, or in VOCdevkit below it), whose splits are called
            `2007_trainval`; or one VOC folder, whose splits are the lists in ImageSets/Main. COCO: the folder that
            holds annotations/.
        layout: of `root`.
        split: VOC as above; COCO: annotations/instances_SPLIT.json or annotations/SPLIT.json, images in SPLIT/ or
            images/SPLIT/ or images/.
        classes: those of the model, in its order; None: the ones that are found, sorted (VOC), or by id (COCO).
        skip_invalid: leave broken objects and images out, and list them in `skipped`, in place of raising.

    Raises:
        DataError: the split is not there, or annotations are broken; names file and line of the first ones.
    """
    from mec_transfer.datasets import coco, voc

    read = {"voc": voc.read_split, "coco": coco.read_split}[layout]
    found, problems = read(root, split, classes)
    if problems and not skip_invalid:
        listed = "; ".join(problems[:SHOWN])
        rest = f"{len(problems) - SHOWN} more, which mec-transfer data check {root} --layout {layout} lists"
        more = f"; and {rest}" if len(problems) > SHOWN else ""
        raise DataError(f"{listed}{more}. Mend them, or leave them out with --skip-invalid")
    if not found.images:
        raise DataError(f"{root}: split '{split}' has no usable image")
    return dataclasses.replace(found, skipped=tuple(problems))


def join_splits(splits: list[ObjectSplit]) -> ObjectSplit:
    """Return splits of the same classes as one, such as VOC 2007 trainval and 2012 trainval."""
    first = splits[0]
    if any(split.classes != first.classes for split in splits):
        raise DataError(f"splits {', '.join(split.name for split in splits)}: have not the same classes")
    return ObjectSplit(
        name="+".join(split.name for split in splits),
        classes=first.classes,
        images=tuple(image for split in splits for image in split.images),
        skipped=tuple(line for split in splits for line in split.skipped),
    )


def require_masks(split: ObjectSplit) -> None:
    """Raise DataError, with the first object that has no segmentation, where there is one."""
    for image in split.images:
        if any(thing.segmentation is None for thing in image.objects):
            raise DataError(
                f"split '{split.name}': objects of {image.path.name} have no segmentation, and masks are to be learnt; "
                "add --set 'recipe.changes={MODEL.MASK_ON: false}' for boxes alone"
            )


def box_problem(box: tuple[float, float, float, float], width: int, height: int) -> str | None:
    """Say what is wrong with a box, half-open pixel coordinates, in an image of that size; None if nothing."""
    x0, y0, x1, y1 = box
    if not (x1 > x0 and y1 > y0):  # NaN too
        return f"empty box ({x0:g}, {y0:g}, {x1:g}, {y1:g})"
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        return f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) reaches out of the image ({width}x{height})"
    return None


def fingerprint(splits: dict[str, ObjectSplit]) -> str:
    """Return a sha256 of splits: classes, every annotation, and the bytes of 64 images of each split."""
    return fingerprints(splits)[-1]


def fingerprints(splits: dict[str, ObjectSplit]) -> list[str]:
    """Return the fingerprint of the first split alone, of the first two, and so on: the last is that of all."""
    digest, found = hashlib.sha256(b"mec-transfer objects fingerprint 1\n"), []
    for name, split in splits.items():
        digest.update(json.dumps([name, split.classes, len(split.images)]).encode())
        for image in split.images:
            objects = [list(dataclasses.asdict(thing).values()) for thing in image.objects]
            line = [image.path.name, image.image_id, image.width, image.height, objects]
            digest.update(json.dumps(line, sort_keys=True, default=str).encode())
        for index in sample_indices(len(split.images), _SAMPLED_FILES):
            path = split.images[index].path
            try:
                digest.update(hashlib.sha256(path.read_bytes()).digest())
            except OSError as error:
                raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
        found.append(digest.hexdigest())
    return found
