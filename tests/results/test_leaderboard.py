"""The leaderboard of hand-made records, against a golden file and against what each cell must be."""

from __future__ import annotations

import csv
import io
import json
import random
import statistics
from pathlib import Path
from typing import Any

import pytest

from mec_transfer.results.formats import format_leaderboard
from mec_transfer.results.leaderboard import build_leaderboard, natural
from mec_transfer.results.markdown import format_text
from mec_transfer.results.record import BenchmarkInfo, DatasetInfo, ModelInfo, Record, Selection
from mec_transfer.results.references import Reference

GOLDEN = Path(__file__).parents[1] / "golden" / "leaderboard.md"

IMAGENET = DatasetInfo(name="imagenet", fingerprint="f1" * 32, num_images=1_331_167, classes=1000)
PARTIAL = DatasetInfo(name="imagenet", fingerprint="f2" * 32, num_images=1200, classes=1000, note="1200 images only")


def record(model: str, protocol: str, value: float | None, seed: int = 0, **about: Any) -> Record:
    """One record; `value` None makes it a failed one."""
    base = protocol.partition("+")[0]
    ok: dict[str, Any] = {"status": "ok", "metrics": {"top1": value, "top5": 95.0}}
    failed: dict[str, Any] = {"status": "failed", "error": "the loss is nan at step 7"}
    fields: dict[str, Any] = {
        "model": ModelInfo(name=model, sha256=model.encode().hex().ljust(64, "0"), arch="resnet50"),
        "benchmark": BenchmarkInfo(
            id=base,
            family="classification",
            protocol=protocol,
            config_sha256=protocol.encode().hex().ljust(64, "0"),
            kind=base.split("-")[1],
            title=base.replace("-", " ").title(),
        ),
        "trial": seed,
        "seed": seed,
        "primary": "top1",
        "dataset": IMAGENET,
        "versions": {"torch": "2.11.0"},
        "finished": "2026-01-01T00:00:00+00:00",
        "seconds": 12.0,
        **(failed if value is None else ok),
        **about,
    }
    return Record(**fields)


TEST_SET = Selection(chosen="epoch 3 of 20", by="test set")
EPOCH = Selection(chosen="epoch 20 of 20", by="protocol")


def hand_made() -> list[Record]:
    return [
        record("mec", "x-knn-dino", 60.0, selection=EPOCH),
        record("random", "x-knn-dino", 5.25, warnings=["one | two", "the data is odd"]),
        record("broken", "x-knn-dino", None),
        record("mec", "x-semisup-1pct", 40.0, seed=0, selection=TEST_SET),
        record("mec", "x-semisup-1pct", 41.0, seed=1, selection=TEST_SET),
        record("mec", "x-semisup-1pct", 45.0, seed=2, selection=TEST_SET),
        record("random", "x-semisup-1pct", 3.0, seed=0),
        record("random", "x-semisup-1pct", None, seed=1),
        record("random", "x-semisup-1pct", None, seed=2),
        record("mec", "x-semisup-10pct", 50.0),
        record("mec", "x-knn-dino+custom-0123abcd", 61.0),
        record("mec", "x-knn-dino", 70.0, dataset=PARTIAL),
        record("mec", "x-wrong-error", 2.5, higher_is_better=False),
        record("random", "x-wrong-error", 0.5, higher_is_better=False),
    ]


def reference(method: str, protocol: str, by_authors: bool = True, **metrics: float) -> Reference:
    return Reference(
        method=method,
        arch="resnet50",
        pretraining="200 epochs",
        protocol=protocol,
        metrics=metrics,
        source="A paper, Table 1",
        by_authors=by_authors,
    )


REFERENCES = [
    reference("SwAV", "x-knn-dino", by_authors=False, top1=65.7, top5=90.0),
    reference("DINO", "x-knn-dino", top1=67.5),
    reference("DINO", "x-semisup-1pct", top1=55.0, top5=80.0),
    reference("Other", "x-linear-other", top1=99.0),
    reference("Other metric", "x-knn-dino", AP=99.0),
]


def test_golden_leaderboard() -> None:
    """Run with the golden file removed to write a new one, and read the difference."""
    text = format_leaderboard(build_leaderboard(hand_made(), REFERENCES), "md")
    if not GOLDEN.exists():
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text, encoding="utf-8")
        pytest.fail(f"{GOLDEN} was missing and has been written: check it")
    assert text == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("form", ["md", "csv", "json", "paper", "latex"])
def test_the_order_of_the_records_makes_no_difference(form: str) -> None:
    expected = format_leaderboard(build_leaderboard(hand_made(), REFERENCES), form)
    for seed in range(5):
        records, references = hand_made(), list(REFERENCES)
        random.Random(seed).shuffle(records)
        random.Random(seed).shuffle(references)
        assert format_leaderboard(build_leaderboard(records, references), form) == expected


@pytest.mark.parametrize("form", ["md", "csv", "json", "paper", "latex"])
def test_times_and_paths_leave_no_trace(form: str) -> None:
    expected = format_leaderboard(build_leaderboard(hand_made()), form)
    other = [
        r.model_copy(
            update={
                "seconds": 99.0,
                "finished": "2027-01-01T00:00:00+00:00",
                "hardware": {"gpu": "other"},
                "model": r.model.model_copy(update={"source": "/elsewhere/x.pth"}),
            }
        )
        for r in hand_made()
    ]
    assert format_leaderboard(build_leaderboard(other), form) == expected


def test_mean_and_sample_deviation_over_trials() -> None:
    board = build_leaderboard(hand_made())
    column = next(at for at, column in enumerate(board.columns) if column.protocol == "x-semisup-1pct")
    row = next(at for at, model in enumerate(board.models) if model.name == "mec")
    cell = board.cells[row, column]
    assert cell.mean == 42.0
    assert cell.std == statistics.stdev([40.0, 41.0, 45.0]) == 7.0**0.5  # ((-2)^2 + (-1)^2 + 3^2) / 2
    assert "42.00† ± 2.65 (n=3)" in format_leaderboard(board, "md")


def test_two_protocols_data_sets_or_configs_never_share_a_column() -> None:
    edited = record("mec", "x-knn-dino", 1.0)
    edited = edited.model_copy(update={"benchmark": edited.benchmark.model_copy(update={"config_sha256": "e" * 64})})
    board = build_leaderboard([*hand_made(), edited], REFERENCES)
    knn = [column for column in board.columns if column.benchmark == "x-knn-dino"]
    assert len(knn) == 4  # as published, other data, another config, custom
    assert len({(c.protocol, c.fingerprint, c.config_sha256) for c in knn}) == 4
    assert all(
        len(cell.values) == 1 for (_, at), cell in board.cells.items() if board.columns[at] in knn and cell.values
    )


def test_published_numbers_stand_only_under_their_own_protocol_on_the_published_data() -> None:
    text = format_leaderboard(build_leaderboard(hand_made(), REFERENCES), "md")
    quoted = text.partition("## Published")[2].partition("##")[0]
    assert "99" not in quoted and "Other" not in quoted
    assert quoted.splitlines()[2].count("x-knn-dino") == 1  # neither the partial data's column nor the custom one
    custom_only = [
        record("mec", "x-knn-dino+custom-0123abcd", 61.0),
        record("mec", "x-knn-dino", 70.0, dataset=PARTIAL),
    ]
    assert "Published" not in format_leaderboard(build_leaderboard(custom_only, REFERENCES), "md")


def test_a_label_split_drawn_for_each_trial_is_one_column() -> None:
    drawn = [
        record("mec", "c-semisup-1pct", 10.0 + s, seed=s, dataset=IMAGENET.model_copy(update={"note": f"seed {s}"}))
        for s in range(3)
    ]
    board = build_leaderboard(drawn)
    assert len(board.columns) == 1 and board.cells[0, 0].values == (10.0, 11.0, 12.0)
    assert "seed 0; seed 1; seed 2" in format_leaderboard(board, "md")


def test_the_best_is_bold_by_the_direction_of_its_metric() -> None:
    board = build_leaderboard(hand_made())
    text = format_leaderboard(board, "md")
    assert "**60.00**" in text and "**0.50**" in text and "**2.50**" not in text
    assert "**50.00**" not in text  # alone in its column


def test_a_reworded_title_is_the_same_column() -> None:
    old, new = record("mec", "x-knn-dino", 60.0), record("random", "x-knn-dino", 50.0)
    new = new.model_copy(update={"benchmark": new.benchmark.model_copy(update={"title": "A new title"})})
    for records in ([old, new], [new, old]):
        board = build_leaderboard(records)
        assert [column.title for column in board.columns] == ["A new title"] and board.best(0) == {0}


def test_a_failure_gives_way_to_the_same_trials_number() -> None:
    stale = record("mec", "x-knn-dino", None, dataset=None)
    board = build_leaderboard([stale, record("mec", "x-knn-dino", 60.0)])
    assert board.cells[0, 0].failures == () and board.cells[0, 0].values == (60.0,)


def test_a_failure_is_not_hidden_by_the_number_of_other_weights() -> None:
    retrained = record("mec", "x-knn-dino", None)
    model = retrained.model.model_copy(update={"sha256": "ab" * 32})
    board = build_leaderboard([record("mec", "x-knn-dino", 60.0), retrained.model_copy(update={"model": model})])
    failed = next(row for row, shown in enumerate(board.models) if shown.sha256 == "ab" * 32)
    assert board.cells[failed, 0].failures == ("trial 0: the loss is nan at step 7",)
    nameless = retrained.model_copy(update={"model": model.model_copy(update={"sha256": ""})})
    assert len(build_leaderboard([record("mec", "x-knn-dino", 60.0), nameless]).models) == 1


def test_a_failure_without_data_joins_the_column_that_has_numbers() -> None:
    blocked = DatasetInfo(name="imagenet", fingerprint="", num_images=0)
    board = build_leaderboard([record("other", "x-knn-dino", None, dataset=blocked), record("mec", "x-knn-dino", 60.0)])
    assert len(board.columns) == 1 and len(board.models) == 2
    alone = build_leaderboard([record("other", "x-knn-dino", None, dataset=blocked)])
    assert "not readable" in format_leaderboard(alone, "md") and "failed (1)" in format_leaderboard(alone, "md")


def test_two_weights_under_one_name_are_two_rows() -> None:
    other = record("mec", "x-knn-dino", 1.0)
    other = other.model_copy(update={"model": other.model.model_copy(update={"sha256": "ab" * 32})})
    text = format_leaderboard(build_leaderboard([record("mec", "x-knn-dino", 60.0), other]), "md")
    assert "| mec (abababab) |" in text and "| mec (6d656300) |" in text


def test_one_seed_counts_once() -> None:
    twice = [record("mec", "x-knn-dino", 60.0, seed=1), record("mec", "x-knn-dino", 60.0, seed=1, trial=0)]
    assert build_leaderboard(twice).cells[0, 0].values == (60.0,)


def test_a_trial_with_two_numbers_shows_one_and_warns() -> None:
    found = [record("mec", "x-knn-dino", 60.0, seed=1), record("mec", "x-knn-dino", 61.0, seed=1)]
    boards = [build_leaderboard(found), build_leaderboard(found[::-1])]
    assert boards[0].cells[0, 0].values == boards[1].cells[0, 0].values == (60.0,)
    told = "mec, `x-knn-dino`, seed 1: two records differ (top1 60 and 61); the first is shown"
    assert boards[0].conflicts == boards[1].conflicts == (told,)
    assert f"- {told}" in format_leaderboard(boards[0], "md") and told in format_leaderboard(boards[0], "json")


def test_csv_has_one_line_a_number() -> None:
    rows = list(csv.DictReader(io.StringIO(format_leaderboard(build_leaderboard(hand_made(), REFERENCES), "csv"))))
    measured = [row for row in rows if row["measured"] == "yes"]
    assert len(measured) == 11 * 2 + 3  # eleven numbers with top1 and top5, three failures
    values = [
        float(r["value"])
        for r in measured
        if r["protocol"] == "x-semisup-1pct" and r["primary"] == "yes" and r["value"]
    ]
    assert values == [40.0, 41.0, 45.0, 3.0]
    failed = [row for row in measured if row["status"] == "failed"]
    assert {row["note"] for row in failed} == {"the loss is nan at step 7"} and {row["value"] for row in failed} == {""}
    assert {row["source"] for row in rows if row["measured"] == "no"} == {"A paper, Table 1"}


def test_csv_has_a_number_once_however_many_columns_its_record_has() -> None:
    masks = record("mec", "x-c4", 40.0).benchmark.model_copy(update={"also": {"mask_AP": "X C4, masks"}})
    found = [
        record("mec", "x-c4", 0.0, metrics={"AP": 40.0, "AP50": 60.0, "mask_AP": 35.0}, primary="AP", benchmark=masks),
        record("random", "x-c4", None, primary="AP", benchmark=masks),
    ]
    rows = list(csv.DictReader(io.StringIO(format_leaderboard(build_leaderboard(found), "csv"))))
    assert [(row["model"], row["metric"], row["primary"], row["value"]) for row in rows] == [
        ("mec", "AP", "yes", "40.0"),
        ("mec", "AP50", "no", "60.0"),
        ("mec", "mask_AP", "yes", "35.0"),
        ("random", "AP", "yes", ""),
        ("random", "mask_AP", "yes", ""),
    ]


def test_a_metric_that_is_ranked_by_an_override_has_one_column() -> None:
    masks = record("mec", "x-c4", 40.0).benchmark.model_copy(update={"also": {"mask_AP": "X C4, masks"}})
    board = build_leaderboard(
        [record("mec", "x-c4", 0.0, metrics={"mask_AP": 35.0}, primary="mask_AP", benchmark=masks)]
    )
    assert [(column.title, column.metric) for column in board.columns] == [("X C4", "mask_AP")]
    assert len(format_leaderboard(board, "csv").splitlines()) == 2


def test_json_has_null_for_a_cell_never_run() -> None:
    value = json.loads(format_leaderboard(build_leaderboard(hand_made(), REFERENCES), "json"))
    assert value["schema"] == 3
    at = [column["protocol"] for column in value["columns"]].index("x-semisup-10pct")
    by_model = {row["model"]: row["cells"][at] for row in value["rows"]}
    assert by_model["random"] is None and by_model["mec"]["mean"] == 50.0


def test_text_table_is_aligned() -> None:
    lines = format_text(build_leaderboard(hand_made())).splitlines()
    assert "**" not in "".join(lines)
    assert lines[0].startswith("model") and lines[0].endswith("x-wrong-error top1")
    assert [line[: len(lines[0])].endswith(number) for line, number in zip(lines[1:3], ("2.50", "0.50"))] == [
        True,
        True,
    ]
    assert "(1) random, `x-semisup-1pct`, trials 1, 2: the loss is nan at step 7" in lines


def test_natural_order() -> None:
    assert sorted(["10pct", "1pct", "knn"], key=natural) == ["1pct", "10pct", "knn"]
    assert natural("1²") < natural("2²") < natural("²")  # a digit to Unicode, but no number


def test_one_run_fills_a_column_for_each_metric_that_its_config_names() -> None:
    boxes = record("mec", "x-c4", 40.0).benchmark.model_copy(update={"also": {"mask_AP": "X C4, masks"}})
    both = {"primary": "AP", "benchmark": boxes}
    found = [
        record("mec", "x-c4", 0.0, metrics={"AP": 40.0, "mask_AP": 35.0}, **both),
        record("random", "x-c4", None, **both),
        record("boxes", "x-c4", 0.0, metrics={"AP": 12.0}, **both),  # data without masks
    ]
    board = build_leaderboard(found)
    assert [(column.title, column.metric) for column in board.columns] == [("X C4", "AP"), ("X C4, masks", "mask_AP")]
    values = {
        (board.models[row].name, column): (cell.mean, bool(cell.failures))
        for (row, column), cell in board.cells.items()
    }
    assert values == {
        ("mec", 0): (40.0, False),
        ("mec", 1): (35.0, False),
        ("random", 0): (None, True),
        ("random", 1): (None, True),
        ("boxes", 0): (12.0, False),
    }
