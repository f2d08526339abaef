"""TrackEval's metrics (JonathonLuiten/TrackEval) under the names that the papers' tables have.

A ratio is a percentage, a count is what it is. The overall numbers are TrackEval's COMBINED: counts are summed over the
sequences, and HOTA's association is weighted by their true positives. IDs is the number of identity switches (CLEAR's
IDSW), not TrackEval's own field IDs, which counts identities. HOTA, DetA and AssA are means over its 19 thresholds.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mec_transfer.common.errors import UserError
from mec_transfer.tracking.sequences import Measured

_RATIOS = {
    **{name: ("HOTA", name) for name in ("HOTA", "DetA", "AssA")},
    **{name: ("CLEAR", name) for name in ("MOTA", "MOTP")},
    "sMOTSA": ("CLEAR", "sMOTA"),
    "MOTSA": ("CLEAR", "MOTA"),
    "MOTSP": ("CLEAR", "MOTP"),
    "IDF1": ("Identity", "IDF1"),
}
_COUNTS = {
    "IDs": ("CLEAR", "IDSW"),
    "FP": ("CLEAR", "CLR_FP"),
    "FN": ("CLEAR", "CLR_FN"),
    **{name: ("CLEAR", name) for name in ("MT", "ML", "Frag")},
}


class Counted:
    """What TrackEval counts in each of several sequences that one of its datasets has prepared."""

    def __init__(self, data: Mapping[str, Mapping[str, Any]], metrics: Sequence[str]) -> None:
        """Count in sequences (`get_preprocessed_seq_data`) what metrics take. Raises KeyError for an unknown one."""
        from trackeval.metrics import CLEAR, HOTA, Identity

        quietly = {"PRINT_CONFIG": False}
        computers = {"HOTA": HOTA(), "CLEAR": CLEAR(dict(quietly)), "Identity": Identity(dict(quietly))}
        self._metrics = list(metrics)
        self._computers = {kind: computers[kind] for kind in sorted({(_RATIOS | _COUNTS)[name][0] for name in metrics})}
        self._fields = {
            kind: {sequence: computer.eval_sequence(prepared) for sequence, prepared in data.items()}
            for kind, computer in self._computers.items()
        }

    def overall(self, sequences: Sequence[str]) -> dict[str, float]:
        """Return the metrics of some sequences together; one that is named twice counts twice."""
        combined = {
            kind: computer.combine_sequences({str(n): self._fields[kind][name] for n, name in enumerate(sequences)})
            for kind, computer in self._computers.items()
        }
        return _pick(combined, self._metrics)

    def single(self, sequence: str) -> dict[str, float]:
        """Return the metrics of one sequence."""
        return _pick({kind: fields[sequence] for kind, fields in self._fields.items()}, self._metrics)


def measure_prepared(data: Mapping[str, Mapping[str, Any]], metrics: Sequence[str]) -> Measured:
    """Compute metrics of sequences that a TrackEval dataset has prepared (`get_preprocessed_seq_data`)."""
    counted = Counted(data, metrics)
    return Measured(
        overall=counted.overall(list(data)), by_sequence={sequence: counted.single(sequence) for sequence in data}
    )


def pooled_prepared(data: Mapping[str, Mapping[str, Any]], metric: str) -> Callable[[Sequence[int]], float]:
    """Return a function that measures a metric on a sample of prepared sequences, by their places.

    Raises:
        KeyError: there is no such metric.
    """
    counted, names = Counted(data, [metric]), list(data)
    return lambda sample: counted.overall([names[place] for place in sample])[metric]


def prepare(dataset: str, folder: Path, lengths: Mapping[str, int], config: Mapping[str, Any]) -> dict[str, Any]:
    """Let a TrackEval dataset read and prepare sequences from folder/truth/SEQ/gt/gt.txt and folder/results/SEQ.txt.

    Args:
        dataset: its class in `trackeval.datasets`.
        folder: of the job.
        lengths: frames of each sequence.
        config: further settings of the dataset's.

    Raises:
        UserError: a file is missing or damaged.
    """
    import trackeval

    settings = {
        "GT_FOLDER": str(folder / "truth"),
        "TRACKERS_FOLDER": str(folder),
        "TRACKERS_TO_EVAL": ["results"],
        "TRACKER_SUB_FOLDER": "",
        "SKIP_SPLIT_FOL": True,
        "SEQ_INFO": dict(lengths),
        "PRINT_CONFIG": False,
        **config,
    }
    with _quiet(folder):
        source = getattr(trackeval.datasets, dataset)(settings)
        return {
            sequence: source.get_preprocessed_seq_data(source.get_raw_seq_data("results", sequence), "pedestrian")
            for sequence in lengths
        }


@contextlib.contextmanager
def _quiet(folder: Path) -> Iterator[None]:
    """TrackEval prints what it then raises."""
    from trackeval.utils import TrackEvalException

    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    except TrackEvalException as error:
        raise UserError(f"{folder}: TrackEval refuses it: {' '.join(str(error).split())}") from None


def _pick(fields: Mapping[str, Mapping[str, Any]], metrics: Sequence[str]) -> dict[str, float]:
    ratios = {
        name: 100.0 * float(np.mean(fields[kind][field])) for name, (kind, field) in _RATIOS.items() if name in metrics
    }
    counts = {name: float(fields[kind][field]) for name, (kind, field) in _COUNTS.items() if name in metrics}
    return {name: (ratios | counts)[name] for name in metrics}
