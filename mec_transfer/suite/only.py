"""`run --only GLOB`: a part of a suite's jobs, by the names that plan and leaderboard give them."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path

from mec_transfer.common.errors import UserError
from mec_transfer.suite.config import SuiteConfig
from mec_transfer.suite.registry import BenchmarkFile, find_benchmark


def is_wanted(only: Sequence[str], model: str, benchmark: str) -> bool:
    """Whether a job called MODEL/BENCHMARK matches one of the globs `only`, in which * stands for a slash too.

    Without any glob, every job is wanted.
    """
    return not only or any(fnmatch.fnmatchcase(f"{model}/{benchmark}", glob) for glob in only)


def narrow_suite(suite: SuiteConfig, source: Path, only: Sequence[str]) -> SuiteConfig:
    """Return `suite` (read from `source`) without the models and benchmarks that have no job matching a glob.

    What is left out is neither opened nor pretrained. A model and a benchmark that both stay may still have a job that
    is not wanted; `is_wanted` decides.

    Raises:
        UserError: a glob matches no job.
        ConfigError: a benchmark config is wrong.
    """
    if not only:
        return suite
    ids = [_benchmark_id(entry.config, entry.set, source) for entry in suite.benchmarks]
    for glob in only:
        if not any(is_wanted([glob], model, benchmark) for model in suite.models for benchmark in ids):
            raise UserError(
                f"--only {glob!r}: matches no job. A job is MODEL/BENCHMARK; models: {', '.join(suite.models)}; "
                f"benchmarks: {', '.join(dict.fromkeys(ids))}"
            )
    models = {
        name: model
        for name, model in suite.models.items()
        if any(is_wanted(only, name, benchmark) for benchmark in ids)
    }
    benchmarks = [
        entry
        for entry, benchmark in zip(suite.benchmarks, ids, strict=True)
        if any(is_wanted(only, model, benchmark) for model in models)
    ]
    return suite.model_copy(update={"models": models, "benchmarks": benchmarks})


def _benchmark_id(config: str, overrides: Sequence[str], source: Path) -> str:
    return BenchmarkFile.read(find_benchmark(config, source.parent)).config(overrides).id
