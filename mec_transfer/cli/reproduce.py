"""Measure a public checkpoint by the protocols of its published numbers, and compare the results with them.

  mec-transfer models fetch moco:v2-800ep
  mec-transfer reproduce moco:v2-800ep --data-root /data --out runs/moco --gpus 8
  mec-transfer reproduce --page benchmarks/reproduced     what has been reproduced so far: docs/reproduced.md

It is a suite's run of that model alone, on those of its benchmarks by which a number of it is published. The exit
status is 0 where each of these numbers lies within its tolerance, 1 where one does not or was not measured.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mec_transfer.cli.options import add_out
from mec_transfer.cli.run import add_run_options, carry_out, options_of
from mec_transfer.common.errors import UserError

if TYPE_CHECKING:
    from mec_transfer.suite.reproduce import Expectation, Measured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add NAME, --suite, --page, and what `run` takes."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="a checkpoint that `mec-transfer models` lists")
    parser.add_argument(
        "--suite",
        default="reproduce",
        metavar="FILE|NAME",
        help="(default: reproduce, all that numbers are published by)",
    )
    parser.add_argument("--page", type=Path, metavar="DIR", help="print the page of the results in DIR, and stop")
    add_out(parser, required=False)
    add_run_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from mec_transfer.common.files import write_json
    from mec_transfer.common.paths import find_config
    from mec_transfer.models.zoo import fetched_file, find_entry
    from mec_transfer.results.store import Store
    from mec_transfer.suite import reproduce
    from mec_transfer.suite.config import load_suite
    from mec_transfer.suite.only import narrow_suite

    if args.page:
        print("\n".join(reproduce.page(reproduce.read_reproductions(args.page))))
        return 0
    if not args.name or not args.out:
        raise UserError(
            "say what and where: mec-transfer reproduce NAME --out DIR; mec-transfer models lists the names"
        )
    entry = find_entry(args.name)
    run_options = options_of(args)
    source = find_config(args.suite, "suites")
    suite = load_suite(source, [f"{reproduce.row_name(entry)}={entry.name}"])
    suite = narrow_suite(reproduce.reproducing_suite(entry, suite, source), source, args.only)
    fetched_file(entry)
    done = carry_out(suite, source, args, run_options)
    if isinstance(done, int):
        return done
    result = reproduce.measured(entry, Store.read(args.out).records)
    write_json(args.out / reproduce.RESULT_NAME, result.model_dump(mode="json", by_alias=True))
    asked = reproduce.protocols_of(suite, source)
    expected = reproduce.expectations(entry)
    rows = [(one, result.by_protocol(one.protocol)) for one in expected if one.protocol in asked]
    print(f"\n{_table(rows)}")
    if left_out := dict.fromkeys(one.protocol for one in expected if one.protocol not in asked):
        print(f"not asked for: {', '.join(left_out)}")
    print(f"\n{args.out / reproduce.RESULT_NAME}: what was measured, for benchmarks/reproduced")
    return 0 if all(reproduce.judge(one, found) == "within" for one, found in rows) else 1


def _table(rows: list[tuple[Expectation, Measured | None]]) -> str:
    from mec_transfer.suite.reproduce import difference, judge

    cells = [("protocol", "metric", "published", "measured", "difference", "tolerance", "verdict")]
    for one, found in rows:
        verdict = judge(one, found)
        values = ("", "")
        if found is not None and verdict != "not run":
            values = f"{found.metrics[one.metric]:.2f}", f"{difference(one, found):+.2f}"
        cells.append((one.protocol, one.metric, f"{one.value:g}", *values, f"{one.tolerance:g}", verdict))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            text.rjust(width) if 1 < at < 6 else text.ljust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )
