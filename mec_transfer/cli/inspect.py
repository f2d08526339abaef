"""Print what is in a checkpoint: its format, its networks, which would be taken, and what is left out.

Nothing in the file is run. A prefix of "." is none. Exit status 2 where nothing could be taken.

  mec-transfer inspect checkpoint_0099.pth.tar
  mec-transfer inspect checkpoint_0099.pth.tar --encoder teacher
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from mec_transfer.cli.options import add_checkpoint
from mec_transfer.common.errors import CheckpointError

if TYPE_CHECKING:
    from mec_transfer.backbone.inspection import Inspection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add CKPT, --encoder and --json."""
    add_checkpoint(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")


def run(args: argparse.Namespace) -> int:
    """Print the inspection. Raises CheckpointError after it where nothing could be taken."""
    from mec_transfer.backbone.reader import inspect_checkpoint
    from mec_transfer.backbone.source import inspect_source, names_a_source

    look = inspect_source if names_a_source(args.checkpoint) else inspect_checkpoint
    inspection = look(args.checkpoint, args.encoder)
    print(json.dumps(dataclasses.asdict(inspection), indent=2) if args.json else _table(inspection), flush=True)
    if inspection.problem:
        raise CheckpointError(inspection.problem)
    return 0


def _table(found: Inspection) -> str:
    lines = [f"{'source' if found.size is None else 'file':<15}{found.file}"]
    if found.size is not None:
        lines.append(f"size           {found.size / 1e6:,.1f} MB")
    if found.sha256:
        lines.append(f"sha256         {found.sha256}")
    lines += [
        f"format         {found.format}" + (f" ({found.source})" if found.source else ""),
    ]
    if found.epoch is not None:
        lines.append(f"epoch          {found.epoch}")
    if found.networks:
        lines += ["", *_networks(found), ""]
    if found.taken:
        lines.append(f"taken          {found.arch}, {found.tensors} tensors under {_shown(found.taken.prefix)}")
    if found.preprocessing:
        how = found.preprocessing
        lines.append(
            f"preprocessing  {how.channel_order}, mean {_numbers(how.mean)}, std {_numbers(how.std)}"
            f" ({found.preprocessing_from})"
        )
    if found.left_out:
        head = "left out" if found.taken else "in the file"
        lines.append(f"{head:<15}" + ", ".join(f"{name} {count}" for name, count in found.left_out.items()))
    lines += [f"note           {note}" for note in found.notes]
    return "\n".join(lines)


def _networks(found: Inspection) -> list[str]:
    head = ("", "prefix", "tensors", "role", "what")
    rows = [
        ("->" if one.taken else "", _shown(one.prefix), str(one.tensors), one.role, one.what) for one in found.networks
    ]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(4)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)), row[4]]).rstrip()
        for row in (head, *rows)
    ]


def _shown(prefix: str) -> str:
    return prefix or "."


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)
