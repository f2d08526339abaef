"""ImageNet's annotations of objects in pictures and videos: a small XML file for each of a million images.

Nearly all files are written alike and are read by a regular expression that nothing but such a file matches. Any other
is read by the XML reader, which knows what is meant or names what is wrong; both give the same for the same file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from mec_transfer.datasets import values
from mec_transfer.datasets.objects.voc_xml import line_of, parse_xml
from mec_transfer.datasets.values import FARTHEST

CLASSES = frozenset(
    (
        *("n02691156", "n02419796", "n02131653", "n02834778", "n01503061", "n02924116", "n02958343", "n02402425"),
        *("n02084071", "n02121808", "n02503517", "n02118333", "n02510455", "n02342885", "n02374451", "n02129165"),
        *("n01674464", "n02484322", "n03790512", "n02324045", "n02509815", "n02411705", "n01726692", "n02355227"),
        *("n02129604", "n04468005", "n01662784", "n04530566", "n02062744", "n02391049"),
    )
)
"""The thirty classes of ImageNet VID."""

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_GAP = rb"[ \t\r\n]*"
_WORD = rb"[\x20-\x25\x27-\x3b\x3d\x3f-\x7e]*"  # nothing that XML reads in another way, and no letter beyond ASCII
_NUMBER = rb"[0-9]{1,6}"


def _tag(name: str, content: bytes) -> bytes:
    return b"<%b>%b</%b>%b" % (name.encode(), content, name.encode(), _GAP)


def _maybe(pattern: bytes) -> bytes:
    return b"(?:%b)?" % pattern


def _object(order: tuple[str, ...]) -> bytes:
    """Return a pattern with seven groups: the track, the name, the corners in that order, and the occluded flag."""
    return _tag(
        "object",
        _GAP
        + _maybe(_tag("trackid", b"(%b)" % _NUMBER))
        + _tag("name", b"([0-9A-Za-z_]+)")
        + _tag("bndbox", _GAP + b"".join(_tag(name, b"(%b)" % _NUMBER) for name in order))
        + _maybe(_tag("occluded", b"([01])"))
        + _maybe(_tag("generated", b"[01]")),
    )


def _file(single: bytes) -> bytes:
    parts = (
        *(_maybe(_tag(name, _WORD)) for name in ("folder", "filename")),
        _maybe(_tag("source", _GAP + _tag("database", _WORD))),
        _maybe(_tag("size", _GAP + b"".join(_maybe(_tag(name, _NUMBER)) for name in ("width", "height", "depth")))),
        _maybe(_tag("segmented", _NUMBER)),
    )
    objects = b"(?:%b)*+" % re.sub(rb"\((?!\?)", b"(?:", single)
    return _GAP + _tag("annotation", _GAP + b"".join(parts) + objects)


_PATTERNS = [
    (re.compile(_file(_object(order))), re.compile(_object(order)), [order.index(name) for name in _CORNERS])
    for order in (("xmax", "xmin", "ymax", "ymin"), ("xmin", "xmax", "ymin", "ymax"), _CORNERS)
]
"""For each order in which VID and DET write a box: a whole file, one object, and the places of `_CORNERS`."""


class FoundObject(NamedTuple):
    """One object of a file."""

    name: str
    """Its class, such as n02084071."""
    box: tuple[int, int, int, int]
    """x, y and, the corners' differences, w, h in pixels, counted as the file does."""
    track: str = ""
    """Which of the video's targets it is; empty in a picture."""
    occluded: bool = False


def read_objects(path: str) -> list[FoundObject]:
    """Return the objects of a file.

    Raises:
        ValueError: it cannot be read or something in it is wrong; the message begins with the path and the line.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # a Path object for each of a million files takes as long again
            data = file.read()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error})") from None
    for whole, single, places in _PATTERNS:
        if whole.fullmatch(data):
            return [_plain(found, places) for found in single.findall(data)]
    return _read_tree(Path(path))


def _plain(found: tuple[bytes, ...], places: list[int]) -> FoundObject:
    track, name, *corners, occluded = found
    x0, y0, x1, y1 = (int(corners[place]) for place in places)
    return FoundObject(name.decode(), (x0, y0, x1 - x0, y1 - y0), track.decode(), occluded == b"1")


def _read_tree(path: Path) -> list[FoundObject]:
    tree = parse_xml(path)
    if tree.tag != "annotation":
        raise ValueError(f"{path}:{line_of(tree)}: the file begins with <{tree.tag}>, <annotation> is needed")
    things = tree.findall("object")
    if nested := set(tree.iter("object")) - set(things):
        line = min(int(line_of(thing)) for thing in nested)
        raise ValueError(f"{path}:{line}: an <object> that does not stand directly in <annotation>")
    found = []
    for thing in things:
        try:
            found.append(_read_object(thing))
        except ValueError as error:
            raise ValueError(f"{path}:{line_of(thing)}: {error}") from None
    return found


def _read_object(thing: ElementTree.Element) -> FoundObject:
    """Raises ValueError with what is wrong."""
    texts = {}
    for key, needed in (("name", True), ("trackid", False), ("occluded", False)):
        texts[key] = _only(thing, key, needed)
    box = thing.findall("bndbox")
    if len(box) != 1:
        raise ValueError(f"an object needs one <bndbox>, found {len(box) or 'none'}")
    corners = [values.whole(_only(box[0], key, True), f"its {key}") for key in _CORNERS]
    if max(map(abs, corners)) >= FARTHEST:
        raise ValueError(f"box {tuple(corners)} lies outside any image")
    x0, y0, x1, y1 = corners
    name, track = " ".join(texts["name"].split()), " ".join(texts["trackid"].split())
    if not name:
        raise ValueError("an object has no name")
    return FoundObject(name, (x0, y0, x1 - x0, y1 - y0), track, values.flag(texts["occluded"].strip(), "occluded"))


def _only(element: ElementTree.Element, key: str, needed: bool) -> str:
    """Return the text of the one child of that name; empty where there may be none. Raises ValueError."""
    found = element.findall(key)
    if len(found) > 1 or (needed and not found):
        raise ValueError(f"an object needs one <{key}>, found {len(found) or 'none'}")
    return (found[0].text or "") if found else ""
