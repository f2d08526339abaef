"""Annotation files, read so that whatever is wrong in them can be named with its line."""

from __future__ import annotations

import codecs
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy

from mec_transfer.common.errors import DataError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """The sound rows of a text file of numbers."""

    path: Path
    lines: numpy.ndarray
    """(N,) int64: each row's line in the file, from 1."""
    values: numpy.ndarray
    """(N, columns) float64, all finite."""

    def keep(self, wrong: numpy.ndarray, what: str, problems: list[str]) -> Table:
        """Report the rows where `wrong`, (N,) bool, and return the others.

        Args:
            wrong: which rows.
            what: what is wrong; `{0:g}` is the row's first number and so on.
            problems: gets a line for each.
        """
        for row in numpy.flatnonzero(wrong):
            problems.append(f"{self.path}:{self.lines[row]}: {what.format(*self.values[row])}")
        return dataclasses.replace(self, lines=self.lines[~wrong], values=self.values[~wrong])


def read_table(path: Path, columns: tuple[int, ...], problems: list[str], what: str) -> Table:
    """Read lines of comma-separated numbers, blank lines left out.

    Args:
        path: the file.
        columns: how many numbers a line may have; as many as the first line that has one of these.
        problems: gets a line for each row that is left out.
        what: the columns' names, for the message.

    Raises:
        DataError: it cannot be read.
    """
    numbered = [
        (number, line.split(",")) for number, line in enumerate(read_text(path).splitlines(), start=1) if line.strip()
    ]
    expected = next((len(fields) for _, fields in numbered if len(fields) in columns), columns[0])
    lines, rows = [], []
    for number, fields in numbered:
        try:
            row = [float(field) for field in fields]
        except ValueError:
            problems.append(f"{path}:{number}: not numbers separated by commas ({what})")
            continue
        if len(row) != expected:
            problems.append(f"{path}:{number}: {len(row)} numbers, {expected} are needed ({what})")
            continue
        lines.append(number)
        rows.append(row)
    values = numpy.array(rows, dtype=numpy.float64).reshape(len(rows), expected)
    table = Table(path=path, lines=numpy.array(lines, dtype=numpy.int64), values=values)
    infinite = numpy.logical_not(numpy.isfinite(values).all(axis=1))
    return table.keep(infinite, "a number is not finite", problems)


def read_text(path: Path) -> str:
    """Return a file's text: UTF-8 with or without a byte order mark, or UTF-16 with one. Raises DataError."""
    try:
        data = path.read_bytes()
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if wide else "utf-8-sig")
        return text.replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file ({error})") from None


class Json:
    """A JSON file, with the line of any item of its lists."""

    def __init__(self, path: Path) -> None:
        """Raises DataError: it cannot be read or is malformed."""
        self.path, self._text = path, read_text(path)
        self._lines: dict[str | None, list[int]] = {}
        try:
            self.data: Any = json.loads(self._text)
        except ValueError as error:
            line = getattr(error, "lineno", 1)
            raise DataError(f"{path}:{line}: malformed JSON ({getattr(error, 'msg', error)})") from None
        except RecursionError:
            raise DataError(f"{path}:1: malformed JSON (nested too deeply)") from None

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
