"""What is made for papers, model cards and programs, each read by an independent reader of its format."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import statistics
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mec_transfer.common.errors import UserError
from mec_transfer.results.board_json import JsonLeaderboard
from mec_transfer.results.formats import CSV_FIELDS, format_leaderboard
from mec_transfer.results.latex import escape
from mec_transfer.results.leaderboard import Leaderboard, build_leaderboard
from mec_transfer.results.paper import paper_tables
from mec_transfer.results.record import Record
from tests.results.test_leaderboard import REFERENCES, hand_made, record, reference

NASTY = (
    r"a_b & 50 % of $x$ #1 {c} ~d ^e \f <g> |h| \"i' `j -- k --- ?` [l] *m, ‘n’ “o” Grün Çelik Łódź naïve 中文 ß … ±"
)


def detector(name: str, seed: int, *values: float, **about: Any) -> Record:
    metrics = dict(zip(("AP", "AP50", "AP75", "mask_AP", "mask_AP50", "mask_AP75"), values))
    base = record(name, "voc-c4", 0.0, seed=seed, metrics=metrics, primary="AP50", **about)
    update = {"family": "detection", "title": "VOC C4", "also": {"mask_AP": "VOC C4, masks"}}
    return base.model_copy(update={"benchmark": base.benchmark.model_copy(update=update)})


def detectors() -> list[Record]:
    return [
        detector("mec", 0, 57.0, 82.0, 63.0, 34.0, 55.0, 36.0),
        detector("mec", 1, 57.5, 82.4, 64.0, 34.5, 55.5, 36.5),
        detector("random", 0, 33.0, 60.0, 33.0, 29.0, 46.0, 30.0),
    ]


def board(*more: Record) -> Leaderboard:
    quoted = [
        reference("SimSiam", "voc-c4", AP50=82.4, AP=57.0, AP75=63.7, mask_AP=34.4),
        reference("MoCo", "voc-c4", by_authors=False, AP50=82.5),
    ]
    return build_leaderboard([*hand_made(), *detectors(), *more], [*REFERENCES, *quoted])


def test_a_paper_has_a_table_for_each_family_and_ap_with_ap50_and_ap75() -> None:
    _, detection = paper_tables(board())
    assert [(head.title, head.names) for head in detection.heads] == [
        ("VOC C4", ["AP", "AP50", "AP75"]),
        ("VOC C4, masks", ["AP", "AP50", "AP75"]),
    ]
    (mec, numbers), (other, _) = detection.rows
    assert (mec, other) == ("mec", "random")
    assert [number and (number.mean, number.std, number.best) for number in numbers[:3]] == [
        (f"{statistics.fmean(values):.1f}", f"{statistics.stdev(values):.1f}", True)
        for values in ((57.0, 57.5), (82.0, 82.4), (63.0, 64.0))
    ]
    assert dict(detection.published) == {
        "MoCo, 200 epochs‡ [1]": ("", "82.5", "", "", "", ""),
        "SimSiam, 200 epochs [1]": ("57.0", "82.4", "63.7", "34.4", "", ""),
    }
    assert "±: sample standard deviation over n = 2 seeds." in detection.notes
    text = format_leaderboard(board(), "paper")
    assert "| mec | **57.2 ± 0.4** | **82.2 ± 0.3** | **63.5 ± 0.7** |" in text
    assert text.index("## Classification") < text.index("## Detection")


def test_heads_of_one_title_are_told_apart_and_small_numbers_keep_their_digits() -> None:
    small = [record("mec", "x-eao", 0.348), record("random", "x-eao", 0.295)]
    table, _ = paper_tables(board(*small))
    titles = [head.title for head in table.heads]
    assert len(set(titles)) == len(titles) and any("+custom-0123abcd" in title for title in titles)
    text = format_leaderboard(board(*small), "paper")
    assert "**0.348**" in text and "| 0.295 |" in text and "top1 ↓" in text
    assert "n=3" not in text  # three seeds in every cell with a deviation


def test_a_bar_in_a_name_breaks_no_table() -> None:
    found = [one.model_copy(update={"model": one.model.model_copy(update={"name": "a|b"})}) for one in detectors()[:1]]
    found.append(found[0].model_copy(update={"model": found[0].model.model_copy(update={"sha256": "ab" * 32})}))
    paper, latex = (format_leaderboard(build_leaderboard(found), form) for form in ("paper", "latex"))
    assert "| a\\|b (abababab) | **57.0**" in paper and r"a\textbar{}b (abababab) & \textbf{57.0}" in latex


def test_seeds_are_told_cell_by_cell_where_they_differ() -> None:
    table = paper_tables(board(detector("random", 1, 34.0, 61.0, 34.0), detector("mec", 2, 58.0, 83.0, 64.0)))[1]
    (_, mec), (_, other) = table.rows
    assert mec[1] and other[1] and (mec[1].count, other[1].count) == ("n=3", "n=2")


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed: NO TABLE WAS COMPILED")
@pytest.mark.parametrize("encoding", ["", r"\usepackage[T1]{fontenc}"])
def test_the_tables_compile_with_every_character_that_a_name_can_have(tmp_path: Path, encoding: str) -> None:
    named = detector("[x] *", 0, 50.0, 60.0, 70.0)
    nasty = named.model_copy(update={"model": named.model.model_copy(update={"name": NASTY})})
    control = named.model_copy(update={"model": named.model.model_copy(update={"name": "a\x00\x07\x7fb"})})
    every = "".join(map(chr, range(32, 0x250)))
    widest = named.model_copy(update={"model": named.model.model_copy(update={"name": every})})
    tables = format_leaderboard(board(named, nasty, control, widest), "latex")
    (tmp_path / "tables.tex").write_text(tables, encoding="utf-8")
    (tmp_path / "main.tex").write_text(
        "\\documentclass{article}\n" + encoding + "\\usepackage{booktabs}\n"
        "\\begin{document}\\input{tables}\\end{document}\n"
    )
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Missing character" not in (tmp_path / "main.log").read_text(errors="replace")
    assert (tmp_path / "main.pdf").stat().st_size > 10_000


def test_latex_escapes() -> None:
    assert escape("a_b & c") == r"a\_b \& c" and escape("x--y ?`") == "x-{}-y ?{}`"
    assert escape("Grün Łódź") == r"Gr\"{u}n \L{}\'{o}d\'{z}" and escape("中") == "{[}U+4E2D]"
    table = format_leaderboard(board(), "latex")
    assert r"\multicolumn{3}{c}{\shortstack{VOC C4}} & \multicolumn{3}{c}{\shortstack{VOC C4, masks}} \\" in table
    assert r"\multicolumn{1}{c}{\shortstack{X Semisup\\1Pct}}" in table
    assert r"mec & \textbf{57.2} $\pm$ 0.4 & \textbf{82.2} $\pm$ 0.3" in table
    assert table.count(r"\begin{tabular}") == 2 and table.count(r"\toprule") == 2
    for line in table.splitlines():  # a row has as many cells as the table has columns
        if line.startswith(("mec ", "random ", "MoCo", "SimSiam")) and "VOC" not in line:
            assert line.count("&") in (5, 6), line


def test_a_model_card_is_one_that_hugging_face_reads() -> None:
    hub = pytest.importorskip("huggingface_hub")
    text = format_leaderboard(board(), "hf", "mec")
    data = hub.ModelCard(f"{text}\n# A model\n").data
    assert data.model_name == "mec"
    found = {(r.dataset_config, r.dataset_revision, r.metric_name): r for r in data.eval_results}
    ap50 = found["voc-c4", "f1" * 32, "VOC C4: AP50"]
    assert (ap50.task_type, ap50.dataset_name, ap50.metric_type) == ("object-detection", "imagenet", "AP50")
    assert ap50.metric_value == pytest.approx(82.2) and ap50.metric_args["n"] == 2
    assert ap50.metric_args["std"] == pytest.approx(statistics.stdev([82.0, 82.4]), abs=1e-4)
    semisup = found["x-semisup-1pct", "f1" * 32, "X Semisup 1Pct: top1"]
    assert semisup.metric_type == "accuracy" and semisup.metric_args["chosen_on_test_set"] is True
    # Their own writer makes the same of what their reader has read: nothing was merged or lost.
    written = yaml.safe_load(text.strip("-\n"))["model-index"]
    assert hub.repocard_data.eval_results_to_model_index("mec", data.eval_results) == written
    hub.repocard_data.ModelCardData(model_name="mec", eval_results=data.eval_results)


@pytest.mark.parametrize(
    ("model", "message"),
    [(None, "choose it with --model, of mec, random"), ("mecc", "Did you mean 'mec'"), ("broken", "no number yet")],
)
def test_a_model_card_is_of_one_model_with_numbers(model: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        format_leaderboard(board(), "hf", model)


def test_a_model_card_of_two_weights_of_one_name_asks_for_the_hash() -> None:
    twin = record("mec", "x-knn-dino", 1.0)
    twin = twin.model_copy(update={"model": twin.model.model_copy(update={"sha256": "ab" * 32})})
    both = build_leaderboard([record("mec", "x-knn-dino", 60.0), twin])
    with pytest.raises(UserError, match="two rows are called 'mec'"):
        format_leaderboard(both, "hf", "mec")
    assert "value: 1.0" in format_leaderboard(both, "hf", "mec (abababab)")


def test_csv_is_tidy() -> None:
    rows = list(csv.DictReader(io.StringIO(format_leaderboard(board(), "csv"))))
    assert tuple(rows[0]) == CSV_FIELDS
    assert all(len(row[name]) <= 12 for row in rows for name in ("weights", "config", "fingerprint"))
    names = ("model", "protocol", "config", "fingerprint", "metric", "seed")
    measured = [tuple(row[name] for name in names) for row in rows if row["measured"] == "yes"]
    assert len(set(measured)) == len(measured) == 11 * 2 + 3 + 3 * 6
    assert {row["higher_is_better"] for row in rows if row["primary"] != "yes"} == {""}
    (line,) = [r for r in rows if (r["model"], r["metric"], r["seed"]) == ("mec", "mask_AP75", "1")]
    assert (line["value"], line["family"], line["protocol"]) == ("36.5", "detection", "voc-c4")


def test_json_is_of_its_schema_and_has_every_metric_by_seed() -> None:
    value = json.loads(format_leaderboard(board(), "json"))
    JsonLeaderboard.model_validate(value)
    at = next(at for at, column in enumerate(value["columns"]) if column["metric"] == "AP50")
    row = next(row for row in value["rows"] if row["model"] == "mec")
    cell = row["cells"][at]
    assert (cell["values"], cell["seeds"]) == ([82.0, 82.4], [0, 1])
    assert cell["metrics"]["mask_AP75"] == {"mean": 36.25, "std": pytest.approx(0.5**0.5 / 2), "n": 2}
    assert len(row["weights_sha256"]) == 64 and re.fullmatch("[0-9a-f]{64}", value["columns"][at]["config_sha256"])


def test_json_validates_against_the_schema_on_the_page() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: THE SCHEMA WAS NOT TRIED")
    docs = Path(__file__).parents[2] / "docs"
    jsonschema.validate(
        json.loads(format_leaderboard(board(), "json")), json.loads((docs / "leaderboard.schema.json").read_text())
    )
    schema = json.loads((docs / "record.schema.json").read_text())
    for one in hand_made():
        jsonschema.validate(one.model_dump(mode="json", by_alias=True), schema)
    first = Path(__file__).parents[1] / "golden" / "record_first.json"
    jsonschema.validate(json.loads(first.read_text()), schema)
