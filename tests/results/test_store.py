from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mec_transfer.common.errors import UserError
from mec_transfer.results.record import BenchmarkInfo, DatasetInfo, ModelInfo, Record, write_record
from mec_transfer.results.store import Store, is_current

RECORD = Record(
    status="ok",
    model=ModelInfo(name="mec", sha256="a" * 64, arch="resnet50"),
    benchmark=BenchmarkInfo(id="knn", family="classification", protocol="x-knn", config_sha256="b" * 64, kind="knn"),
    dataset=DatasetInfo(name="x", fingerprint="c" * 64, num_images=10),
    metrics={"top1": 50.0},
    primary="top1",
)

JOB = {
    "key": "k",
    "model": RECORD.model.model_dump(),
    "benchmark": RECORD.benchmark.model_dump(),
    "dataset": RECORD.dataset.model_dump() if RECORD.dataset else None,
    "trial": 0,
    "seed": 0,
    "options": {},
    "config": {"metrics": {"primary": "top1", "higher_is_better": True}},
}


def test_finds_every_record_in_order_and_skips_what_has_none(tmp_path: Path) -> None:
    for name in ("jobs/b", "jobs/a", "jobs/a2/deep"):
        write_record(tmp_path / name, RECORD)
    (tmp_path / "jobs" / "begun").mkdir()
    (tmp_path / "jobs" / "begun" / "job.json").write_text(json.dumps(JOB))
    (tmp_path / "jobs" / "begun" / ".record.json.x.tmp").write_text("{")
    store = Store.read(tmp_path)
    assert [str(s.folder.relative_to(tmp_path)) for s in store.stored] == ["jobs/a", "jobs/a2/deep", "jobs/b"]
    assert store.problems == [] and store.records[0] == RECORD


def test_a_single_jobs_folder_is_a_store_of_one(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    write_record(tmp_path / "cache" / "not-a-job", RECORD)
    assert [s.folder for s in Store.read(tmp_path).stored] == [tmp_path]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 99}', '{"schema": 1, "status": "ok"}', "\0\xff"])
def test_a_damaged_record_is_told_and_fails_its_job(tmp_path: Path, text: str) -> None:
    write_record(tmp_path / "good", RECORD)
    for name in ("known", "unknown"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "record.json").write_text(text, encoding="latin-1")
    (tmp_path / "known" / "job.json").write_text(json.dumps(JOB))
    store = Store.read(tmp_path)
    assert len(store.problems) == 2 and all("record.json" in problem for problem in store.problems)
    assert [record.status for record in store.records] == ["ok", "failed"]
    lost = store.records[1]
    assert lost.model == RECORD.model and lost.error == "its record.json cannot be read; run the job again"


def test_a_damaged_job_file_beside_a_damaged_record(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text("{")
    (tmp_path / "job.json").write_text("[]")
    store = Store.read(tmp_path)
    assert store.records == [] and len(store.problems) == 1


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        Store.read(tmp_path / "no")


def test_what_is_made_of_records_is_current_until_there_is_a_new_one(tmp_path: Path) -> None:
    made, record = tmp_path / "page.html", tmp_path / "jobs/a/b/record.json"
    assert not is_current(made, tmp_path)
    made.write_text("")
    assert is_current(made, tmp_path)
    write_record(record.parent, RECORD)
    os.utime(record, ns=(0, made.stat().st_mtime_ns))
    assert is_current(made, tmp_path)
    os.utime(record, ns=(0, made.stat().st_mtime_ns + 1))
    assert not is_current(made, tmp_path)


def test_results_are_read_without_torch(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    code = (
        "import sys; from mec_transfer.cli.main import main; "
        f"status = main(['leaderboard', {str(tmp_path)!r}]); "
        "heavy = {'torch', 'torchvision', 'numpy', 'PIL'} & set(sys.modules); "
        "sys.exit(f'status {status}, imported {heavy}' if status or heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "| mec | 50.00 |" in done.stdout


def test_a_folder_that_cannot_be_read_is_said_and_its_records_are_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_record(tmp_path / "jobs/a", RECORD)
    scandir = os.scandir

    def fail_below(path: str) -> object:
        if str(path).endswith("jobs"):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", fail_below)
    with pytest.raises(UserError, match=r"jobs: cannot be read \(Stale file handle\)"):
        Store.read(tmp_path)


def test_a_folder_that_a_run_removes_meanwhile_hides_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_record(tmp_path / "jobs/a", RECORD)
    (tmp_path / "cache").mkdir()
    scandir = os.scandir

    def too_late(path: str) -> object:
        if str(path).endswith("cache"):
            (tmp_path / "cache").rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", too_late)
    assert Store.read(tmp_path).records == [RECORD]
