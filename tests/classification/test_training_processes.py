"""Trainings in processes of their own: killed by the system, and shared by two."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mec_transfer.benchmark import Benchmark, Job
from mec_transfer.classification.training_state import STATE_NAME
from mec_transfer.common.paths import CONFIGS
from mec_transfer.suite.registry import load_benchmark

MakeJob = Callable[..., Job]

OVERRIDES = [
    "dataset.name=tiny",
    "recipe.epochs=3",
    "recipe.batch=16",
    "recipe.replicas=2",
    "recipe.train_crop=32",
    "recipe.eval_view.resize=null",
    "recipe.eval_view.crop=32",
]
SEMISUP = ["recipe.labels=50%", "recipe.lr_head=0.05", *OVERRIDES]

# Runs each (config, overrides, job) in turn and prints the record's history.
PROGRAM = """
import json, pickle, sys
from pathlib import Path
from mec_transfer.common import distributed, runtime
from mec_transfer.suite.registry import load_benchmark
with open(sys.argv[1], "rb") as file:
    work = pickle.load(file)
with distributed.process_group(runtime.pick_device("cpu")):
    for config, overrides, job in work:
        record = load_benchmark(config, overrides).run(job)
        print(json.dumps([record.metrics, record.details["epochs"]]), flush=True)
"""


def _benchmark(name: str, overrides: list[str]) -> Benchmark:
    return load_benchmark(CONFIGS / "classification" / f"{name}.yaml", overrides)


def _start(folder: Path, work: list[tuple[str, list[str], Job]], **environment: str) -> subprocess.Popen[str]:
    file = folder / "work.pickle"
    file.write_bytes(pickle.dumps([(CONFIGS / "classification" / f"{name}.yaml", *rest) for name, *rest in work]))
    threads = str(torch.get_num_threads())  # sums are split among threads: the same bits need the same number
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(file)],
        env={**os.environ, "OMP_NUM_THREADS": threads, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_sigkill_and_the_same_again_give_the_undisturbed_result(make_job: MakeJob, tmp_path: Path) -> None:
    expected = _benchmark("semisup_1pct_barlow", SEMISUP).run(make_job("undisturbed"))
    job = make_job("killed")
    process = _start(tmp_path, [("semisup_1pct_barlow", SEMISUP, job)])
    deadline = time.monotonic() + 120
    while not (job.workdir / STATE_NAME).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)  # into the second epoch
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (job.workdir / STATE_NAME).exists()
    assert not (job.workdir / "predictions.npz").exists(), "the kill came too late to mean anything"
    found = _benchmark("semisup_1pct_barlow", SEMISUP).run(job)
    assert (found.metrics, found.details) == (expected.metrics, expected.details)
    predicted = [(tmp_path / name / "predictions.npz").read_bytes() for name in ("killed", "undisturbed")]
    assert predicted[0] == predicted[1]


def test_two_processes_give_the_numbers_of_one(make_job: MakeJob, tmp_path: Path) -> None:
    shorter = "recipe.epochs=2"
    # Batch norm over the 8 values of a last batch makes much of a last bit within one step of the usual size.
    barely = ["recipe.lr_backbone=1e-6", "recipe.lr_head=1e-4"]
    work = [
        ("semisup_1pct_barlow", [*SEMISUP, shorter], make_job("semisup", workers=1)),
        ("semisup_1pct_swav", [*SEMISUP, shorter, *barely], make_job("sync_bn")),
        ("linear_mec", ["recipe.base_lr=4.0", *OVERRIDES, shorter], make_job("linear", batch_size=5)),
    ]
    expected = [_benchmark(name, overrides).run(make_job(f"{name}_alone")) for name, overrides, _ in work]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = [
        _start(tmp_path, work, RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=180) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]  # every process returns the same record
    assert outputs[1][1] == ""  # and the first alone speaks
    for line, alone in zip(outputs[0][0].splitlines(), expected, strict=True):
        _, history = json.loads(line)
        for ours, theirs in zip(history, alone.details["epochs"], strict=True):
            assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3)
            assert ours["lr"] == theirs["lr"]
