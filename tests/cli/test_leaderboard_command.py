"""The leaderboard of several runs, with numbers that the user quotes, in every format."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mec_transfer.cli.main import main
from mec_transfer.results.formats import EXPORTS
from mec_transfer.results.record import Record, write_record
from tests.results.test_leaderboard import PARTIAL, record


def write(folder: Path, *records: Record) -> str:
    for number, one in enumerate(records):
        write_record(folder / f"job{number}", one)
    return str(folder)


def cells(capsys: pytest.CaptureFixture[str]) -> dict[str, list[list[float] | None]]:
    value = json.loads(capsys.readouterr().out)
    assert len({(row["model"], row["weights_sha256"]) for row in value["rows"]}) == len(value["rows"])
    return {row["model"]: [cell and cell["values"] for cell in row["cells"]] for row in value["rows"]}


def test_several_runs_are_one_board(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write(tmp_path / "a", record("mec", "x-knn-dino", 60.0), record("mec", "x-knn-dino", None, seed=1))
    b = write(tmp_path / "b", record("mec", "x-knn-dino", 61.0, seed=1), record("mec", "x-knn-dino", 60.0))
    c = write(
        tmp_path / "c",
        record("random", "x-knn-dino", 5.0),
        record("random", "x-knn-dino+custom-1", 6.0),
        record("random", "x-knn-dino", 7.0, dataset=PARTIAL),
    )
    for runs in ([a, b, c], [c, b, a], [a, b, c, b, str(tmp_path)]):
        assert main(["leaderboard", *runs, "--format", "json"]) == 0
        assert cells(capsys) == {"mec": [[60.0, 61.0], None, None], "random": [[5.0], [7.0], [6.0]]}
    assert main(["leaderboard", a, "--format", "json"]) == 0
    assert cells(capsys) == {"mec": [[60.0]]}  # alone, its second trial has failed


def test_one_name_for_other_weights_in_another_run_gets_its_hash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = record("mec", "x-knn-dino", 1.0)
    other = other.model_copy(update={"model": other.model.model_copy(update={"sha256": "ab" * 32})})
    runs = [write(tmp_path / "a", record("mec", "x-knn-dino", 60.0)), write(tmp_path / "b", other)]
    assert main(["leaderboard", *runs]) == 0
    shown = capsys.readouterr().out
    assert "| mec (abababab) |" in shown and "| mec (6d656300) |" in shown


def test_a_run_without_a_record_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write(tmp_path / "a", record("mec", "x-knn-dino", 60.0))
    (tmp_path / "empty").mkdir()
    assert main(["leaderboard", run, str(tmp_path / "empty")]) == 2
    assert "empty: no job below it has a record yet" in capsys.readouterr().err
    assert main(["leaderboard", run, str(tmp_path / "nowhere")]) == 2
    assert "nowhere: no such folder" in capsys.readouterr().err


QUOTES = """
tables:
- {protocol: imagenet-knn-dino, source: My notes, metrics: [top1, top5], rows: [{method: Mine, values: [70.0, 90.0]}]}
- {protocol: mine, source: A blog, metrics: [top1], dataset: imagenet, nearest: imagenet-knn-dino, differs: k = 5,
   rows: [{method: Theirs, values: [71.5]}]}
- {protocol: imagenet-knn-dion, source: A typo, metrics: [top1], rows: [{method: Nobody, values: [1.0]}]}
"""


def test_quoted_numbers_of_the_users_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write(tmp_path / "a", record("mec", "imagenet-knn-dino", 60.0))
    (tmp_path / "quotes.yaml").write_text(QUOTES)
    more = "tables: [{protocol: imagenet-knn-dino, source: S, metrics: [top1], rows: [{method: More, values: [3]}]}]"
    (tmp_path / "more.yaml").write_text(more)
    added = [word for name in ("quotes.yaml", "more.yaml") for word in ("--add-reference", str(tmp_path / name))]
    assert main(["leaderboard", run, *added]) == 0
    printed = capsys.readouterr()
    assert "| Mine | 70.0 | My notes (resnet50, added from quotes.yaml) |" in printed.out
    assert "| More | 3.0 | S (resnet50, added from more.yaml) |" in printed.out
    assert "| Theirs | `mine` | top1 71.5 | A blog (resnet50, added from quotes.yaml) |" in printed.out
    assert "- `mine` is not `imagenet-knn-dino`: k = 5" in printed.out
    assert "| DINO | 67.5 |" in printed.out and "Nobody" not in printed.out
    assert printed.err.count("warning") == 1 and "Did you mean 'imagenet-knn-dino'?" in printed.err
    assert main(["leaderboard", run, *added, "--no-references"]) == 0
    shown = capsys.readouterr().out
    assert "| Mine |" in shown and "DINO" not in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "tables: [{protocol: x, metrics: [top1], rows: [{method: m, values: [1.0]}]}]",
            "'tables.0.source' is missing",
        ),
        (
            "tables: [{protocol: x, source: s, metrics: [a], arhc: r, rows: [{method: m, values: [1.0]}]}]",
            "Did you mean 'arch'?",
        ),
        (
            "tables: [{protocol: x, source: s, metrics: [a], rows: [{method: m, values: [one]}]}]",
            "'tables.0.rows.0.values.0'",
        ),
        ("tables: [", "not valid YAML"),
        ("- a", "mapping"),
        (None, "no such config file"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_with_its_name(
    tmp_path: Path, text: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(tmp_path / "a", record("mec", "x-knn-dino", 60.0))
    if text is not None:
        (tmp_path / "quotes.yaml").write_text(text)
    assert main(["leaderboard", run, "--add-reference", str(tmp_path / "quotes.yaml")]) == 2
    said = capsys.readouterr().err
    assert message in said and "quotes.yaml" in said and said.count("\n") == 1


@pytest.mark.parametrize("form", EXPORTS)
def test_every_format_is_printed_without_torch(form: str, tmp_path: Path) -> None:
    run = write(tmp_path / "a", record("mec", "x-knn-dino", 60.0))
    code = (
        "import sys\n"
        "from mec_transfer.cli.main import main\n"
        f"status = main(['leaderboard', {run!r}, '--format', {form!r}])\n"
        "heavy = {'torch', 'torchvision', 'matplotlib', 'huggingface_hub', 'wandb', 'tensorboard'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "60.0" in done.stdout and "mec" in done.stdout


def test_a_model_is_chosen_for_its_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write(tmp_path / "a", record("mec", "x-knn-dino", 60.0), record("random", "x-knn-dino", 5.0))
    assert main(["leaderboard", run, "--format", "hf"]) == 2
    assert "choose it with --model, of mec, random" in capsys.readouterr().err
    assert main(["leaderboard", run, "--model", "random"]) == 2
    assert "--format hf" in capsys.readouterr().err
    assert main(["leaderboard", run, "--format", "hf", "--model", "random"]) == 0
    front = yaml.safe_load(capsys.readouterr().out.strip("-\n"))
    assert front["model-index"][0]["results"][0]["metrics"][0]["value"] == 5.0
