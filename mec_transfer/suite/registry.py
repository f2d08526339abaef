"""Every benchmark there is, by string: `ls` and planning import no family."""

from __future__ import annotations

import importlib
from pathlib import Path

from mec_transfer.benchmark import Benchmark, BenchmarkConfig
from mec_transfer.common import extras
from mec_transfer.common.config import apply_overrides, load_yaml, parse_config
from mec_transfer.common.errors import ConfigError, UserError, did_you_mean
from mec_transfer.common.files import read_json
from mec_transfer.common.paths import CONFIGS, is_stock
from mec_transfer.results.store import JOB_NAME

BENCHMARKS = {
    "classification/knn": "mec_transfer.classification.knn:Knn",
    "classification/linear": "mec_transfer.classification.linear:Linear",
    "classification/linear_fast": "mec_transfer.classification.linear_fast:LinearFast",
    "classification/semisup": "mec_transfer.classification.semisup:Semisup",
    "detection/detectron2": "mec_transfer.detection.detect:Detect",
    "tracking/sot": "mec_transfer.tracking.sot.sot:Sot",
    "tracking/vos": "mec_transfer.tracking.vos.vos:Vos",
    "tracking/mot": "mec_transfer.tracking.association.mot:Mot",
    "tracking/mots": "mec_transfer.tracking.association.mots:Mots",
    "tracking/posetrack": "mec_transfer.tracking.association.posetrack:PoseTrack",
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


def find_benchmark(name: str, beside: Path) -> Path:
    """Return the benchmark config that `name` means: a path (absolute or from `beside`), or a name in configs/.

    Raises:
        ConfigError: neither exists; the nearest names are suggested.
    """
    if (beside / name).is_file():
        return beside / name
    known = {file.stem: file for file in benchmark_files()}
    if name.removesuffix(".yaml") in known:
        return known[name.removesuffix(".yaml")]
    raise ConfigError(
        f"{name}: no such benchmark.{did_you_mean(Path(name).stem, known)} There are: {', '.join(sorted(known))}."
    )


def benchmark_files() -> list[Path]:
    """Every benchmark config that ships with the project, sorted by family and name."""
    families = sorted({key.partition("/")[0] for key in BENCHMARKS})
    return [file for family in families for file in sorted((CONFIGS / family).glob("*.yaml")) if not is_stock(file)]


def load_benchmark(path: Path, overrides: list[str] | None = None) -> Benchmark:
    """Read a benchmark YAML and return the benchmark it describes: nobody gets one whose libraries are not there.

    Raises:
        ConfigError: as `benchmark_config`.
        MissingExtra: a library that the benchmark's family needs is not installed.
    """
    config = benchmark_config(path, overrides)
    if config.family in extras.PARTS:
        extras.require(config.family)
    return benchmark_class(config.family, config.kind, str(path))(config)


def benchmark_config(path: Path, overrides: list[str] | None = None) -> BenchmarkConfig:
    """Read a benchmark YAML: what it says needs none of its family's libraries.

    An override that can move a number also changes the protocol id (`+custom-<hash>`).

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
    if (config.family, config.kind) != (family, kind):
        raise ConfigError(f"{source}: 'family' and 'kind' say which benchmark this is; --set cannot change them")
    return config if config.sha256 == published.sha256 else config.with_custom_protocol()


def saved_benchmark(folder: Path) -> Benchmark:
    """Return the benchmark of the job in `folder`, from its job.json alone: no config file is needed.

    Raises:
        UserError: the job.json is missing, malformed or of a benchmark that is no more.
    """
    path = folder / JOB_NAME
    job = read_json(path)
    config = job.get("config") if isinstance(job, dict) else None
    if not isinstance(config, dict):
        raise UserError(f"{path}: does not hold a job")
    kind_class = benchmark_class(str(config.get("family")), str(config.get("kind")), str(path))
    return kind_class(parse_config(kind_class.Config, config, str(path)))
