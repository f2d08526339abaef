"""The head that a finished linear probe leaves in its folder, and how another job of the same model finds it.

`head.npz` holds four arrays and says in plain values what the head is. Nothing in it is executed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mec_transfer.benchmark import BenchmarkConfig, Job
from mec_transfer.common.arrays import read_arrays, save_arrays
from mec_transfer.common.errors import UserError
from mec_transfer.common.progress import warn
from mec_transfer.results.record import RECORD_NAME, Selection, read_record

HEAD_NAME = "head.npz"
_ARRAYS = ("mean", "scale", "weight", "bias")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TrainedHead:
    """A classifier ((x - mean) * scale) @ weight.T + bias of D features and C classes, float32 on the CPU."""

    mean: torch.Tensor
    """(D,)."""
    scale: torch.Tensor
    """(D,)."""
    weight: torch.Tensor
    """(C, D)."""
    bias: torch.Tensor
    """(C,)."""
    classes: tuple[str, ...]
    """The names of the classes, in their order."""
    view: dict[str, Any]
    """How an image is cut that it judges, as `ViewConfig` holds it."""
    selection: Selection
    """Which of several heads it is, and what chose it."""

    @torch.inference_mode()
    def scores(self, features: torch.Tensor) -> torch.Tensor:
        """(N, D), as extracted -> (N, C)."""
        return torch.addmm(self.bias, (features - self.mean) * self.scale, self.weight.T)


def save_head(config: BenchmarkConfig, job: Job, head: TrainedHead) -> None:
    """Write the head of the linear probe that `job` was, by `config`, into its folder.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    about = {
        "head": _identity(config.protocol, config.version, job),
        "classes": head.classes,
        "view": head.view,
        "selection": head.selection.model_dump(),
    }
    arrays = {name: getattr(head, name).cpu().numpy() for name in _ARRAYS}
    save_arrays(job.workdir / HEAD_NAME, about=np.array(json.dumps(about)), **arrays)


def find_head(protocol: str, version: int, job: Job) -> TrainedHead:
    """Return the head of the linear probe by `protocol` that `job` needs, from a folder beside the job's own.

    It has the job's weights, training data, trial and seed.

    Raises:
        UserError: there is none; says what lies there in its place, and what to do.
    """
    wanted, others = _identity(protocol, version, job), []
    for path in sorted(job.workdir.absolute().parent.glob(f"*/{HEAD_NAME}")):
        try:
            arrays = read_arrays(path)
            about = json.loads(str(arrays["about"]))
            if about["head"] == wanted:
                return TrainedHead(
                    **{name: torch.from_numpy(arrays[name]) for name in _ARRAYS},
                    classes=tuple(about["classes"]),
                    view=about["view"],
                    selection=Selection(**about["selection"]),
                )
            others.append((path, about["head"]))
        except Exception as error:  # zipfile, numpy, json and pydantic each have their own way of saying "damaged"
            warn(f"{path}: not readable as a head ({error})")
    raise UserError(_explain(wanted, others, job))


def _identity(protocol: str, version: int, job: Job) -> dict[str, Any]:
    """Return what tells heads apart, in plain values."""
    return {
        "protocol": protocol,
        "version": version,
        "weights": job.backbone.sha256,
        "data": job.dataset.train_fingerprint,
        "trial": job.trial,
        "seed": job.seed,
    }


_WORDS = {
    "weights": "other weights",
    "data": "other training data",
    "trial": "another trial",
    "seed": "another seed",
    "version": "another version of the protocol",
}


def _explain(wanted: dict[str, Any], others: list[tuple[Path, dict[str, Any]]], job: Job) -> str:
    """Say that there is no such head, which one comes nearest, and what to do."""
    folder = job.workdir.absolute().parent
    what = f"{folder}: no folder in it holds the head of a finished job by {wanted['protocol']} on these weights"
    if finished := _finished_without(folder, wanted):
        return f"{what}; {finished} is of an earlier version, which left none: delete its {RECORD_NAME}, run it again"
    if others:
        path, there = min(others, key=lambda other: sum(other[1].get(key) != value for key, value in wanted.items()))
        differing = [words for key, words in _WORDS.items() if there.get(key) != wanted[key]]
        if (protocol := there.get("protocol")) != wanted["protocol"]:
            differing.append(f"protocol {protocol} (--set recipe.head.protocol={protocol})")
        what += f"; the one in {path.parent.name} is of {', '.join(differing)}"
    elif job.dataset.note:
        what += "; a probe on training images of one's own has an id of its own: --set recipe.head.protocol=ID names it"
    return f"{what}; run that probe first, with its folder beside this one, or in the same suite"


def _finished_without(folder: Path, wanted: dict[str, Any]) -> str:
    """Return the name of a finished job's folder that should hold the head, but does not; "" where there is none."""
    for path in sorted(folder.glob(f"*/{RECORD_NAME}")):
        with contextlib.suppress(UserError):  # a record that cannot be read
            probe = read_record(path)
            found = probe.status, probe.benchmark.protocol, probe.model.sha256, probe.seed
            same = found == ("ok", wanted["protocol"], wanted["weights"], wanted["seed"])
            if same and not path.with_name(HEAD_NAME).exists():
                return path.parent.name
    return ""
