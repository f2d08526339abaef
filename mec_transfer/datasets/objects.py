"""Images with objects in them: what detection and instance segmentation train and are measured on.

`open_splits` reads a VOC or a COCO layout into the same few plain classes. Every broken annotation is collected, with
its file and line, before anything is computed. What is not broken stays as it is in the file: boxes that are silently
clipped or dropped move a number.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.sample import sample_indices

Layout = Literal["voc", "coco"]
Look = Literal["no", "sample", "all"]
"""What of the image files is looked at: nothing, all headers and a sample decoded, or all decoded."""
Segmentation = list[list[float]] | dict[str, Any]
"""Polygons (x, y, x, y, ...) or an RLE, as pycocotools takes them."""
SHOWN = 5
"""Of many problems, how many an error names."""
_SAMPLED_FILES = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectAnnotation:
    """One object."""

    class_index: int
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in absolute half-open pixel coordinates: VOC's xmin of 1 is x0 = 0, its xmax of W is x1 = W.
    As the file has it: it may reach out of the image, and have no width or height."""
    xywh: tuple[float, float, float, float] | None = None
    """COCO: the file's own x, y, width, height, from which `box` differs by rounding."""
    difficult: bool = False
    """VOC: not to be counted when measuring."""
    crowd: bool = False
    """COCO: a region of many; what is found in it does not count."""
    segmentation: Segmentation | None = None
    """As the file has it: a polygon may have fewer than three points."""
    area: float | None = None
    """Of the segmentation, in pixels; None: the box's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectImage:
    """An image and its objects."""

    path: Path
    image_id: str | int
    width: int
    """In pixels, of the picture turned by its EXIF orientation, which is the one that boxes are laid over."""
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


class Source(Protocol):
    """One split's annotations: read when it is made, turned into objects when the classes of all splits are known."""

    name: str

    def read(self, classes: tuple[str, ...]) -> tuple[ObjectSplit, list[str]]:
        """Return what is sound of the split, and a line for each thing that is not."""

    def where(self, image: ObjectImage) -> str:
        """Return where in the annotations an image's size stands, for a message to begin with."""


def open_splits(
    root: Path,
    layout: Layout,
    names: Sequence[str],
    classes: tuple[str, ...] | None = None,
    skip_invalid: bool = False,
    look: Look = "no",
) -> dict[str, ObjectSplit]:
    """Read the splits of one data set, which have their classes in common.

    Args:
        root: VOC: a devkit (VOC2007 and so on in it, or in VOCdevkit below it), whose splits are called
            `2007_trainval`; or one VOC folder, whose splits are the lists in ImageSets/Main. COCO: the folder that
            holds annotations/, with images in SPLIT/ or images/SPLIT/ or images/; or a Roboflow export.
        layout: of `root`.
        names: of the splits. VOC as above; COCO: annotations/instances_SPLIT.json or annotations/SPLIT.json.
        classes: those of the model, in its order; None: the ones that are found in any of the splits.
        skip_invalid: leave broken objects and images out, and list them in `skipped`, in place of raising; the image
            files are then looked at whatever `look` says, so that every opening leaves the same ones out.
        look: at the image files; an image that is of another size than its annotation says is a problem too.

    Raises:
        DataError: a split is not there, or annotations or images are broken; names file and line of the first ones.
    """
    splits = read_splits(root, layout, names, classes, "sample" if skip_invalid and look == "no" else look)
    problems = [line for split in splits.values() for line in split.skipped]
    listed = "; ".join(problems[:SHOWN])
    rest = len(problems) - SHOWN
    more = f"; and {rest} more, which mec-transfer data check {root} --layout {layout} lists" if rest > 0 else ""
    if problems and not skip_invalid:
        raise DataError(f"{listed}{more}. Mend them, or leave them out with --skip-invalid")
    for split in splits.values():
        if not split.images:
            why = f": {listed}{more}" if problems else ""
            raise DataError(f"{root}: split '{split.name}' has no usable image{why}")
    return splits


def read_splits(
    root: Path, layout: Layout, names: Sequence[str], classes: tuple[str, ...] | None = None, look: Look = "no"
) -> dict[str, ObjectSplit]:
    """Read splits as `open_splits` does, whatever is broken: `skipped` says what that is, a line each.

    Raises:
        DataError: a split is not there, or its list or JSON file cannot be used at all.
    """
    from mec_transfer.datasets import object_images
    from mec_transfer.datasets.box_conventions import convention_problem

    sources, classes = _read_sources(root, layout, list(dict.fromkeys(names)), classes)
    splits = []
    for source in sources:
        split, problems = source.read(classes)
        if mistake := convention_problem(split):
            raise DataError(f"{root}: split '{split.name}': {mistake}")
        splits.append(dataclasses.replace(split, skipped=tuple(problems)))
    if look != "no":
        broken = object_images.image_problems(splits, thorough=look == "all")
        splits = [_without(split, source, wrong) for split, source, wrong in zip(splits, sources, broken)]
    return {split.name: split for split in splits}


def _read_sources(
    root: Path, layout: Layout, names: Sequence[str], classes: tuple[str, ...] | None
) -> tuple[Sequence[Source], tuple[str, ...]]:
    """Return the splits' annotations, and the classes: the ones given, else those found in all splits together."""
    from mec_transfer.datasets import coco, voc

    if layout == "voc":
        folders = [voc.VocSource(root, name) for name in names]
        return folders, classes or voc.merge_classes(folders)
    files = [coco.CocoSource(root, name) for name in names]
    return files, classes or coco.merge_classes(files)


def _without(split: ObjectSplit, source: Source, broken: dict[int, str]) -> ObjectSplit:
    """Leave out the images, by index, that something is wrong with."""
    lines = (f"{source.where(split.images[index])}: {what}" for index, what in broken.items())
    sound = tuple(image for index, image in enumerate(split.images) if index not in broken)
    return dataclasses.replace(split, images=sound, skipped=(*split.skipped, *lines))


def open_objects(
    root: Path, layout: Layout, split: str, classes: tuple[str, ...] | None = None, skip_invalid: bool = False
) -> ObjectSplit:
    """Read one split alone; see `open_splits`."""
    return open_splits(root, layout, [split], classes, skip_invalid)[split]


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


def require_masks(split: ObjectSplit, training: bool = False) -> None:
    """Raise DataError, with the first object that has no segmentation, where there is one.

    Args:
        split: the images and their objects.
        training: crowds are not learnt, so they need none.
    """
    for image in split.images:
        if any(thing.segmentation is None and not (training and thing.crowd) for thing in image.objects):
            raise DataError(
                f"split '{split.name}': objects of {image.path.name} have no segmentation, and masks are to be learnt; "
                "add --set 'recipe.changes={MODEL.MASK_ON: false}' for boxes alone"
            )


def box_problem(box: tuple[float, float, float, float], width: int, height: int) -> str | None:
    """Say what is wrong with a box, half-open pixel coordinates, in an image of that size; None if nothing.

    COCO itself has boxes without height, and boxes that reach out of the image by a little: these are not wrong.
    """
    x0, y0, x1, y1 = box
    numbers = f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g})"
    if not (x1 >= x0 and y1 >= y0):
        return f"empty {numbers}: its second corner lies before its first"
    if x0 > width or y0 > height or x1 < 0 or y1 < 0:
        return f"{numbers} lies outside the image ({width}x{height})"
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
            objects = [_values(thing) for thing in image.objects]
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


def _values(thing: ObjectAnnotation) -> list[Any]:
    """Return what a fingerprint holds of an object; the file's own box where that is another way of writing it."""
    values = [thing.class_index, thing.box, thing.difficult, thing.crowd, thing.segmentation, thing.area]
    return values if thing.xywh is None else [*values, thing.xywh]
