"""The Pascal VOC layout: Annotations/*.xml, JPEGImages/*.jpg, ImageSets/Main/*.txt."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from PIL import Image

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.objects import ObjectAnnotation, ObjectImage, ObjectSplit, box_problem

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The published data set's, in their published order."""

_LINE = "line"
_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")


def read_split(root: Path, split: str, classes: tuple[str, ...] | None) -> tuple[ObjectSplit, list[str]]:
    """Read a split; return what is sound of it, and a line for each thing that is not. See `open_objects`."""
    folder, name = _folder(root, split)
    listed = folder / "ImageSets" / "Main" / f"{name}.txt"
    ids = _read_list(listed)
    problems: list[str] = []
    trees = {image_id: _parse(folder / "Annotations" / f"{image_id}.xml", problems) for image_id in ids}
    if classes is None:
        classes = _discover(folder, trees)
    images = []
    for image_id, tree in trees.items():
        if tree is not None and (image := _image(folder, image_id, tree, classes, problems)):
            images.append(image)
    return ObjectSplit(name=split, classes=classes, images=tuple(images)), problems


def split_names(root: Path) -> list[str]:
    """Return the splits that `root` (a devkit or one VOC folder) has, sorted."""
    found = [file.stem for file in (root / "ImageSets" / "Main").glob("*.txt")]
    for base in (root, root / "VOCdevkit"):
        for folder in sorted(base.glob("VOC[0-9][0-9][0-9][0-9]")):
            lists = (folder / "ImageSets" / "Main").glob("*.txt")
            found += [f"{folder.name[3:]}_{file.stem}" for file in lists if "_" not in file.stem]
    return sorted(found)


def _folder(root: Path, split: str) -> tuple[Path, str]:
    """Return the VOC folder of a split and the name of its list."""
    if (root / "ImageSets" / "Main" / f"{split}.txt").is_file():
        return root, split
    year, _, name = split.partition("_")
    for base in (root, root / "VOCdevkit"):
        if name and (base / f"VOC{year}" / "ImageSets" / "Main" / f"{name}.txt").is_file():
            return base / f"VOC{year}", name
    names = split_names(root)
    there = f"it has {', '.join(names)}" if names else "it is no VOC folder or devkit (no ImageSets/Main/*.txt)"
    raise DataError(f"{root}: has no split '{split}'; {there}")


def _read_list(path: Path) -> list[str]:
    """Return the image names of a list, each once; a class's list (`NAME 1` or `-1`) gives its names too."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    names = [line.split()[0] for line in lines if line.strip()]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice:
        raise DataError(f"{path}:{names.index(twice) + 1}: '{twice}' is listed twice")
    if not names:
        raise DataError(f"{path}: lists no image")
    return names


def _parse(path: Path, problems: list[str]) -> ElementTree.Element | None:
    """Parse an annotation, each element with its line in attribute `line`."""
    builder, parser = ElementTree.TreeBuilder(), expat.ParserCreate()
    parser.StartElementHandler = lambda tag, attributes: builder.start(
        tag, {**attributes, _LINE: str(parser.CurrentLineNumber)}
    )
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(path.read_bytes(), True)
        return builder.close()
    except OSError as error:
        problems.append(f"{path}: cannot be read ({error.strerror or error})")
    except expat.ExpatError as error:
        problems.append(f"{path}:{error.lineno}: malformed XML ({expat.ErrorString(error.code)})")
    return None


def _discover(folder: Path, trees: dict[str, ElementTree.Element | None]) -> tuple[str, ...]:
    """Return the classes: VOC's own where only they occur, else those of all annotations in the folder, sorted.

    Of the whole folder, not of the split, so that the splits of a data set agree.
    """
    names = {name for tree in trees.values() if tree is not None for name in _names(tree)}
    if names <= set(CLASSES):
        return CLASSES
    for path in sorted((folder / "Annotations").glob("*.xml")):
        if path.stem not in trees and (tree := _parse(path, [])) is not None:
            names.update(_names(tree))
    return tuple(sorted(names))


def _names(tree: ElementTree.Element) -> list[str]:
    return [name for thing in tree.findall("object") if (name := (thing.findtext("name") or "").strip())]


def _image(
    folder: Path, image_id: str, tree: ElementTree.Element, classes: tuple[str, ...], problems: list[str]
) -> ObjectImage | None:
    annotation = folder / "Annotations" / f"{image_id}.xml"
    path = _image_file(folder, image_id, tree)
    if path is None:
        problems.append(f"{annotation}:1: its image {folder / 'JPEGImages' / image_id}.jpg is missing")
        return None
    try:
        with Image.open(path) as image:
            width, height = image.size
    except (OSError, SyntaxError, ValueError) as error:
        problems.append(f"{path}: not a readable image ({error})")
        return None
    said = tuple(int(tree.findtext(f"size/{key}") or 0) for key in ("width", "height"))
    if any(said) and said != (width, height):
        line = _line(tree.find("size"))
        problems.append(f"{annotation}:{line}: says {said[0]}x{said[1]} pixels, {path.name} has {width}x{height}")
        return None
    objects = []
    for thing in tree.findall("object"):
        try:
            objects.append(_object(thing, classes, width, height))
        except ValueError as error:
            problems.append(f"{annotation}:{_line(thing)}: {error}")
    return ObjectImage(path=path, image_id=image_id, width=width, height=height, objects=tuple(objects))


def _image_file(folder: Path, image_id: str, tree: ElementTree.Element) -> Path | None:
    named = (tree.findtext("filename") or "").strip()
    candidates = [f"{image_id}{suffix}" for suffix in _SUFFIXES] + ([named] if Path(named).stem == image_id else [])
    return next((path for name in candidates if (path := folder / "JPEGImages" / name).is_file()), None)


def _object(thing: ElementTree.Element, classes: tuple[str, ...], width: int, height: int) -> ObjectAnnotation:
    """Raises ValueError with what is wrong."""
    name = (thing.findtext("name") or "").strip()
    if name not in classes:
        raise ValueError(f"unknown class '{name}'; there are {', '.join(classes)}")
    corners = [thing.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
    try:
        xmin, ymin, xmax, ymax = (float(value or "") for value in corners)
    except ValueError:
        raise ValueError(f"a bndbox needs four numbers, found {corners}") from None
    # VOC counts pixels from 1. Many tools that write its layout count from 0: a corner at 0 is the first pixel then.
    box = (max(xmin - 1, 0.0) if xmin >= 0 else xmin, max(ymin - 1, 0.0) if ymin >= 0 else ymin, xmax, ymax)
    if problem := box_problem(box, width, height):
        raise ValueError(problem)
    difficult = (thing.findtext("difficult") or "0").strip() not in ("", "0")
    return ObjectAnnotation(class_index=classes.index(name), box=box, difficult=difficult)


def _line(element: ElementTree.Element | None) -> str:
    return element.get(_LINE, "?") if element is not None else "1"
