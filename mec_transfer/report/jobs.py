"""What lies beside a record in its job's folder: the config, the command that repeats it, the end of its log."""

from __future__ import annotations

import functools
import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mec_transfer.benchmark import BenchmarkConfig
from mec_transfer.common.config import scalar
from mec_transfer.common.errors import ConfigError, UserError
from mec_transfer.common.files import read_json
from mec_transfer.results.record import Record
from mec_transfer.results.store import JOB_NAME, Store
from mec_transfer.suite.registry import COMMAND_OF, BenchmarkFile, benchmark_files, parse_saved_config

_LOG_BYTES = 4000
_WORDS = {"id", "protocol", "title", "published", "deviations", "trials"}
"""Keys of a config that say what it is called, and move no number."""


class Jobs:
    """The folders of a store's records, and what they hold. Nothing is read before it is asked for."""

    def __init__(self, store: Store) -> None:
        self._folders: dict[tuple[object, ...], Path] = {}
        for stored in store.stored:  # of two records of one trial, a leaderboard takes the first
            self._folders.setdefault(_identity(stored.record), stored.folder)

    def folder(self, record: Record) -> Path:
        """Return the folder that a record of the store's leaderboard lies in."""
        return self._folders[_identity(record)]

    def config(self, record: Record) -> BenchmarkConfig | None:
        """Return the config that a number came about by: its job's, or the shipped one that has the same hash."""
        try:
            saved = parse_saved_config(read_job(self.folder(record)).get("config"), JOB_NAME)
        except ConfigError:
            saved = None
        if saved is not None:
            return saved
        shipped = shipped_benchmark(record.benchmark.id)
        return shipped.published if shipped and shipped.published.sha256 == record.benchmark.config_sha256 else None


def _identity(record: Record) -> tuple[object, ...]:
    """Tell a record from others of a store; the same for each column that it fills."""
    model, benchmark = record.model, record.benchmark
    data = record.dataset.fingerprint if record.dataset else ""
    return (
        *(model.name, model.sha256, benchmark.protocol, benchmark.config_sha256, data),
        *(record.trial, record.seed, record.status, record.error or ""),
    )


def read_job(folder: Path) -> dict[str, Any]:
    """Return what a folder's job.json says; nothing where there is none that can be read."""
    try:
        job = read_json(folder / JOB_NAME)
    except UserError:
        return {}
    return job if isinstance(job, dict) else {}


@functools.cache
def shipped_benchmark(name: str) -> BenchmarkFile | None:
    """Return the benchmark of a name that ships with the project, if there is one."""
    found = {file.stem: file for file in benchmark_files()}.get(name.partition("+")[0])
    return BenchmarkFile.read(found) if found else None


def changed_settings(config: BenchmarkConfig) -> dict[str, tuple[Any, Any]]:
    """Return each key in which a config differs from the shipped one of its name: there and here."""
    shipped = shipped_benchmark(config.id)
    if shipped is None:
        return {}
    there, here = (dict(_flat(one.model_dump(mode="json"))) for one in (shipped.published, config))
    keys = [
        key for key in {**there, **here} if key not in _WORDS and not key.startswith(("dataset.expect", "metrics.also"))
    ]
    return {key: (there.get(key), here.get(key)) for key in keys if there.get(key) != here.get(key)}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def describe_changes(config: BenchmarkConfig) -> list[str]:
    """Say each setting in which a config differs from the shipped one of its name, as lines of markdown."""
    return [
        f"`{key}`: {scalar(here)}, published with {scalar(there)}"
        for key, (there, here) in changed_settings(config).items()
        if key != "dataset.folder"
    ]


def repeating_words(config: BenchmarkConfig, job: Mapping[str, Any], record: Record) -> str | None:
    """Return the single command that computes a record's number anew, all but the number of its trial.

    None where the job's file does not say it all, as for data of one's own, or a config that does not ship.
    """
    shipped = shipped_benchmark(config.id)
    changes = {key: here for key, (_, here) in changed_settings(config).items() if key != "dataset.folder"}
    if shipped is None or any(key.startswith("dataset.") for key in changes):
        return None
    overrides = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    try:
        again = shipped.config(overrides)
    except ConfigError:
        return None
    if (again.sha256, again.protocol) != (record.benchmark.config_sha256, record.benchmark.protocol):
        return None
    if not all(isinstance(job.get(key), str) for key in ("checkpoint", "encoder", "data")):
        return None
    processes = record.details.get("processes", 1)
    words = ["torchrun", "--nproc-per-node", str(processes)] if isinstance(processes, int) and processes > 1 else []
    words += ["mec-transfer", COMMAND_OF[config.kind], job["checkpoint"], "--config", config.id, "--data", job["data"]]
    words += ["--out", "NEW_FOLDER", "--name", record.model.name]
    if job["encoder"] != "auto":
        words += ["--encoder", job["encoder"]]
    for override in overrides:
        words += ["--set", override]
    if base := record.seed - record.trial:
        words += ["--seed", str(base)]
    return f"{shlex.join(words)} --trial"


def end_of_log(folder: Path) -> str:
    """Return the last lines of a job's log: of all that it printed, what was before it failed."""
    try:
        with (folder / "log.txt").open("rb") as handle:
            size = handle.seek(0, 2)
            handle.seek(max(0, size - _LOG_BYTES))
            text = handle.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return (text if size <= _LOG_BYTES else f"...{text.partition(chr(10))[2] or text}").strip()
