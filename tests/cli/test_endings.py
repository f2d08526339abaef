"""Every command that loads images, as a real process: how it ends by a broken image and by signals."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import warm
from tests.datasets.reading import find_problems

# Imports what is slow once, then runs each command in a fork of its own, to the very end of its interpreter.
ZYGOTE = """
import json, os, sys
import torchvision, torch.utils.data
import mec_transfer.classification.knn, mec_transfer.classification.linear, mec_transfer.classification.linear_fast
import mec_transfer.classification.semisup, pretrain.loop
from mec_transfer.cli.main import main as evaluate
from mec_transfer.common.processes import end_process
from pretrain.__main__ import main as pretrain
for line in sys.stdin:
    words, log = json.loads(line)
    pid = os.fork()
    if not pid:
        os.setsid()
        for stream in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        end_process(pretrain(words[1:]) if words[0] == "pretrain" else evaluate(words))
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
SIZE = "recipe.train_crop=32 recipe.eval_view.crop=32 recipe.batch=24"
COMMANDS = {
    "knn": "knn cifar10_knn recipe.k=5 recipe.ks=[5]",
    "linear": f"linear cifar10_linear_mec recipe.epochs=50 recipe.base_lr=1 {SIZE}",
    "linear --fast": "linear cifar10_linear_fast",
    "semisup": f"semisup cifar10_semisup_10pct_barlow recipe.labels=50% recipe.epochs=500 recipe.replicas=2 {SIZE}",
    "pretrain": "pretrain mec_r18_demo arch=resnet18 batch_size=8 epochs=50",
}
"""Each a command, a config and its overrides."""
STOPS = [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT]


def write_images(root: Path, train: int = 8) -> Path:
    random = np.random.default_rng(0)
    for split, count in (("train", train), ("val", 4)):
        for label in "abc":
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / label / f"{number:03d}.png")
    return root


def command_line(name: str, data: Path, out: Path, workers: int) -> list[str]:
    command, config, *overrides = COMMANDS[name].split()
    words = [command, *([config] if command == "pretrain" else ["random:resnet18", "--config", config])]
    for override in overrides if command == "pretrain" else ["dataset.name=tiny", *overrides]:
        words += ["--set", override]
    return [*words, "--data", str(data), "--out", str(out), "--workers", str(workers), "--device", "cpu"]


class Commands:
    """Runs commands one after the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.zygote = subprocess.Popen(
            [sys.executable, "-c", ZYGOTE],
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.log = root / "log.txt"

    def start(self, name: str, data: Path, out: Path, workers: int) -> int:
        """Start a command; return its process's id."""
        words = command_line(name, data, out, workers)
        self.log.unlink(missing_ok=True)
        assert self.zygote.stdin
        self.zygote.stdin.write(json.dumps([words, str(self.log)]) + "\n")
        return int(self._line())

    def end(self, seconds: float = 30) -> tuple[int, str]:
        """Wait for it; return its exit status and what it said."""
        return int(self._line(seconds)), self.log.read_text()

    def _line(self, seconds: float = 60) -> str:
        assert self.zygote.stdout
        ready, _, _ = select.select([self.zygote.stdout], [], [], seconds)
        assert ready, f"no end: {self.log.read_text() if self.log.exists() else ''}"
        return self.zygote.stdout.readline()


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    made = Commands(tmp_path_factory.mktemp("commands"))
    yield made
    made.zygote.kill()
    made.zygote.wait()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("whole") / "data")


@pytest.fixture(scope="module")
def broken(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("broken") / "data"
    shutil.copytree(images, root)
    path = root / "train" / "b" / "003.png"
    path.write_bytes(path.read_bytes()[:600])
    assert not find_problems(root, "imagefolder")  # which looks at a few images only
    return root


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough to be at work on when a signal comes."""
    return write_images(tmp_path_factory.mktemp("many") / "data", train=400)


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def wait_until_begun(pid: int, out: Path, workers: int) -> list[int]:
    """Wait until a command has something to do and its processes; return these."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        begun = (out / "job.json").exists() or (out / "log.jsonl").exists()
        if begun and len(found := children(pid)) == workers:
            return found
        time.sleep(0.01)
    raise AssertionError("it has not begun")


def gone(pids: list[int]) -> bool:
    until = time.monotonic() + 5
    while (left := any(Path(f"/proc/{pid}").exists() for pid in pids)) and time.monotonic() < until:
        time.sleep(0.02)
    return not left


@pytest.mark.parametrize("workers", [0, 1, 4])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_broken_image_is_one_line_and_the_end(
    commands: Commands, broken: Path, tmp_path: Path, name: str, workers: int
) -> None:
    pid = commands.start(name, broken, tmp_path / "out", workers)
    status, said = commands.end()
    assert status == 2, said
    assert said.splitlines()[-1].split(": ", 2)[1] == "error"
    assert f"{broken}/" in said and "not a readable image" in said and "Traceback" not in said
    assert gone([pid])


@pytest.mark.parametrize("name", ["knn", "linear", "semisup", "pretrain"])
def test_a_killed_loading_process_is_one_line_and_the_end(
    commands: Commands, many: Path, tmp_path: Path, name: str
) -> None:
    pid = commands.start(name, many, tmp_path / "out", 2)
    workers = wait_until_begun(pid, tmp_path / "out", 2)
    os.kill(workers[0], signal.SIGKILL)
    status, said = commands.end()
    assert status == 1, said
    assert "failed: a loading process died (killed by signal 9 (SIGKILL; out of memory?))" in said.splitlines()[-1]
    assert "Traceback" not in said and gone([pid, *workers])


@pytest.mark.parametrize("everyone", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("name", "number"), list(zip(("knn", "linear", "semisup", "pretrain"), [*STOPS, signal.SIGUSR1]))
)
def test_a_signal_stops_it_by_the_convention_and_leaves_no_failure(
    commands: Commands, many: Path, tmp_path: Path, name: str, number: signal.Signals, workers: int, everyone: bool
) -> None:
    pid = commands.start(name, many, tmp_path / "out", workers)
    below = wait_until_begun(pid, tmp_path / "out", workers)
    (os.killpg if everyone else os.kill)(pid, number)
    status, said = commands.end()
    assert status == 128 + number, said
    assert said.splitlines()[-1].endswith(f"interrupted ({number.name}); the same command goes on from here")
    assert "Traceback" not in said and gone([pid, *below])
    assert not (tmp_path / "out" / "record.json").exists()


def test_a_second_ctrl_c_does_not_wait(commands: Commands, many: Path, tmp_path: Path) -> None:
    pid = commands.start("pretrain", many, tmp_path / "out", 2)
    below = wait_until_begun(pid, tmp_path / "out", 2)
    for _ in range(2):
        os.killpg(pid, signal.SIGINT)
        time.sleep(0.05)
    status, said = commands.end(10)
    assert status in (130, -2), said  # -2 from within the interpreter's own end: 130 in a shell
    assert "Traceback" not in said and gone([pid, *below])


def test_a_suite_records_a_broken_image_with_its_line_and_goes_on(broken: Path, images: Path, tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(
        "id: s\nmodels: {random: random:resnet18}\nbenchmarks:\n"
        "  - {config: cifar10_knn, data: broken, set: [dataset.name=tiny, recipe.k=5, 'recipe.ks=[5]']}\n"
        "  - {config: cifar10_knn, data: whole, set: [dataset.name=tidy, recipe.k=5, 'recipe.ks=[5]']}\n"
    )
    (tmp_path / "broken").symlink_to(broken)
    (tmp_path / "whole").symlink_to(images)
    words = ["run", "--suite", "suite.yaml", "--data-root", ".", "--out", "out", "--workers", "1", "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "mec_transfer.cli.main", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1 and done.stderr.count("FAILED") == 1, done.stderr
    failed = next(line for line in done.stderr.splitlines() if "FAILED" in line)
    assert "b/003.png: not a readable image" in failed
    records = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("jobs/*/*/record.json")]
    assert sorted(record["status"] for record in records) == ["failed", "ok"]
    assert "b/003.png: not a readable image" in (tmp_path / "out" / "leaderboard.md").read_text()


def test_processes_of_one_run_end_together_and_the_one_that_failed_says_why(broken: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = command_line("knn", broken, tmp_path / "out", 1)
    processes = [
        warm.Popen(
            [sys.executable, "-m", "mec_transfer.cli.main", *words],
            env={**os.environ, "PYTHONPATH": str(Path.cwd()), "RANK": str(rank), "LOCAL_RANK": str(rank)}
            | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120)[1].splitlines()[-1] for process in processes]
    assert sorted(process.returncode for process in processes) == [1, 2], said
    for process, line in zip(processes, said, strict=True):
        whole = (
            "another process of this run has ended" if process.returncode == 1 else "b/003.png: not a readable image"
        )
        assert whole in line
    assert "b/003.png: not a readable image" in json.loads((tmp_path / "out" / "record.json").read_text())["error"]
