"""What of an engine is installed, and whether it is whole: an installation can be cut off at any file."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from mec_transfer.common.paths import CONFIGS


def found_version(package: str) -> str | None:
    """Return the version of `package` as its metadata states it; None where there is no metadata."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def is_whole(package: str, version: str) -> bool:
    """Whether `package` is here in `version` with every file at its size. Takes milliseconds."""
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    if distribution.version != version or not distribution.files:
        return False
    sizes = {file.locate(): file.size for file in distribution.files if file.size is not None}
    return all(Path(str(path)).is_file() and Path(str(path)).stat().st_size == size for path, size in sizes.items())


def are_there(requirements: Iterable[str]) -> bool:
    """Whether the package of each of `requirements` ("fvcore>=0.1.5,<0.1.6") is installed, in whatever version."""
    return all(found_version(requirement.split(">")[0]) is not None for requirement in requirements)


def overwriting(*packages: str) -> str:
    """Return the option by which pip installs `packages` over whatever is there.

    Without a RECORD (a copy was cut off) pip cannot take the old files away; it is to write over them.
    """
    return "--force-reinstall" if all(_files_recorded(package) for package in packages) else "--ignore-installed"


def _files_recorded(package: str) -> bool:
    try:
        return metadata.distribution(package).read_text("RECORD") is not None
    except metadata.PackageNotFoundError:
        return True


def is_of_ours(package: str) -> bool:
    """Whether the `package` here is a wheel that this program made, or what a cut-off copy of one left behind."""
    version = found_version(package)
    if version is not None:
        return "+mec" in version
    spec = find_spec(package)
    places = (spec.submodule_search_locations if spec else None) or []
    return str(Path(sysconfig.get_path("purelib"), package)) in places


def import_failure(engine: str) -> str | None:
    """Load the engine of that name in a fresh process (this one may remember an older state).

    Returns:
        What fails, in one line; None where it loads.
    """
    code = f"from mec_transfer.engines.engine import find_engine; find_engine({engine!r}).load()"
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
    for error in ("UserError", "MissingExtra"):
        last = last.removeprefix(f"mec_transfer.common.errors.{error}: ")
    return last
