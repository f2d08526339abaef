"""What happens in the demo world's videos, and in which data sets they appear."""

from __future__ import annotations

from mec_transfer.demo_world.clips import STILL, Clip, Role
from mec_transfer.demo_world.motion import Path


def _path(*knots: tuple[float, float, float, float]) -> Path:
    return Path(knots)


def _small(name: str, *roles: Role, camera: Path = STILL) -> Clip:
    return Clip(name=name, width=160, height=128, length=20, roles=roles, camera=camera)


def _large(name: str, *roles: Role, camera: Path = STILL) -> Clip:
    return Clip(name=name, width=192, height=144, length=24, roles=roles, camera=camera)


_HIDDEN = _small(
    "hidden",
    Role(
        what="heart",
        identity=1,
        path=_path((0, 0.15, 0.4, 0.14), (0.5, 0.55, 0.58, 0.15), (1, 0.87, 0.42, 0.14)),
        spin=0.15,
    ),
    Role(what="screen", path=_path((0, 0.55, 0.5, 0.5))),
    Role(what="leaf", identity=2, path=_path((0, 0.3, 0.85, 0.1), (1, 0.6, 0.2, 0.1)), spin=0.4),
)
_TWINS = _small(
    "twins",
    Role(what="star", identity=2, path=_path((0, 0.85, 0.3, 0.15), (0.5, 0.5, 0.5, 0.15), (1, 0.15, 0.3, 0.15))),
    Role(
        what="star",
        identity=1,
        twin_of=2,
        path=_path((0, 0.15, 0.65, 0.15), (0.5, 0.45, 0.55, 0.16), (1, 0.84, 0.7, 0.16)),
        spin=0.2,
    ),
)
_NEARING = _small(
    "nearing",
    Role(what="box", path=_path((0, 0.8, 0.75, 0.12), (1, 0.75, 0.3, 0.12)), spin=0.1),
    Role(
        what="cog",
        identity=1,
        path=_path((0, 0.22, 0.3, 0.1), (0.4, 0.5, 0.35, 0.15), (0.8, 0.55, 0.55, 0.29), (1, 0.5, 0.5, 0.31)),
        spin=0.35,
    ),
)
_PANNED = _small(
    "panned",
    Role(what="flower", identity=2, path=_path((0, 0.85, 0.75, 0.15), (1, 1.2, 0.35, 0.15)), spin=-0.2),
    Role(what="plus", path=_path((0, 1.45, 0.85, 0.13))),
    Role(
        what="kite",
        identity=1,
        path=_path((0, 0.3, 0.4, 0.14), (0.5, 0.95, 0.6, 0.14), (1, 1.3, 0.75, 0.14)),
        spin=0.2,
    ),
    camera=_path((0, 0.5, 0.5, 1), (0.5, 0.85, 0.55, 1.15), (1, 1.25, 0.55, 0.95)),
)
_BUSY = _small(
    "busy",
    Role(what="ball", path=_path((0, 0.2, 0.75, 0.12), (1, 0.8, 0.75, 0.12)), spin=0.5),
    Role(what="leaf", path=_path((0, 0.8, 0.2, 0.12), (1, 0.3, 0.25, 0.12)), spin=-0.3),
    Role(
        what="drop",
        identity=1,
        path=_path((0, 0.2, 0.25, 0.13), (0.3, 0.45, 0.7, 0.13), (0.6, 0.75, 0.35, 0.13), (1, 0.5, 0.75, 0.13)),
        spin=0.2,
    ),
    Role(what="plus", path=_path((0, 0.9, 0.5, 0.11), (1, 0.35, 0.5, 0.11)), spin=0.4),
    Role(what="cog", path=_path((0, 0.6, 0.95, 0.1), (1, 0.65, 0.1, 0.1)), spin=0.3),
)
_THREE = _small(
    "three",
    Role(what="flower", identity=1, path=_path((0, 0.3, 0.3, 0.13), (1, 0.6, 0.5, 0.26)), spin=0.25),
    Role(
        what="drop",
        identity=2,
        path=_path((0, 0.85, 0.35, 0.14), (0.4, 1.16, 0.4, 0.14), (0.6, 1.16, 0.6, 0.14), (1, 0.8, 0.7, 0.14)),
    ),
    Role(what="box", identity=3, path=_path((0, 0.15, 0.8, 0.13), (1, 0.75, 0.72, 0.13)), spin=0.2),
)
_CROWD = _large(
    "crowd",
    Role(what="ball", identity=1, path=_path((0, 0.12, 0.25, 0.1), (1, 0.88, 0.3, 0.1)), spin=0.6),
    Role(what="star", identity=2, path=_path((0, 0.85, 0.2, 0.1), (1, 0.15, 0.45, 0.1)), spin=-0.2),
    Role(what="screen", path=_path((0, 0.5, 0.45, 0.17))),
    Role(
        what="ball",
        identity=3,
        twin_of=1,
        path=_path((0, 0.85, 0.55, 0.11), (0.5, 0.55, 0.65, 0.12), (1, 0.12, 0.6, 0.12)),
        spin=-0.6,
    ),
    Role(what="leaf", identity=4, path=_path((0, 0.12, 0.6, 0.12), (1, 0.85, 0.62, 0.12)), spin=0.3),
    Role(what="kite", identity=5, path=_path((0, 0.4, 0.85, 0.11), (1, 0.7, 0.85, 0.13))),
)
_AWAY = _large(
    "away",
    Role(what="heart", identity=1, path=_path((0, 0.3, 0.3, 0.12), (0.4, 0.1, 0.35, 0.12), (1, 0.1, 0.4, 0.12))),
    Role(
        what="flower",
        identity=2,
        path=_path((0, 0.6, 0.65, 0.13), (0.4, 0.2, 0.7, 0.13), (0.6, 0.2, 0.7, 0.13), (1, 0.65, 0.55, 0.15)),
        spin=0.3,
    ),
    Role(
        what="flower",
        identity=3,
        twin_of=2,
        path=_path((0, 0.85, 0.4, 0.13), (0.35, 0.55, 0.75, 0.13), (0.5, 0.1, 0.8, 0.13), (1, 0.1, 0.85, 0.13)),
        spin=-0.3,
    ),
    Role(what="cog", identity=4, path=_path((0, 1.7, 0.2, 0.12), (0.6, 1.5, 0.25, 0.12), (1, 0.9, 0.4, 0.12))),
    camera=_path((0, 0.5, 0.5, 1), (0.2, 0.5, 0.5, 1), (0.5, 0.87, 0.45, 1), (0.6, 0.87, 0.45, 1), (1, 0.6, 0.5, 1.05)),
)
_STREET = _large(
    "street",
    Role(what="figure", identity=1, path=_path((0, 0.1, 0.62, 0.5), (1, 0.9, 0.62, 0.5))),
    Role(what="figure", identity=2, path=_path((0, 0.92, 0.8, 0.62), (1, 0.2, 0.78, 0.6))),
    Role(
        what="figure",
        identity=3,
        twin_of=1,
        path=_path((0, 0.3, 0.93, 0.68), (0.5, 0.62, 0.95, 0.7), (1, 1.15, 0.95, 0.7)),
    ),
    camera=_path((0, 0.48, 0.5, 1), (1, 0.58, 0.5, 1)),
)
_DANCE = _large(
    "dance",
    Role(what="waving", identity=1, path=_path((0, 0.25, 0.85, 0.62), (1, 0.3, 0.85, 0.62))),
    Role(what="waving", identity=2, twin_of=1, path=_path((0, 0.72, 0.85, 0.62), (1, 0.68, 0.85, 0.62))),
    Role(
        what="figure",
        identity=3,
        path=_path((0, -0.2, 0.93, 0.7), (0.25, 0.05, 0.93, 0.7), (0.9, 0.8, 0.95, 0.72), (1, 0.9, 0.95, 0.72)),
    ),
    camera=_path((0, 0.5, 0.5, 0.9), (1, 0.5, 0.52, 1.1)),
)

CLIPS = {
    clip.name: clip for clip in (_HIDDEN, _TWINS, _NEARING, _PANNED, _BUSY, _THREE, _CROWD, _AWAY, _STREET, _DANCE)
}
SEQUENCES = {
    "otb": {
        "HiddenHeart": "hidden",
        "TwinStars": "twins",
        "NearingCog": "nearing",
        "PannedKite": "panned",
        "BusyDrop": "busy",
    },
    "lasot": {"heart/heart-1": "hidden", "star/star-1": "twins"},
    "uav123": {"kite": "panned"},
    "trackingnet": {"drop_0": "busy"},
    "got10k": {"GOT-10k_Train_000001": "nearing"},
    "vot": {"star": "twins", "kite": "panned"},
    "ILSVRC": {
        "ILSVRC2015_train_00000000": "three",
        "ILSVRC2015_train_00000001": "crowd",
        "ILSVRC2015_train_00000002": "away",
    },
    "davis": {"twin-stars": "twins", "kite-and-flower": "panned", "drop-returns": "three"},
    "motchallenge": {"DEMO-01": "crowd", "DEMO-02": "away", "DEMO-03": "street"},
    "mots": {"DEMO-01": "crowd", "DEMO-02": "away", "DEMO-03": "street"},
    "posetrack18": {"900001_demo_test": "street", "900002_demo_test": "dance"},
}
"""Folder -> its sequences -> the clip that each shows. Where there is one target, it is identity 1."""
