"""The figures of log.jsonl as a picture: of one run, or of several over one another.

    python -m pretrain.plot RUN [RUN ...] [--out FILE.png]

RUN is a run's folder, or its log. Of one folder the picture goes to training.png in it; of several, --out says where.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mec_transfer.common.command import exit_status
from mec_transfer.common.errors import UserError
from mec_transfer.common.extras import require
from mec_transfer.common.files import write_bytes
from mec_transfer.common.processes import end_process
from mec_transfer.common.step_log import Series, read_log
from pretrain.identity import LOG

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLOT = "training.png"

_ROWS = (
    {"loss": "loss", "coding_length": "coding length per sample", "knn_top1": "k-NN top-1 (%)"},
    {
        "spectral_norm": "spectral norm of C (series: below 1)",
        "effective_rank": "effective rank",
        "embedding_std": "embedding std",
    },
    {"lr": "learning rate", "lamda_inv": "1 / lamda", "teacher_momentum": "teacher momentum"}
    | {"images_per_second": "images / s"},
)
"""The panels: figures of the log and their titles."""
_NOISY = {"loss", "coding_length", "spectral_norm", "effective_rank", "embedding_std", "images_per_second"}
_FROM_ZERO = {"effective_rank", "lr", "images_per_second"}
_COLUMNS = 12  # divides by 3 and by 4
_SMOOTHED = 200
"""Points from which on a noisy curve gets a mean drawn over it."""


def plot_runs(logs: Sequence[Path], target: Path) -> None:
    """Draw the runs of `logs` into one PNG, written atomically.

    Raises:
        DataError: a log is not there or has no line.
        MissingExtra: matplotlib is not installed.
        RunError: `target` cannot be written.
    """
    require("plot")
    runs = {name: read_log(log) for name, log in zip(_names(logs), logs)}
    picture = io.BytesIO()
    _draw(runs).savefig(picture, format="png", dpi=120)
    write_bytes(target, picture.getvalue())


def _names(logs: Sequence[Path]) -> list[str]:
    """The runs' folders, with as many folders above as it takes to tell them apart."""
    folders = [log.resolve().parent.parts for log in logs]
    for depth in range(1, max(map(len, folders))):
        names = ["/".join(parts[-depth:]) for parts in folders]
        if len(set(names)) == len(set(folders)):
            break
    return [f"{name} ({names[:i].count(name) + 1})" if name in names[:i] else name for i, name in enumerate(names)]


def _draw(runs: dict[str, dict[str, Series]]) -> Figure:
    """Three rows of small panels, one figure each. No pyplot: it keeps global state and asks for a display."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(12, 8.8), layout=ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.06))
    grid = figure.add_gridspec(len(_ROWS), _COLUMNS)
    for number, row in enumerate(_ROWS):
        width = _COLUMNS // len(row)
        for place, (key, title) in enumerate(row.items()):
            where = grid[number, place * width : (place + 1) * width]
            axes = figure.add_subplot(where, sharex=figure.axes[0] if figure.axes else None)
            _draw_panel(axes, key, title, [run.get(key) for run in runs.values()])
            if number == len(_ROWS) - 1:
                axes.set_xlabel("step", fontsize=9)
    if len(runs) == 1:
        figure.suptitle(next(iter(runs)), fontsize=12)
    else:
        from matplotlib.lines import Line2D

        handles = [Line2D([], [], color=f"C{i % 10}", label=name) for i, name in enumerate(runs)]
        figure.legend(handles=handles, loc="outside upper center", ncols=min(4, len(runs)), frameon=False, fontsize=9)
    return figure


def _draw_panel(axes: Axes, key: str, title: str, series: Sequence[Series | None]) -> None:
    """One panel: a colour a run."""
    from matplotlib.ticker import EngFormatter

    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8)
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.locator_params(axis="x", nbins=6)
    axes.ticklabel_format(axis="y", useOffset=False)
    for number, one in enumerate(series):
        if one is not None and np.isfinite(one[1]).any():
            _draw_series(axes, key, one, f"C{number % 10}")
            if key == "knn_top1" and len(series) == 1:
                _name_last(axes, one)
    if not axes.lines:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color="0.5", fontsize=9)
        axes.set_yticks([])
        return
    if key == "spectral_norm":
        axes.axhline(1, color="0.3", linestyle="--", linewidth=1)
    if key in _FROM_ZERO:
        axes.set_ylim(bottom=0)


def _draw_series(axes: Axes, key: str, series: Series, colour: str) -> None:
    steps, values = series
    if key == "knn_top1":
        axes.plot(steps, values, color=colour, marker="o", markersize=4, linewidth=1)
        axes.margins(y=0.15)
    elif key in _NOISY and len(steps) >= _SMOOTHED:
        axes.plot(steps, values, color=colour, linewidth=0.6, alpha=0.3)
        axes.plot(steps, _running_mean(values, len(values) // 50), color=colour, linewidth=1.5)
    else:
        axes.plot(steps, values, color=colour, linewidth=1.4, marker="." if len(steps) < 2 else None)


def _name_last(axes: Axes, series: Series) -> None:
    last = np.flatnonzero(np.isfinite(series[1]))[-1]
    where = (series[0][last], series[1][last])
    axes.annotate(f"{where[1]:.1f}", where, textcoords="offset points", xytext=(0, 6), ha="center", fontsize=8)


def _running_mean(values: np.ndarray, reach: int) -> np.ndarray:
    """The mean of the finite values up to `reach` places to either side; NaN where there is none."""
    finite = np.isfinite(values)
    sums = np.concatenate([[0], np.where(finite, values, 0).cumsum()])
    counts = np.concatenate([[0], finite.cumsum()])
    places = np.arange(len(values))
    low, high = np.maximum(places - reach, 0), np.minimum(places + reach + 1, len(values))
    with np.errstate(invalid="ignore"):
        return (sums[high] - sums[low]) / (counts[high] - counts[low])


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return exit_status("pretrain.plot", lambda: _run(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pretrain.plot", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder, or its log.jsonl")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the picture (default for one run: in its folder)")
    return parser


def _run(args: argparse.Namespace) -> int:
    logs = [run / LOG if run.is_dir() else run for run in args.runs]
    if args.out is None and len(logs) > 1:
        raise UserError("several runs: --out FILE.png says where their picture goes")
    target = args.out or logs[0].with_name(PLOT)
    plot_runs(logs, target)
    print(target)
    return 0


if __name__ == "__main__":
    end_process(main())
