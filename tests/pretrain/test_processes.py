"""Several processes on CPUs (gloo) train what one process would, and stop together."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from tests import warm

CONFIG = """
arch: resnet18
dim: 16
pred_dim: 8
views: {size: 32}
batch_size: 8
epochs: 2
warmup_epochs: 0
log_every: 1
eps: 16.0
base_lr: 0.05
"""
# A large learning rate lets rounding grow through batch norm over a handful of images.


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "tiny.yaml").write_text(CONFIG)
    (folder / "images").mkdir()
    random = np.random.default_rng(0)
    for i in range(24):
        Image.fromarray(random.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(folder / "images" / f"{i:02d}.png")
    return folder


def start(inputs, out, world, *more):
    """Start `world` processes; `out` is a folder for all, or a list of one each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pretrain", inputs / "tiny.yaml", "--data", inputs / "images"]
    processes = []
    for rank in range(world):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **{key: str(value) for key, value in place.items()}}
        where = ("--out", out[rank] if isinstance(out, list) else out)
        words = [str(word) for word in (*command, *where, "--device", "cpu", "--workers", "0", *more)]
        processes.append(
            warm.Popen(
                words, env=environment, cwd=Path.cwd(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    return processes


def wait(processes):
    said = [process.communicate(timeout=120) for process in processes]
    return [process.returncode for process in processes], said


def checkpoint(out):
    return torch.load(out / "checkpoint_last.pth", weights_only=True)


@pytest.fixture(scope="module")
def one(inputs, tmp_path_factory):
    """A run of one process, finished."""
    out = tmp_path_factory.mktemp("one")
    codes, said = wait(start(inputs, out, 1))
    assert codes == [0], said
    return out


@pytest.mark.parametrize("chunk", [None, 4, 2])
def test_two_processes_train_what_one_does(inputs, one, tmp_path, chunk):
    codes, said = wait(start(inputs, tmp_path, 2, *(("--set", f"chunk_size={chunk}") if chunk else ())))
    assert codes == [0, 0], said
    expected, found = checkpoint(one), checkpoint(tmp_path)
    assert found["step"] == expected["step"] == 6
    expected_log, log = ([json.loads(line) for line in (out / "log.jsonl").open()] for out in (one, tmp_path))
    assert [line["step"] for line in log] == [1, 2, 3, 4, 5, 6]  # rank 0 alone writes
    if chunk == 2:  # batch norm sees half of the batch at a time, other than one process can
        return
    for line, other in zip(log[:3], expected_log[:3], strict=True):  # the second and third see what gradients did
        assert_close(line["loss"], other["loss"], rtol=1e-4, atol=2e-5)
    assert_close(found["state_dict"], expected["state_dict"], rtol=1e-2, atol=1e-3)
    moments = [
        torch.cat([state["momentum_buffer"].flatten() for state in c["optimizer"]["state"].values()])
        for c in (found, expected)
    ]
    assert (moments[0] - moments[1]).norm() / moments[1].norm() < 0.02


def test_a_signal_to_one_process_stops_both_and_one_goes_on(inputs, tmp_path):
    processes = start(inputs, tmp_path, 2, "--set", "epochs=200", "--set", "save_every_steps=1")
    deadline = time.monotonic() + 60
    while not (tmp_path / "checkpoint_last.pth").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    processes[1].send_signal(signal.SIGTERM)
    codes, said = wait(processes)
    assert codes == [128 + signal.SIGTERM] * 2, said
    step = checkpoint(tmp_path)["step"]
    assert f"saved at step {step}" in said[0][1]
    codes, said = wait(start(inputs, tmp_path, 1, "--set", "epochs=200", "--set", "max_steps=1"))
    assert codes == [2]  # another config: said, not continued
    assert "belongs to another run" in said[0][1]


def test_folders_that_differ_between_machines_are_refused(inputs, one, tmp_path):
    outs = [tmp_path / "first", tmp_path / "second"]
    outs[0].mkdir()
    shutil.copy(one / "checkpoint_previous.pth", outs[0] / "checkpoint_last.pth")
    codes, said = wait(start(inputs, outs, 2))
    assert codes == [2, 2], said
    assert all("the processes do not find the same images and the same checkpoint" in errors for _, errors in said)
