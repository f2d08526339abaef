"""Install Detectron2: keep what is there, else build the official source, else take the wheel of `repackage`.

Every step can be cut off and run again: Detectron2 itself comes last, and a half-copied one is recognised and copied
anew.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.files import sha256_file
from mec_transfer.common.progress import say
from mec_transfer.detection.repackage import (
    NEEDS,
    SDIST_NAME,
    SDIST_SHA256,
    SDIST_VERSION,
    WHEEL_VERSION,
    build_wheel,
)
from mec_transfer.engines.pip import download_sdist, run_pip
from mec_transfer.engines.presence import are_there, found_version, import_failure, is_of_ours, is_whole, overwriting

OFFICIAL = "https://github.com/facebookresearch/detectron2"
OFFICIAL_COMMIT = "02b5c4e295e990042a714712c21dc79b731e8833"
"""The newest one that `engine_check` has passed on (June 2026, 65 s to build on two cores)."""

ARCHIVE = f"{SDIST_NAME}-{SDIST_VERSION}.tar.gz"

OFFLINE = "--from WHEEL, with its needs installed"

COMPILERS = ("c++", "g++", "clang++")
REACH_SECONDS = 8.0

EVALUATION_NEEDS = ("faster-coco-eval",)
"""Not Detectron2's but ours: COCO evaluation with pycocotools' numbers in less time."""

BUILD_NEEDS = ("setuptools<82", "wheel")
"""To build a source tree: torch's own extension builder stands on them."""


def install_detectron2(source: str | None = None) -> str:
    """Make Detectron2 importable in this environment; return one line that says which it is.

    Args:
        source: install this instead of choosing: a wheel, source archive or checkout, by path, URL or `git+URL`; or a
            folder that `download_detectron2` made.

    Raises:
        UserError: `source` is nowhere, is not the archive it claims to be, or a Detectron2 is installed that is broken.
        RunError: pip failed; its reason is given.
    """
    if source is None:
        if _repackaged_is_whole():
            return f"detectron2 {WHEEL_VERSION} (repackaged): is installed, kept"
        if find_spec("detectron2") and not is_of_ours("detectron2"):
            return _keep_working()
    else:
        _check_source(source)
    _pip(*NEEDS, *EVALUATION_NEEDS, what="what Detectron2 needs")
    with tempfile.TemporaryDirectory(prefix="mec-transfer-") as folder:
        if source is None:
            _install_official_or_repackaged(Path(folder))
        else:
            _install_source(source, Path(folder))
    reason = import_failure("detectron2")
    if reason:
        raise RunError(f"Detectron2 is installed now, but {reason}")
    return f"detectron2 {_version()} ({'repackaged' if is_of_ours('detectron2') else 'official'}): installed"


def download_detectron2(folder: Path) -> None:
    """Put into `folder` the archive that `install_detectron2` takes from it; one that is there is kept.

    Raises:
        RunError: pip failed, or the archive is another one.
    """
    there = folder / ARCHIVE
    if not (there.is_file() and sha256_file(there) == SDIST_SHA256):
        with tempfile.TemporaryDirectory(prefix="mec-transfer-", dir=folder) as work:
            _download_sdist(f"{SDIST_NAME}=={SDIST_VERSION}", Path(work)).replace(there)


def _keep_working() -> str:
    """Keep a Detectron2 that is not of this program's making. Raises UserError if it does not import."""
    reason = import_failure("detectron2")
    if reason:
        raise UserError(
            f"the Detectron2 that is installed was left alone, but {reason.partition('; run:')[0]}; "
            "mend it, or take it out (pip uninstall detectron2) and run this again"
        )
    return f"detectron2 {_version()}: is installed and works, kept"


def _install_official_or_repackaged(folder: Path) -> None:
    obstacle = _official_obstacle()
    if obstacle is None:
        say(f"building the official Detectron2 at {OFFICIAL_COMMIT[:9]} (a minute or several)")
        try:
            _install_package(f"git+{OFFICIAL}@{OFFICIAL_COMMIT}", build=True)
            return
        except RunError as error:
            obstacle = str(error)
    say(f"the official Detectron2 cannot be built here ({obstacle}); taking {SDIST_NAME} {SDIST_VERSION}")
    _install_package(str(build_wheel(_download_sdist(f"{SDIST_NAME}=={SDIST_VERSION}", folder), folder)))


def _official_obstacle() -> str | None:
    """Say why the official source cannot be built here, or None where git, a compiler and the network are there."""
    if not shutil.which("git"):
        return "no git"
    if not any(shutil.which(name) for name in COMPILERS):
        return "no C++ compiler"
    command = ["git", "ls-remote", OFFICIAL, "HEAD"]
    quiet = os.environ | {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true"}
    try:
        answer = subprocess.run(command, env=quiet, capture_output=True, timeout=REACH_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return f"no answer from {OFFICIAL}"
    return None if answer.returncode == 0 else f"{OFFICIAL} cannot be reached"


def _check_source(source: str) -> None:
    if "://" not in source and not Path(source).exists():
        raise UserError(f"--from {source}: no such file or folder; give a wheel, a source archive, a checkout or a URL")


def _install_source(source: str, folder: Path) -> None:
    if "://" in source and source.endswith(f"/{ARCHIVE}"):
        source = str(_download_sdist(source, folder))
    path = Path(source)
    if (path / ARCHIVE).is_file():
        path = path / ARCHIVE
    if path.name == ARCHIVE or (path.is_file() and sha256_file(path) == SDIST_SHA256):
        source = str(build_wheel(path, folder))
    elif path.exists():
        source = str(path.resolve())
    _install_package(source, build=not source.endswith(".whl"))


def _install_package(package: str, build: bool = False) -> None:
    """Install one Detectron2 over whatever is there, without its own list of needs."""
    if build:
        _pip(*BUILD_NEEDS, what="what building Detectron2 needs")
    isolation = ("--no-build-isolation",) if build else ()
    _pip("--no-deps", overwriting("detectron2"), *isolation, package, what="Detectron2")


def _download_sdist(requirement: str, folder: Path) -> Path:
    return download_sdist(requirement, SDIST_NAME, SDIST_VERSION, SDIST_SHA256, folder, OFFLINE)


def _pip(*arguments: str, what: str) -> None:
    run_pip("install", *arguments, what=what, offline=OFFLINE)


def _version() -> str:
    return found_version("detectron2") or "of unknown version"


def _repackaged_is_whole() -> bool:
    return is_whole("detectron2", WHEEL_VERSION) and are_there((*NEEDS, *EVALUATION_NEEDS))
