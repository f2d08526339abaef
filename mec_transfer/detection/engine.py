"""The door to Detectron2: `load` imports it, checks it, and is called before anything else of it is used.

What loading changes in the process: Detectron2's own set-up (it sets the environment variable OPENCV_OPENCL_RUNTIME,
and runs the file that DETECTRON2_ENV_MODULE names, where that is set), and warning filters for calls that Detectron2
makes to interfaces which torch and NumPy want written otherwise. No seed, logger or torch setting is touched.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from mec_transfer.engines.engine import Engine, Noise

TESTED = {
    "detectron2": ("0.6", "0.6"),
    "torch": ("2.11", "2.11"),
    "torchvision": ("0.26", "0.26"),
    "numpy": ("2.4", "2.4"),
    "pillow": ("13", "13"),
    "fvcore": ("0.1.5", "0.1.5"),
    "pycocotools": ("2.0", "2.0"),
}
"""Lowest and highest version, as far as the digits go, that `engine_check` and the tests have run on."""

_NOISE: tuple[Noise, ...] = (
    (UserWarning, "torch.meshgrid: in an upcoming release", ""),
    (UserWarning, "The given NumPy array is not writable", r"detectron2\."),
    (FutureWarning, "", r"detectron2\."),
    (DeprecationWarning, "__array__ implementation doesn't accept a copy keyword", r"pycocotools\."),
)
"""What Detectron2 and its libraries call that others have deprecated."""

_PARTS = ("checkpoint", "config", "data", "engine", "evaluation", "modeling", "solver", "structures", "utils.events")


def _start() -> ModuleType:
    detectron2 = importlib.import_module("detectron2")
    for part in _PARTS:
        importlib.import_module(f"detectron2.{part}")
    return detectron2


ENGINE = Engine(
    name="detectron2",
    title="Detectron2",
    part="detection",
    tested=TESTED,
    noise=_NOISE,
    start=_start,
    installer="mec_transfer.detection.install:install_detectron2",
    prover="mec_transfer.detection.check:PROOFS",
)
load = ENGINE.load
versions = ENGINE.versions
