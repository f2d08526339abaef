from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from mec_transfer.common.errors import UserError
from mec_transfer.results.formats import format_leaderboard
from mec_transfer.results.leaderboard import build_leaderboard
from mec_transfer.results.record import read_record

FIRST = Path(__file__).parents[1] / "golden" / "record_first.json"
"""As the first version of schema 1 wrote it, which did not know some of today's keys."""


def test_a_record_of_the_first_version_is_read_and_ranked() -> None:
    record = read_record(FIRST)
    written = json.loads(FIRST.read_text())
    read = record.model_dump(mode="json", by_alias=True)
    for key, value in written.items():
        assert read[key] == (value if not isinstance(value, dict) else {**read[key], **value}), key
    assert not {"kind", "title", "also"} & written["benchmark"].keys()
    assert (record.benchmark.kind, record.benchmark.also, record.dataset and record.dataset.splits) == ("", {}, {})
    board = build_leaderboard([record])
    assert board.cells[0, 0].values == (60.5,) and board.columns[0].title == "knn_dino"
    for form in ("md", "csv", "json", "paper", "latex", "hf"):
        assert "60.5" in format_leaderboard(board, form)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "not a record of schema 1"),
        ({"invented": 1}, "invented"),
        ({"status": "fine"}, "status"),
        ({"metrics": {"top1": "60"}}, "metrics.top1"),
    ],
)
def test_a_record_of_another_format_is_refused_in_one_line(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    (tmp_path / "record.json").write_text(json.dumps(json.loads(FIRST.read_text()) | change))
    with pytest.raises(UserError, match=message) as caught:
        read_record(tmp_path)
    assert "\n" not in str(caught.value) and "record.json" in str(caught.value)


def test_a_metric_that_there_is_nothing_of_is_kept(tmp_path: Path) -> None:
    """Detectron2 calls the AP of a class that no test image shows nan."""
    written = json.loads(FIRST.read_text())
    written["metrics"]["AP/unicorn"] = float("nan")
    (tmp_path / "record.json").write_text(json.dumps(written))
    record = read_record(tmp_path / "record.json")
    assert math.isnan(record.metrics["AP/unicorn"])
    assert "60.5" in format_leaderboard(build_leaderboard([record]), "json")
