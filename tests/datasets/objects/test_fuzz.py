"""Annotation files with something wrong in them anywhere: an answer or one line, never another exception or a hang."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.objects.coco_items import to_coco_json
from mec_transfer.datasets.objects.notes import training_notes
from mec_transfer.datasets.objects.splits import fingerprints
from tests.datasets.objects.objects_world import coco_data, voc_object, write_coco, write_voc
from tests.datasets.objects.test_cityscapes import square
from tests.datasets.objects.test_cityscapes import write as write_street
from tests.datasets.reading import open_splits, read_splits

ROUNDS = 150
"""Mutations a file; some thousands were run once."""
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 7, 2.5, 1e300, 10**400, float("nan"), float("inf"), "", "7", " 7 ", "x", "nan"),
    *("\ud800", "\x00", "a" * 5000, "..\\x.png", [], [[]], [None], [1, 2, 3, 4], [[1, 2, 3, 4]], {}, {"a": {}}),
    *({"size": [20, 30], "counts": "0"}, {"size": [20, 30], "counts": [600.0]}, {"size": "x", "counts": None}),
]
TEXTS = (
    *(
        "",
        " ",
        "0",
        "1",
        "-1",
        "9.0",
        "9.5",
        "1e9",
        "1e999",
        "NaN",
        "-",
        "1,5",
        "True",
        "Unspecified",
        "?",
        "\n cell\n",
        "é",
    ),
    *("0x10", "1_0", "٣", "9" * 5000, "cell", "dog"),
)
WORDS = (
    *(
        "<object>",
        "</object>",
        "<bndbox/>",
        "<name/>",
        "<x>1</x>",
        "&a;",
        "&lt;",
        "<!-- x -->",
        "<![CDATA[x]]>",
        "<size/>",
    ),
    *('<?xml version="1.0" encoding="gbk"?>', '<?xml version="1.0" encoding="hex"?>', "<!DOCTYPE annotation>"),
    *("\ufeff", "\x00", "é", "<annotation>", "]]>", '<!DOCTYPE a [<!ENTITY b "c">]>'),
)


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    keys = node.keys() if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in list(keys):
        yield node, key
        yield from places(node[key])


def broken_json(chance: random.Random, sound: dict[str, Any]) -> str:
    data = copy.deepcopy(sound)
    for _ in range(chance.randint(1, 3)):
        node, key = chance.choice(list(places(data)))
        match chance.randrange(3):
            case 0:
                node[key] = copy.deepcopy(chance.choice(ODD))
            case 1 if isinstance(node, dict):
                del node[key]
            case _ if isinstance(node, list):
                node.insert(key, copy.deepcopy(node[key]))
    text = json.dumps(data, indent=1)
    if chance.random() < 0.2:  # and the text itself
        at = chance.randrange(len(text))
        text = text[:at] + chance.choice(["", ",", "}", "\\", "\x00", "[" * 5000, "1e999"]) + text[at + 1 :]
    return text


def broken_xml(chance: random.Random) -> bytes:
    size = "<size><width>30</width><height>20</height></size>"
    tree = ElementTree.fromstring(f"<annotation>{size}{voc_object()}{voc_object('x')}</annotation>")
    for _ in range(chance.randint(1, 3)):
        parent = chance.choice([node for node in tree.iter() if len(node)])
        child = chance.choice(list(parent))
        match chance.randrange(4):
            case 0:
                parent.remove(child)
            case 1:
                parent.append(copy.deepcopy(child))
            case 2:
                chance.choice(list(tree.iter())).append(copy.deepcopy(child))
            case _:
                child.text = chance.choice(TEXTS)
    text = ElementTree.tostring(tree, encoding="unicode")
    if chance.random() < 0.3:  # and the text itself
        at = chance.choice([0, text.index("<", 1), chance.randrange(len(text))])
        text = text[:at] + chance.choice(WORDS) + text[at:]
    data = text.encode()
    if chance.random() < 0.1:
        at = chance.randrange(len(data))
        data = data[:at] + bytes(chance.choices(range(256), k=3)) + data[at:]
    return data


def read_all(root: Path, layout: str, split: str) -> int:
    """Use a folder in every way; return how many problems there are."""
    try:
        found = read_splits(root, layout, [split], look="sample")[split]
    except DataError as error:
        assert len(str(error).splitlines()) == 1 and str(root) in str(error)
        return 1
    for line in found.skipped:
        assert len(line.splitlines()) == 1 and str(root) in line
        line.encode()
    if found.skipped:
        with pytest.raises(DataError):
            open_splits(root, layout, [split], look="sample")
    fingerprints({split: found})
    training_notes(found)
    json.dumps(to_coco_json(found), allow_nan=False).encode()
    return len(found.skipped)


def write_sound(root: Path, layout: str) -> tuple[Path, Callable[[random.Random], str | bytes]]:
    """Write `train2017`; return one of its files, and what makes a broken one."""
    if layout == "voc":
        return write_voc(root, {"a": "", "b": voc_object()}, split="train2017") / "Annotations" / "a.xml", broken_xml
    if layout == "coco":
        path = write_coco(root, coco_data()) / "annotations" / "instances_train2017.json"
    else:
        write_street(root, "train2017", "ulm_0", [square("sky", 0, 0), square("bus", 9, 9)])
        path = write_street(root, "train2017", "ulm_1", [square("cargroup", 2, 2), square("bus", 4, 4, deleted=0)])
    sound = json.loads(path.read_text())
    return path, lambda chance: broken_json(chance, sound)


@pytest.mark.parametrize("layout", ["coco", "voc", "cityscapes"])
def test_whatever_is_wrong_in_a_file_is_one_line(tmp_path: Path, layout: str) -> None:
    path, broken = write_sound(tmp_path, layout)
    problems = 0
    for seed in range(ROUNDS):
        data = broken(random.Random(seed))
        path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
        problems += read_all(tmp_path, layout, "train2017") > 0
    assert ROUNDS // 3 < problems < ROUNDS
