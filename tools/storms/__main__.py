"""Runs commands in storms until they are done, and compares what they leave with what a calm run leaves.

    python -m tools.storms kills disk reads pretraining --work /tmp/storms --out benchmarks/results/storms.md
    python -m tools.storms kills --suite demo --events 50 --seed 1 --work /tmp/storms

Each storm acts on one command, which is given again and again until it ends by itself with exit status 0; where that
comes before all of the storm's events, the next round begins in a new folder.

- kills: SIGKILL to a suite's run, to one of its jobs or any other process, or to the whole tree, two jobs at a time.
- pretraining: the same, of a pretraining of two processes under torch.distributed.run.
- disk: the suite's results lie on a disk (a tmpfs in a mount namespace of this process's own) that fills and empties.
- reads: opening, reading or looking at a file of the data fails (a preloaded library, built by gcc).

Every file that a calm run leaves must be there with the same content, and none besides; `likeness.py` names what may
differ. Meanwhile no job may have another number than the calm run's, nothing may print a traceback, nothing of a
killed command may live on, and no start may take longer than --limit. Exit status 1 where any of that fails.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from mec_transfer.common.files import write_text
from mec_transfer.common.runtime import hardware, versions
from mec_transfer.demo_world.world import WorldSize, write_demo_world
from tools.storms.processes import Start
from tools.storms.storms import FullDisk, Kills, ReadErrors, Storm
from tools.storms.subjects import Pretraining, Subject, Suite

STORMS = ("kills", "pretraining", "disk", "reads")
HEAD = (
    "| storm | on | seed | events | rounds | starts | unlike | longest from event to end, s |\n"
    "|---|---|--:|--:|--:|--:|---|--:|"
)
_CALM_TRIES = 2


@dataclasses.dataclass
class Row:
    """The result of a storm."""

    storm: str
    subject: str
    seed: int
    events: int = 0
    rounds: int = 0
    starts: int = 0
    slowest: float = 0.0
    problems: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        told = "; ".join(dict.fromkeys(self.problems)) or "nothing"
        counts = (self.seed, self.events, self.rounds, self.starts)
        cells = (self.storm, self.subject, *counts, told, f"{self.slowest:.1f}")
        return "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |"


def calm_run(subject: Subject, folder: Path, limit: float) -> Path:
    """Return what the command leaves when nothing disturbs it; what an earlier call has left serves again."""
    out, done = folder / "calm", folder / "calm.done"
    if not done.exists():
        start = Start(subject.command(out), folder / "calm.txt", {})
        if start.wait(limit) != 0:
            raise SystemExit(f"{folder / 'calm.txt'}: the calm run has not ended well")
        done.touch()
    return out


def weather(subject: Subject, calm: Path, storm: Storm, row: Row, limit: float) -> None:
    """Run rounds of the command until the storm has done all that it was to do."""
    while not storm.is_over:
        out = storm.place(f"round-{row.rounds}")
        subject.prepare(calm, out)
        ended = one_round(subject, calm, storm, row, out, limit)
        problems = list(subject.unlike(calm, out)) if ended else ["the command does not end well any more"]
        row.problems += problems
        row.rounds += 1
        row.events, row.slowest = storm.events, storm.slowest
        if problems:
            kept = storm.folder / f"kept-{row.rounds}"
            shutil.copytree(out, kept, symlinks=True)
            print(f"{kept}: {'; '.join(problems)}", flush=True)
        if not ended:
            return
        shutil.rmtree(out)


def one_round(subject: Subject, calm: Path, storm: Storm, row: Row, out: Path, limit: float) -> bool:
    """Give the command until it ends with 0; return False where it fails though the storm is over."""
    calm_tries = 0
    while calm_tries < _CALM_TRIES:
        calm_tries += storm.is_over
        log = storm.folder / f"{out.name}.txt"
        start = Start(subject.command(out), log, {} if storm.is_over else storm.env(subject.data(out)))
        row.starts += 1
        if not storm.is_over:
            row.problems += storm.act(start, out)
        status = start.wait(limit)
        print(f"{row.storm} {row.rounds}: start {row.starts}, {storm.events} events, status {status}", flush=True)
        if status is None:
            row.problems.append(f"it hung: nothing ended it within {limit:g} s ({log})")
        if subject.tracebacks(start.said()) > 0:
            row.problems.append(f"a traceback ({log})")
        row.problems += subject.wrong_numbers(calm, out)
        if status == 0:
            return True
    return False


def own_mounts() -> None:
    """Go on in a mount namespace of this process's own, so that its disks are nobody else's and go with it."""
    if os.environ.get("STORM_MOUNTS") != "own":
        os.environ["STORM_MOUNTS"] = "own"
        words = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
        os.execvp("unshare", [*words, sys.executable, "-m", "tools.storms", *sys.argv[1:]])


def run_storm(name: str, args: argparse.Namespace) -> Row:
    """Run one storm from its calm run to its row."""
    folder: Path = args.work / name
    shutil.rmtree(folder, ignore_errors=True)
    if name == "pretraining":
        pictures = args.work / "pictures"
        write_demo_world(pictures, 0, ("pretrain",), WorldSize(unlabelled=128))
        subject: Subject = Pretraining(pictures / "pretrain", processes=2, epochs=args.epochs)
    else:
        subject = Suite(args.suite, args.jobs, args.workers)
    about = f"pretraining-{args.epochs}" if name == "pretraining" else Path(args.suite).stem
    calm_folder = args.work / f"calm-{about}"
    calm_folder.mkdir(parents=True, exist_ok=True)
    calm = calm_run(subject, calm_folder, args.limit)
    plan = (folder, args.seed, args.events, args.every)
    folder.mkdir(parents=True)
    if name == "disk":
        used = sum(path.lstat().st_blocks * 512 for path in calm.rglob("*")) >> 20
        storm: Storm = FullDisk(*plan, size_mib=2 * used + 16)
    elif name == "reads":
        storm, subject = ReadErrors(*plan), Suite(args.suite, args.jobs, args.workers, given=calm / "data")
    else:
        storm = Kills(*plan)
    row = Row(name, subject.title, args.seed)
    weather(subject, calm, storm, row, args.limit)
    if name == "disk":
        subprocess.run(["umount", folder / "disk"], check=False)
    return row


def main() -> int:
    """Run the storms that are named; return 1 where anything is unlike."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("storms", nargs="+", choices=STORMS, metavar="STORM", help=", ".join(STORMS))
    parser.add_argument("--work", type=Path, required=True, help="where runs lie; calm ones there serve again")
    parser.add_argument("--suite", default="smoke", help="a suite that draws its own data (default: smoke)")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=3, help="of the pretraining, 8 steps each")
    parser.add_argument("--events", type=int, default=50, help="of each storm (default: 50)")
    parser.add_argument("--every", type=float, default=8.0, help="seconds between two events, on average")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds that one start may take")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a Markdown file for the table")
    args = parser.parse_args()
    args.work = args.work.absolute()
    if "disk" in args.storms:
        own_mounts()
    rows = []
    for name in args.storms:
        rows.append(run_storm(name, args))
        print(rows[-1], flush=True)
    machine, made = hardware(), versions()
    about = f"{datetime.now(UTC):%Y-%m-%d}; {machine['cpu']}, {machine['cores']} cores; torch {made['torch']}."
    table = "\n".join([about, "", HEAD, *map(str, rows), ""])
    print(table)
    if args.out:
        write_text(args.out, f"# Storms\n\n{table}")
    return int(any(row.problems for row in rows))


if __name__ == "__main__":
    sys.exit(main())
