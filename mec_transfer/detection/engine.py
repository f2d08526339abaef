"""The door to Detectron2: `load` imports it, checks it, and is called before anything else of it is used.

What loading changes in the process: Detectron2's own set-up (it sets the environment variable OPENCV_OPENCL_RUNTIME,
and runs the file that DETECTRON2_ENV_MODULE names, where that is set), and warning filters for calls that Detectron2
makes to interfaces which torch and NumPy want written otherwise. No seed, logger or torch setting is touched.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import re
import warnings
from importlib import metadata
from types import ModuleType

from mec_transfer.common.errors import UserError, one_line
from mec_transfer.common.extras import require
from mec_transfer.common.progress import warn

INSTALL = "mec-transfer engines install detectron2"

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

_NOISE: tuple[tuple[type[Warning], str, str], ...] = (
    (UserWarning, "torch.meshgrid: in an upcoming release", ""),
    (UserWarning, "The given NumPy array is not writable", r"detectron2\."),
    (FutureWarning, "", r"detectron2\."),
    (DeprecationWarning, "__array__ implementation doesn't accept a copy keyword", r"pycocotools\."),
)
"""Category, start of the message, module: what Detectron2 and its libraries call that others have deprecated."""

_PARTS = ("checkpoint", "config", "data", "engine", "evaluation", "modeling", "solver", "structures", "utils.events")


@dataclasses.dataclass(frozen=True)
class Version:
    """A package that the engine stands on."""

    name: str
    found: str
    tested: bool
    """Whether `found` lies within `TESTED`."""


@functools.cache
def load() -> ModuleType:
    """Import Detectron2 with the parts that detection uses; return the package. Warns once of an untested version.

    Raises:
        UserError: it is not installed (MissingExtra), or does not import; says what to do.
    """
    require("detection")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            detectron2 = importlib.import_module("detectron2")
            for part in _PARTS:
                importlib.import_module(f"detectron2.{part}")
    except Exception as error:  # built for another torch, too old for this Pillow, half copied: whatever it raises
        raise UserError(f"Detectron2 does not import ({one_line(error)}); run: {INSTALL}") from error
    for category, message, module in _NOISE:
        warnings.filterwarnings("ignore", message=message, category=category, module=module)
    for version in versions():
        if not version.tested:
            warn(f"{describe(version)}; mec-transfer engines check tells whether it works")
    return detectron2


def versions() -> list[Version]:
    """Return the versions that are installed of what `TESTED` names."""
    found = {name: _installed_version(name) for name in TESTED}
    return [Version(name, version, _within(version, *TESTED[name])) for name, version in found.items()]


def describe(version: Version) -> str:
    """Return one line: name, version and, where it is untested, what was tested."""
    low, high = TESTED[version.name]
    span = low if low == high else f"{low} to {high}"
    return f"{version.name} {version.found}" + ("" if version.tested else f" (tested: {span})")


def _installed_version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # a checkout on the path has no metadata
        return str(getattr(importlib.import_module(name), "__version__", "unknown"))


def _within(version: str, low: str, high: str) -> bool:
    """Whether `low` <= `version` <= `high`, each compared as far as the bound's own digits go."""
    digits = _digits(version)
    lowest, highest = _digits(low), _digits(high)
    return bool(digits) and lowest <= digits[: len(lowest)] and digits[: len(highest)] <= highest


def _digits(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
