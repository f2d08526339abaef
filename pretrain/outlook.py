"""What is known about a pretraining before it begins, without torch, for planning (`mec-transfer run`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from mec_transfer.common.config import load_config
from pretrain.config import PretrainConfig
from pretrain.identity import identify, is_finished, may_be_finished, training_folder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a run needs, and whether it is finished already."""

    processes: int
    """How many it is made for, with a GPU each (`PretrainConfig.processes`)."""
    finished: bool


def look_ahead(config: Path, overrides: Sequence[str], data: Path, out: Path, seed: int) -> Outlook:
    """Return the outlook of `python -m pretrain CONFIG` with these options.

    The images are listed only where the folder says that its run is finished.

    Raises:
        UserError: the config is wrong, or a finished run's images are gone.
    """
    parsed = load_config(PretrainConfig, config, list(overrides))
    finished = may_be_finished(out) and is_finished(out, identify(parsed, seed, training_folder(data)))
    return Outlook(processes=parsed.processes, finished=finished)
