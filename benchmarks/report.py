"""How long a report takes to be made, and how long a browser takes to open it.

    python benchmarks/report.py RUN [--chromium FILE --driver FILE] [--scratch DIR] [--write]

RUN is the folder of a finished run, as `mec-transfer run --suite demo` leaves it. Besides, 10,000 synthetic records are
made: 100 models x 20 protocols x 5 trials, each with a job.json. Seconds of commands are from the start of Python to
its end; of pages, those that Chromium itself tells from the start of the navigation to the end of loading, in a new
profile.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mec_transfer.common.runtime import hardware, usable_cores, versions
from mec_transfer.results.record import DatasetInfo, ModelInfo, Record
from mec_transfer.suite.registry import BenchmarkFile, find_benchmark

HERE = Path(__file__).parent
OPENINGS = 5


def write_run(out: Path, models: int, protocols: int, trials: int) -> None:
    """Write a run of k-NN with made-up numbers in `out`: one trial in fifty failed, and has a log."""
    rng, count = np.random.default_rng(0), 0
    file = BenchmarkFile.read(find_benchmark("knn_dino", Path()))
    configs = [file.config([f"recipe.temperature={0.01 * (at + 1):.2f}"]) for at in range(protocols)]
    dumps = [config.model_dump(mode="json") for config in configs]
    found = versions()
    for model in range(models):
        for config, dump in zip(configs, dumps, strict=True):
            for trial in range(trials):
                folder = out / "jobs" / f"m{model}" / f"{config.id}-t{trial}-{count:08x}"
                folder.mkdir(parents=True)
                failed = count % 50 == 49
                value = round(float(rng.uniform(0, 100)), 3)
                record = Record(
                    status="failed" if failed else "ok",
                    error="the GPU's memory is full; take a GPU with more" if failed else None,
                    model=ModelInfo(name=f"m{model}", sha256=f"{model:064x}", arch="resnet50", source=f"m{model}.pth"),
                    benchmark=config.info(),
                    trial=trial,
                    seed=trial,
                    metrics={} if failed else dict.fromkeys(("top1", "top5", "top1_k10", "top1_k20"), value),
                    primary="top1",
                    dataset=DatasetInfo(name="imagenet", fingerprint="1" * 64, num_images=1331167, classes=1000),
                    seconds=round(float(rng.uniform(100, 200)), 3),
                    finished=f"2026-11-26T12:00:{count % 60:02d}+00:00",
                    versions=found,
                    hardware={"cpu": "any", "cores": 2, "gpu": "none", "gpus": 0},
                )
                _write(folder / "record.json", record.model_dump(mode="json", by_alias=True))
                job = {"config": dump, "checkpoint": f"m{model}.pth", "encoder": "auto", "data": "/data/imagenet"}
                _write(folder / "job.json", {**job, "workdir": str(folder.relative_to(out))})
                if failed:
                    (folder / "log.txt").write_text(f"features [{count}/50000 images]\nerror: {record.error}\n")
                count += 1


def _write(path: Path, value: Any) -> None:
    """Write JSON without waiting for the disk, ten thousand times."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def loading_seconds(page: Path, chromium: str, driver: str) -> list[float]:
    """Return the seconds that a page takes to load, each time in a new Chromium."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    seconds = []
    for _ in range(OPENINGS):
        with tempfile.TemporaryDirectory() as profile:
            options = webdriver.ChromeOptions()
            options.binary_location = chromium
            words = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync")
            for word in (*words, "--disable-background-networking", "--disable-component-update"):
                options.add_argument(word)
            options.add_argument(f"--user-data-dir={profile}")
            browser = webdriver.Chrome(options=options, service=Service(driver))
            try:
                browser.get(page.resolve().as_uri())
                timing = "return performance.getEntriesByType('navigation')[0].loadEventEnd"
                seconds.append(browser.execute_script(timing) / 1000)
            finally:
                browser.quit()
    return sorted(seconds)


def main() -> None:
    """Print a table, and write it where asked to."""
    from orchestration import command

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run's folder")
    parser.add_argument("--chromium", default=shutil.which("chromium") or "chromium")
    parser.add_argument("--driver", default=shutil.which("chromedriver") or "chromedriver")
    parser.add_argument("--scratch", type=Path, help="where to work (default: a folder that is removed)")
    parser.add_argument("--write", action="store_true", help="write the table to results/report.md")
    args = parser.parse_args()
    scratch = args.scratch or Path(tempfile.mkdtemp())
    many = scratch / "many"
    shutil.rmtree(many, ignore_errors=True)
    write_run(many, models=100, protocols=20, trials=5)
    rows = ["| what | s | processor, s | MB | opens in, s (median, slowest of 5) |", "|---|---:|---:|---:|---:|"]
    about: list[tuple[str, Path, list[str]]] = [
        ("the run, with pictures", args.run, []),
        ("the run, --no-pictures", args.run, ["--no-pictures"]),
        ("10,000 records", many, []),
    ]
    for name, run, words in about:
        page = scratch / "report.html"
        seconds, processor = command("report", run, "--out", page, *words)
        opened = loading_seconds(page, args.chromium, args.driver)
        size = page.stat().st_size / 1e6
        times = f"{opened[len(opened) // 2]:.2f}, {opened[-1]:.2f}"
        rows.append(f"| {name} | {seconds:.1f} | {processor:.1f} | {size:.2f} | {times} |")
        print(rows[-1], flush=True)
    seconds, processor = command("leaderboard", many)
    rows.append(f"| 10,000 records, `mec-transfer leaderboard` | {seconds:.1f} | {processor:.1f} | | |")
    if not args.scratch:
        shutil.rmtree(scratch)
    machine = f"{hardware()['cpu']}, {usable_cores()} cores, load {os.getloadavg()[0]:.1f} at the end"
    text = "\n".join(["# report.py", "", *rows, "", f"{machine}; {datetime.date.today()}.", ""])
    print(text)
    if args.write:
        (HERE / "results" / "report.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
