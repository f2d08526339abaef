"""How engines are fetched and installed: by pip, so that its own configuration (index, proxy, certificates) holds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from mec_transfer.common.errors import RunError
from mec_transfer.common.paths import CONFIGS

_UNREACHED = re.compile(r"after connection broken by '(?:\w+\('<.* object at \w+>: )?(.*?)(?:'\))?': ")
"""What pip says of a server; the object's name in it tells nobody anything."""

BUILD_BACKEND = "setuptools"
"""What a source archive without a pyproject.toml is built with."""


def run_pip(
    action: str, *arguments: str, what: str, offline: str, path: Path | None = None, pinned: bool = True
) -> None:
    """Run pip.

    Args:
        action: "install" or "download".
        arguments: its own options and what is wanted.
        what: the latter, in messages.
        offline: what to give the command instead where there is no network, in messages.
        path: a folder from which Python is to import first.
        pinned: whether to ask for the tested versions, where the project's constraints.txt is at hand.

    Raises:
        RunError: it failed; says why in a line.
    """
    constraints = CONFIGS.parent / "constraints.txt"
    pins = ("-c", str(constraints)) if pinned and constraints.is_file() else ()
    command = (sys.executable, "-m", "pip", action, "--quiet", "--disable-pip-version-check", *pins, *arguments)
    environment = dict(os.environ) | ({"PYTHONPATH": str(path)} if path else {})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith("error")] or lines or [f"exit {done.returncode}"]
        if "ResolutionImpossible" in errors[-1]:  # what is impossible stands above
            errors = errors[:1]
        unreached = [found[1] for line in lines if (found := _UNREACHED.search(line))]  # told before it gives up
        reason = f"the package index does not answer: {unreached[-1]}" if unreached else errors[-1]
        raise RunError(
            f"pip could not {action} {what} ({reason}); mend that and run this again, it goes on from here "
            f"(without a network: {offline})"
        )


def download_sdist(requirement: str, name: str, version: str, sha256: str, folder: Path, offline: str) -> Path:
    """Download the source archive that `requirement` names into `folder`, running none of its code.

    pip asks a package's build system for its metadata, and that may want torch and a compiler's tools. It is given a
    stand-in that answers at once. pip checks the sha256 before it unpacks.

    Args:
        requirement: its name and version, or its URL.
        name: of the package, as the index has it.
        version: of the package.
        sha256: what the archive's must be.
        folder: where it is to lie.
        offline: what to give the command instead where there is no network, in messages.

    Raises:
        RunError: pip failed, or the archive is another one.
    """
    backend = folder / "backend" / BUILD_BACKEND
    backend.mkdir(parents=True)
    (backend / "__init__.py").touch()
    (backend / "build_meta.py").write_text(_backend(name, version), encoding="utf-8")
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
    how = ("--no-deps", "--no-build-isolation", "--use-pep517", "--no-binary=:all:", "--require-hashes")
    wanted = (*how, "-r", str(requirements), "-d", str(folder))
    run_pip("download", *wanted, what=f"{name} {version}", offline=offline, path=folder / "backend", pinned=False)
    return folder / f"{name}-{version}.tar.gz"


def _backend(name: str, version: str) -> str:
    return f'''
import pathlib, sys

def get_requires_for_build_wheel(config_settings=None):
    return []

def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    info = pathlib.Path(metadata_directory, "{name.replace("-", "_")}-{version}.dist-info")
    info.mkdir()
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
    return info.name

__legacy__ = sys.modules[__name__]
'''
