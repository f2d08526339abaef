"""What columns are called, and which cells refer to which failure."""

from __future__ import annotations

from mec_transfer.report.table import cells, heads, quoted
from mec_transfer.results.leaderboard import build_leaderboard
from mec_transfer.results.references import Reference
from tests.example_board import example_records


def test_a_column_is_called_by_its_title_and_two_of_one_title_by_more() -> None:
    records = example_records()
    names = [head.name for head in heads(build_leaderboard(records))]
    assert names == [
        "ImageNet k-NN (InstDisc) (imagenet-knn-instdisc)",
        "ImageNet k-NN (InstDisc) (imagenet-knn-instdisc+custom-90681f19)",
        "ImageNet 1 % (Barlow Twins)",
        "VOC07+12 detection",
    ]
    assert records[0].dataset
    other = records[0].dataset.model_copy(update={"fingerprint": "ff" * 32, "note": "half of it"})
    twins = heads(build_leaderboard([records[0], records[0].model_copy(update={"dataset": other})]))
    assert [head.twin in head.name and head.twin.startswith("data ") for head in twins] == [True, True]
    assert len({head.name for head in twins}) == 2


def test_failures_are_numbered_in_the_order_of_the_table() -> None:
    records = [
        record.model_copy(update={"status": "failed", "metrics": {}, "error": f"reason {record.trial}"})
        for record in example_records()
        if record.benchmark.id == "voc0712_c4"
    ]
    board = build_leaderboard(records)
    table, failures = cells(board, [model.name for model in board.models])
    assert [cell.failed for row in table for cell in row if cell] == [(1, 2, 3), (4, 5, 6)]
    assert failures[4] == "theirs, `voc0712-c4-moco`, trial 1: reason 1"


def test_a_published_number_stands_in_the_columns_of_its_protocol_metric_and_data() -> None:
    reference = Reference(
        method="x", arch="resnet50", pretraining="", protocol="voc0712-c4-moco", metrics={"AP50": 80, "AP": 50.25},
        source="a paper", by_authors=False, note="odd",
    )  # fmt: skip
    (row,) = quoted(build_leaderboard(example_records(), [reference]))
    assert row.values == {3: (80, "80.0")} and row.about == "resnet50, not the authors' run, odd"
    own = [
        record.model_copy(update={"dataset": record.dataset.model_copy(update={"note": "data of one's own"})})
        for record in example_records()
        if record.dataset
    ]
    assert list(quoted(build_leaderboard(own, [reference]))) == []
