"""A run in one picture, whatever of it is there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mec_transfer.results.leaderboard import Leaderboard, build_leaderboard
from mec_transfer.results.overview import write_overview
from tests.example_board import example_records

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture
def board() -> Leaderboard:
    return build_leaderboard(example_records())


def write_log(out: Path, model: str) -> None:
    """A log with a figure that is not finite and a last line that a kill cut off."""
    folder = out / "models" / model
    folder.mkdir(parents=True)
    lines = [{"step": step, "coding_length": step / 2, "effective_rank": 9.0} for step in range(1, 9)]
    lines[3]["coding_length"] = float("nan")
    (folder / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines) + '{"step": 9, "coding')


def write_pictures(out: Path, model: str) -> None:
    """A still in red, a video in blue, and one that is cut off."""
    folder = out / "jobs" / model / "job" / "pictures"
    folder.mkdir(parents=True)
    Image.new("RGB", (64, 48), RED).save(folder / "best_1_a.png")
    frames = [Image.new("RGB", (64, 48), (0, 0, 255 - shade)) for shade in range(7)]
    frames[0].save(folder / "best_b.gif", save_all=True, append_images=frames[1:])
    (folder / "best_a.gif").write_bytes((folder / "best_b.gif").read_bytes()[:40])


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def near(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(picture - colour).max(axis=2) < 24).sum())


def test_bars_alone_then_curves_then_pictures(tmp_path: Path, board: Leaderboard) -> None:
    bars = pixels(write_overview(tmp_path / "a", board))
    write_log(tmp_path / "b", board.models[-1].name)
    curves = pixels(write_overview(tmp_path / "b", board))
    assert curves.shape[0] > bars.shape[0] and curves.shape[1] == bars.shape[1]
    write_log(tmp_path / "c", board.models[-1].name)
    write_pictures(tmp_path / "c", board.models[1].name)
    whole = pixels(write_overview(tmp_path / "c", board))
    assert whole.shape[0] > curves.shape[0]
    assert near(bars, RED) == near(curves, RED) == 0 and near(whole, RED) > 5_000
    assert near(bars, BLUE) == near(curves, BLUE) == 0 and near(whole, BLUE) > 20_000


def test_a_run_in_which_everything_failed_has_a_picture_too(tmp_path: Path) -> None:
    failed = [record for record in example_records() if record.status == "failed"]
    assert pixels(write_overview(tmp_path, build_leaderboard(failed))).size


@pytest.mark.filterwarnings("error")
def test_titles_are_no_formulas_and_may_be_in_any_script(tmp_path: Path) -> None:
    records = [
        record.model_copy(update={"benchmark": record.benchmark.model_copy(update={"title": "鸟 $\\frac{$ 100 %"})})
        for record in example_records()
    ]
    assert pixels(write_overview(tmp_path, build_leaderboard(records))).size


def test_a_picture_is_drawn_again_only_after_a_new_record(tmp_path: Path, board: Leaderboard) -> None:
    record = tmp_path / "jobs" / "ours" / "job" / "record.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    target = write_overview(tmp_path, board)
    os.utime(target, (1, 1))
    os.utime(record, (0, 0))
    write_overview(tmp_path, board)
    assert target.stat().st_mtime == 1
    os.utime(record, (2, 2))
    write_overview(tmp_path, board)
    assert target.stat().st_mtime > 2
