"""Reads what is beside a record in its job's folder: the config, the command that repeats it, the end of its log."""

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
_WORDS: Any = {
    **dict.fromkeys(("id", "protocol", "title", "published", "deviations", "trials"), True),
    "metrics": {"also"},
    "dataset": {"expect", "folder"},
}
"""Keys of a config that say what it is called and where its data lies, and move no number."""


class Jobs:
    """The folders of a store's records, and what they hold. Everything is read on demand."""

    def __init__(self, store: Store) -> None:
        self._folders: dict[tuple[object, ...], Path] = {}
        self._alike: dict[tuple[str, str], list[Path]] = {}
        for stored in store.stored:  # of two records of one trial, a leaderboard takes the first
            self._folders.setdefault(_identity(stored.record), stored.folder)
            self._alike.setdefault(_config_key(stored.record), []).append(stored.folder)
        self._configs: dict[tuple[str, str], BenchmarkConfig | None] = {}
        self._overrides: dict[tuple[str, str], list[str] | None] = {}

    def folder(self, record: Record) -> Path:
        """Return the folder of a record of the store's leaderboard."""
        return self._folders[_identity(record)]

    def config(self, record: Record) -> BenchmarkConfig | None:
        """Return the config of a record: that of a job with its hash, or the shipped one; None if there is neither.

        The config must still have the record's hash: a file that it names may have been removed or changed since.
        """
        key = _config_key(record)
        if key not in self._configs:
            kept = next((folder for folder in self._alike[key] if (folder / JOB_NAME).exists()), None)
            shipped = shipped_benchmark(record.benchmark.id)
            self._configs[key] = (_saved_config(kept, key[1]) if kept else None) or (
                shipped.published if shipped and shipped.published.sha256 == key[1] else None
            )
        return self._configs[key]

    def command(self, record: Record, job: Mapping[str, Any]) -> str | None:
        """Return the command that computes a record's number again, up to the number of the trial at its end.

        None if the job's file is not enough for that, as for the user's own data or a config that does not ship.
        """
        config, key = self.config(record), _config_key(record)
        if config is None:
            return None
        if key not in self._overrides:
            self._overrides[key] = _overrides(config)
        overrides = self._overrides[key]
        if overrides is None or not all(isinstance(job.get(name), str) for name in ("checkpoint", "encoder", "data")):
            return None
        processes = record.details.get("processes", 1)
        words = ["mec-transfer", COMMAND_OF[config.kind], job["checkpoint"], "--config", config.id]
        if isinstance(processes, int) and processes > 1:
            words = ["torchrun", "--nproc-per-node", str(processes), "-m", "mec_transfer.cli.main", *words[1:]]
        words += ["--data", job["data"], "--out", "NEW_FOLDER", "--name", record.model.name]
        if job["encoder"] != "auto":
            words += ["--encoder", job["encoder"]]
        for override in overrides:
            words += ["--set", override]
        if base := record.seed - record.trial:
            words += ["--seed", str(base)]
        return f"{shlex.join(words)} --trial"


def _saved_config(folder: Path, sha256: str) -> BenchmarkConfig | None:
    try:
        config = parse_saved_config(read_job(folder).get("config"), JOB_NAME)
        return config if config.sha256 == sha256 else None
    except (UserError, OSError):
        return None


def _config_key(record: Record) -> tuple[str, str]:
    return record.benchmark.protocol, record.benchmark.config_sha256


def _identity(record: Record) -> tuple[object, ...]:
    """Tell a record from others of a store; the same for each column that it fills."""
    model, benchmark = record.model, record.benchmark
    data = record.dataset.fingerprint if record.dataset else ""
    return (
        *(model.name, model.sha256, benchmark.protocol, benchmark.config_sha256, data),
        *(record.trial, record.seed, record.status, record.error or ""),
    )


def read_job(folder: Path) -> dict[str, Any]:
    """Return the content of a folder's job.json; an empty dict if there is none that can be read."""
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
    there, here = (one.model_dump(mode="json", exclude=_WORDS) for one in (shipped.published, config))
    return dict(_unlike(there, here, ""))


def _unlike(there: Mapping[str, Any], here: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for key in {**there, **here}:
        one: Any = there.get(key)
        other: Any = here.get(key)
        if one == other:
            continue
        sections = isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys()
        if sections and not any("." in name for name in one):  # an engine's own keys have dots: they are a value
            yield from _unlike(one, other, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", (one, other)


def describe_changes(config: BenchmarkConfig) -> list[str]:
    """Say each setting in which a config differs from the shipped one of its name, as lines of markdown."""
    return [
        f"`{key}`: {scalar(here)}, published with {scalar(there)}"
        for key, (there, here) in changed_settings(config).items()
    ]


def _overrides(config: BenchmarkConfig) -> list[str] | None:
    """Return the --set words that make a config of the shipped one of its name; None where they do not suffice."""
    shipped = shipped_benchmark(config.id)
    changes = {key: here for key, (_, here) in changed_settings(config).items()}
    if shipped is None or any(key.startswith("dataset.") for key in changes):  # the data's own, fitted to its folder
        return None
    words = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    try:
        again = shipped.config(words)
    except ConfigError:
        return None
    return words if (again.sha256, again.protocol) == (config.sha256, config.protocol) else None


def end_of_log(folder: Path) -> str:
    """Return the last lines of a job's log: of all that it printed, what was before it failed."""
    try:
        with (folder / "log.txt").open("rb") as handle:
            size = handle.seek(0, 2)
            handle.seek(max(0, size - _LOG_BYTES))
            text = handle.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return (text if size <= _LOG_BYTES else text.partition("\n")[2] or text).strip()
