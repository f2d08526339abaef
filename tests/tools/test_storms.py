"""What the storms look for, and the library that makes reading fail."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tools.storms.likeness import unlike_files, unlike_numbers
from tools.storms.processes import Start, below, kill, seconds_until_gone
from tools.storms.storms import ReadErrors


def leave(out: Path, top1: float = 50.0, weight: float = 1.0) -> Path:
    """Write what a run leaves, with times of its own."""
    job = out / "jobs/mec/knn"
    job.mkdir(parents=True)
    record = {"status": "ok", "metrics": {"top1": top1}, "seconds": random.random(), "details": {"place": str(job)}}
    (job / "record.json").write_text(json.dumps(record))
    (job / "log.txt").write_text(str(out))
    (job / "predictions.npz").write_bytes(b"same")
    torch.save({"state_dict": {"w": torch.tensor([weight, 0.0])}, "seconds": random.random()}, out / "last.pth")
    return out


def test_two_runs_are_alike_but_for_what_is_named(tmp_path: Path) -> None:
    calm, out = leave(tmp_path / "calm"), leave(tmp_path / "out")
    assert not [*unlike_files(calm, out), *unlike_numbers(calm, out)]


def test_every_other_difference_is_found(tmp_path: Path) -> None:
    calm, out = leave(tmp_path / "calm"), leave(tmp_path / "out", top1=50.5, weight=1.0 + 2**-20)
    (out / "jobs/mec/knn/predictions.npz").unlink()
    (out / "jobs/.record.json.abcdefgh.tmp").touch()
    assert [*unlike_files(calm, out)] == [
        "jobs/.record.json.abcdefgh.tmp: left behind",
        "jobs/mec/knn/predictions.npz: the calm run alone has it",
        "jobs/mec/knn/record.json: differs",
        "last.pth: differs",
    ]
    assert [*unlike_numbers(calm, out)] == ["jobs/mec/knn/record.json: another number"]


def test_what_a_command_starts_is_found_and_seen_to_end(tmp_path: Path) -> None:
    start = Start(["bash", "-c", "sleep 60 & echo begun; wait; sleep 60"], tmp_path / "log.txt", {})
    while "begun" not in start.said():
        assert start.sleep(0.05)
    children = below(start.pid)
    assert len(children) == 1 and seconds_until_gone(children, 0.05) is None  # which then kills them
    kill([start.pid])
    assert start.wait(10) == -9 and not below(start.pid)


@pytest.mark.skipif(not Path("/usr/bin/gcc").exists(), reason="the storm of read errors is built by gcc")
def test_reading_below_the_data_alone_fails_and_is_noted(tmp_path: Path) -> None:
    storm = ReadErrors(tmp_path / "storm", seed=0, most=1, every=1.0)
    (tmp_path / "data").mkdir()
    for name in ("data/a", "b"):
        (tmp_path / name).write_text("sound")
    code = (
        "import sys\nfrom pathlib import Path\nfor name in sys.argv[1:]:\n"
        "    try: print(Path(name).read_text())\n    except OSError as error: print(error.errno)"
    )
    words = [sys.executable, "-S", "-c", code, str(tmp_path / "data/a"), str(tmp_path / "b")]
    env = {**os.environ, **storm.env(tmp_path / "data"), "STORM_RATE": "1"}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
    first, second = done.stdout.split()
    assert first in ("5", "116") and second == "sound"
    assert storm.log.read_text().split()[1:] == ["open", first, str(tmp_path / "data/a")]
