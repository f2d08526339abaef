"""A leaderboard's numbers for TensorBoard and for Weights & Biases, each an extra of its own."""

from __future__ import annotations

import os
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

from mec_transfer.common.extras import require
from mec_transfer.results.leaderboard import Leaderboard
from mec_transfer.results.markdown import twin_notes


def _numbers(board: Leaderboard, row: int) -> Iterator[tuple[str, float, int]]:
    """Yield the tag, the value and the seed of every number of a row; a tag is "protocol/metric".

    Where two columns differ in data or config alone, their tags say in which. A derived column is "mean/title", at 0.
    """
    done = set()
    twins = twin_notes(board)
    for (place, at), records in board.measured.items():
        protocol = f"{board.columns[at].protocol}{f' ({twins[at]})' if twins[at] else ''}"
        for record in records if place == row else ():
            for metric, value in record.metrics.items():
                number = (f"{protocol}/{metric}", value, record.seed)
                if number not in done:  # a record is in the board once for each of its columns
                    done.add(number)
                    yield number
    for mean in board.derived:
        if row in mean.values:
            yield f"mean/{mean.spec.title}", mean.values[row], 0


def write_tensorboard(board: Leaderboard, folder: Path) -> None:
    """Write a run of TensorBoard for each row below `folder`: a scalar for each number, at the step of its seed.

    Raises:
        MissingExtra: TensorBoard is not installed.
    """
    require("tensorboard")
    from tensorboard.summary import Writer

    for row in range(len(board.models)):
        writer = Writer(str(folder / re.sub(r"[/\\]|^\.+", "_", board.label(row))))
        for tag, value, seed in _numbers(board, row):
            writer.add_scalar(tag, value, seed)
        writer.close()


def write_wandb(board: Leaderboard, folder: Path) -> None:
    """Write a run of Weights & Biases for each row in `folder`/wandb, the means over the seeds in its summary.

    Nothing is sent before `wandb sync` is called on it, unless WANDB_MODE says otherwise.

    Raises:
        MissingExtra: wandb is not installed.
    """
    require("wandb")
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    for row, model in enumerate(board.models):
        found: dict[str, list[float]] = {}
        for tag, value, _ in _numbers(board, row):
            found.setdefault(tag, []).append(value)
        run = wandb.init(
            project="mec-transfer",
            name=board.label(row),
            config={"arch": model.arch, "weights_sha256": model.sha256, "encoder": model.encoder},
            dir=str(folder),
            mode=None if "WANDB_MODE" in os.environ else "offline",
            settings=wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True),
        )
        run.summary.update({tag: statistics.fmean(values) for tag, values in found.items()})
        run.finish()
