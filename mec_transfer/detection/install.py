"""Install Detectron2: keep what is there, else build the official source, else take the wheel of `repackage`.

pip does all fetching, so that its own configuration (index, proxy, certificates) holds. Every step can be cut off and
run again: Detectron2 itself comes last, and a half-copied one is recognised and copied anew.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.files import sha256_file
from mec_transfer.common.paths import CONFIGS
from mec_transfer.common.progress import say
from mec_transfer.detection.repackage import (
    NEEDS,
    SDIST_NAME,
    SDIST_SHA256,
    SDIST_VERSION,
    WHEEL_VERSION,
    build_wheel,
)

OFFICIAL = "https://github.com/facebookresearch/detectron2"
OFFICIAL_COMMIT = "02b5c4e295e990042a714712c21dc79b731e8833"
"""The newest one that `engine_check` has passed on (June 2026, 65 s to build on two cores)."""

COMPILERS = ("c++", "g++", "clang++")
REACH_SECONDS = 8.0

EVALUATION_NEEDS = ("faster-coco-eval",)
"""Not Detectron2's but ours: COCO evaluation with pycocotools' numbers in less time."""

BUILD_NEEDS = ("setuptools<82", "wheel")
"""To build a source tree: torch's own extension builder stands on them."""


def install_detectron2(source: str | None = None) -> str:
    """Make Detectron2 importable in this environment; return one line that says which it is.

    Args:
        source: install this instead of choosing: a wheel, source archive or checkout, by path, URL or `git+URL`.

    Raises:
        UserError: `source` is nowhere, is not the archive it claims to be, or a Detectron2 is installed that is broken.
        RunError: pip failed; its reason is given.
    """
    if source is None:
        if _repackaged_is_whole():
            return f"detectron2 {WHEEL_VERSION} (repackaged): is installed, kept"
        if find_spec("detectron2") and not _is_ours():
            return _keep_working()
    else:
        _check_source(source)
    _pip("install", *NEEDS, *EVALUATION_NEEDS, what="what Detectron2 needs")
    with tempfile.TemporaryDirectory(prefix="mec-transfer-") as folder:
        if source is None:
            _install_official_or_repackaged(Path(folder))
        else:
            _install_source(source, Path(folder))
    reason = _import_failure()
    if reason:
        raise RunError(f"Detectron2 is installed now, but {reason}")
    return f"detectron2 {_installed_version()} ({'repackaged' if _is_ours() else 'official'}): installed"


def _keep_working() -> str:
    """Keep a Detectron2 that is not of this program's making. Raises UserError if it does not import."""
    reason = _import_failure()
    if reason:
        raise UserError(
            f"the Detectron2 that is installed was left alone, but {reason.partition('; run:')[0]}; "
            "mend it, or take it out (pip uninstall detectron2) and run this again"
        )
    return f"detectron2 {_installed_version()}: is installed and works, kept"


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
    if "://" in source and source.endswith(f"/{SDIST_NAME}-{SDIST_VERSION}.tar.gz"):
        source = str(_download_sdist(source, folder))
    path = Path(source)
    if path.name == f"{SDIST_NAME}-{SDIST_VERSION}.tar.gz" or (path.is_file() and sha256_file(path) == SDIST_SHA256):
        source = str(build_wheel(path, folder))
    elif path.exists():
        source = str(path.resolve())
    _install_package(source, build=not source.endswith(".whl"))


def _install_package(package: str, build: bool = False) -> None:
    """Install one Detectron2 over whatever is there, without its own list of needs."""
    if build:
        _pip("install", *BUILD_NEEDS, what="what building Detectron2 needs")
    # Without a RECORD (a copy was cut off) pip cannot take the old files away; it is to write over them.
    over = "--force-reinstall" if _files_recorded() else "--ignore-installed"
    isolation = ("--no-build-isolation",) if build else ()
    _pip("install", "--no-deps", over, *isolation, package, what="Detectron2")


def _download_sdist(requirement: str, folder: Path) -> Path:
    """Download the source archive that `requirement` names (name or URL) into `folder`, running none of its code.

    pip asks a package's build system for its metadata, and this one's wants torch and a compiler's tools. It is given
    a stand-in that answers at once. pip checks the sha256 before it unpacks.
    """
    backend = folder / "backend" / "setuptools"
    backend.mkdir(parents=True)
    (backend / "__init__.py").touch()
    (backend / "build_meta.py").write_text(_BACKEND, encoding="utf-8")
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{requirement} --hash=sha256:{SDIST_SHA256}\n", encoding="utf-8")
    how = ("--no-deps", "--no-build-isolation", "--use-pep517", "--no-binary=:all:", "--require-hashes")
    wanted = (*how, "-r", str(requirements), "-d", str(folder))
    _pip("download", *wanted, what=f"{SDIST_NAME} {SDIST_VERSION}", path=folder / "backend", pinned=False)
    return folder / f"{SDIST_NAME}-{SDIST_VERSION}.tar.gz"


_DISTRIBUTION = f"{SDIST_NAME.replace('-', '_')}-{SDIST_VERSION}"
_BACKEND = f'''
import pathlib, sys

def get_requires_for_build_wheel(config_settings=None):
    return []

def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    info = pathlib.Path(metadata_directory, "{_DISTRIBUTION}.dist-info")
    info.mkdir()
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\\nName: {SDIST_NAME}\\nVersion: {SDIST_VERSION}\\n")
    return info.name

__legacy__ = sys.modules[__name__]
'''


def _pip(action: str, *arguments: str, what: str, path: Path | None = None, pinned: bool = True) -> None:
    """Run pip, with the tested versions where the project's constraints.txt is at hand. Raises RunError if it fails."""
    constraints = CONFIGS.parent / "constraints.txt"
    pins = ("-c", str(constraints)) if pinned and constraints.is_file() else ()
    command = (sys.executable, "-m", "pip", action, "--quiet", "--disable-pip-version-check", *pins, *arguments)
    environment = dict(os.environ) | ({"PYTHONPATH": str(path)} if path else {})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith("error")] or lines or [f"exit {done.returncode}"]
        raise RunError(
            f"pip could not {action} {what} ({errors[-1]}); mend that and run this again, it goes on from here "
            "(without a network: --from WHEEL, with its needs installed)"
        )


def _import_failure() -> str | None:
    """Try the engine in a fresh process (this one may remember an older state); say what fails, or None."""
    code = "from mec_transfer.detection import engine; engine.load()"
    path = os.pathsep.join(filter(None, (str(CONFIGS.parent), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        (sys.executable, "-P", "-c", code),
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        return None
    last = (done.stderr.strip().splitlines() or [f"it ends Python with status {done.returncode}"])[-1]
    return last.removeprefix("mec_transfer.common.errors.UserError: ")


def _installed_version() -> str:
    try:
        return metadata.version("detectron2")
    except metadata.PackageNotFoundError:
        return "of unknown version"


def _is_ours() -> bool:
    """Whether the Detectron2 here is a wheel of `repackage`, or what a cut-off copy of one left behind."""
    try:
        return "+mec" in metadata.version("detectron2")
    except metadata.PackageNotFoundError:
        spec = find_spec("detectron2")
        places = (spec.submodule_search_locations if spec else None) or []
        return str(Path(sysconfig.get_path("purelib"), "detectron2")) in places


def _files_recorded() -> bool:
    try:
        return metadata.distribution("detectron2").read_text("RECORD") is not None
    except metadata.PackageNotFoundError:
        return True


def _repackaged_is_whole() -> bool:
    """Whether the present wheel of `repackage` is here with every file and need. Takes milliseconds."""
    try:
        distribution = metadata.distribution("detectron2")
        for need in (*NEEDS, *EVALUATION_NEEDS):
            metadata.version(need.split(">")[0])
    except metadata.PackageNotFoundError:
        return False
    if distribution.version != WHEEL_VERSION or not distribution.files:
        return False
    sizes = {file.locate(): file.size for file in distribution.files if file.size is not None}
    return all(Path(str(path)).is_file() and Path(str(path)).stat().st_size == size for path, size in sizes.items())
