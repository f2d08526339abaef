"""benchmarks/gpu_checks.sh without a GPU: that its checks fit into its ten minutes, and how it runs and tells them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from mec_transfer.suite.config import load_suite
from mec_transfer.suite.registry import benchmark_config, find_benchmark

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_checks.sh"
# In place of Python: has a GPU, and does each check in no time; the one that the test has words for fails.
STAND_IN = """#!/bin/bash
case "$*" in
  *device_count*) echo 1; exit;;
  *get_device_name*) echo a stand-in; exit;;
esac
if [[ "$*" == *"$BAD"* ]]; then echo "error: no such luck"; exit 3; fi
echo "| a rate | of $(basename "$1") |"
"""


def script(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "DEVICE": "cuda", "BAD": "no check", **settings}
    return subprocess.run(
        ["bash", str(SCRIPT), *words], env=environ, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.fixture
def stand_in(tmp_path: Path) -> str:
    path = tmp_path / "python"
    path.write_text(STAND_IN)
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("gpus", ["1", "2"])
def test_all_checks_have_their_share_of_ten_minutes(gpus: str) -> None:
    printed = script("--plan", GPUS=gpus).stdout
    rows = dict(re.findall(r"^\| ([\w-]+) \| (.*) \|$", printed, re.MULTILINE))
    together = int(rows.pop("together"))
    assert together == sum(int(share) for share in rows.values() if share.isdigit()) <= 580
    assert ("two-pretrain" in rows) == (gpus == "2") and ("detection-step" in rows) == (gpus == "1")
    assert {"frozen", "finetuned", "trackers", "pretrain-one-gpu", "step", "logistic", "views", "siamrpn"} <= set(rows)


def test_what_it_starts_is_there() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    guarded = set(re.findall(r"\[ -f (benchmarks/\w+\.py) \]", text))
    for name in set(re.findall(r"benchmarks/\w+\.py", text)) - guarded:
        assert (ROOT / name).exists(), name


def test_its_suites_are_of_benchmarks_and_settings_that_there_are(stand_in: str, tmp_path: Path) -> None:
    """As on a GPU: a rehearsal on a CPU has shorter ones, without the detectors of full size."""
    script(str(tmp_path / "out"), PYTHON=stand_in, ONLY="none")
    for name, count in (("frozen", 16), ("finetuned", 7), ("trackers", 3)):
        path = tmp_path / "out" / f"{name}.yaml"
        entries = load_suite(path, []).benchmarks
        assert len(entries) == count
        for entry in entries:
            benchmark_config(find_benchmark(entry.config, path.parent), entry.set)


def test_every_check_is_a_line_and_every_rate_is_kept(stand_in: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    only = "doctor|frozen|finetuned|trackers|pretrain|step|seg|log|siam|views|two|feat|sot|prop|ver|knn|objective"
    done = script(str(out), PYTHON=stand_in, ONLY=only)
    assert done.returncode == 0, done.stdout
    row = re.compile(r"^\| ([\w-]+) \| (\w[^|]*) \|", re.MULTILINE)
    planned = {name for name, _ in row.findall(script("--plan", GPUS="1").stdout)}
    told = dict(row.findall((out / "table.md").read_text()))
    assert set(told) == planned - {"together", "stopped-and-resumed"}  # which waits for a signal
    assert {said for name, said in told.items() if name != "check"} <= {"ok", "skipped"}
    rates = (out / "rates.md").read_text()
    assert "step:\n| a rate | of pretrain_step.py |" in rates and "objective:\n| a rate |" in rates


def test_what_fails_is_told_and_the_others_go_on(stand_in: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = script(str(out), PYTHON=stand_in, ONLY="doctor|objective|logistic", BAD="doctor")
    assert done.returncode == 1
    table = (out / "table.md").read_text()
    assert re.search(r"^\| doctor \| FAILED \(3\) \| \d \| error: no such luck \|$", table, re.MULTILINE)
    assert re.findall(r"^\| (\w+) \| ok \|", table, re.MULTILINE) == ["logistic", "objective"]
    assert script(str(out), PYTHON=stand_in, ONLY="logistic", BAD="logistic.py").returncode == 1
