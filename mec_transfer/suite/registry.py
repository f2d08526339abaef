"""All benchmarks, registered by strings, so that `ls` imports no family and planning imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mec_transfer.benchmark import Benchmark, BenchmarkConfig
from mec_transfer.common import extras
from mec_transfer.common.config import apply_overrides, load_yaml, parse_config
from mec_transfer.common.errors import ConfigError, did_you_mean
from mec_transfer.common.files import read_json
from mec_transfer.common.lookup import look_up
from mec_transfer.common.paths import CONFIGS, is_stock
from mec_transfer.results.store import JOB_NAME, Stored

if TYPE_CHECKING:
    from mec_transfer.units import Units

BENCHMARKS = {
    "classification/knn": ("mec_transfer.classification.knn:Knn", "mec_transfer.classification.config:KnnConfig"),
    "classification/linear": (
        "mec_transfer.classification.linear:Linear",
        "mec_transfer.classification.config:LinearConfig",
    ),
    "classification/linear_sgd": (
        "mec_transfer.classification.linear:LinearSgd",
        "mec_transfer.classification.config:LinearSgdConfig",
    ),
    "classification/linear_fast": (
        "mec_transfer.classification.linear_fast:LinearFast",
        "mec_transfer.classification.config:LinearFastConfig",
    ),
    "classification/svm": ("mec_transfer.classification.svm:Svm", "mec_transfer.classification.config:SvmConfig"),
    "classification/svm_low_shot": (
        "mec_transfer.classification.svm_low_shot:SvmLowShot",
        "mec_transfer.classification.config:LowShotConfig",
    ),
    "classification/logistic": (
        "mec_transfer.classification.logistic:Logistic",
        "mec_transfer.classification.config:LogisticConfig",
    ),
    "classification/few_shot": (
        "mec_transfer.classification.few_shot:FewShot",
        "mec_transfer.classification.config:FewShotConfig",
    ),
    "classification/robust": (
        "mec_transfer.classification.robust:Robust",
        "mec_transfer.classification.robust_config:RobustConfig",
    ),
    "classification/semisup": (
        "mec_transfer.classification.semisup:Semisup",
        "mec_transfer.classification.config:SemisupConfig",
    ),
    "detection/detectron2": ("mec_transfer.detection.detect:Detect", "mec_transfer.detection.config:DetectionConfig"),
    "segmentation/fcn": (
        "mec_transfer.segmentation.segment:Segment",
        "mec_transfer.segmentation.config:SegmentationConfig",
    ),
    "tracking/sot": ("mec_transfer.tracking.sot.sot:Sot", "mec_transfer.tracking.sot.config:SotConfig"),
    "tracking/vos": ("mec_transfer.tracking.vos.vos:Vos", "mec_transfer.tracking.vos.config:VosConfig"),
    "tracking/mot": ("mec_transfer.tracking.association.mot:Mot", "mec_transfer.tracking.association.config:MotConfig"),
    "tracking/mots": (
        "mec_transfer.tracking.association.mots:Mots",
        "mec_transfer.tracking.association.config:MotsConfig",
    ),
    "tracking/siamrpn": (
        "mec_transfer.tracking.mmtrack.siamrpn:SiamRpn",
        "mec_transfer.tracking.mmtrack.config:SiamRpnConfig",
    ),
    "tracking/mmtrack_reid": (
        "mec_transfer.tracking.mmtrack.reid:Reid",
        "mec_transfer.tracking.mmtrack.reid_config:ReidConfig",
    ),
    "tracking/mmtrack_deepsort": (
        "mec_transfer.tracking.mmtrack.deepsort:DeepSort",
        "mec_transfer.tracking.mmtrack.reid_config:DeepSortConfig",
    ),
    "tracking/posetrack": (
        "mec_transfer.tracking.association.posetrack:PoseTrack",
        "mec_transfer.tracking.association.config:PoseConfig",
    ),
}
"""Family/kind -> the benchmark class and the class of its config, whose module imports no torch."""
COMMAND_OF = {
    "knn": "knn",
    "few_shot": "knn",
    "linear": "linear",
    "linear_sgd": "linear",
    "linear_fast": "linear",
    "logistic": "linear",
    "svm": "linear",
    "svm_low_shot": "linear",
    "robust": "linear",
    "semisup": "semisup",
    "detectron2": "detect",
    "fcn": "segment",
    **dict.fromkeys(("sot", "vos", "mot", "mots", "posetrack", "siamrpn", "mmtrack_reid", "mmtrack_deepsort"), "track"),
}
"""Kind -> the command that runs one job of it."""


@dataclasses.dataclass(frozen=True)
class BenchmarkFile:
    """A benchmark's YAML, read once: it gives the published config, and the config under any overrides."""

    path: Path
    data: dict[str, Any]
    published: BenchmarkConfig

    @classmethod
    def read(cls, path: Path) -> BenchmarkFile:
        """Read a file. Raises ConfigError where it, a key or a value is wrong."""
        data = load_yaml(path)
        family, kind = data.get("family"), data.get("kind")
        if not isinstance(family, str) or not isinstance(kind, str):
            raise ConfigError(f"{path}: 'family' and 'kind' are missing: this is not a benchmark config")
        return cls(path, data, parse_config(config_class(family, kind, str(path)), data, str(path)))

    def config(self, overrides: Sequence[str] = ()) -> BenchmarkConfig:
        """Return the config with each "a.b=value" of `overrides` set.

        One that can move a number also changes the protocol id (`+custom-<hash>`).

        Raises:
            ConfigError: an override is wrong.
        """
        published, source = self.published, str(self.path)
        config = parse_config(type(published), apply_overrides(self.data, list(overrides), source), source)
        if (config.family, config.kind) != (published.family, published.kind):
            raise ConfigError(f"{source}: 'family' and 'kind' say which benchmark this is; --set cannot change them")
        return config if config.sha256 == published.sha256 else config.with_custom_protocol()


def config_class(family: str, kind: str, source: str) -> type[BenchmarkConfig]:
    """Return the config class of a family's kind of benchmark. Raises ConfigError for an unknown one."""
    key = f"{family}/{kind}"
    if key not in BENCHMARKS:
        listed = ", ".join(sorted(BENCHMARKS))
        raise ConfigError(f"{source}: no benchmark '{key}'.{did_you_mean(key, BENCHMARKS)} There are: {listed}.")
    found: type[BenchmarkConfig] = look_up(BENCHMARKS[key][1])
    return found


def benchmark_module(config: BenchmarkConfig) -> str:
    """Return the name of the module of a benchmark, without importing it."""
    return BENCHMARKS[f"{config.family}/{config.kind}"][0].partition(":")[0]


def parts_needed(config: BenchmarkConfig) -> list[str]:
    """Return the parts in `extras.PARTS` that a benchmark needs."""
    return [part for part in (config.family, config.extra) if part in extras.PARTS]


def make_benchmark(config: BenchmarkConfig) -> Benchmark:
    """Return the benchmark of a config: this imports its family.

    Raises:
        MissingExtra: a library that the family needs is not installed.
    """
    if config.family in extras.PARTS:
        extras.require(config.family)
    benchmark: Benchmark = look_up(BENCHMARKS[f"{config.family}/{config.kind}"][0])(config)
    return benchmark


def benchmark_config(path: Path, overrides: Sequence[str] = ()) -> BenchmarkConfig:
    """Read a benchmark YAML, under overrides. Raises ConfigError as `BenchmarkFile` does."""
    return BenchmarkFile.read(path).config(overrides)


def load_benchmark(path: Path, overrides: Sequence[str] = ()) -> Benchmark:
    """Return the benchmark that a YAML describes. Raises ConfigError as `BenchmarkFile` does."""
    return make_benchmark(benchmark_config(path, overrides))


def parse_saved_config(config: Any, source: str) -> BenchmarkConfig:
    """Return the config in a job.json. Raises ConfigError if there is none, or its benchmark no longer exists."""
    if not isinstance(config, dict):
        raise ConfigError(f"{source}: does not hold a job")
    return parse_config(config_class(str(config.get("family")), str(config.get("kind")), source), config, source)


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


def saved_benchmark(folder: Path) -> Benchmark:
    """Return the benchmark of the job in `folder`, from its job.json alone: no config file is needed.

    Raises:
        UserError: the job.json is missing or malformed, or its benchmark no longer exists.
    """
    return make_benchmark(_saved_config(folder))


def saved_units(job: Stored) -> Units | None:
    """Return the units that a finished job was measured on; None if its kind keeps only the total.

    Raises:
        UserError: a file in its folder is missing or damaged.
    """
    return _saved_config(job.folder).units(job.folder, job.record)


def _saved_config(folder: Path) -> BenchmarkConfig:
    path = folder / JOB_NAME
    job = read_json(path)
    return parse_saved_config(job.get("config") if isinstance(job, dict) else None, str(path))
