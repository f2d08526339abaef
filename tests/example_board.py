"""The records behind the example of docs/leaderboard.md: made-up numbers of three models by shipped protocols."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mec_transfer.results.record import DatasetInfo, ModelInfo, Record, Selection
from mec_transfer.suite.registry import benchmark_config, find_benchmark

_BEST = Selection(chosen="epoch 17 of 20", by="test set")


def example_records() -> list[Record]:
    """Return one record or more for each cell."""
    return [
        _record("ours", "knn_instdisc", 61.24),
        _record("theirs", "knn_instdisc", 60.5),
        _record("random", "knn_instdisc", 3.1),
        _record("ours", "knn_instdisc", 62.75, overrides=["recipe.ks=[20]", "recipe.k=20"]),
        _record("ours", "semisup_1pct_barlow", 52.5, selection=_BEST),
        _record("theirs", "semisup_1pct_barlow", None),
        *(_record("ours", "voc0712_c4", value, trial=trial) for trial, value in enumerate((81.9, 82.1, 82.3))),
        *(_record("theirs", "voc0712_c4", value, trial=trial) for trial, value in enumerate((81.6, 82.0, None))),
    ]


def _record(
    model: str,
    name: str,
    value: float | None,
    trial: int = 0,
    overrides: list[str] | None = None,
    selection: Selection | None = None,
) -> Record:
    config = benchmark_config(find_benchmark(name, Path()), overrides or [])
    promised = config.dataset.promised
    assert promised is not None
    metrics = {config.metrics.primary: value}
    if value is not None and config.metrics.primary == "AP50":
        metrics |= {"AP": value - 25, "AP75": value - 18.5}
    ok: dict[str, Any] = {"status": "ok", "metrics": metrics, "selection": selection}
    failed: dict[str, Any] = {"status": "failed", "error": "the GPU's memory is full; take a GPU with more"}
    return Record(
        model=ModelInfo(name=model, sha256=model.encode().hex().ljust(64, "0"), arch="resnet50"),
        benchmark=config.info(),
        trial=trial,
        seed=trial,
        primary=config.metrics.primary,
        dataset=DatasetInfo(
            name=config.dataset.name,
            fingerprint=config.dataset.name.encode().hex().ljust(64, "0"),
            num_images=sum(promised.images.values()),
        ),
        versions={"mec-transfer": "0.1.0", "torch": "2.11.0"},
        **(failed if value is None else ok),
    )
