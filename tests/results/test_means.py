"""Derived columns: whose mean they are, whose not, and that every format has them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import yaml

from mec_transfer.api import leaderboard
from mec_transfer.report.page import write_report
from mec_transfer.results.board_json import JsonLeaderboard
from mec_transfer.results.formats import format_leaderboard
from mec_transfer.results.leaderboard import build_leaderboard
from mec_transfer.results.markdown import format_text
from mec_transfer.results.means import MEANS_NAME, MeanPart, MeanSpec, keep_means, read_means
from mec_transfer.results.paper import paper_tables
from mec_transfer.results.record import Record, write_record
from mec_transfer.results.store import Store, is_current
from tests.results.test_leaderboard import IMAGENET, PARTIAL, REFERENCES, TEST_SET, record


def spec(*protocols: str, title: str = "Mean of two", higher: bool = True) -> MeanSpec:
    parts = tuple(MeanPart(protocol=protocol, metric="top1") for protocol in protocols)
    return MeanSpec(title=title, of=parts, higher_is_better=higher)


TWO = spec("x-knn-dino", "x-semisup-1pct")


def records() -> list[Record]:
    return [
        record("mec", "x-knn-dino", 60.0),
        record("mec", "x-semisup-1pct", 40.0, seed=0, selection=TEST_SET),
        record("mec", "x-semisup-1pct", 43.0, seed=1, selection=TEST_SET),
        record("random", "x-knn-dino", 70.0),
        record("random", "x-semisup-1pct", 2.0),
        record("half", "x-knn-dino", 99.0),
        record("broken", "x-knn-dino", 98.0),
        record("broken", "x-semisup-1pct", None),
        record("custom", "x-knn-dino", 97.0),
        record("custom", "x-semisup-1pct+custom-1", 97.0),
    ]


def test_a_mean_is_over_all_of_the_columns_or_not_made() -> None:
    board = build_leaderboard(records(), (), [TWO])
    (mean,) = board.derived
    names = {board.models[row].name: value for row, value in mean.values.items()}
    assert names == {"mec": (60.0 + (40.0 + 43.0) / 2) / 2, "random": (70.0 + 2.0) / 2}
    assert [board.models[row].name for row in mean.best] == ["mec"]  # not `half`, whose one number is higher
    assert [mean.shown(row) for row in range(len(board.models)) if board.models[row].name == "mec"] == ["50.75†"]
    rows = [model.name for model in board.models]
    assert rows == [model.name for model in build_leaderboard(records()).models]  # and it ranks nobody


def test_data_of_ones_own_and_custom_protocols_have_no_part_in_it() -> None:
    own = [record("mec", "x-knn-dino", 60.0, dataset=PARTIAL), record("mec", "x-semisup-1pct", 40.0)]
    assert build_leaderboard(own, (), [TWO]).derived == ()
    both = build_leaderboard([*own, record("mec", "x-knn-dino", 50.0)], (), [TWO])
    assert both.derived[0].values == {0: 45.0}
    custom = [record("mec", "x-a+custom-1", 60.0), record("mec", "x-b", 40.0)]
    assert build_leaderboard(custom, (), [spec("x-a+custom-1", "x-b")]).derived == ()


def test_two_columns_of_one_protocol_are_not_chosen_from() -> None:
    other = IMAGENET.model_copy(update={"fingerprint": "f9" * 32})
    board = build_leaderboard([*records(), record("mec", "x-knn-dino", 61.0, dataset=other)], (), [TWO])
    assert board.derived == ()
    line = "Mean of two: not made, for `x-knn-dino` has 2 columns, of other data or configs."
    assert f"- {line}\n" in format_leaderboard(board, "md") and "of 2 columns<br>" not in format_leaderboard(
        board, "md"
    )


def test_the_lower_of_an_error_is_the_better_and_one_model_is_not_the_best() -> None:
    values = [("a", "x-e", 1.0), ("a", "x-f", 1.0), ("b", "x-e", 2.0), ("b", "x-f", 2.0)]
    errors = [record(*value, higher_is_better=False) for value in values]
    (mean,) = build_leaderboard(errors, (), [spec("x-e", "x-f", higher=False)]).derived
    assert mean.best == {0} and mean.values[0] == 1.0
    (alone,) = build_leaderboard(errors[:2], (), [spec("x-e", "x-f", higher=False)]).derived
    assert alone.best == set()


def test_every_format_shows_it_and_says_what_it_is_a_mean_of() -> None:
    board = build_leaderboard(records(), REFERENCES, [TWO])
    what = "Mean of two: the mean over `x-knn-dino` top1, `x-semisup-1pct` top1, of a model that has a number in each."
    markdown = format_leaderboard(board, "md")
    assert " | Mean of two<br>of 2 columns<br>mean ↑ |\n" in markdown and f"- {what}\n" in markdown
    lines = {line.split(" | ")[0].strip("| "): line for line in markdown.splitlines() if line.startswith("|")}
    assert lines["mec"].endswith(" | **50.75†** |") and lines["random"].endswith(" | 36.00 |")
    assert lines["half"].endswith(" |  |")
    quoted = markdown.partition("## Published numbers")[2].partition("## Notes")[0]
    assert "Mean of two" not in quoted  # nobody published it
    text = format_text(board).splitlines()
    assert text[0].endswith("Mean of two") and text[1 + [m.name for m in board.models].index("mec")].endswith("50.75†")

    document = JsonLeaderboard.model_validate_json(format_leaderboard(board, "json"))
    assert document.means == [TWO]
    means = {row.model: row.means[0] and (row.means[0].mean, row.means[0].chosen_on_test_set) for row in document.rows}
    assert means["mec"] == (50.75, True) and means["random"] == (36.0, False) and means["half"] is None

    rows = list(csv.DictReader(io.StringIO(format_leaderboard(board, "csv"))))
    derived = [row for row in rows if row["measured"] == "derived"]
    assert {(row["model"], row["benchmark"], row["metric"], float(row["value"])) for row in derived} == {
        ("mec", "Mean of two", "mean", 50.75),
        ("random", "Mean of two", "mean", 36.0),
    }
    assert all(row["note"] == what and row["protocol"] == "" for row in derived)

    (table,) = paper_tables(board)
    assert (table.heads[-1].title, table.heads[-1].names) == ("Mean of two", ["mean"])
    assert {label: numbers[-1] and numbers[-1].mean for label, numbers in table.rows}["half"] is None
    assert what.replace("`", "") in table.notes and all(numbers[-1] == "" for _, numbers in table.published)
    for form in ("paper", "latex"):
        assert "Mean of two" in format_leaderboard(board, form)

    card = yaml.safe_load(format_leaderboard(board, "hf", "mec").strip("-\n"))
    last = card["model-index"][0]["results"][-1]
    assert last["dataset"]["config"] == "x-knn-dino, x-semisup-1pct"
    assert last["metrics"][0]["value"] == 50.75 and last["metrics"][0]["args"]["chosen_on_test_set"]
    assert "Mean of two" not in format_leaderboard(board, "hf", "half")


def test_a_table_of_papers_has_the_means_of_its_own_family() -> None:
    detection = record("mec", "x-det", 50.0)
    benchmark = detection.benchmark.model_copy(update={"family": "detection"})
    found, both = detection.model_copy(update={"benchmark": benchmark}), spec("x-knn-dino", "x-det", title="Both")
    board = build_leaderboard([*records(), found], (), [TWO, both])
    assert [mean.spec.title for mean in board.derived] == ["Mean of two", "Both"]
    titles = [[head.title for head in table.heads] for table in paper_tables(board)]
    assert "Mean of two" in titles[0] and "Both" not in [*titles[0], *titles[1]]


def write(out: Path, found: list[Record]) -> None:
    for number, one in enumerate(found):
        (out / "jobs" / one.model.name / str(number)).mkdir(parents=True)
        write_record(out / "jobs" / one.model.name / str(number), one)


def test_the_definition_lies_beside_the_records_and_goes_with_them(tmp_path: Path) -> None:
    run, other = tmp_path / "runs" / "a", tmp_path / "runs" / "b"
    write(run, records()[:3])
    write(other, records()[3:5])
    keep_means(run, [TWO])
    for folders in ([run, other], [tmp_path / "runs"]):
        (mean,) = leaderboard(folders, references=False).derived
        assert len(mean.values) == 2 and mean.spec == TWO
    assert leaderboard(other).derived == ()
    keep_means(other, [TWO, spec("x-a", "x-b", title="Else")])
    assert leaderboard([run, other]).means == leaderboard([other, run]).means


def test_a_later_suite_adds_means_and_replaces_those_of_its_titles(tmp_path: Path) -> None:
    keep_means(tmp_path, [])
    assert not (tmp_path / MEANS_NAME).exists()
    keep_means(tmp_path, [TWO])
    before = (tmp_path / MEANS_NAME).stat().st_mtime_ns
    keep_means(tmp_path, [TWO])
    assert (tmp_path / MEANS_NAME).stat().st_mtime_ns == before  # so that what was made of it stays current
    later = spec("x-a", "x-b", title="Else")
    keep_means(tmp_path, [later, spec("x-a", "x-c")])
    assert read_means(tmp_path) == [spec("x-a", "x-c"), later]


def test_what_was_made_before_the_definition_changed_is_made_again(tmp_path: Path) -> None:
    write(tmp_path, records()[:3])
    page = write_report(tmp_path, Store.read(tmp_path))
    assert is_current(page, tmp_path) and "Mean of two" not in page.read_text()
    keep_means(tmp_path, [TWO])
    assert not is_current(page, tmp_path)
    write_report(tmp_path, Store.read(tmp_path))
    assert "Mean of two" in page.read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not"),
        ('{"schema": 1, "means": [{"title": "A", "of": []}]}', "means"),
        ('{"schema": 2, "means": []}', "schema"),
    ],
)
def test_a_damaged_definition_is_one_line_and_costs_no_number(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, records()[:3])
    (tmp_path / MEANS_NAME).write_text(text)
    store = Store.read(tmp_path)
    assert len(store.records) == 3 and store.means == []
    (problem,) = store.problems
    assert str(tmp_path / MEANS_NAME) in problem and said in problem and "\n" not in problem
    keep_means(tmp_path, [TWO])
    assert MEANS_NAME in capsys.readouterr().err and read_means(tmp_path) == [TWO]


def test_the_definition_is_what_the_page_says(tmp_path: Path) -> None:
    keep_means(tmp_path, [TWO])
    assert json.loads((tmp_path / MEANS_NAME).read_text()) == {
        "schema": 1,
        "means": [
            {
                "title": "Mean of two",
                "of": [{"protocol": p, "metric": "top1"} for p in ("x-knn-dino", "x-semisup-1pct")],
                "higher_is_better": True,
            }
        ],
    }
