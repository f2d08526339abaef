"""What set-up installs by pip: how much that is, and a folder that carries all of it to a machine without a network.

    python tools/packages.py check    ENVIRONMENT --extras A,B [--cpu] [--wheels DIR]   is there room, is DIR complete?
    python tools/packages.py install  ENVIRONMENT --extras A,B [--cpu] [--wheels DIR]   into the Python that runs this
    python tools/packages.py download DIR         --extras A,B [--cpu]

`setup_env.sh` calls it before anything is installed: it imports the standard library and what has no needs of its own.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import shutil
import sys
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mec_transfer.common.errors import RunError, UserError  # noqa: E402
from mec_transfer.common.files import read_json, sha256_file, write_json  # noqa: E402
from mec_transfer.detection import install as detectron2  # noqa: E402
from mec_transfer.engines.pip import run_pip  # noqa: E402
from mec_transfer.tracking.mmtrack import install as mmtracking  # noqa: E402

CONTENTS = "contents.json"
"""Written last: a folder without it is not finished."""
CPU_INDEX = os.environ.get("MEC_TRANSFER_CPU_INDEX", "https://download.pytorch.org/whl/cpu")
PAIR = ("torch", "torchvision")
"""They belong together: of two builds, torchvision's kernels do not load."""
TRACKEVAL = "trackeval>=1.3"
"""Its metadata asks for an OpenCV that wants libGL although its code runs with the headless one: its needs are ours."""
BUILD = ("setuptools>=68", "wheel")
"""What pip makes the editable install of this checkout with."""
_OFFLINE = "bash tools/setup_env.sh --wheels DIR, see docs/offline.md"
GIGABYTES = {True: (0.4, 1.6), False: (2.9, 5.6)}
"""Whether torch is for CPUs alone -> what is downloaded, and what the environment takes on Linux, x86_64. Measured with
CUDA; without it, computed from that."""
_MORE = 1.0
"""Enough for what an environment that has its torch may lack."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("check", "install", "download"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--extras", type=lambda text: text.split(","), required=True)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--wheels", type=Path)
    args = parser.parse_args(argv)
    try:
        if args.action == "download":
            download(args.folder, args.extras, args.cpu)
        elif args.action == "install":
            install(args.extras, args.cpu, args.wheels)
        else:
            check(args.folder, args.extras, args.cpu, args.wheels)
    except (UserError, RunError) as error:
        print(f"setup_env.sh: error: {error}", file=sys.stderr)
        return 2
    return 0


def check(environment: Path, extras: list[str], cpu: bool, wheels: Path | None) -> None:
    """Print what installing into `environment` takes. Raises UserError if it is not possible."""
    if wheels:
        check_folder(wheels, extras, cpu)
        cpu = read_json(wheels / CONTENTS)["cpu"]
    fetched, taken = _gigabytes(cpu)
    if any(environment.glob("lib/python*/site-packages/torch")):
        fetched = taken = _MORE
    source = f"from {wheels}" if wheels else f"about {fetched:g} GB to download"
    print(f"Installing torch, torchvision and the rest: {source}, about {taken:g} GB of disk, a minute or several")
    temporary = Path(tempfile.gettempdir())
    if wheels:  # pip unpacks them where they lie
        _check_room(environment, taken)
    elif _there(environment).stat().st_dev == _there(temporary).stat().st_dev:
        _check_room(environment, taken + fetched, f": {taken:g} to stay, {fetched:g} while pip unpacks")
    else:
        _check_room(environment, taken)
        _check_room(temporary, fetched, " while pip unpacks (TMPDIR names another place)")


def install(extras: list[str], cpu: bool, wheels: Path | None) -> None:
    """Install this checkout and all that it needs but the engines. Raises RunError where pip fails, in one line."""
    if cpu and not wheels and _installed("torch") != constraints()["torch"]:
        _from_cpu_index("install", "--no-compile")
    offline = _how_to_make(wheels, extras, cpu) if wheels else _OFFLINE
    here = f"{ROOT}[{','.join(extras)}]"
    run_pip("install", "--no-compile", "-e", here, what="what mec-transfer needs", offline=offline)
    run_pip("install", "--no-compile", "--no-deps", TRACKEVAL, what="TrackEval", offline=offline)


def download(folder: Path, extras: list[str], cpu: bool) -> None:
    """Put into `folder` all that `install` and the engines take, as wheels, for this system and this Python.

    Raises:
        UserError: there is no room, or the folder holds torch of the other build.
        RunError: pip failed.
    """
    if sys.platform == "linux" and any(("+cpu" in wheel.name) != cpu for wheel in folder.glob("torch-*.whl")):
        raise UserError(f"{folder}: holds torch {'with' if cpu else 'without'} CUDA; give another folder")
    fetched, _ = _gigabytes(cpu)
    _check_room(folder, 2 * fetched, ", half of it while pip works")
    print(f"Downloading about {fetched:g} GB into {folder}, a minute or several", flush=True)
    (folder / CONTENTS).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    wanted, how = requirements(extras), ("--wheel-dir", str(folder), "--find-links", str(folder))
    if cpu:
        _from_cpu_index("wheel", *how)
        wanted += _cpu_pair()
    if "detection" in extras:
        detectron2.download_detectron2(folder)
        wanted += [*detectron2.NEEDS, *detectron2.EVALUATION_NEEDS]
    if "mmtracking" in extras:
        mmtracking.download_mmtracking(folder)
        wanted += mmtracking.NEEDS
    run_pip("wheel", *how, *wanted, *BUILD, what="what mec-transfer needs", offline=_OFFLINE)
    run_pip("wheel", *how, "--no-deps", TRACKEVAL, what="TrackEval", offline=_OFFLINE)
    files = sorted(path for path in folder.iterdir() if path.name.endswith((".whl", ".tar.gz")))
    listed = {path.name: {"bytes": path.stat().st_size, "sha256": sha256_file(path)} for path in files}
    write_json(folder / CONTENTS, {"for": _system(), "cpu": cpu, "extras": extras, "files": listed})
    size = sum(path.stat().st_size for path in files) / 1e9
    print(f"{folder}: {len(files)} files, {size:.1f} GB, for {_system()}; there: bash tools/setup_env.sh --wheels DIR")


def check_folder(folder: Path, extras: list[str], cpu: bool) -> None:
    """Raise UserError, with the command that makes it, where `folder` does not hold all that is to be installed."""
    where, make = f"--wheels {folder}", _how_to_make(folder, extras, cpu)
    if not folder.is_dir():
        raise UserError(f"{where}: no such folder; {make}")
    if not (folder / CONTENTS).is_file():
        raise UserError(f"{where}: holds no {CONTENTS}, which --download writes at its end; {make}")
    contents: dict[str, Any] = read_json(folder / CONTENTS)
    if contents["for"] != _system():
        raise UserError(f"{where}: was made for {contents['for']}, but this is {_system()}; make it on such a machine")
    if cpu and not contents["cpu"]:
        raise UserError(f"{where}: holds torch with CUDA, which runs on CPUs too; leave --cpu out, or {make}")
    lacks = [extra for extra in extras if extra not in contents["extras"]]
    lacks += [name for name in contents["files"] if not (folder / name).is_file()]
    lacks += [] if lacks else _missing_wheels(list(contents["files"]), extras)
    if lacks:
        more = f" and {len(lacks) - 5} more" if len(lacks) > 5 else ""
        raise UserError(f"{where}: lacks {', '.join(lacks[:5])}{more}; {make}")
    for name, known in contents["files"].items():
        if (folder / name).stat().st_size != known["bytes"] or sha256_file(folder / name) != known["sha256"]:
            raise UserError(f"{where}: {name} is damaged (its sha256 differs); copy it again, or {make}")


def requirements(extras: list[str]) -> list[str]:
    """Return what pyproject.toml asks for: of the core, and of `extras` with those that they name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found, todo = list(project["dependencies"]), list(extras)
    while todo:
        for requirement in project["optional-dependencies"][todo.pop()]:
            if requirement.startswith(f"{project['name']}["):
                todo += requirement.partition("[")[2].rstrip("]").split(",")
            else:
                found.append(requirement)
    return list(dict.fromkeys(found))


def _missing_wheels(files: list[str], extras: list[str]) -> list[str]:
    """Name what this checkout wants and `files` do not have: it may be newer than the folder."""
    held: dict[str, set[str]] = {}
    for file in files:
        name, version, *_ = file.split("-")
        held.setdefault(_plain(name), set()).add(version.partition("+")[0])
    names = [re.split(r"[^\w.-]", wanted)[0] for wanted in (*requirements(extras), TRACKEVAL, *BUILD)]
    pins = {_plain(name): f"{name}=={version}" for name, version in constraints().items()}
    missing = [pins.get(_plain(name), name) for name in names if _plain(name) not in held]
    return missing + [pin for name, pin in pins.items() if name in held and pin.partition("==")[2] not in held[name]]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def constraints() -> dict[str, str]:
    """Return the tested versions, by package."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("#")[0].strip().partition("==") for line in lines)
    return {name: version for name, equals, version in pairs if equals}


def _from_cpu_index(action: str, *options: str) -> None:
    """Install or fetch torch and torchvision from the index of builds for CPUs alone."""
    pair = _cpu_pair()
    wanted = ("--no-deps", "--index-url", CPU_INDEX, *pair)
    try:
        run_pip(action, *options, *wanted, what=" and ".join(pair), offline=_OFFLINE, pinned=False)
    except RunError as error:
        raise RunError(
            f"--cpu: {error}. It was looked for at {CPU_INDEX}; MEC_TRANSFER_CPU_INDEX names another place, and "
            "without --cpu the ordinary torch is installed, which runs on CPUs too"
        ) from None


def _cpu_pair() -> list[str]:
    pins = constraints()
    return [f"{name}=={pins[name]}+cpu" for name in PAIR]


def _installed(package: str) -> str | None:
    """Return the version of what is installed, without its local part."""
    try:
        return metadata.version(package).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def _how_to_make(folder: Path, extras: list[str], cpu: bool) -> str:
    """Return the words that tell how to make such a folder."""
    options = [f" --without {part}" for part in ("detection", "mmtracking") if part not in extras]
    options += [option for option, wanted in ((" --dev", "dev" in extras), (" --cpu", cpu)) if wanted]
    return (
        f"on a machine with a network: bash tools/setup_env.sh --download {shlex.quote(str(folder))}{''.join(options)}"
    )


def _system() -> str:
    return f"{platform.system()} {platform.machine()}, Python {sys.version_info.major}.{sys.version_info.minor}"


def _gigabytes(cpu: bool) -> tuple[float, float]:
    return GIGABYTES[cpu or sys.platform == "darwin"]


def _there(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return next(path for path in (folder.resolve(), *folder.resolve().parents) if path.is_dir())


def _check_room(folder: Path, gigabytes: float, note: str = "") -> None:
    free = shutil.disk_usage(_there(folder)).free / 1e9
    if free < gigabytes:
        raise UserError(f"{_there(folder)}: {free:.1f} GB of disk are free, about {gigabytes:.1f} are needed{note}")


if __name__ == "__main__":
    sys.exit(main())
