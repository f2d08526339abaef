"""Annotation files, read so that whatever is wrong in them can be named with its line.

Text may be UTF-8 with or without a byte order mark, or UTF-16 or UTF-32 with one, and lines may end as on any system.
Numbers may stand between commas, semicolons, tabs or blanks, and a line may end with a separator.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mec_transfer.common.errors import DataError

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like UTF-16's, so it has to be looked for first
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks and the encodings that they announce."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """The sound rows of a text file of numbers."""

    path: Path
    lines: np.ndarray
    """(N,) int64: each row's line in the file, from 1."""
    values: np.ndarray
    """(N, columns) float64, all finite."""

    def keep(self, wrong: np.ndarray, what: str, problems: list[str]) -> Table:
        """Report the rows where `wrong`, (N,) bool, and return the others.

        Args:
            wrong: which rows.
            what: what is wrong; `{0:g}` is the row's first number and so on.
            problems: gets a line for each.
        """
        for row in np.flatnonzero(wrong):
            problems.append(f"{self.path}:{self.lines[row]}: {what.format(*self.values[row])}")
        return dataclasses.replace(self, lines=self.lines[~wrong], values=self.values[~wrong])


def read_table(path: Path, columns: tuple[int, ...], problems: list[str], what: str) -> Table:
    """Read lines of numbers as `split_fields` separates them, blank lines left out.

    Args:
        path: the file.
        columns: how many numbers a line may have; as many as the first line that has one of these.
        problems: gets a line for each row that is left out.
        what: the columns' names, for the message.

    Raises:
        DataError: it cannot be read.
    """
    numbered = [(number, split_fields(line)) for number, line in read_lines(path)]
    expected = next((len(fields) for _, fields in numbered if len(fields) in columns), columns[0])
    lines, rows = [], []
    for number, fields in numbered:
        try:
            row = [parse_number(field) for field in fields]
        except ValueError:
            problems.append(f"{path}:{number}: not numbers separated by commas ({what})")
            continue
        if len(row) != expected:
            problems.append(f"{path}:{number}: {len(row)} numbers, {expected} are needed ({what})")
            continue
        lines.append(number)
        rows.append(row)
    values = np.array(rows, dtype=np.float64).reshape(len(rows), expected)
    table = Table(path=path, lines=np.array(lines, dtype=np.int64), values=values)
    infinite = np.logical_not(np.isfinite(values).all(axis=1))
    return table.keep(infinite, "a number is not finite", problems)


def read_text(path: Path) -> str:
    """Return a file's text, without a byte order mark, every line ending with a line feed. Raises DataError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8-sig")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: not a text file ({error.encoding}: {error.reason}); save it as UTF-8"
        ) from None
    if "\0" in text:  # of UTF-16 without a mark, every other byte is zero
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{path}:{line}: not a text file (it holds a zero byte); save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a text file that are not blank, each with its number from 1. Raises DataError."""
    return [(number, line) for number, line in enumerate(read_text(path).split("\n"), start=1) if line.strip()]


def split_fields(line: str) -> list[str]:
    """Split a line at its commas, else at its semicolons, else at its blanks and tabs; the last separator may end it.

    An empty field elsewhere stays, so that what comes after it does not move to another column.
    """
    separator = next((mark for mark in ",;" if mark in line), None)
    fields = [field.strip() for field in line.strip().split(separator)]
    return fields[:-1] if len(fields) > 1 and not fields[-1] else fields


def parse_number(text: str) -> float:
    """Return the number that `text` is; raises ValueError. Unlike `float`, it takes no underscores between digits."""
    if "_" in text:
        raise ValueError(f"'{text}' is not a number")
    return float(text)


def parse_whole(text: str) -> int:
    """Return the whole number that `text` is, as `7` or `7.0`; raises ValueError."""
    number = parse_number(text)
    if not math.isfinite(number) or number != int(number):
        raise ValueError(f"'{text}' is not a whole number")
    return int(number)


@contextlib.contextmanager
def malformed(path: Path) -> Iterator[None]:
    """Raise DataError, with the line, for what Python's JSON reader finds malformed."""
    try:
        yield
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        raise DataError(f"{path}:{line}: malformed JSON ({getattr(error, 'msg', error)})") from None
    except RecursionError:
        raise DataError(f"{path}:1: malformed JSON (nested too deeply)") from None


class Json:
    """A JSON file, with the line of any item of its lists."""

    def __init__(self, path: Path) -> None:
        """Raises DataError: it cannot be read or is malformed."""
        self.path, self._text = path, read_text(path)
        self._lines: dict[str | None, list[int]] = {}
        with malformed(path):
            self.data: Any = json.loads(self._text)

    def items(self, key: str | None) -> list[dict[str, Any]]:
        """Return the list of objects at `key`, or the file's own. Raises DataError where it is not one."""
        found = self.data if key is None else self.data.get(key) if isinstance(self.data, dict) else None
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            name = "the file" if key is None else f"'{key}'"
            raise DataError(f"{self.path}:1: {name} must be a list of objects")
        return found

    def complain(self, key: str | None, index: int, what: str) -> str:
        """Return `path:line: what` for the `index`-th item of the list at `key`, or of the file's own list."""
        if key not in self._lines:
            try:
                self._lines[key] = self._locate(key)
            except (ValueError, IndexError):  # a text that the parser reads otherwise than this walk does
                self._lines[key] = [1] * len(self.items(key))
        return f"{self.path}:{self._lines[key][index]}: {what}"

    def _locate(self, key: str | None) -> list[int]:
        """Return the line of every item of a list. Walks the text again: for faults alone."""
        decoder, gap = json.JSONDecoder(), re.compile(r"[\s,:]*")

        def skip(at: int) -> int:
            return gap.match(self._text, at).end()  # type: ignore[union-attr]

        at = start = skip(0)
        if key is not None:  # the value of the outermost object's key, the last one of that name
            at, start = skip(at + 1), -1
            while self._text[at] != "}":
                name, at = decoder.raw_decode(self._text, at)
                at = skip(at)
                start = at if name == key else start
                at = skip(decoder.raw_decode(self._text, at)[1])
        at = start + 1
        line, lines = self._text.count("\n", 0, at) + 1, []
        for _ in self.items(key):
            begin = skip(at)
            line += self._text.count("\n", at, begin)
            lines.append(line)
            at = decoder.raw_decode(self._text, begin)[1]
            line += self._text.count("\n", begin, at)
        return lines
