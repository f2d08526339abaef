"""TrackEval's metrics (JonathonLuiten/TrackEval) under the names that the papers' tables have.

A ratio is a percentage, a count is what it is. The overall numbers are TrackEval's COMBINED: counts are summed over the
sequences, and HOTA's association is weighted by their true positives. IDs is the number of identity switches (CLEAR's
IDSW), not TrackEval's own field IDs, which counts identities. HOTA, DetA and AssA are means over its 19 thresholds.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
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


def measure_prepared(data: Mapping[str, Mapping[str, Any]], metrics: Sequence[str]) -> Measured:
    """Compute metrics of sequences that a TrackEval dataset has prepared (`get_preprocessed_seq_data`)."""
    from trackeval.metrics import CLEAR, HOTA, Identity

    quietly = {"PRINT_CONFIG": False}
    wanted = {(_RATIOS | _COUNTS)[name][0] for name in metrics}
    computers = {"HOTA": HOTA(), "CLEAR": CLEAR(dict(quietly)), "Identity": Identity(dict(quietly))}
    overall: dict[str, dict[str, Any]] = {}
    single: dict[str, dict[str, dict[str, Any]]] = {sequence: {} for sequence in data}
    for kind in sorted(wanted):
        found = {sequence: computers[kind].eval_sequence(prepared) for sequence, prepared in data.items()}
        overall[kind] = computers[kind].combine_sequences(found)
        for sequence, fields in found.items():
            single[sequence][kind] = fields
    return Measured(
        overall=_pick(overall, metrics),
        by_sequence={sequence: _pick(fields, metrics) for sequence, fields in single.items()},
    )


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
