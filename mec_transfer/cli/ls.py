"""The benchmarks, pretraining recipes and suites that ship with the project."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

KINDS = ("benchmarks", "recipes", "suites")
_COLUMNS = {
    "benchmarks": ("name", "protocol", "title"),
    "recipes": ("name", "about"),
    "suites": ("name", "benchmarks"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("kind", nargs="?", choices=KINDS, help="only these (default: all)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")


def run(args: argparse.Namespace) -> int:
    """Run the command. Nothing here imports a family: the files are read as they are."""
    from mec_transfer.common.paths import CONFIGS
    from mec_transfer.results.leaderboard import natural
    from mec_transfer.suite.registry import benchmark_files

    sections = {
        "benchmarks": [_benchmark(path) for path in sorted(benchmark_files(), key=lambda path: natural(path.stem))],
        "recipes": [_recipe(path) for path in sorted((CONFIGS / "pretrain").glob("*.yaml"))],
        "suites": [_suite(path) for path in sorted((CONFIGS / "suites").glob("*.yaml"))],
    }
    heads = {
        "benchmarks": "benchmarks: name, protocol id, title",
        "recipes": "recipes of mec-pretrain",
        "suites": "suites of mec-transfer run",
    }
    kinds = [args.kind] if args.kind else KINDS
    if args.json:
        found: dict[str, list[dict[str, Any]]] = {
            kind: [dict(zip(_COLUMNS[kind], row, strict=True)) for row in sections[kind]] for kind in kinds
        }
        for suite in found.get("suites", ()):
            suite["benchmarks"] = suite["benchmarks"].split(", ")
        print(json.dumps(found, indent=2))
        return 0
    print("\n\n".join("\n".join([heads[kind], *_aligned(sections[kind])]) for kind in kinds))
    return 0


def _benchmark(path: Path) -> tuple[str, ...]:
    data = _read(path)
    return path.stem, str(data.get("protocol", "")), str(data.get("title", ""))


def _recipe(path: Path) -> tuple[str, ...]:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return path.stem, first.removeprefix("#").strip() if first.startswith("#") else ""


def _suite(path: Path) -> tuple[str, ...]:
    entries = _read(path).get("benchmarks", [])
    names = [entry if isinstance(entry, str) else str(entry.get("config")) for entry in entries]
    return path.stem, ", ".join(names)


def _read(path: Path) -> dict[str, Any]:
    from mec_transfer.common.config import load_yaml

    return load_yaml(path)


def _aligned(rows: Iterable[tuple[str, ...]]) -> list[str]:
    table = list(rows)
    widths = [max((len(row[at]) for row in table), default=0) for at in range(len(table[0]) if table else 0)]
    return ["  " + "  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in table]
