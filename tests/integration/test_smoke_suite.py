"""The whole way of the data: the script a newcomer runs, on the suite that is the demo's short form."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from mec_transfer.suite.run import write_leaderboard

ROOT = Path(__file__).resolve().parents[2]
FORMATS = ("leaderboard.md", "leaderboard.csv", "leaderboard.json")
FROZEN = ("demo_few_shot", "demo_knn")
TRAINED = ("demo_linear_fast", "demo_robust", "demo_semisup_10pct_barlow", "demo_voc_svm", "demo_mask_rcnn")
SEGMENTED = ("demo_segmentation",)
TRACKED = ("demo_mot", "demo_mots", "demo_posetrack", "demo_sot_xcorr", "demo_vos")
BENCHMARKS = (*FROZEN, *TRAINED, *SEGMENTED, *TRACKED)

pytestmark = pytest.mark.integration


def environment() -> dict[str, str]:
    """This interpreter's environment, so that no second one is installed for the test.

    One thread a process, as all tests have: beside other tests, threads that wait for each other take far longer.
    """
    return {**os.environ, "VIRTUAL_ENV": sys.prefix, "MEC_TRANSFER_ENV": "active"}


def start(out: Path, suite: str) -> subprocess.Popen[str]:
    command = ["bash", str(ROOT / "tools/run_all_transfer.sh"), "--suite", suite, "--out", str(out), "--workers", "0"]
    return subprocess.Popen(
        command,
        env=environment(),
        cwd=out.parent,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def run(out: Path, suite: str = "smoke") -> str:
    process = start(out, suite)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


def boards(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in FORMATS}


def records(out: Path) -> dict[str, dict[str, object]]:
    return {str(path.relative_to(out)): json.loads(path.read_bytes()) for path in out.glob("jobs/*/*/record.json")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An undisturbed run of the smoke suite, and what it printed."""
    out = tmp_path_factory.mktemp("smoke") / "out"
    return out, run(out)


def test_every_cell_is_a_number(finished: tuple[Path, str]) -> None:
    out, printed = finished
    board = json.loads((out / "leaderboard.json").read_bytes())
    assert sorted(row["model"] for row in board["rows"]) == ["mec-smoke", "random"]
    columns = [column["benchmark"] for column in board["columns"]]
    # One run's boxes and masks are two columns.
    assert columns == [*FROZEN, *TRAINED, "demo_mask_rcnn", *SEGMENTED, *TRACKED]
    for row in board["rows"]:
        assert all(0 <= cell["mean"] <= 100 and not cell["failures"] for cell in row["cells"])
    markdown = (out / "leaderboard.md").read_text()
    assert "mec-smoke" in markdown
    assert "demo-knn" in markdown
    assert "mec-smoke" in printed


def test_the_two_models_are_two_sets_of_weights(finished: tuple[Path, str]) -> None:
    rows = json.loads((finished[0] / "leaderboard.json").read_bytes())["rows"]
    assert rows[0]["weights_sha256"] != rows[1]["weights_sha256"]


def test_running_again_repeats_nothing(finished: tuple[Path, str]) -> None:
    out, _ = finished
    before, kept = boards(out), {path: path.stat().st_mtime_ns for path in out.glob("jobs/*/*/record.json")}
    assert len(kept) == 2 * len(BENCHMARKS)
    run(out)
    assert boards(out) == before
    assert {path: path.stat().st_mtime_ns for path in out.glob("jobs/*/*/record.json")} == kept


def test_verify_recomputes_every_metric(finished: tuple[Path, str], tmp_path: Path) -> None:
    out, _ = finished
    command = [sys.executable, "-m", "mec_transfer.cli.main", "verify"]
    assert subprocess.run([*command, str(out)], check=False, capture_output=True).returncode == 0
    job = next(out.glob("jobs/random/demo_knn*"))
    shutil.copytree(job, tmp_path / "job")
    record = json.loads((tmp_path / "job/record.json").read_bytes())
    record["metrics"]["top1"] += 1.0
    (tmp_path / "job/record.json").write_text(json.dumps(record))
    assert subprocess.run([*command, str(tmp_path / "job")], check=False, capture_output=True).returncode == 1


def test_killed_at_any_moment_the_same_command_ends_the_same(finished: tuple[Path, str], tmp_path: Path) -> None:
    """SIGKILL to the run's own process: early (drawing or pretraining) and late.

    A detector is killed in the middle of its training in its own tests, the finetuning in its.
    """
    out, _ = finished
    suite, disturbed = yaml.safe_load((ROOT / "configs/suites/smoke.yaml").read_text()), tmp_path / "out"
    configs = [one if isinstance(one, str) else one["config"] for one in suite["benchmarks"]]
    trained = {"demo_mask_rcnn", "demo_segmentation", "demo_semisup_10pct_barlow"}
    suite["benchmarks"] = [one for one, name in zip(suite["benchmarks"], configs, strict=True) if name not in trained]
    (tmp_path / "quick.yaml").write_text(yaml.safe_dump(suite))
    quick = str(tmp_path / "quick.yaml")
    shutil.copytree(out / "data", disturbed / "data")  # the world's own kill test is in tests/datasets
    for wanted in (0, 4):
        process = start(disturbed, quick)
        while process.poll() is None and len(records(disturbed)) < wanted:
            time.sleep(0.05)
        time.sleep(2.0 if process.poll() is None else 0)
        kept = records(disturbed)
        os.kill(process.pid, signal.SIGKILL)  # `exec` made the script's process the run itself
        process.wait()
        assert {name: record for name, record in records(disturbed).items() if name in kept} == kept
    kept = records(disturbed)
    assert len(kept) >= 4
    run(disturbed, quick)
    final = records(disturbed)
    assert len(final) == 2 * len(suite["benchmarks"])
    assert {name: final[name] for name in kept} == kept, "a finished job was repeated"
    for name in final:
        shutil.copytree((out / name).parent, (tmp_path / "calm" / name).parent)
    write_leaderboard(tmp_path / "calm")
    assert boards(disturbed) == boards(tmp_path / "calm")


def test_a_wrong_checkpoint_stops_the_run_before_it_begins(finished: tuple[Path, str], tmp_path: Path) -> None:
    out, _ = finished
    before = boards(out)
    page = tmp_path / "page.pth"
    page.write_text("<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title></html>")
    command = [sys.executable, "-m", "mec_transfer.cli.main", "run", "--suite", "smoke", "--out", str(out)]
    done = subprocess.run(
        [*command, "--model", f"broken={page}"], check=False, capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 2
    assert f"{page}: Google Drive's warning page" in done.stderr
    assert "Traceback" not in done.stderr
    assert boards(out) == before
