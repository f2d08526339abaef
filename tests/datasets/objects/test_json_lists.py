"""Lists of a JSON file, item by item: the same items, lines and complaints as of the file read as one value."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.annotations import Json
from mec_transfer.datasets.objects.json_lists import Items, JsonLists

TEXT = '{"info": {"x": [1]},\n "a" : [ {"b": 1},\n\n{"b": [2, {"c": "]"}]} ] ,"d":[], "e": "[", "a2": null}\n'


def read(path: Path, text: str) -> JsonLists:
    path.write_text(text, encoding="utf-8", newline="")
    return JsonLists(path, {"a": Items, "d": Items})


def test_items_and_their_lines(tmp_path):
    found = read(tmp_path / "a.json", TEXT)
    assert found.items("a").kept == json.loads(TEXT)["a"] and found.items("d").kept == []
    assert [found.parse(offset) for offset in found.items("a").offsets] == json.loads(TEXT)["a"]
    assert [found.complain("a", index, "no") for index in (0, 1, 0)] == [f"{found.path}:{n}: no" for n in (2, 4, 2)]


def test_of_two_lists_under_one_key_the_last_counts(tmp_path):
    found = read(tmp_path / "a.json", '{"a": [{"x": 1}, 5],\n"a": [{"x": 2}]}')
    assert found.items("a").kept == [{"x": 2}]
    assert found.complain("a", 0, "no") == f"{found.path}:2: no"


@pytest.mark.parametrize("value", ["{}", "null", '"x"', "[1]", "[{}, []]"])
def test_what_is_no_list_of_objects_is_named_when_it_is_asked_for(tmp_path, value):
    found = read(tmp_path / "a.json", f'{{"a": {value}}}')
    with pytest.raises(DataError, match="a.json:1: 'a' must be a list of objects"):
        found.items("a")


@pytest.mark.parametrize("text", ["", "  ", "[1", '"x"', "{", "{}x", "[" * 10**6, '{"a": [' + "9" * 5000 + "]}"])
def test_malformed_text_is_named_as_by_python(tmp_path, text):
    assert outcome(tmp_path, text)[0] == outcome(tmp_path, text)[1]


def test_random_damage_is_named_as_by_python(tmp_path):
    chance, refused = random.Random(0), 0
    for _ in range(300):
        at = chance.randrange(len(TEXT))
        text = TEXT[:at] + chance.choice(["", ",", "}", "]", ":", '"', "\n", "1", "\\", "\ufeff"]) + TEXT[at + 1 :]
        ours, pythons = outcome(tmp_path, text)
        if sys.version_info < (3, 13):
            assert ours == pythons
        else:  # it has other words for a comma too many
            assert (ours is None) == (pythons is None)
        refused += ours is not None
    assert 100 < refused < 300


def outcome(folder: Path, text: str) -> tuple[str | None, str | None]:
    """What is said of a text, by the reader of lists and by the one that is Python's own."""
    said: list[str | None] = []
    for kind in (lambda path: read(path, text), Json):
        try:
            kind(folder / "a.json")
            said.append(None)
        except DataError as error:
            said.append(str(error))
    return said[0], said[1]
