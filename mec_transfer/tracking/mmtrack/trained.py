"""A tracker that is trained once, however many jobs measure it: LaSOT's, UAV123's and VOT2018's are one training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mmcv import Config

from mec_transfer.benchmark import Job
from mec_transfer.common import distributed
from mec_transfer.common.config import json_sha256
from mec_transfer.common.errors import UserError
from mec_transfer.common.files import read_json, write_json
from mec_transfer.common.lock import folder_lock
from mec_transfer.common.progress import say
from mec_transfer.tracking.mmtrack import engine
from mec_transfer.tracking.mmtrack.training import EngineState

DONE = "trained.json"
"""Is written last: what the training depended on."""
_TURN_SECONDS = 60.0
_TESTING = ("rpn", "test_mode")
"""What of a model's `test_cfg` is for testing alone; the rest shapes the training, too."""


def training_identity(config: Config, job: Job, processes: int) -> dict[str, Any]:
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
        "data": job.dataset.train_fingerprint,
        "seed": job.seed,
        "engine": {version.name: version.found for version in engine.versions() if version.name.startswith("mm")},
    }


def training_folder(job: Job, identity: dict[str, Any]) -> Path:
    """Return the folder that a training of this identity has, for every job of the run."""
    return (job.cache or job.workdir) / "trained" / json_sha256(identity)[:16]


def is_trained(folder: Path) -> bool:
    """Whether a training has come to its end in `folder`."""
    return (folder / DONE).is_file() and bool(read_json(folder / DONE).get("epochs"))


def finish_training(folder: Path, identity: dict[str, Any], epochs: Sequence[int]) -> None:
    """Note that a training is over, and let go of the state that only an unfinished one needs."""
    if distributed.rank() == 0:
        write_json(folder / DONE, {**identity, "epochs": list(epochs)})
        EngineState(folder, identity).discard()
    distributed.barrier()


@contextlib.contextmanager
def held_for_training(folder: Path) -> Iterator[None]:
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
