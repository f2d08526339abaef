"""How every command ends: by a broken image, a killed loading process, a full /dev/shm, and by signals.

    python benchmarks/endings.py [--only 'knn;detect'] [--out benchmarks/results/endings.md]

Each row is a real command on the demo world, with a random network, on CPUs. Its seconds count from the start where
the fault lies in the data or in /dev/shm, else from the moment of the signal. A full /dev/shm is one of a megabyte in a
mount namespace of the command's own; where that cannot be had (it takes root) those rows are left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
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
from mec_transfer.datasets.demo.world import write_demo_world

SIGNALS = {"SIGTERM": (15,), "SIGUSR1": (10,), "Ctrl-C": (2,), "Ctrl-C twice": (2, 2)}
EVENTS = ("broken image", "killed worker", "full /dev/shm", *SIGNALS)
FULL_SHM = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$@"', "sh"]
_LIMIT_SECONDS = 90

LINEAR = "recipe.base_lr=0.5 recipe.batch=256 recipe.epochs=50 recipe.train_crop=64 recipe.eval_view.crop=64"
SUITE = """
id: endings
models:
  mec: {pretrain: mec_r50_demo, data: pretrain, overrides: [arch=resnet18, epochs=1]}
benchmarks: [demo_knn, demo_linear_fast]
"""


JOB_SUITE = """
id: endings
models: {random: random:resnet18}
benchmarks: [demo_knn, demo_linear_fast]
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
        "-m pretrain mec_r50_demo --data {world}/pretrain --out {out} --workers {workers} --device cpu "
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
    "convert": Command("convert random:resnet152 --to timm --out {out}/made.pth", "", loads=False),
}


def command_line(command: Command, world: Path, out: Path, workers: int) -> list[str]:
    """Fill in the places."""
    filled = command.words.format(world=world, out=out, workers=workers).split()
    module = [] if filled[0] == "-m" else ["-m", "mec_transfer.cli.main"]
    return [sys.executable, *module, *filled]


def workers_of(pid: int) -> list[int]:
    """Loading processes below `pid`: those without children, of the same command line as their parent."""
    below = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    own = Path(f"/proc/{pid}/cmdline").read_bytes()
    found = [child for child in below if Path(f"/proc/{child}/cmdline").read_bytes() == own]
    return found or [worker for child in below for worker in workers_of(child)]


def wait_for(condition: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _LIMIT_SECONDS
    while process.poll() is None and time.monotonic() < until and not condition():
        time.sleep(0.02)


def send(process: subprocess.Popen[bytes], event: str) -> None:
    """Kill a loading process of a running command, or signal its whole group."""
    if process.poll() is not None:
        return  # it was over before; the table shows it
    if event == "killed worker":
        os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    for number in SIGNALS.get(event, ()):
        os.killpg(process.pid, number)
        time.sleep(0.2)


def run(command: Command, world: Path, out: Path, workers: int, event: str) -> tuple[str, float, str]:
    """Run a command to the end that `event` puts to it; return exit status, seconds and last line."""
    shutil.rmtree(out, ignore_errors=True)
    words = command_line(command, world, out, workers)
    began = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*(FULL_SHM if event == "full /dev/shm" else []), *words],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        if event == "killed worker" or event in SIGNALS:
            partial = out.with_name(f".{out.name}.partial")
            wait_for(lambda: any(out.glob(command.begun)) if command.begun else partial.exists(), process)
            if workers and command.loads:
                wait_for(lambda: workers_of(process.pid), process)
            time.sleep(0.1)
            began = time.monotonic()
            send(process, event)
        try:
            code = process.wait(_LIMIT_SECONDS)
            # A second Ctrl-C may come when the interpreter itself is on its way out; a shell then says 130 as well.
            status = str(128 - code if event == "Ctrl-C twice" and code < 0 else code)
        except subprocess.TimeoutExpired:
            status = "none"
        seconds = time.monotonic() - began
        if status == "none":
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.seek(0)
        lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    return status, seconds, (lines or [""])[-1].replace(str(world), "WORLD").replace(str(out), "OUT")


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


def make_worlds(folder: Path) -> Path:
    """The demo world, with a suite over it and many small files."""
    world = folder / "world"
    write_demo_world(world, 0)
    write_text(world / "endings.yaml", SUITE)
    write_text(world / "job.yaml", JOB_SUITE)
    for copy in range(20):
        shutil.copytree(world / "pretrain", world / "many" / str(copy), copy_function=os.link)
    return world


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=";".join(COMMANDS), help="commands, semicolons between")
    parser.add_argument("--events", default=",".join(EVENTS), help="events, comma separated")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    mounts = subprocess.run([*FULL_SHM, "true"], capture_output=True, check=False).returncode == 0
    rows = [
        "| command | event | workers | exit status | wanted | seconds | last line |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        world = make_worlds(Path(name))
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
                status, seconds, line = run(command, place, Path(name) / "out", workers, event)
                bad += status != wanted(command, event)
                cells = (title, event, workers, status, wanted(command, event), f"{seconds:.1f}", line)
                rows.append("| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |")
                print(rows[-1], flush=True)
            shutil.rmtree(broken, ignore_errors=True)
    machine, made = hardware(), versions()
    table = "\n".join(rows) + (
        f"\n\n{len(rows) - 2} endings, {bad} of them not as wanted. {datetime.now(UTC):%Y-%m-%d}; {machine['cpu']}, "
        f"{machine['cores']} cores, load {os.getloadavg()[0]:.1f} at the end; torch {made['torch']}.\n"
    )
    if args.out:
        write_text(args.out, f"# endings.py\n\n{table}")
    else:
        print(table)


if __name__ == "__main__":
    main()
