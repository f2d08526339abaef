"""Images with objects in them: what detection and instance segmentation train and are measured on.

`open_splits` reads a VOC or a COCO layout into the same few plain classes. Every broken annotation is collected, with
its file and line, before anything is computed. What is not broken stays as it is in the file: boxes that are silently
clipped or dropped move a number.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.objects.annotation import ObjectAnnotation, ObjectImage, Segmentation
from mec_transfer.datasets.objects.columns import NONE
from mec_transfer.datasets.objects.table import ObjectTable
from mec_transfer.datasets.sample import sample_indices
from mec_transfer.datasets.states import State

__all__ = [
    "Layout",
    "Look",
    "ObjectAnnotation",
    "ObjectImage",
    "ObjectSplit",
    "Segmentation",
    "Source",
    "box_problem",
    "fingerprint",
    "fingerprints",
    "join_splits",
    "open_objects",
    "open_splits",
    "read_splits",
    "require_masks",
]

Layout = Literal["voc", "coco"]
Look = Literal["no", "sample", "all"]
"""What of the image files is looked at: nothing, all headers and a sample decoded, or all decoded."""
SHOWN = 5
"""Of many problems, how many an error names."""
_SAMPLED_FILES = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectSplit:
    """Images in the order of the split's list (VOC) or of their ids (COCO)."""

    name: str
    classes: tuple[str, ...]
    images: Sequence[ObjectImage]
    """Held as arrays, whatever it is made of; an image's values are made when it is asked for."""
    skipped: tuple[str, ...] = ()
    """What `skip_invalid` left out, a line each."""

    def __post_init__(self) -> None:
        if not isinstance(self.images, ObjectTable):
            object.__setattr__(self, "images", ObjectTable.pack(self.images))

    @property
    def table(self) -> ObjectTable:
        """The images as arrays, for what is asked of all of them."""
        assert isinstance(self.images, ObjectTable)
        return self.images

    @property
    def num_objects(self) -> int:
        """Objects of all images together."""
        return len(self.table.objects)


class Source(Protocol):
    """One split's annotations: read when it is made, turned into objects when the classes of all splits are known."""

    name: str
    seen: dict[str, State]
    """What it is read from: files and folders, as they were before."""

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
    kept: Path | None = None,
    published: Mapping[str, int] | None = None,
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
        kept: folder where what was read is kept for the next process, which then reads it from there; see `compact`.
        published: how many images each split of the published data set has. Where all have as many, it is that data
            set, and a turned picture is taken as the published runs took it, where no size tells its frame.

    Raises:
        DataError: a split is not there, or annotations or images are broken; names file and line of the first ones.
    """
    splits = read_splits(
        root, layout, names, classes, "sample" if skip_invalid and look == "no" else look, kept, published
    )
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
    root: Path,
    layout: Layout,
    names: Sequence[str],
    classes: tuple[str, ...] | None = None,
    look: Look = "no",
    kept: Path | None = None,
    published: Mapping[str, int] | None = None,
) -> dict[str, ObjectSplit]:
    """Read splits as `open_splits` does, whatever is broken: `skipped` says what that is, a line each.

    Raises:
        DataError: a split is not there, or its list or JSON file cannot be used at all.
    """
    from mec_transfer.datasets.objects import compact, headers

    names, sources = list(dict.fromkeys(names)), None
    stamp = _stamp(root, layout, names, classes)
    splits = compact.load(kept, stamp) if kept else None
    if splits is None:
        sources = _read_sources(root, layout, names, classes)
        splits = _read_all(root, *sources)
        if kept:
            seen = {name: state for source in sources[0] for name, state in source.seen.items()}
            compact.save(kept, stamp, seen, splits)
    if look != "no":
        trusted = bool(published) and all(len(split.images) == (published or {}).get(split.name) for split in splits)
        stamp = {**stamp, "look": look, "trusted": trusted}
        broken = compact.load_look(kept, stamp, splits) if kept else None
        if broken is None:
            folders = compact.folder_states(splits) if kept else {}
            problems = headers.image_problems(splits, thorough=look == "all", trusted=trusted)
            if any(problems) and sources is None:
                sources = _read_sources(root, layout, names, classes)
                _read_all(root, *sources)  # for the lines of their images
            broken = _placed(splits, problems, sources[0] if sources else ())
            if kept:
                compact.save_look(kept, stamp, folders, splits, broken)
        splits = [_without(split, wrong) for split, wrong in zip(splits, broken)]
    return {split.name: split for split in splits}


def _stamp(root: Path, layout: Layout, names: Sequence[str], classes: tuple[str, ...] | None) -> dict[str, Any]:
    """Return what decides which files are read, and what becomes of them."""
    from mec_transfer.datasets.objects import coco, voc

    find = voc.annotation_file if layout == "voc" else coco.annotation_file
    places = [os.fspath(root), os.fspath(root.absolute())]  # paths and messages begin with the first of them
    files = [os.fspath(find(root, name)) for name in names]
    return {"root": places, "layout": layout, "names": list(names), "classes": classes, "files": files}


def _read_all(root: Path, sources: Sequence[Source], classes: tuple[str, ...]) -> list[ObjectSplit]:
    from mec_transfer.datasets.objects.conventions import convention_problem

    splits = []
    for source in sources:
        split, problems = source.read(classes)
        if mistake := convention_problem(split):
            raise DataError(f"{root}: split '{split.name}': {mistake}")
        splits.append(dataclasses.replace(split, skipped=tuple(problems)))
    return splits


def _read_sources(
    root: Path, layout: Layout, names: Sequence[str], classes: tuple[str, ...] | None
) -> tuple[Sequence[Source], tuple[str, ...]]:
    """Return the splits' annotations, and the classes: the ones given, else those found in all splits together."""
    from mec_transfer.datasets.objects import coco, voc

    if layout == "voc":
        folders = [voc.VocSource(root, name) for name in names]
        return folders, classes or voc.merge_classes(folders)
    files = [coco.CocoSource(root, name) for name in names]
    return files, classes or coco.merge_classes(files)


def _placed(
    splits: Sequence[ObjectSplit], problems: Sequence[dict[int, str]], sources: Sequence[Source]
) -> list[dict[int, str]]:
    """Return what is wrong with images, by index, each with file and line of the annotation."""
    return [
        {index: f"{source.where(split.images[index])}: {what}" for index, what in wrong.items()}
        for split, wrong, source in zip(splits, problems, sources)
    ] or [{} for _ in splits]


def _without(split: ObjectSplit, broken: dict[int, str]) -> ObjectSplit:
    """Leave out the images, by index, that something is wrong with."""
    if not broken:
        return split
    sound = split.table.take([index for index in range(len(split.images)) if index not in broken])
    return dataclasses.replace(split, images=sound, skipped=(*split.skipped, *broken.values()))


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
        images=ObjectTable.join([split.table for split in splits]),
        skipped=tuple(line for split in splits for line in split.skipped),
    )


def require_masks(split: ObjectSplit, training: bool = False) -> None:
    """Raise DataError, with the first object that has no segmentation, where there is one.

    Args:
        split: the images and their objects.
        training: crowds are not learnt, so they need none.
    """
    things = split.table.objects
    bare = (things.kind == NONE) & ~(things.crowd & training)
    if bare.any():
        first = split.images[split.table.image_of_object()[bare.argmax()]]
        raise DataError(
            f"split '{split.name}': objects of {first.path.name} have no segmentation, and masks are to be learnt; "
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
    digest, found = hashlib.sha256(b"mec-transfer objects fingerprint 2\n"), []
    for name, split in splits.items():
        digest.update(json.dumps([name, split.classes, len(split.images), split.table.digest]).encode())
        for index in sample_indices(len(split.images), _SAMPLED_FILES):
            path = Path(split.table.paths[index])
            try:
                digest.update(hashlib.sha256(path.read_bytes()).digest())
            except OSError as error:
                raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
        found.append(digest.hexdigest())
    return found
