"""All records below a run's folder, one folder for each job, in whatever state a kill or a bad disk has left it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from pydantic import ValidationError

from mec_transfer.common.errors import UserError
from mec_transfer.common.files import read_json
from mec_transfer.results.means import MEANS_NAME, MeanSpec, read_means
from mec_transfer.results.record import RECORD_NAME, BenchmarkInfo, DatasetInfo, ModelInfo, Record, read_record

JOB_NAME = "job.json"
"""The description of the job, written before anything is computed (`mec_transfer.suite.spec`)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored:
    """A record and its folder, which also holds its predictions."""

    folder: Path
    record: Record


@dataclasses.dataclass(frozen=True)
class Store:
    """The records below a folder, in the order of their folders' names."""

    stored: list[Stored]
    problems: list[str]
    """A line for each record, or definition of means, that cannot be read."""
    means: list[MeanSpec] = dataclasses.field(default_factory=list)
    """The derived columns that the runs below it define."""

    @classmethod
    def read(cls, out: Path) -> Store:
        """Read every record below `out`.

        A folder without a record is skipped. A record that cannot be read becomes a failed record if its job.json still
        says which job it was; it is listed in `problems` in any case.

        Raises:
            UserError: there is no such folder, or one below it cannot be read.
        """
        if not out.is_dir():
            raise UserError(f"{out}: no such folder")
        store = cls([], [])
        for folder in _folders(out):
            if (folder / RECORD_NAME).exists():
                store._add(folder)
            try:
                store.means.extend(spec for spec in read_means(folder) if spec not in store.means)
            except UserError as error:
                store.problems.append(str(error))
        return store

    def _add(self, folder: Path) -> None:
        try:
            self.stored.append(Stored(folder=folder, record=read_record(folder)))
        except UserError as error:
            self.problems.append(str(error))
            lost = _lost_record(folder)
            if lost:
                self.stored.append(Stored(folder=folder, record=lost))

    @property
    def records(self) -> list[Record]:
        """The records alone."""
        return [stored.record for stored in self.stored]


def is_current(made: Path, out: Path) -> bool:
    """Whether a file made from the records of the run in `out` exists and is as new as the newest of them."""
    sources = (*out.glob(f"jobs/*/*/{RECORD_NAME}"), *out.glob(MEANS_NAME))
    newest = max((path.stat().st_mtime_ns for path in sources), default=0)
    return made.is_file() and made.stat().st_mtime_ns >= newest


def _folders(out: Path) -> list[Path]:
    """Return the folders that hold a job or define means, including `out`; no folder of a job is searched."""

    def refuse(error: OSError) -> None:  # otherwise its records would be missing silently
        if isinstance(error, FileNotFoundError):  # a run that is going on has just removed it
            return
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})")

    found = []
    for parent, folders, files in os.walk(out, onerror=refuse):
        if RECORD_NAME in files or JOB_NAME in files:
            found.append(Path(parent))
            folders.clear()
        elif MEANS_NAME in files:
            found.append(Path(parent))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
    return found


def _lost_record(folder: Path) -> Record | None:
    try:
        job = read_json(folder / JOB_NAME)
        return Record(
            status="failed",
            model=ModelInfo.model_validate(job["model"]),
            benchmark=BenchmarkInfo.model_validate(job["benchmark"]),
            dataset=DatasetInfo.model_validate(job["dataset"]),
            trial=job["trial"],
            seed=job["seed"],
            primary=job["config"]["metrics"]["primary"],
            higher_is_better=job["config"]["metrics"]["higher_is_better"],
            error=f"its {RECORD_NAME} cannot be read; run the job again",
        )
    except (UserError, ValidationError, KeyError, TypeError):
        return None
