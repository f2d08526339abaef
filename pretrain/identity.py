"""Which run an output folder holds, and whether it is finished; answered without importing torch."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from mec_transfer.common.config import json_sha256
from mec_transfer.common.errors import DataError, UserError
from mec_transfer.common.files import read_json, write_json
from mec_transfer.datasets.images.folders import unlabelled_paths
from pretrain.config import PretrainConfig

CHECKPOINT = "checkpoint_last.pth"
PREVIOUS = "checkpoint_previous.pth"
"""The checkpoint before the last, used if the last is damaged."""
MILESTONE = "checkpoint_epoch*.pth"
"""The star stands for the number of finished epochs, in four digits."""
LOG = "log.jsonl"
_DONE = "done.json"
_NOT_COMPUTED = ("config.log_every", "config.save_every_steps", "config.keep_every_epochs", "config.online_knn")
"""Settings that may differ when a run is resumed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """What two commands must have in common for the second to continue, or find finished, the first one's run."""

    config: dict[str, Any]
    seed: int
    num_images: int
    images_sha256: str
    """The sha256 of the images' paths below the data folder, in order."""

    def differences(self, other: dict[str, Any]) -> list[str]:
        """Return each difference from `other`, an identity as `as_dict` gives it, as "key (there X, now Y)".

        A config key that `other` lacks is newer than it; the default stands for what was done before the key existed.
        """
        defaults = _flat({"config": PretrainConfig().model_dump(mode="json")})
        theirs, ours = defaults | _flat(other), _flat(self.as_dict())
        computed = [key for key in sorted({*theirs, *ours}) if not key.startswith(_NOT_COMPUTED)]
        keys = [key for key in computed if theirs.get(key) != ours.get(key)]
        return [f"{key} (there {theirs.get(key)}, now {ours.get(key)})" for key in keys]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as a checkpoint holds them."""
        return dataclasses.asdict(self)


def training_folder(data: Path) -> Path:
    """Return the folder to pretrain on: `data`, or `data`/train if there is a val split beside it."""
    return data / "train" if (data / "train").is_dir() and (data / "val").is_dir() else data


def identify(config: PretrainConfig, seed: int, folder: Path) -> RunIdentity:
    """Identify a run on every image below `folder`, or in its shards.

    Raises:
        DataError: the folder cannot be read, or holds fewer images than one batch.
    """
    paths = unlabelled_paths(folder)
    if len(paths) < config.batch_size:
        raise DataError(
            f"{folder}: holds {len(paths)} images, one batch is {config.batch_size}; "
            "give a folder with more images or a smaller batch_size (--set batch_size=N)"
        )
    digest = hashlib.sha256("\n".join(paths).encode("utf-8", "surrogateescape")).hexdigest()
    return RunIdentity(config=config.model_dump(mode="json"), seed=seed, num_images=len(paths), images_sha256=digest)


def mark_finished(out: Path, identity: RunIdentity) -> None:
    """Write beside the checkpoint in `out` that it is the run's last one."""
    write_json(out / _DONE, {"identity": json_sha256(identity.as_dict()), "checkpoint": _stamp(out)})


def may_be_finished(out: Path) -> bool:
    """Whether `out` holds the last checkpoint of any run, without listing the images."""
    return (out / _DONE).is_file() and (out / CHECKPOINT).is_file()


def is_finished(out: Path, identity: RunIdentity) -> bool:
    """Whether `out` holds the last checkpoint of this run, unchanged since it was written."""
    if not may_be_finished(out):
        return False
    try:
        done = read_json(out / _DONE)
    except UserError:
        return False  # the checkpoint itself will tell
    return bool(done == {"identity": json_sha256(identity.as_dict()), "checkpoint": _stamp(out)})


def _stamp(out: Path) -> list[int]:
    status = (out / CHECKPOINT).stat()
    return [status.st_size, status.st_mtime_ns]


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}{key}"
        flat |= _flat(item, f"{name}.") if isinstance(item, dict) else {name: item}
    return flat
