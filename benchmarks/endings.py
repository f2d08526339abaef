"""How every command ends: by a broken image, a killed loading process, a full /dev/shm, and by signals.

    python benchmarks/endings.py [--only 'knn;detect'] [--out benchmarks/results/endings.md]

Each row is a real command on the demo world, with a random ResNet-18, on CPUs: a fork of a process that has imported
what is slow, run to the very end of its interpreter. Its seconds count from the start where the fault lies in the data
or in /dev/shm, else from the moment of the signal, which goes to the whole process group. A full /dev/shm is one of
256 KiB in a mount namespace of the command's own; where that cannot be had (it takes root) those rows are left out.
Shown is the line that says why: the last one, of a suite the last one that begins with FAILED.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from mec_transfer.common.files import write_text
from mec_transfer.common.runtime import hardware, versions
from mec_transfer.demo_world.world import write_demo_world

SIGNALS = {"SIGTERM": (15,), "SIGUSR1": (10,), "Ctrl-C": (2,), "Ctrl-C twice": (2, 2)}
EVENTS = ("broken image", "killed worker", "full /dev/shm", *SIGNALS)
FULL_SHM = "mount --make-rprivate / && mount -t tmpfs -o size=256k tmpfs /dev/shm"
STARTER = """
import ctypes, json, os, signal, subprocess, sys
import torchvision, torch.utils.data
import mec_transfer.classification.knn, mec_transfer.classification.linear, mec_transfer.classification.linear_fast
import mec_transfer.classification.semisup, mec_transfer.detection.detect, mec_transfer.tracking.sot.sot
import pretrain.loop
from mec_transfer.cli.main import main as evaluate
from pretrain.__main__ import main as pretrain
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
for line in sys.stdin:
    words, log, mount = json.loads(line)
    pid = os.fork()
    if not pid:
        os.setsid()
        for stream in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        if mount and (ctypes.CDLL(None).unshare(0x20000) or subprocess.call(mount, shell=True)):
            sys.exit("no mount namespace")
        sys.exit(pretrain(words[1:]) if words[0] == "pretrain" else evaluate(words))
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
_LIMIT_SECONDS = 120

LINEAR = "recipe.base_lr=0.5 recipe.batch=256 recipe.epochs=50 recipe.train_crop=64 recipe.eval_view.crop=64"
SUITE = """
id: endings
models:
  mec: {pretrain: mec_r18_demo, data: pretrain, overrides: [epochs=1]}
benchmarks: [demo_knn]
"""


JOB_SUITE = """
id: endings
models: {random: random:resnet18}
benchmarks: [demo_knn]
"""


@dataclasses.dataclass(frozen=True)
class Command:
    """A command line, and when it is at work."""

    words: str
    """With {world}, {out} and {workers}."""
    begun: str
    """A file below {out} (a pattern): there as soon as there is something to lose."""
    broken: str = ""
    """Images (a pattern) that are cut to 600 bytes."""
    loads: bool = True
    """Whether it has loading processes."""
    whole: int = 0
    """Exit status with a broken image, where that is not 2."""


IMAGE, FRAME = "imagenet/train/ball/*_00007.JPEG", "otb/HiddenHeart/img/0005.jpg"
_JOB = "--out {out} --workers {workers} --device cpu"
COMMANDS = {
    "knn": Command(f"knn random:resnet18 {_JOB} --data {{world}}/imagenet --config demo_knn", "job.json", IMAGE),
    "linear": Command(
        f"linear random:resnet18 {_JOB} --data {{world}}/imagenet --config cifar10_linear_mec "
        + " ".join(f"--set {word}" for word in LINEAR.split()),
        "job.json",
        IMAGE,
    ),
    "linear --fast": Command(
        f"linear random:resnet18 {_JOB} --data {{world}}/imagenet --config demo_linear_fast", "job.json", IMAGE
    ),
    "semisup": Command(
        f"semisup random:resnet18 {_JOB} --data {{world}}/imagenet --config demo_semisup_10pct_barlow "
        "--set recipe.epochs=100",
        "job.json",
        "imagenet/val/ball/*_00007.JPEG",
    ),
    "detect": Command(
        f"detect random:resnet18 {_JOB} --data {{world}}/coco --config demo_mask_rcnn",
        "job.json",
        "coco/train2017/*07.jpg",
    ),
    "track": Command(
        f"track random:resnet18 {_JOB} --data {{world}}/otb --config demo_sot_dcf", "job.json", FRAME, loads=False
    ),
    "mec-pretrain": Command(
        "pretrain mec_r18_demo --data {world}/pretrain --out {out} --workers {workers} --device cpu "
        "--set arch=resnet18",
        "log.jsonl",
        "pretrain/*7.JPEG",
    ),
    "suite, pretraining": Command(
        "run --suite {world}/endings.yaml --data-root {world} --out {out} --workers {workers} --device cpu",
        "models/mec/log.jsonl",
        "pretrain/*7.JPEG",
        whole=1,
    ),
    "suite, a job": Command(
        "run --suite {world}/job.yaml --data-root {world} --out {out} --workers {workers} --device cpu",
        "jobs/*/*/job.json",
        IMAGE,
        whole=1,
    ),
    "data shard": Command("data shard {world}/many --out {out}", "", loads=False),
    "convert": Command("convert random:resnet152 --to timm --out {out}/made.pth", ".made.pth.*", loads=False),
}


class Starter:
    """Starts commands one after the other."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, "-c", STARTER],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def start(self, words: list[str], mount: str = "") -> int:
        """Start a command; return its process's id."""
        self.log.unlink(missing_ok=True)
        assert self.process.stdin
        self.process.stdin.write(json.dumps([words, str(self.log), mount]) + "\n")
        return int(self.read_line(None))

    def read_line(self, seconds: float | None) -> str:
        """Return what it says next, of a command its exit status; "" where that does not come in time."""
        assert self.process.stdout
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        return self.process.stdout.readline().strip() if ready else ""


def workers_of(pid: int) -> list[int]:
    """Loading processes below `pid`: those of the same command line as their parent."""
    try:
        below = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        own = Path(f"/proc/{pid}/cmdline").read_bytes()
        found = [child for child in below if Path(f"/proc/{child}/cmdline").read_bytes() == own]
        return found or [worker for child in below for worker in workers_of(child)]
    except OSError:  # one of them is over
        return []


def wait_for(condition: Callable[[], object], pid: int) -> None:
    until = time.monotonic() + _LIMIT_SECONDS
    while _runs(pid) and time.monotonic() < until and not condition():
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def send(pid: int, event: str) -> None:
    """Kill loading processes of a running command until it ends, or signal its whole group.

    One whose last image has been handed over may die without harm: so the next ones are killed as well.
    """
    while event == "killed worker" and _runs(pid):
        for worker in workers_of(pid)[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        time.sleep(0.2)
    for times, number in enumerate(SIGNALS.get(event, ())):
        time.sleep(times)  # a second Ctrl-C comes after a second
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)


def run(starter: Starter, command: Command, world: Path, out: Path, workers: int, event: str) -> tuple[str, float, str]:
    """Run a command to the end that `event` puts to it; return exit status, seconds and the line that says why."""
    shutil.rmtree(out, ignore_errors=True)
    words = command.words.format(world=world, out=out, workers=workers).split()
    began = time.monotonic()
    pid = starter.start(words, FULL_SHM if event == "full /dev/shm" else "")
    if event == "killed worker" or event in SIGNALS:
        partial = out.with_name(f".{out.name}.partial")
        wait_for(lambda: any(out.glob(command.begun)) if command.begun else partial.exists(), pid)
        if workers and command.loads:
            wait_for(lambda: workers_of(pid), pid)
        time.sleep(0.1)
        began = time.monotonic()
        send(pid, event)
    status = starter.read_line(_LIMIT_SECONDS)
    seconds = time.monotonic() - began
    if not status:
        os.killpg(pid, signal.SIGKILL)
        starter.read_line(None)
    # A second Ctrl-C may come when the interpreter itself is on its way out; a shell then says 130 as well.
    status = "130" if (event, status) == ("Ctrl-C twice", "-2") else status or "none"
    lines = [line.strip() for line in starter.log.read_text(errors="replace").splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("FAILED")] or lines or [""]
    return status, seconds, said[-1].replace(str(world), "WORLD").replace(str(out), "OUT")


def wanted(command: Command, event: str) -> str:
    if event in SIGNALS:
        return str(128 + SIGNALS[event][0])
    return str(command.whole or 2) if event == "broken image" else "1"


def cases(command: Command, mounts: bool) -> list[tuple[str, int]]:
    """Which events come with how many loading processes."""
    found = []
    for event, workers in itertools.product(EVENTS, (0, 1, 4) if command.loads else (0,)):
        needs_workers = event in ("killed worker", "full /dev/shm")
        if (needs_workers and not workers) or (event == "full /dev/shm" and not mounts):
            continue
        if (event == "broken image" and not command.broken) or (event in SIGNALS and workers == 1):
            continue
        found.append((event, workers))
    return found


def break_images(world: Path, pattern: str) -> None:
    """Cut the images of `pattern`."""
    for path in world.glob(pattern):
        os.truncate(path, 600)


def make_world(world: Path, drawn: Path | None) -> None:
    """The demo world (or the one that lies in `drawn`), with two suites over it and many small files."""
    if drawn:
        shutil.copytree(drawn, world)
    else:
        write_demo_world(world, 0)
    write_text(world / "endings.yaml", SUITE)
    write_text(world / "job.yaml", JOB_SUITE)
    for copy in range(20):
        shutil.copytree(world / "pretrain", world / "many" / str(copy), copy_function=os.link)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=";".join(COMMANDS), help="commands, semicolons between")
    parser.add_argument("--events", default=",".join(EVENTS), help="events, comma separated")
    parser.add_argument("--world", type=Path, help="a demo world that has been drawn already")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    mounts = subprocess.run(["unshare", "-m", "sh", "-c", FULL_SHM], capture_output=True, check=False).returncode == 0
    rows = [
        "| command | event | workers | exit status | wanted | seconds | last line |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        world, starter = Path(name) / "world", Starter(Path(name) / "log.txt")
        make_world(world, args.world)
        for title in args.only.split(";"):
            command = COMMANDS[title]
            broken = Path(name) / "broken"
            if command.broken:
                shutil.copytree(world, broken, ignore=shutil.ignore_patterns("many"))
                break_images(broken, command.broken)
            for event, workers in cases(command, mounts):
                if event not in args.events.split(","):
                    continue
                place = broken if event == "broken image" else world
                status, seconds, line = run(starter, command, place, Path(name) / "out", workers, event)
                bad += status != wanted(command, event)
                cells = (title, event, workers, status, wanted(command, event), f"{seconds:.1f}", line)
                rows.append("| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |")
                print(rows[-1], flush=True)
            shutil.rmtree(broken, ignore_errors=True)
        starter.process.kill()
    machine, made = hardware(), versions()
    about = (
        f"{len(rows) - 2} endings, {bad} of them not as wanted. {datetime.now(UTC):%Y-%m-%d}; {machine['cpu']}, "
        f"{machine['cores']} cores, load {os.getloadavg()[0]:.1f} at the end; torch {made['torch']}."
    )
    print(about)
    if args.out:
        write_text(args.out, "\n".join(["# endings.py", "", about, "", *rows, ""]))


if __name__ == "__main__":
    main()
