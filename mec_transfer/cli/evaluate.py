"""What knn, linear, semisup, detect and track share: their options, one job run in --out, a short table."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mec_transfer.cli import options
from mec_transfer.common.command import add_compute, add_overrides, check_compute
from mec_transfer.common.errors import UserError
from mec_transfer.common.progress import is_main_process

if TYPE_CHECKING:
    from mec_transfer.results.record import Record


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that every evaluating command has."""
    options.add_checkpoint(parser)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the data set's own folder")
    options.add_out(parser)
    parser.add_argument("--config", metavar="FILE|NAME", help="a benchmark config instead of the command's own")
    parser.add_argument("--name", help="the model's row on a leaderboard (default: from CKPT)")
    parser.add_argument("--trial", type=int, default=0, metavar="I", help="which repetition: its seed is --seed + I")
    options.add_cache(parser)
    add_compute(parser)
    add_overrides(parser, "; the protocol id then ends in +custom-HASH")


def evaluate(
    args: argparse.Namespace,
    command: str,
    config: str,
    family: str = "classification",
    settings: Mapping[str, Any] | None = None,
    skip_invalid: bool = False,
) -> int:
    """Run the benchmark `config` (--config goes first) on args.checkpoint; print its table and return 0.

    `command` is the one that was called, of a `family`; `settings` are keys of `dataset` for data of one's own, as
    `fit_data` takes them; `skip_invalid` leaves broken annotations out.

    Raises:
        UserError: anything that the user can put right.
        RunError: the run failed.
    """
    from mec_transfer import api
    from mec_transfer.common.paths import find_config
    from mec_transfer.suite.own_data import SKIP_INVALID
    from mec_transfer.suite.registry import COMMAND_OF, benchmark_config

    check_compute(args)
    options.check_cache(args)
    if args.trial < 0:
        raise UserError(f"--trial {args.trial}: cannot be negative")
    if args.name is not None and not (args.name.strip() and args.name.isprintable()):
        raise UserError(f"--name {args.name!r}: must be one line of text")
    path = find_config(args.config or config, family)
    right = COMMAND_OF.get(benchmark_config(path, args.overrides).kind, command)
    if right != command:
        raise UserError(f"--config {args.config}: is a benchmark of mec-transfer {right}, not of {command}")
    record = api.evaluate(
        args.checkpoint,
        path.resolve(),
        args.data,
        args.out,
        overrides=[*args.overrides, SKIP_INVALID] if skip_invalid else args.overrides,
        settings=settings,
        name=args.name,
        encoder=args.encoder,
        trial=args.trial,
        seed=args.seed,
        device=args.device,
        workers=args.workers,
        cache=args.cache,
    )
    if is_main_process():
        print(format_record(record))
        print(f"{'record':<10} {args.out / 'record.json'}")
    return 0


def own_data_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return what --train, --test and --classes say of data of one's own."""
    settings: dict[str, Any] = {}
    if args.train:
        settings["train"] = [args.train]
    if args.test:
        settings["test"] = args.test
    if args.classes:
        settings["classes"] = options.split_names(args.classes)
    return settings


def format_record(record: Record) -> str:
    """Return the short table of a record: model, protocol, data, metrics, what was selected, warnings."""
    rows = [
        ("model", f"{record.model.name} ({record.model.arch}, weights {record.model.sha256[:8]})"),
        ("protocol", record.benchmark.protocol),
    ]
    if record.dataset:
        note = f"; {record.dataset.note}" if record.dataset.note else ""
        rows.append(("data", f"{record.dataset.name} ({record.dataset.fingerprint[:8]}{note})"))
    primary = {record.primary: record.metrics[record.primary]} if record.primary in record.metrics else {}
    others = {name: value for name, value in record.metrics.items() if name != record.primary and "/" not in name}
    rows += [
        (name, f"{value:.2f}{'  (primary)' if name in primary else ''}") for name, value in (primary | others).items()
    ]
    by_class: dict[str, list[str]] = {}
    for name, value in record.metrics.items():
        metric, _, label = name.partition("/")
        if label:
            by_class.setdefault(metric, []).append(f"{label} {value:.2f}")
    rows += [(f"{metric} by class", ", ".join(values)) for metric, values in by_class.items()]
    if record.selection:
        rows.append(("chosen", f"{record.selection.chosen}, by: {record.selection.by}"))
    rows += [("warning", text) for text in record.warnings]
    if record.error:
        rows.append(("failed", record.error))
    width = max(10, *(len(name) for name, _ in rows))
    return "\n".join(f"{name:<{width}} {text}" for name, text in rows)
