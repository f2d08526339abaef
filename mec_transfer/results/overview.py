"""A run in one picture: the leaderboard as bars, how its pretraining went, and what its jobs drew.

A picture is for looking; the numbers stand in the leaderboard.
"""

from __future__ import annotations

import glob
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageSequence

from mec_transfer.common.errors import DataError
from mec_transfer.common.extras import require
from mec_transfer.common.files import write_bytes
from mec_transfer.common.step_log import Series, read_log
from mec_transfer.results.leaderboard import Leaderboard
from mec_transfer.results.store import is_current

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OVERVIEW = "overview.png"
_FRAMES = 5
_WIDTH = 13.0  # inches
_CURVES = {"coding_length": "coding length per sample", "effective_rank": "effective rank of the embeddings"}


def write_overview(out: Path, board: Leaderboard) -> Path:
    """Draw the run in `out` whose leaderboard is `board`, and return the picture's path; a current one is left alone.

    Missing parts leave no gap: a run without pretraining has no curves, one without videos no strip. The curves are
    those of the first row that was pretrained in the run; the pictures are the best ones of the first row that has any.

    Raises:
        MissingExtra: matplotlib is not installed.
        RunError: the picture cannot be written.
    """
    target = out / OVERVIEW
    if is_current(target, out):
        return target
    require("plot")
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a folder's name in a script that the font lacks
        _draw(out, board).savefig(picture, format="png", dpi=110)
    write_bytes(target, picture.getvalue())
    return target


def _draw(out: Path, board: Leaderboard) -> Figure:
    """Draw the figure without pyplot, which keeps global state and needs a display."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    curves = _curves(out, board)
    strip = next(_pictures(out, board, "best*.gif"), [])
    still = next(_pictures(out, board, "best*.png"), [])
    heights = [3.2] + [2.4] * bool(curves or still) + [2.2] * bool(strip)
    figure = Figure(figsize=(_WIDTH, sum(heights)), layout=ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.06))
    rows = iter(figure.add_gridspec(len(heights), 1, height_ratios=heights))
    _draw_bars(figure.add_subplot(next(rows)), board)
    if curves or still:
        model, series = curves or ("", {})
        cells = iter(next(rows).subgridspec(1, len(series) + bool(still)))
        for name, (steps, values) in series.items():
            axes = figure.add_subplot(next(cells))
            axes.plot(steps, values, linewidth=1.4)
            axes.set_title(f"{model}: {_CURVES[name]}", fontsize=9)
            axes.set_xlabel("step", fontsize=8)
            axes.set_ylim(bottom=0)
            _plain(axes)
        if still:
            _show(figure.add_subplot(next(cells)), still[0])
    if strip:
        cells = iter(next(rows).subgridspec(1, len(strip)))
        for frame in strip:
            _show(figure.add_subplot(next(cells)), frame)
    return figure


def _draw_bars(axes: Axes, board: Leaderboard) -> None:
    """Draw a group of bars for each column with a bar for each model: its share of the column's best, and its value."""
    width = 0.8 / max(1, len(board.models))
    labels = []
    groups = []
    for place, column in enumerate(board.columns):
        means = {row: cell.mean for (row, at), cell in board.cells.items() if at == place and cell.mean is not None}
        groups.append((column.title, column.metric, column.higher_is_better, means))
    derived = [
        (mean.spec.title, f"mean of {len(mean.spec.of)} columns", mean.spec.higher_is_better, dict(mean.values))
        for mean in board.derived
    ]
    for place, (name, metric, higher, means) in enumerate([*groups, *derived]):
        top = max(map(abs, means.values()), default=0) or 1
        for row, mean in means.items():
            x = place + (row - (len(board.models) - 1) / 2) * width
            axes.bar(x, max(mean, 0) / top, width * 0.92, color=f"C{row % 10}")
            size = 8 if len(board.models) * len(groups) < 40 else 6
            axes.text(x, max(mean, 0) / top + 0.015, f"{mean:.3g}", ha="center", va="bottom", fontsize=size)
        title = name.replace("$", r"\$")  # which would begin a formula
        labels.append(f"{title}\n{metric}{'' if higher else ' (lower is better)'}")
    axes.set_xticks(
        range(len(labels)), labels, fontsize=7 if len(labels) < 14 else 6, rotation=0 if len(labels) < 8 else 30
    )
    axes.set_yticks([])
    axes.set_ylim(0, 1.15)
    for row, model in enumerate(board.models):
        axes.bar(0, 0, color=f"C{row % 10}", label=model.name)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=min(6, len(board.models)), frameon=False, fontsize=9)
    axes.set_title("Leaderboard: each bar as a share of its column's best", loc="left", fontsize=10)
    _plain(axes)
    axes.spines["left"].set_visible(False)


def _plain(axes: Axes) -> None:
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _show(axes: Axes, image: Image.Image) -> None:
    axes.imshow(image)
    axes.set_axis_off()


def _curves(out: Path, board: Leaderboard) -> tuple[str, dict[str, Series]] | None:
    """The name of the first row with a log of its pretraining, and by figure its steps and finite values."""
    for model in board.models:
        try:
            series = read_log(out / "models" / model.name / "log.jsonl")
        except DataError:
            continue
        found = {}
        for name in _CURVES:
            steps, values = series.get(name, (np.empty(0), np.empty(0)))
            if (finite := np.isfinite(values)).any():
                found[name] = steps[finite], values[finite]
        if found:
            return model.name, found
    return None


def _pictures(out: Path, board: Leaderboard, pattern: str) -> Iterator[list[Image.Image]]:
    """The frames of each picture of the rows' jobs that can be read, best row first; of a video some, evenly spread."""
    for model in board.models:
        for path in sorted((out / "jobs" / glob.escape(model.name)).glob(f"*/pictures/{pattern}")):
            try:
                with Image.open(path) as picture:
                    frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(picture)]
            except (OSError, ValueError, SyntaxError):  # a picture lost or cut off costs no overview
                continue
            count = min(_FRAMES, len(frames))
            yield [frames[round(k * (len(frames) - 1) / max(1, count - 1))] for k in range(count)]
