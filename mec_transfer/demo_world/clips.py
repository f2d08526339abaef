"""A video of the demo world before it is drawn: who moves where, behind whom, and what the camera does."""

from __future__ import annotations

import dataclasses

from mec_transfer.demo_world.motion import Path

STILL = Path(((0, 0.5, 0.5, 1),))
"""The camera that stands where the frame is the world from 0 to 1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Role:
    """Someone or something that moves. Without an identity it only hides others."""

    what: str
    """A category; `figure`, `waving`; or `screen`, a flat bar that stands."""
    path: Path
    """An object's centre and radius, or a figure's feet and height."""
    identity: int = 0
    """From 1."""
    twin_of: int = 0
    """The identity that it looks like: of the same shape and pattern, in slightly other colours."""
    spin: float = 0.0
    """Turns around itself during the video."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """A video: roles from the farthest to the nearest."""

    name: str
    width: int
    height: int
    length: int
    """In frames."""
    roles: tuple[Role, ...]
    camera: Path = STILL
