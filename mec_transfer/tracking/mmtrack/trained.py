"""A tracker that is trained once, however many jobs measure it: LaSOT's, UAV123's and VOT2018's are one training."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmcv import Config
from torch import nn

from mec_transfer.benchmark import Job
from mec_transfer.common import distributed
from mec_transfer.common.config import json_sha256
from mec_transfer.common.errors import UserError
from mec_transfer.common.files import read_json, write_json
from mec_transfer.common.lock import folder_lock
from mec_transfer.common.progress import say
from mec_transfer.tracking.mmtrack import engine
from mec_transfer.tracking.mmtrack.batches import Schedule
from mec_transfer.tracking.mmtrack.training import EngineState, train

_DONE = "trained.json"
"""Is written last: what the training depended on."""
_TURN_SECONDS = 60.0
_TESTING = ("rpn", "test_mode")
"""What of a model's `test_cfg` is for testing alone; the rest shapes the training, too."""


def train_once(
    network: nn.Module,
    config: Config,
    dataset: Callable[[], Any],
    schedule: Schedule,
    job: Job,
    *,
    keep: Sequence[int],
    device: torch.device,
    data: Any = None,
    shuffled: bool = False,
) -> Path:
    """Train `network`, from where an attempt stopped, unless this training is done; return its folder.

    Every job of the run that wants the same training has the same folder: one trains, the others wait for it.

    Args:
        network: the tracker, on `device`, as it is before the first step.
        config: the stock config, whose optimizer and hooks are used.
        dataset: makes one of MMTracking's data sets; is called where there is something to train.
        schedule: how the data is gone through.
        job: whose backbone, seed and folders are used.
        keep: epochs, counted from 1, after which the weights are kept.
        device: where the network is.
        data: what the training depends on of its data, in plain values; None: the job's `train_fingerprint`.
        shuffled: whether each epoch shuffles the data set's items; False where it draws by itself.

    Raises:
        DataError: an image cannot be read.
        UserError: the state in the folder is of another training, or damaged.
        RunError: the loss or a weight is no longer finite, or the disk is full.
        Interrupted: a signal came, and the state is saved.
    """
    identity = _identity(config, job, schedule.processes, data)
    folder = (job.cache or job.workdir) / "trained" / json_sha256(identity)[:16]
    with _held(folder):
        if (folder / _DONE).is_file() and read_json(folder / _DONE).get("epochs"):
            say(f"{folder}: this training is done already")
            return folder
        whole = dataset()
        train(
            network,
            config,
            whole,
            schedule,
            folder,
            identity=identity,
            keep=keep,
            seed=job.seed,
            workers=job.workers,
            device=device,
            items=len(whole) if shuffled else 0,
        )
        if distributed.rank() == 0:
            write_json(folder / _DONE, {**identity, "epochs": list(keep)})
            EngineState(folder, identity).discard()  # only an unfinished training needs it
        distributed.barrier()
    return folder


def _identity(config: Config, job: Job, processes: int, data: Any) -> dict[str, Any]:
    """Return what a training depends on, in plain values: not what it is measured on, nor how a test is set."""
    model = config.model.to_dict()
    model["test_cfg"] = {key: value for key, value in (model.get("test_cfg") or {}).items() if key not in _TESTING}
    settings = {
        "model": model,
        "pipeline": config.data.train.to_dict(),
        "samples": [config.data.get(key) for key in ("samples_per_gpu", "samples_per_epoch")],
        **{key: config[key].to_dict() for key in ("optimizer", "optimizer_config", "lr_config")},
        "epochs": config.total_epochs,
        "processes": processes,
    }
    return {
        "backbone": job.backbone.sha256,
        "settings": json_sha256(settings),
        "data": job.dataset.train_fingerprint if data is None else data,
        "seed": job.seed,
        "engine": {version.name: version.found for version in engine.versions() if version.name.startswith("mm")},
    }


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a training's folder for this job; another job that wants the same waits until this one is done."""
    with contextlib.ExitStack() as held:
        # In turns, so that no process waits for rank 0 longer than a process group lets it.
        while not distributed.on_first(partial(_hold, folder, held)):
            pass
        yield


def _hold(folder: Path, held: contextlib.ExitStack) -> bool:
    """Wait for the folder for a while; return whether `held` has it now."""
    try:
        held.enter_context(folder_lock(folder, "training the tracker that this job measures, too", _TURN_SECONDS))
    except UserError as error:
        if not folder.is_dir():
            raise
        say(f"{error}; waiting")
        return False
    return True
