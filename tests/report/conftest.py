"""What the pages of these tests are made of."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mec_transfer.report.page import write_report
from mec_transfer.results.record import Record, write_record
from mec_transfer.results.store import Store

MakePage = Callable[..., "Page"]


class Page(HTMLParser):
    """A report, read back: its tags, the rows of its table, its texts, and the data of its panels."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.source = path, path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._within: list[str] = []
        self.text = ""
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._within.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._within and self._within.pop() != tag:
            pass

    def handle_data(self, text: str) -> None:
        if {"script", "style"} & set(self._within):
            return
        self.text += text
        if {"td", "th"} & set(self._within):
            self.rows[-1][-1] += text

    @property
    def data(self) -> dict[str, Any]:
        """What the script reads."""
        (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', self.source, re.DOTALL)
        value: dict[str, Any] = json.loads(found)
        return value

    def trials(self, row: int, column: int) -> list[dict[str, Any]]:
        """What a number's panel is filled from, as the script resolves it."""
        data = self.data
        kept = {"metrics", "selection", "data", "versions", "hardware", "warnings", "error", "log", "weights", "source"}
        found = []
        for trial in data["cells"][f"{row}:{column}"]:
            values = dict(zip(data["fields"], trial, strict=True))
            for name in kept | {"repeat"}:
                values[name] = None if values[name] is None else data["shared"][values[name]]
            found.append(values)
        return found

    def measured(self) -> dict[str, list[str]]:
        """The rows of the leaderboard by their first cell, white space made one space."""
        lines = ([" ".join(cell.split()) for cell in row] for row in self.rows)
        return {line[0]: line[1:] for line in lines if line}


def write_records(out: Path, records: Iterable[Record]) -> list[Path]:
    """Write each record in a folder of its own, named after its place alone: a model's name may be anything."""
    folders = []
    for number, record in enumerate(records):
        folders.append(out / "jobs" / "model" / f"job-{number:05d}")
        write_record(folders[-1], record)
    return folders


@pytest.fixture
def make_page(tmp_path: Path) -> MakePage:
    """Write the records and their report."""

    def make(records: Iterable[Record], **options: Any) -> Page:
        out = tmp_path / "run"
        write_records(out, records)
        return Page(write_report(out, Store.read(out), **options))

    return make
