"""mec-transfer report: where the page goes, and exit statuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from mec_transfer.cli.main import main
from tests.example_board import example_records
from tests.report.conftest import write_records


def test_the_page_lies_in_the_run_or_where_it_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_records(tmp_path / "run", example_records())
    assert main(["report", str(tmp_path / "run")]) == 0
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "a/b.html"), "--no-references"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/run/report.html\n{tmp_path}/a/b.html\n"
    assert "Barlow Twins paper" in (tmp_path / "run/report.html").read_text()
    assert 'id="quoted"' not in (tmp_path / "a/b.html").read_text()


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        ([str(tmp_path / "no")], "no such folder"),
        ([str(tmp_path)], f"{tmp_path}: no job below it has a record yet"),
        ([str(tmp_path), "--out", str(tmp_path)], "is a folder; name the page"),
    ):
        assert main(["report", *words]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_page_that_cannot_be_written_is_one_line_and_exit_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_records(tmp_path / "run", example_records()[:1])
    (tmp_path / "file").write_text("")
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "file/x.html")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_record_that_cannot_be_read_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = write_records(tmp_path, example_records()[:2])
    (folders[1] / "record.json").write_text("{")
    assert main(["report", str(tmp_path)]) == 0
    assert f"warning: {folders[1]}/record.json: not readable as JSON" in capsys.readouterr().err
