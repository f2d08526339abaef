"""Pictures: shrunk into the page as far as there is room, and a link to each."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

from mec_transfer.report import pictures
from mec_transfer.report.page import write_report
from mec_transfer.report.pictures import find_pictures
from mec_transfer.results.store import Store
from tests.example_board import example_records
from tests.report.conftest import Page, write_records


def draw(folder: Path) -> None:
    """A still and a video, a video that is cut off, and a file that is none of these."""
    (folder / "pictures").mkdir(parents=True)
    Image.new("RGB", (1200, 600), (250, 0, 0)).save(folder / "pictures/best_1.png")
    frames = [Image.new("RGB", (400, 200), (0, 0, 50 * at)) for at in range(5)]
    frames[0].save(folder / "pictures/worst_a#b.gif", save_all=True, append_images=frames[1:], duration=80)
    (folder / "pictures/median_c.gif").write_bytes((folder / "pictures/worst_a#b.gif").read_bytes()[:30])
    (folder / "pictures/notes.txt").write_text("nothing to see")


def opened(uri: str) -> Image.Image:
    head, _, data = uri.partition(",")
    assert head == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_pictures_are_shrunk_and_lead_to_their_originals(tmp_path: Path) -> None:
    draw(tmp_path / "run/jobs/m/j")
    found = find_pictures([((3, 1), tmp_path / "run/jobs/m/j")], tmp_path / "pages/report.html")
    assert [one.name for one in found] == ["best_1.png", "median_c.gif", "worst_a#b.gif"]
    assert all((one.column, one.row) == (3, 1) for one in found)
    still, broken, video = found
    assert (tmp_path / "pages" / unquote(video.href)).resolve() == tmp_path / "run/jobs/m/j/pictures/worst_a#b.gif"
    assert "#" not in video.href
    assert opened(still.still).size == (still.width, still.height) == (560, 280) and not still.moving
    red, green, blue = opened(still.still).convert("RGB").getpixel((9, 9))  # type: ignore[misc]
    assert red > 230 and green < 20 and blue < 20
    moving = opened(video.moving)
    assert (moving.n_frames, moving.size, opened(video.still).size) == (5, (360, 180), (360, 180))  # type: ignore[attr-defined]
    assert broken.still == broken.moving == ""


def test_the_best_come_first_where_there_is_little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        draw(tmp_path / name)
    folders = [((0, row), tmp_path / name) for row, name in enumerate(("a", "b"))]
    size = len(find_pictures(folders, tmp_path / "x.html")[0].still)
    monkeypatch.setattr(pictures, "BUDGET_BYTES", 2 * size)
    embedded = [(one.row, one.name) for one in find_pictures(folders, tmp_path / "x.html") if one.still]
    assert embedded == [(0, "best_1.png"), (1, "best_1.png")]


def test_a_page_shows_them_below_their_column_and_a_second_column_of_the_job_does_not(tmp_path: Path) -> None:
    record = example_records()[0]
    record.benchmark.also["top5"] = "Top 5"
    record.metrics["top5"] = 80.0
    (folder,) = write_records(tmp_path, [record])
    draw(folder)
    page = Page(write_report(tmp_path, Store.read(tmp_path)))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [image["alt"] for image in images] == [
        "ours on ImageNet k-NN (InstDisc): best_1.png",
        "ours on ImageNet k-NN (InstDisc): worst_a#b.gif",
    ]
    assert [attributes["media"] for tag, attributes in page.tags if tag == "source"] == [
        "(prefers-reduced-motion: reduce)"
    ]
    without = Page(write_report(tmp_path, Store.read(tmp_path), pictures=False))
    assert not any(tag == "img" for tag, _ in without.tags)
