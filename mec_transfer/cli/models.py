"""Public checkpoints by name: which there are, where they come from, what is published of them; and fetching them.

  mec-transfer models                          all of them, and which are on this machine
  mec-transfer models show moco:v2-800ep       its address, its format, and the published numbers by protocol
  mec-transfer models fetch moco:v2-800ep      download it; run again after an interruption, it goes on

A name then serves wherever CKPT does. Nothing else downloads it: a job that does not find it says so and ends.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mec_transfer.cli.options import add_models_dir
from mec_transfer.common.errors import UserError

if TYPE_CHECKING:
    from mec_transfer.models.zoo import Entry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to do, NAME, --models-dir and --json."""
    parser.add_argument("action", nargs="?", choices=("list", "show", "fetch"), default="list", help="(default: list)")
    parser.add_argument("names", nargs="*", metavar="NAME", help="as `mec-transfer models` lists them")
    add_models_dir(parser)
    parser.add_argument("--json", action="store_true", help="list or show as JSON")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from mec_transfer.models.zoo import find_entry, load_zoo

    if args.action == "list":
        if args.names:
            raise UserError(f"to see one, say: mec-transfer models show {args.names[0]}")
        entries = list(load_zoo().values())
        print(json.dumps([_as_json(entry) for entry in entries], indent=2) if args.json else _table(entries))
        return 0
    if not args.names:
        raise UserError(f"name what to {args.action}: mec-transfer models {args.action} NAME")
    entries = [find_entry(name) for name in args.names]
    if args.action == "fetch":
        return _fetch(entries)
    print(
        json.dumps([_as_json(entry) for entry in entries], indent=2)
        if args.json
        else "\n\n".join("\n".join(_shown(entry)) for entry in entries)
    )
    return 0


def _fetch(entries: list[Entry]) -> int:
    from mec_transfer.models.fetch import fetch_model
    from mec_transfer.models.zoo import models_dir

    for entry in entries:
        note = fetch_model(entry, models_dir())
        print(f"{entry.name}  {entry.path(models_dir())}")
        print(f"  {note.bytes / 1e6:,.1f} MB, sha256 {note.sha256}, checked: {note.checked}", flush=True)
    return 0


def _table(entries: list[Entry]) -> str:
    from mec_transfer.models.zoo import models_dir

    head = ("name", "network", "method", "pretraining", "size", "here")
    rows = [
        (entry.name, entry.arch, entry.method, entry.pretraining, entry.size if entry.size_mib else "", _here(entry))
        for entry in entries
    ]
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in (head, *rows)]
    return "\n".join([*lines, "", f"here: in {models_dir()}; mec-transfer models show NAME says more"])


def _here(entry: Entry) -> str:
    from mec_transfer.models.zoo import models_dir

    return "yes" if entry.path(models_dir()).is_file() else ""


def _as_json(entry: Entry) -> dict[str, object]:
    from mec_transfer.models.zoo import models_dir

    path = entry.path(models_dir())
    return entry.model_dump(mode="json") | {"path": str(path), "here": path.is_file()}


def _shown(entry: Entry) -> Iterator[str]:
    """Yield the lines that tell of one checkpoint."""
    from mec_transfer.models.fetch import read_note
    from mec_transfer.models.zoo import models_dir
    from mec_transfer.results.markdown import as_printed
    from mec_transfer.results.references import load_references
    from mec_transfer.suite.reproduce import expectations

    path = entry.path(models_dir())
    digits = [f"{kind} {value}..." for kind, value in (("sha256", entry.sha256), ("md5", entry.md5)) if value]
    yield f"name         {entry.name}"
    yield f"what         {', '.join(filter(None, (entry.method, entry.arch, entry.pretraining)))}"
    yield f"format       {entry.format}{'' if entry.encoder == 'auto' else f', --encoder {entry.encoder}'}"
    yield f"address      {entry.url}{' (by a browser)' if entry.by_hand else ''}"
    yield f"read in      {entry.source}"
    yield f"size         {entry.size.removeprefix('size ')}"
    yield f"digits       {', '.join(digits) or 'none are published'}"
    if not path.is_file():
        yield f"here         no: mec-transfer models fetch {entry.name} puts it at {path}"
    else:
        note = read_note(path)
        yield f"here         {path}" + (f", sha256 {note.sha256}" if note else ", not checked")
    about = (entry.method, entry.pretraining, entry.arch)
    rows = [one for one in load_references() if (one.method, one.pretraining, one.arch) == about]
    yield f"published    {'of this method, pretrained so long:' if rows else 'nothing that is quoted here'}"
    for row in rows:
        values = ", ".join(f"{metric} {as_printed(value)}" for metric, value in row.metrics.items())
        others = "" if row.by_authors else "; not by the method's authors"
        yield f"  {row.protocol}: {values} ({row.source}{others})"
    expected = expectations(entry)
    nothing = "nothing: no number of these weights is published by a protocol that runs here"
    yield f"to reproduce {'by mec-transfer reproduce:' if expected else nothing}"
    for (protocol, reason), group in itertools.groupby(expected, lambda one: (one.protocol, one.reason)):
        values = ", ".join(f"{one.metric} {as_printed(one.value)} within {one.tolerance:g}" for one in group)
        yield f"  {protocol}: {values} ({reason})"
