"""Keeps a trained network when a mistake in the test data is corrected.

A training depends on the model, the recipe, the seed and the training splits; the key of a job depends on the test
split as well. If a job fails after its training and the test data is then corrected, the job has a new key, but its
training is the same: its state is taken over from the old folder, and only the test is done again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mec_transfer.benchmark import TRAINING_NAME, Benchmark, Job
from mec_transfer.common.errors import UserError
from mec_transfer.common.files import read_json
from mec_transfer.common.lock import folder_lock
from mec_transfer.common.progress import say
from mec_transfer.results.record import RECORD_NAME, read_record


def holds_same_training(benchmark: Benchmark, job: Job) -> bool:
    """Whether the job's folder holds the state of this training, and no number of another job."""
    mine = benchmark.training_identity(job)
    return mine is not None and _read(job.workdir) == mine and not _may_hold_number(job.workdir)


def explain_other_training(benchmark: Benchmark, job: Job) -> str:
    """Return further advice if the folder's training differs only in its data; else ""."""
    mine = benchmark.training_identity(job)
    if mine is None or not _is_of_other_data(_read(job.workdir), mine):
        return ""
    return (
        ". Its network was trained on other training data than is there now, so it has to be trained again: in another "
        "--out, or here once the folder is deleted; with the old training data put back it goes on here"
    )


def adopt_training(benchmark: Benchmark, job: Job) -> None:
    """Move the state of this training into the job's folder from the folder that a suite used for the job before.

    A suite names folders after the job's key, so that a job on corrected test data has a new one. The folders of the
    same job on other data are beside it, under the same name except for the key.

    Raises:
        UserError: another process uses that folder.
    """
    mine, folder = benchmark.training_identity(job), job.workdir
    if mine is None or (folder / TRAINING_NAME).exists():
        return
    stem = folder.name.rpartition("-")[0]
    alike = sorted(path.parent for path in folder.parent.glob(f"*/{TRAINING_NAME}"))
    alike = [earlier for earlier in alike if earlier.name.rpartition("-")[0] == stem]
    for earlier in alike:
        if _read(earlier) == mine and not _may_hold_number(earlier):
            _move_training(earlier, folder)
            return
    for earlier in alike:
        if _is_of_other_data(_read(earlier), mine):
            say(f"{earlier}: its network was trained on other training data than is there now; it is trained again")


def _move_training(source: Path, target: Path) -> None:
    with folder_lock(source, "using the training that is to be taken over"):
        # training.json is moved last: if this is interrupted, the next attempt finds the rest.
        for path in sorted(source.glob("training*"), key=lambda path: path.name == TRAINING_NAME):
            path.replace(target / path.name)
    say(f"{source}: the same training on other test data; its state is taken over")


def _is_of_other_data(there: Any, mine: dict[str, Any]) -> bool:
    """Whether two trainings differ only in their data."""
    return isinstance(there, dict) and there != mine and {**there, "data": mine["data"]} == mine


def _read(folder: Path) -> Any:
    try:
        return read_json(folder / TRAINING_NAME)
    except UserError:  # missing or damaged
        return None


def _may_hold_number(folder: Path) -> bool:
    if not (folder / RECORD_NAME).exists():
        return False
    try:
        return read_record(folder).status == "ok"
    except UserError:  # an unreadable record may have been one
        return True
