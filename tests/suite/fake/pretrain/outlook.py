"""Whether the fake pretraining has had its three epochs, and how many processes it would take."""

from pathlib import Path
from types import SimpleNamespace

from mec_transfer.common.errors import UserError


def look_ahead(config: Path, overrides: list[str], data: Path, out: Path, seed: int) -> SimpleNamespace:
    if "colour=1" in overrides:
        raise UserError("'colour' is not an option")
    finished = (out / "checkpoint_last.pth").is_file()
    return SimpleNamespace(processes=8, finished=finished)
