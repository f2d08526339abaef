"""What `mec-transfer inspect` shows of a checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from mec_transfer.backbone.backbone import Preprocessing, Stem


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """One ResNet, or what looks like one, in a file."""

    prefix: str
    """What stands before its names; empty for none."""
    tensors: int
    what: str
    """Its architecture, or why it is none of those that can be taken."""
    role: Literal["only", "online", "teacher", "unknown"]
    taken: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspection:
    """What is in a checkpoint, what would be taken, what left out."""

    file: str
    """Its path, or the name of a source such as `random:resnet50`."""
    size: int | None = None
    """Bytes; None for a source."""
    sha256: str
    """The file's own sha256; empty where there is no file."""
    format: str
    source: str = ""
    """Where it is known which network the method's authors evaluate; empty for an unknown format."""
    networks: tuple[Network, ...]
    epoch: int | None
    arch: str | None = None
    stem: Stem | None = None
    tensors: int = 0
    """Taken: weights and BN statistics, and BN counters where the file has them."""
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Group of tensors not taken to their count."""
    preprocessing: Preprocessing | None = None
    preprocessing_from: str = ""
    notes: tuple[str, ...] = ()
    problem: str | None = None
    """Why nothing would be taken: the one line that `read_backbone` raises."""

    @property
    def taken(self) -> Network | None:
        """The network that would be taken."""
        return next((network for network in self.networks if network.taken), None)
