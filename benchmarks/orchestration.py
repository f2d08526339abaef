"""What a suite costs beside its jobs, and what it gains by running two at once.

    python benchmarks/orchestration.py plan rank share two [--scratch DIR] [--write]
    python benchmarks/orchestration.py demo --write            half an hour on two cores

Every figure is of real commands, from the start of Python to its end.

plan   1,000 k-NN jobs: 4 networks (ResNet-50, random weights) x 50 configs x 5 trials on two dozen images; a dry run,
       then again
rank   10,000 synthetic records, 100 models x 20 protocols x 5 trials, by `mec-transfer leaderboard`
share  six jobs of 20 s, one after another and two at once; the time beyond the jobs' own, start and end of Python
       included. The jobs are the tests' fake family's, which sleep, so that nothing but the orchestration computes
two    two independent finetunings on the demo world, one after another and two at once, each on its share of the cores
demo   the demo suite, one job after another and two at once; the leaderboards are compared
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from mec_transfer.common.paths import CONFIGS
from mec_transfer.common.runtime import hardware, usable_cores, versions
from mec_transfer.results.record import BenchmarkInfo, DatasetInfo, ModelInfo, Record

HERE = Path(__file__).parent
FAKE = HERE.parent / "tests" / "suite" / "fake"
JOB_SECONDS, JOBS = 20.0, 6


def command(*words: object, env: dict[str, str] | None = None, status: int = 0) -> tuple[float, float]:
    """Run `mec-transfer`; return its seconds on the wall, and of the processor, with all that it starts."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "mec_transfer.cli.main", *map(str, words)],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
    )
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != status:
        raise SystemExit(f"{words}: exit status {done.returncode}\n{done.stderr}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run_words(scratch: Path, data: str) -> list[object]:
    """Return the words that run the suite in `scratch` on the data beside it."""
    return ["run", "--suite", scratch / "suite.yaml", "--data-root", scratch / data]


def plan(scratch: Path) -> list[str]:
    """Plan 1,000 jobs twice."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 2)):
        for kind in ("a", "b"):
            folder = scratch / "data" / "tiny" / split / kind
            folder.mkdir(parents=True)
            for index in range(count):
                Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    base = CONFIGS / "classification" / "cifar10_knn.yaml"
    for index in range(50):
        (scratch / f"k{index}.yaml").write_text(
            f"base: {base}\nid: k{index}\nprotocol: k{index}\ntrials: 5\ndataset: {{folder: tiny}}\n"
            f"recipe: {{k: 5, ks: [5], temperature: {0.01 * (index + 1):.2f}}}\n"
        )
    models = "".join(f"  m{index}: random:resnet50:{index}\n" for index in range(4))
    (scratch / "suite.yaml").write_text(
        f"id: thousand\nmodels:\n{models}benchmarks: [{', '.join(f'k{index}.yaml' for index in range(50))}]\n"
    )
    words = [*run_words(scratch, "data"), "--out", scratch / "out", "--dry-run"]
    rows = []
    for name in ("first", "again"):
        seconds, processor = command(*words, env={"OMP_NUM_THREADS": "1"})
        rows.append(f"| 1,000 jobs planned, {name} | {seconds:.1f} | {processor:.1f} | 5 |")
    return rows


def rank(scratch: Path) -> list[str]:
    """Rank 10,000 records."""
    rng, count = np.random.default_rng(0), 0
    for model in range(100):
        for protocol in range(20):
            for trial in range(5):
                folder = scratch / "jobs" / f"m{model}" / f"p{protocol}-t{trial}-{count:08x}"
                folder.mkdir(parents=True)
                write_plain(folder, synthetic(model, protocol, trial, float(rng.uniform(0, 100))))
                count += 1
    rows = []
    for form in ("md", "json"):
        seconds, processor = command("leaderboard", scratch, "--format", form)
        rows.append(f"| 10,000 records ranked, {form} | {seconds:.1f} | {processor:.1f} | 5 |")
    return rows


def synthetic(model: int, protocol: int, trial: int, value: float) -> Record:
    """Return a record of the size that k-NN's have."""
    return Record(
        status="ok",
        model=ModelInfo(name=f"m{model}", sha256=f"{model:064x}", arch="resnet50", source=f"checkpoints/m{model}.pth"),
        benchmark=BenchmarkInfo(
            id=f"p{protocol}",
            family="classification",
            protocol=f"protocol-{protocol}",
            config_sha256=f"{protocol:064x}",
            kind="knn",
            title=f"Protocol {protocol}",
        ),
        trial=trial,
        seed=trial,
        metrics=dict.fromkeys(("top1", "top5", "top1_k10", "top1_k20", "top1_k100", "top1_k200"), value),
        primary="top1",
        dataset=DatasetInfo(name="data", fingerprint=f"{protocol:064x}", num_images=10, splits={"train": 5, "val": 5}),
        seconds=1.0,
        versions=versions(),
        hardware={"cpu": "any", "cores": 2, "gpu": "none", "gpus": 0},
    )


def write_plain(folder: Path, record: Record) -> None:
    """Write a record without waiting for the disk, ten thousand times."""
    (folder / "record.json").write_text(json.dumps(record.model_dump(mode="json", by_alias=True), indent=2) + "\n")


def share(scratch: Path) -> list[str]:
    """Run jobs whose time is known."""
    (scratch / "data" / "first").mkdir(parents=True)
    (scratch / "data" / "first" / "size").write_text("10")
    (scratch / "one.yaml").write_text(
        "id: one\nfamily: fake\nkind: fake\nprotocol: fake-one\ntitle: Fake\npublished: nowhere\n"
        "dataset: {name: first, layout: fake, folder: first}\nmetrics: {primary: top1}\n"
        f"trials: {JOBS}\nrecipe: {{seconds: {JOB_SECONDS}}}\n"
    )
    (scratch / "suite.yaml").write_text("id: known\nmodels: {random: random:x}\nbenchmarks: [one.yaml]\n")
    rows = []
    for jobs in (1, 2):
        words = [*run_words(scratch, "data"), "--jobs", jobs]
        env = {"PYTHONPATH": f"{FAKE}{os.pathsep}{HERE.parent}"}
        seconds, processor = command(*words, "--out", scratch / f"out{jobs}", env=env)
        own = JOB_SECONDS * JOBS / jobs
        beside = f"{100 * (seconds / own - 1):.1f} % beside them, {processor / JOB_SECONDS / JOBS:.1%} of a processor"
        what = f"{JOBS} jobs of {JOB_SECONDS:g} s, {jobs} at once: {beside}"
        rows.append(f"| {what} | {seconds:.1f} | {processor:.1f} | {1.02 * own:.1f} |")
    return rows


def two(scratch: Path) -> list[str]:
    """Run two jobs of one kind, which share nothing."""
    command("data", "demo", "--out", scratch / "world")
    (scratch / "suite.yaml").write_text(
        "id: two\nmodels: {a: 'random:resnet18:0', b: 'random:resnet18:1'}\n"
        "benchmarks: [{config: demo_semisup_10pct_barlow, data: imagenet}]\n"
    )
    words = [*run_words(scratch, "world"), "--device", "cpu"]
    return ratio("two finetunings", 1.7, lambda jobs: command(*words, "--jobs", jobs, "--out", scratch / f"out{jobs}"))


def demo(scratch: Path) -> list[str]:
    """Run the demo suite both ways."""
    words = ["run", "--suite", "demo", "--device", "cpu"]
    return ratio("the demo suite", 1.5, lambda jobs: command(*words, "--jobs", jobs, "--out", scratch / f"out{jobs}"))


def ratio(title: str, wanted: float, run: Callable[[str], tuple[float, float]]) -> list[str]:
    """Return the rows of a run, one job after another and two at once."""
    (alone, processor), (both, processor_of_both) = run("1"), run("2")
    return [
        f"| {title}, one after another | {alone:.1f} | {processor:.1f} | |",
        f"| {title}, two at once: {alone / both:.2f}x | {both:.1f} | {processor_of_both:.1f} | {alone / wanted:.1f} |",
    ]


PARTS = {"plan": plan, "rank": rank, "share": share, "two": two, "demo": demo}


def main() -> None:
    """Print a table of the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--scratch", type=Path, help="where to work (default: a folder that is removed)")
    parser.add_argument("--write", action="store_true", help="write the table to results/orchestration.md")
    args = parser.parse_args()
    scratch = args.scratch or Path(tempfile.mkdtemp())
    rows = ["| what | s | processor, s | asked for, s |", "|---|---|---|---|"]
    for part in args.parts:
        shutil.rmtree(scratch / part, ignore_errors=True)
        (scratch / part).mkdir(parents=True)
        rows += PARTS[part](scratch / part)
        print("\n".join(rows[-2:]), flush=True)
    if not args.scratch:
        shutil.rmtree(scratch)
    about = (
        f"{hardware()['cpu']}, {usable_cores()} cores, load {os.getloadavg()[0]:.1f} at the end; torch "
        f"{versions()['torch']}; {datetime.date.today()}."
    )
    text = "\n".join(["# orchestration.py", "", *rows, "", about, ""])
    print(text)
    if args.write:
        (HERE / "results" / "orchestration.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
