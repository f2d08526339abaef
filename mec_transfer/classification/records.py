"""The record of a classification job: everything that is the same for k-NN, probes and finetuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mec_transfer.benchmark import BenchmarkConfig, Job
from mec_transfer.common.runtime import hardware, versions
from mec_transfer.results.record import DatasetInfo, Record, Selection


def make_record(
    config: BenchmarkConfig,
    job: Job,
    *,
    metrics: Mapping[str, float],
    selection: Selection,
    seconds: float,
    warnings: Sequence[str] = (),
    details: Mapping[str, Any] | None = None,
    dataset: DatasetInfo | None = None,
) -> Record:
    """Return the record (status "ok") of a finished job.

    Args:
        config: the benchmark's.
        job: what was run.
        metrics: from `save_predictions`; holds the config's primary one.
        selection: whose number it is, and what chose it.
        seconds: the wall clock of the whole job.
        warnings: what a reader of the number should know.
        details: whatever else is worth keeping, as JSON values.
        dataset: in place of `job.dataset`, where the job has something to note about the data.
    """
    return Record(
        status="ok",
        model=job.model_info(),
        benchmark=config.info(),
        trial=job.trial,
        seed=job.seed,
        metrics=dict(metrics),
        primary=config.metrics.primary,
        higher_is_better=config.metrics.higher_is_better,
        dataset=dataset or job.dataset,
        selection=selection,
        seconds=round(seconds, 3),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(),
        hardware=hardware(),
        warnings=list(warnings),
        details=dict(details or {}),
    )
