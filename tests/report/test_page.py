"""The page: the leaderboard's own numbers, nothing of a record taken for markup, and the same bytes each time."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from markupsafe import Markup
from PIL import Image

from benchmarks.report import write_run
from mec_transfer.common.files import write_json
from mec_transfer.report.page import inline, write_report
from mec_transfer.results.leaderboard import build_leaderboard
from mec_transfer.results.markdown import format_markdown, other_numbers
from mec_transfer.results.means import MeanPart, MeanSpec, keep_means
from mec_transfer.results.record import DatasetInfo, ModelInfo, Record, Selection
from mec_transfer.results.references import Reference, load_references
from mec_transfer.results.store import Store
from tests.example_board import example_records
from tests.report.conftest import MakePage, Page, write_records
from tests.results.test_leaderboard import record

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    '"onload="alert(3)',
    "<img src=x onerror=alert(4)>",
    "' autofocus onfocus='alert(5)",
    "<!--<script>",
    "]]>&lt;b&gt;\u2028\u2029",
    "{{ 7 * 7 }}{% raw %}",
)


def hostile(record: Record, text: str) -> Record:
    """Return the record with a text wherever it has words of a user, a library or a file."""
    dataset = record.dataset or DatasetInfo(name="", fingerprint="", num_images=0)
    return record.model_copy(
        update={
            "model": record.model.model_copy(
                update={"name": text, "arch": text, "source": text, "encoder": text, "sha256": "ab" * 32}
            ),
            "benchmark": record.benchmark.model_copy(
                update={"title": text, "protocol": text, "family": text, "id": text, "config_sha256": text}
            ),
            "dataset": dataset.model_copy(update={"name": text, "note": text, "splits": {text: 3}}),
            "selection": Selection(chosen=text, by="protocol"),
            "warnings": [text],
            "error": text if record.status == "failed" else None,
            "versions": {text: text},
            "hardware": {text: text},
            "finished": text,
            "metrics": {**record.metrics, text: 1.0} if record.metrics else {},
        }
    )


def shape(page: Page) -> list[tuple[str, list[str]]]:
    """Return the page's tags with the names of their attributes."""
    return [(tag, sorted(attributes)) for tag, attributes in page.tags]


def page_of(text: str, out: Path) -> Page:
    """A page with a number, a failure and a published row, in which every word is `text`."""
    ok, failed = (next(one for one in example_records() if one.status == status) for status in ("ok", "failed"))
    failed = failed.model_copy(update={"trial": 1, "seed": 1, "primary": ok.primary})
    write_records(out, [hostile(ok, text), hostile(failed, text)])
    words = dict.fromkeys(("method", "arch", "pretraining", "protocol", "source", "note"), text)
    reference = Reference(metrics={ok.primary: 1.0}, by_authors=True, **words)
    (out / "jobs/model/job-00000/pictures").mkdir()
    Image.new("RGB", (8, 8)).save(out / "jobs/model/job-00000/pictures" / f"best_{text.replace('/', '')}.png")
    other = reference.model_copy(
        update={"protocol": f"{text}, other", "dataset": text, "nearest": text, "differs": text}
    )
    return Page(write_report(out, Store.read(out), references=[reference, other]))


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_of_a_record_is_taken_for_markup(text: str, tmp_path: Path) -> None:
    page = page_of(text, tmp_path / "hostile")
    assert shape(page) == shape(page_of("plain", tmp_path / "plain"))
    assert sum(tag == "script" for tag, _ in page.tags) == 2
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert " ".join(text.split()) in " ".join(page.text.split())
    assert page.data["rows"] == [text] and page.trials(0, 0)[0]["warnings"] == [text]


def test_the_log_of_a_failure_is_text_too(make_page: MakePage, tmp_path: Path) -> None:
    failed = next(record for record in example_records() if record.status == "failed")
    (folder,) = write_records(tmp_path / "run", [failed])
    (folder / "log.txt").write_text(f"step 1\n{HOSTILE[1]}\n")
    page = Page(write_report(tmp_path / "run", Store.read(tmp_path / "run")))
    assert page.trials(0, 0)[0]["log"] == f"step 1\n{HOSTILE[1]}"
    assert page.source.count("</script>") == 2


def test_the_table_has_the_numbers_of_the_leaderboard_as_markdown_has_them(make_page: MakePage) -> None:
    page = make_page(example_records())
    markdown = format_markdown(build_leaderboard(example_records(), load_references()))
    rows = page.measured()
    for line in markdown.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in ("ours", "theirs", "random"):
            assert rows[cells[0]] == [
                f"{cell.replace('**', '')} best" if cell.startswith("**") else cell for cell in cells[1:]
            ]
        elif line.startswith(("1. ", "2. ")):
            assert line[3:].replace("`", "") in page.text
    assert rows["MoCo v2facebookresearch/moco detection README (resnet50, 800 epochs)"] == ["", "", "", "82.5"]
    assert "failed (2)" in rows["theirs"][3] and "52.50†" in rows["ours"][2]


def test_a_derived_column_stands_right_of_the_others_and_sorts_as_they_do(tmp_path: Path) -> None:
    parts = tuple(MeanPart(protocol=name, metric="top1") for name in ("x-a", "x-b"))
    whole = [record(name, f"x-{at}", value) for name, value in (("mec", 4.0), ("random", 2.0)) for at in "ab"]
    write_records(tmp_path, [*whole, record("one", "x-a", 9.0)])
    keep_means(tmp_path, [MeanSpec(title="Mean <of> two", of=parts)])
    quote = Reference(
        method="Else", arch="", pretraining="", protocol="x-a", metrics={"top1": 1.0}, source="S", by_authors=True
    )
    page = Page(write_report(tmp_path, Store.read(tmp_path), references=[quote]))
    heads, *_ = page.rows
    assert heads[-1].startswith("Mean <of> two") and "mean of 2 columns" in heads[-1]
    rows = page.measured()
    assert [rows[name][-1] for name in ("mec", "random", "one")] == ["4.00 best", "2.00", ""]
    assert {len(line) for line in page.rows if len(line) > 3} == {4} and rows["ElseS"] == ["1.0", "", ""]
    means = dict(zip(page.data["rows"], (line[-1] for line in page.data["means"]), strict=True))
    assert means == {"mec": 4.0, "random": 2.0, "one": None}
    assert page.data["derived"] == [{"title": "Mean <of> two", "higher": True}] and len(page.data["columns"]) == 2


def test_published_rows_are_those_of_the_leaderboard(make_page: MakePage) -> None:
    page = make_page(example_records())
    quoted = re.findall(r'<td data-value="([\d.]+)">([\d.]+)</td>', page.source)
    board = format_markdown(build_leaderboard(example_records(), load_references()))
    table = board.partition("## Published numbers")[2].partition("\n## ")[0]
    printed = [shown for line in table.splitlines() for shown in re.findall(r"(?<=\| )[\d.]+(?= \|)", line)]
    assert [shown for _, shown in quoted] == printed and len(printed) > 10
    assert [float(value) for value, _ in quoted] == [float(shown) for shown in printed]
    without = make_page(example_records(), references=())
    assert 'id="quoted"' not in without.source and "data-value" not in without.source


def test_what_others_published_stands_apart_as_in_the_leaderboard(make_page: MakePage) -> None:
    board = build_leaderboard(example_records(), load_references())
    others = other_numbers(board)
    page = make_page(example_records())
    part = page.source.partition('<section id="others"')[2].partition("</section>")[0]
    assert part.count("<tr>") == sum(1 + len(other.rows) for other in others) > 10
    shown = [[" ".join(cell.split()) for cell in row] for row in page.rows]
    for row in (row for other in others for row in other.rows):
        assert [cell.replace("`", "") for cell in row] in shown
    assert 'id="others"' not in make_page(example_records(), references=()).source


def test_the_same_records_give_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    pages = []
    for name, records in (("a", example_records()), ("b", example_records()[::-1])):
        write_records(tmp_path / name, records)
        pages.append(write_report(tmp_path / name, Store.read(tmp_path / name)).read_bytes())
    assert pages[0] == pages[1]
    assert write_report(tmp_path / "a", Store.read(tmp_path / "a")).read_bytes() == pages[0]


def test_the_policy_lets_the_page_s_own_script_and_style_run_and_nothing_else(make_page: MakePage) -> None:
    page = make_page(example_records())
    (policy,) = (attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes)
    assert policy
    for tag in ("style", "script"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page.source, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert not re.search(r"(?:src|href)=\"(?!#|data:|jobs/)", page.source)
    assert not any("style" in attributes for _, attributes in page.tags)


def test_a_page_of_failures_alone_and_one_of_a_single_record(make_page: MakePage) -> None:
    failed = make_page([record for record in example_records() if record.status == "failed"])
    assert "failed (1)" in failed.measured()["theirs"][0] and "2 failed" in failed.text
    assert failed.data["means"] == [[None, None]]


def test_one_record_is_its_own_baseline(make_page: MakePage) -> None:
    page = make_page(example_records()[:1])
    assert page.measured()["ours"] == ["61.24"]
    assert page.measured()["ImageNet k-NN (InstDisc) top1"] == ["", "+0.00"]


def test_old_and_unreadable_records_have_their_place(make_page: MakePage, tmp_path: Path) -> None:
    """A record of before there were titles, hardware and dates; and two that cannot be read any more."""
    new = example_records()[0]
    old = new.model_dump(mode="json", by_alias=True)
    for key in ("versions", "hardware", "finished", "seconds", "details", "selection", "warnings", "dataset"):
        del old[key]
    old["benchmark"] = {key: old["benchmark"][key] for key in ("id", "family", "protocol", "config_sha256")}
    old["model"] |= {"name": "old"}
    write_json(tmp_path / "run/jobs/old/job/record.json", old)
    broken = tmp_path / "run/jobs/old/broken/record.json"
    broken.parent.mkdir()
    broken.write_text("{")
    page = make_page([new])
    assert page.measured()["old"][0] == "61.24"
    assert "Records that cannot be read" in page.text and str(broken) in page.text


def test_notes_are_those_of_the_leaderboard(make_page: MakePage) -> None:
    page = make_page(example_records())
    notes = format_markdown(build_leaderboard(example_records(), load_references())).partition("## Notes")[2]
    notes = notes.partition("\n## ")[0]
    lines = [line[2:].replace("`", "") for line in notes.splitlines() if line.startswith("- ")]
    assert len(lines) >= 12
    assert all(line in page.text for line in lines)


def test_a_page_without_pictures_is_small(make_page: MakePage) -> None:
    page = make_page(example_records(), pictures=False)
    assert page.path.stat().st_size < 200_000 and 'id="pictures"' not in page.source


def test_two_thousand_records_take_less_than_a_quarter_of_three_megabytes(tmp_path: Path) -> None:
    """Each with a job.json, as a run leaves it, and one in fifty a failure with its log."""
    write_run(tmp_path, models=20, protocols=20, trials=5)
    store = Store.read(tmp_path)
    assert len(store.records) == 2000 and not store.problems
    page = Page(write_report(tmp_path, store))
    assert page.path.stat().st_size < 700_000
    assert len(page.data["cells"]) == 400 and all(len(trials) == 5 for trials in page.data["cells"].values())
    assert page.trials(0, 0)[3]["repeat"].endswith(" --trial")


def test_it_is_made_without_torch(tmp_path: Path) -> None:
    write_records(tmp_path, example_records())
    code = (
        "import sys; from mec_transfer.cli.main import main; "
        f"status = main(['report', {str(tmp_path)!r}]); "
        "heavy = {'torch', 'torchvision', 'matplotlib'} & set(sys.modules); "
        "sys.exit(f'status {status}, imported {heavy}' if status or heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'report.html'}\n"


def test_two_sets_of_weights_of_one_name_are_two_rows(make_page: MakePage) -> None:
    one = example_records()[0]
    other = one.model_copy(update={"model": ModelInfo(name="ours", sha256="ff" * 32, arch="resnet50")})
    assert sorted(make_page([one, other]).data["rows"]) == ["ours (6f757273)", "ours (ffffffff)"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("`a-b`: 3 images", "<code>a-b</code>: 3 images"),
        (r"a name\|with bars", "a name|with bars"),
        ("one ` alone <b>", "one ` alone &lt;b&gt;"),
        ("`<i>`", "<code>&lt;i&gt;</code>"),
    ],
)
def test_lines_of_markdown(line: str, shown: str) -> None:
    assert inline(line) == Markup(shown)
