"""A large JSON file whose long lists are read item by item: as one value they would take ten times the file's size."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.annotations import malformed, read_text

_GAP = re.compile(r"[ \t\n]*")
_SCAN = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # `raw_decode` without its wrapping


class Items:
    """What becomes of a list's items; this one keeps them all."""

    def __init__(self) -> None:
        self.sound = True
        """Whether it was a list of objects."""
        self.offsets = array("q")
        """Where in the text each item begins."""
        self.kept: list[dict[str, Any]] = []

    def take(self, item: dict[str, Any]) -> None:
        """Use the next item."""
        self.kept.append(item)


class JsonLists:
    """A JSON object's lists by key; where a key is there twice the last one counts, as in Python's own reader."""

    def __init__(self, path: Path, kinds: Mapping[str, type[Items]]) -> None:
        """Read a file.

        Args:
            path: the file.
            kinds: by key, the class whose new object takes the items of the list there.

        Raises:
            DataError: it cannot be read, is malformed, or lacks one of the keys.
        """
        self.path, self.text = path, read_text(path)
        self._kinds = kinds
        self.lists: dict[str, Items] = {}
        self._line = (0, 1)
        with malformed(path):
            self._read()

    def items(self, key: str) -> Items:
        """Return the list at `key`. Raises DataError where it is not a list of objects."""
        found = self.lists[key]
        if not found.sound:
            raise DataError(f"{self.path}:1: '{key}' must be a list of objects")
        return found

    def parse(self, offset: int) -> Any:
        """Return the value that begins there."""
        return _SCAN(self.text, offset)[0]

    def complain(self, key: str, index: int, what: str) -> str:
        """Return `path:line: what` for the `index`-th item of the list at `key`."""
        offset, (at, line) = self.lists[key].offsets[index], self._line
        count = self.text.count
        line += count("\n", at, offset) if offset >= at else -count("\n", offset, at)
        self._line = offset, line  # the next one asked for is near
        return f"{self.path}:{line}: {what}"

    def _read(self) -> None:
        """Walk the outermost object. Raises ValueError with Python's own words for what is malformed."""
        text = self.text
        at = self._skip(0)
        if text[at : at + 1] != "{":
            json.loads(text)  # for its error, if there is one
            return None
        at = self._skip(at + 1)
        if text[at : at + 1] == "}":
            return self._end(at + 1)
        while True:
            if text[at : at + 1] != '"':
                raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, at)
            key, at = self._scan(at)
            at = self._skip(at)
            if text[at : at + 1] != ":":
                raise json.JSONDecodeError("Expecting ':' delimiter", text, at)
            at = self._skip(self._value(key, self._skip(at + 1)))
            if text[at : at + 1] == "}":
                return self._end(at + 1)
            at = self._comma(at)

    def _value(self, key: str, at: int) -> int:
        """Read the value at a key and return where it ends."""
        if key not in self._kinds:
            return self._scan(at)[1]
        found = self.lists[key] = self._kinds[key]()
        if self.text[at : at + 1] != "[":
            found.sound = False
            return self._scan(at)[1]
        at = self._skip(at + 1)
        if self.text[at : at + 1] == "]":
            return at + 1
        while True:
            item, end = self._scan(at)
            if isinstance(item, dict):
                found.offsets.append(at)
                found.take(item)
            else:
                found.sound = False
            end = self._skip(end)
            if self.text[end : end + 1] == "]":
                return end + 1
            at = self._comma(end)

    def _scan(self, at: int) -> tuple[Any, int]:
        try:
            return _SCAN(self.text, at)
        except StopIteration as stop:
            raise json.JSONDecodeError("Expecting value", self.text, stop.value) from None

    def _comma(self, at: int) -> int:
        if self.text[at : at + 1] != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", self.text, at)
        return self._skip(at + 1)

    def _end(self, at: int) -> None:
        at = self._skip(at)
        if at != len(self.text):
            raise json.JSONDecodeError("Extra data", self.text, at)

    def _skip(self, at: int) -> int:
        return _GAP.match(self.text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
