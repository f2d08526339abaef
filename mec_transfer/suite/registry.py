"""Every benchmark there is, by string: `ls` and planning import no family."""

from __future__ import annotations

import importlib
from pathlib import Path

from mec_transfer.benchmark import Benchmark
from mec_transfer.common.config import apply_overrides, load_yaml, parse_config
from mec_transfer.common.errors import ConfigError, did_you_mean

BENCHMARKS = {
    "classification/knn": "mec_transfer.classification.knn:Knn",
    "classification/linear": "mec_transfer.classification.linear:Linear",
    "classification/linear_fast": "mec_transfer.classification.linear_fast:LinearFast",
    "classification/semisup": "mec_transfer.classification.semisup:Semisup",
}


def benchmark_class(family: str, kind: str, source: str) -> type[Benchmark]:
    """Return the class registered for a family's kind of benchmark. Raises ConfigError for an unknown one."""
    key = f"{family}/{kind}"
    if key not in BENCHMARKS:
        listed = ", ".join(sorted(BENCHMARKS))
        raise ConfigError(f"{source}: no benchmark '{key}'.{did_you_mean(key, BENCHMARKS)} There are: {listed}.")
    module, _, name = BENCHMARKS[key].partition(":")
    found: type[Benchmark] = getattr(importlib.import_module(module), name)
    return found


def load_benchmark(path: Path, overrides: list[str] | None = None) -> Benchmark:
    """Read a benchmark YAML and return the benchmark it describes.

    An override that changes a value also changes the protocol id (`+custom-<hash>`).

    Raises:
        ConfigError: the file, a key, a value or an override is wrong.
    """
    source = str(path)
    data = load_yaml(path)
    family, kind = data.get("family"), data.get("kind")
    if not isinstance(family, str) or not isinstance(kind, str):
        raise ConfigError(f"{source}: 'family' and 'kind' are missing: this is not a benchmark config")
    kind_class = benchmark_class(family, kind, source)
    published = parse_config(kind_class.Config, data, source)
    config = parse_config(kind_class.Config, apply_overrides(data, overrides or [], source), source)
    return kind_class(config if config == published else config.with_custom_protocol())
