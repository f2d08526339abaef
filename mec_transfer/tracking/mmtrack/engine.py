"""The door to MMTracking: `load` imports it, patches it, and is called before anything else of it is used.

What loading changes in the process, which is therefore to run this engine alone: `patches`, the stand-in of `ops` for
mmcv's compiled operations where these are not installed, and warning filters for calls that MMTracking and its
libraries make to interfaces which torch and NumPy want written otherwise. mmcv logs warnings alone, no longer a line
for each tensor that it initialises. No seed or torch setting is touched.
"""

from __future__ import annotations

import importlib
import logging
from types import ModuleType

from mec_transfer.engines.engine import Engine, Noise

TESTED = {
    "mmtrack": ("0.14.0", "0.14.0"),
    "mmdet": ("2.28.2", "2.28.2"),
    "mmcls": ("0.25.0", "0.25.0"),
    "mmcv": ("1.7.2", "1.7.2"),
    "torch": ("2.11", "2.11"),
    "torchvision": ("0.26", "0.26"),
    "numpy": ("2.4", "2.4"),
    "cv2": ("5.0", "5.0"),
}
"""Lowest and highest version, as far as the digits go, that `engines check` and the tests have run on."""

_NOISE: tuple[Noise, ...] = (
    (UserWarning, "torch.meshgrid: in an upcoming release", ""),
    (UserWarning, "This overload of addmm_ is deprecated", ""),
    (UserWarning, "The given NumPy array is not writable", r"mm(cv|det|cls|track)\."),
    (FutureWarning, "", r"mm(cv|det|cls|track)\."),
    (DeprecationWarning, "", r"mm(cv|det|cls|track)\."),
)
"""What MMTracking and its libraries call that others have deprecated."""

_PARTS = (
    "mmcv.runner",
    "mmcv.parallel",
    "mmdet.apis",
    "mmtrack.core",
    "mmtrack.datasets",
    "mmtrack.models",
    "mmtrack.apis",
)


def _start() -> ModuleType:
    from mec_transfer.tracking.mmtrack import ops, patches

    ops.provide()
    for part in _PARTS:
        importlib.import_module(part)
    patches.apply_all()
    # Initialising a network logs a line for each of its tensors.
    importlib.import_module("mmcv.utils").get_logger("mmcv").setLevel(logging.WARNING)
    return importlib.import_module("mmtrack")


ENGINE = Engine(
    name="mmtracking",
    title="MMTracking",
    part="mmtracking",
    tested=TESTED,
    noise=_NOISE,
    start=_start,
    installer="mec_transfer.tracking.mmtrack.install:install_mmtracking",
    prover="mec_transfer.tracking.mmtrack.check:PROOFS",
)
load = ENGINE.load
versions = ENGINE.versions
