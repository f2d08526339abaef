"""Text files as editors, spreadsheets and other systems write them give the same videos as the plain ones."""

from __future__ import annotations

import codecs
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mec_transfer.datasets.videos.motchallenge import MotVideo
from mec_transfer.datasets.videos.mots import MotsVideo
from mec_transfer.tracking.association import mot_metrics, mots_metrics
from tests.datasets.videos.tiny_videos import SPLITS, read, write

SPELLINGS: dict[str, Callable[[str], bytes]] = {
    "byte order mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "CR": lambda text: text.replace("\n", "\r").encode(),
    "byte order mark and CRLF": lambda text: codecs.BOM_UTF8 + text.replace("\n", "\r\n").encode(),
    "UTF-16 little": lambda text: codecs.BOM_UTF16_LE + text.replace("\n", "\r\n").encode("utf-16-le"),
    "UTF-16 big": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "blank lines at the end": lambda text: (text + "\n \n\n").encode(),
    "no line end": lambda text: text.rstrip("\n").encode(),
}
SEPARATORS: dict[str, Callable[[str], str]] = {
    "comma and blank": lambda line: line.replace(",", ", "),
    "tab": lambda line: line.replace(",", "\t"),
    "blanks": lambda line: f" {line.replace(',', '  ')} ",
    "semicolon": lambda line: line.replace(",", ";"),
    "comma at the end": lambda line: f"{line},",
    "comma, blank and comma at the end": lambda line: line.replace(",", ", ") + " , ",
}


def told(root: Path, layout: str) -> list[dict[str, object]]:
    videos, problems = read(root, layout)
    assert problems == []
    return [dataclasses.asdict(video) for video in videos]


@pytest.mark.parametrize("layout", SPLITS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_any_encoding_and_line_end_reads_alike(tmp_path: Path, layout: str, spelling: str) -> None:
    files = write(tmp_path, layout)
    plain = told(tmp_path, layout)
    for path in files:
        path.write_bytes(SPELLINGS[spelling](path.read_text()))
    np.testing.assert_equal(told(tmp_path, layout), plain)


def respell(files: list[Path], change: Callable[[str], str]) -> None:
    for path in files:
        if path.suffix == ".txt" and path.parent.name != "2017":
            lines = path.read_text().splitlines()
            path.write_text("".join(f"{change(line)}\n" if line.strip() else "\n" for line in lines))


@pytest.mark.parametrize("layout", ["otb", "motchallenge"])
@pytest.mark.parametrize("separator", SEPARATORS)
def test_any_separator_reads_alike(tmp_path: Path, layout: str, separator: str) -> None:
    files = write(tmp_path, layout)
    plain = told(tmp_path, layout)
    respell(files, SEPARATORS[separator])
    np.testing.assert_equal(told(tmp_path, layout), plain)


@pytest.mark.parametrize("separator", ["\t", "  ", ", ", ","])
def test_masks_stand_between_any_separators(tmp_path: Path, separator: str) -> None:
    files = write(tmp_path, "mots")
    plain = told(tmp_path, "mots")
    respell(files, lambda line: separator.join(line.split()) + separator)
    np.testing.assert_equal(told(tmp_path, "mots"), plain)


@pytest.mark.parametrize("layout", ["motchallenge", "mots"])
def test_the_copy_of_the_truth_is_as_the_evaluation_wants_it(tmp_path: Path, layout: str) -> None:
    """TrackEval, which knows neither byte order marks nor floats for identities, gets the same bytes."""

    def copied() -> dict[str, bytes]:
        (video,), _ = read(tmp_path, layout)
        if isinstance(video, MotVideo):
            files = mot_metrics.truth_files(video)
        else:
            assert isinstance(video, MotsVideo)
            files = mots_metrics.truth_files(video)
        return {name: data for name, data in files.items() if name.endswith("gt.txt")}

    files = write(tmp_path, layout)
    plain = copied()
    truth = next(path for path in files if path.name == "gt.txt")
    rows = [line.replace(",", " ").split() for line in truth.read_text().splitlines() if line.strip()]
    floats = [[f"{number}.0" for number in row[:2]] + row[2:] for row in rows]
    truth.write_bytes(codecs.BOM_UTF8 + "".join("\t".join(row) + "\t\r\n" for row in floats).encode())
    assert copied() == plain
