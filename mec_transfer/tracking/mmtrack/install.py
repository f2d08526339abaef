"""Install MMTracking: keep what is there, else the pinned four packages, of which mmcv is made a wheel without C++.

pip cannot resolve mmtrack 0.14 on today's Python (it asks for pandas 1.3), so that the four are installed as they are
and what they import beside them. Every archive is known by its sha256. Every step can be cut off and run again: what
is half copied is recognised and copied anew.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.files import sha256_file
from mec_transfer.engines.pip import download_sdist, run_pip
from mec_transfer.engines.presence import are_there, found_version, import_failure, is_of_ours, is_whole, overwriting
from mec_transfer.engines.repackage import check_archive, package_files, read_sdist, write_wheel
from mec_transfer.engines.versions import within

OFFLINE = "--from DIR, a folder that holds the archives"

NEEDS = (
    "addict>=2.4",
    "lap>=0.5.12",
    "matplotlib>=3.8",
    "motmetrics>=1.4",
    "opencv-python-headless>=4.8",
    "packaging>=23",
    "pycocotools>=2.0.7",
    "scipy>=1.13",
    "seaborn>=0.13",
    "six>=1.16",
    "terminaltables>=3.1",
    "tqdm>=4.60",
    "yapf>=0.40",
)
"""What their modules import and this program's core does not. Left out of their own lists: what only the VOT toolkit,
exporting and downloads use."""

IN_TURN = ("pandas", "platformdirs", "python-dateutil", "xmltodict")
"""What those import, and this program's other parts do not."""


@dataclasses.dataclass(frozen=True)
class Package:
    """One of the four, in the version that this engine is proven with."""

    name: str
    version: str
    archive: str
    """The file's name, as the package index has it."""
    sha256: str


MMCV = Package("mmcv", "1.7.2", "mmcv-1.7.2.tar.gz", "2116a1609f9d3f59824074774366fd8b9410437bc95a24d535669b35d55352be")
WHEELS = (
    Package(
        "mmcls",
        "0.25.0",
        "mmcls-0.25.0-py2.py3-none-any.whl",
        "37127121dc0505bd7cac6736c8c220e56bbcdaa91994d6296463bf0ede0ab1b4",
    ),
    Package(
        "mmdet",
        "2.28.2",
        "mmdet-2.28.2-py3-none-any.whl",
        "30ac4dc275f838397872a4d43f77541e46cf8dc8431f796ddf10d7e4adfd9fe4",
    ),
    Package(
        "mmtrack",
        "0.14.0",
        "mmtrack-0.14.0-py3-none-any.whl",
        "068cec2df143f6ca420bb8c9df3f6f4e8943dea543c43bcee6fdf9fc668d5208",
    ),
)
"""In the order in which they stand on each other; mmtrack comes last."""

PACKAGES = (MMCV, *WHEELS)

MMCV_WHEEL = f"{MMCV.version}+mec1"
"""The local part counts the ways in which the wheel is made: an installed one of another is made anew."""

MMCV_FULL = ("1.4.2", "1.8")
"""The versions with compiled operations that the other three accept."""


def install_mmtracking(source: str | None = None) -> str:
    """Make MMTracking importable in this environment; return one line that says which it is.

    Args:
        source: a folder that holds the archives, to install from without a network.

    Raises:
        UserError: `source` is not such a folder, an archive is another one than it claims to be, or something is
            installed that this program did not choose and that does not work.
        RunError: pip failed; its reason is given.
    """
    folder = _checked_source(source) if source is not None else None
    missing = [package for package in PACKAGES if not _is_there(package)]
    foreign = [package for package in missing if _is_foreign(package)]
    if absent := [package.name for package in missing if foreign and package not in foreign]:
        raise UserError(_in_the_way(foreign, f"there is no {' and no '.join(absent)} beside it"))
    if foreign or (not missing and compiled_operations()):  # built for another torch, these are whole and do not load
        return _keep_working(foreign or [MMCV])
    if not missing and are_there(NEEDS):
        return f"{_title()}: is installed, kept"
    _install_needs(folder)
    with tempfile.TemporaryDirectory(prefix="mec-transfer-") as work:
        wheels = _wheels(missing, folder, Path(work))
        if wheels:
            over = overwriting(*(package.name for package in missing))
            _pip("--no-deps", "--no-index", over, *map(str, wheels), what="MMTracking")
    if reason := import_failure("mmtracking"):
        raise RunError(f"MMTracking is installed now, but {reason}")
    return f"{_title()}: installed"


def download_mmtracking(folder: Path) -> None:
    """Put into `folder` the archives that `install_mmtracking` takes from it; those that are there are kept.

    Raises:
        RunError: pip failed, or an archive is another one.
    """
    known = {package: folder / package.archive for package in PACKAGES}
    missing = [p for p, path in known.items() if not (path.is_file() and sha256_file(path) == p.sha256)]
    if not missing:
        return
    with tempfile.TemporaryDirectory(prefix="mec-transfer-", dir=folder) as work:
        _download(missing, Path(work))
        for package in missing:
            (Path(work) / package.archive).replace(known[package])


def compiled_operations() -> Path | None:
    """Return the file of mmcv's compiled operations, where an mmcv with them is installed (mmcv-full)."""
    spec = find_spec("mmcv")
    places = (spec.submodule_search_locations if spec else None) or []
    files = (path for place in places for path in Path(place).glob("_ext.*"))
    return next((path for path in files if path.suffix in (".so", ".pyd")), None)


def _is_there(package: Package) -> bool:
    """Whether the package is here as it should be. Takes milliseconds."""
    if package is not MMCV:
        return is_whole(package.name, package.version)
    if compiled_operations():
        return within(_found(MMCV) or "", *MMCV_FULL)
    return is_whole("mmcv", MMCV_WHEEL) or is_whole("mmcv", MMCV.version)


def _is_foreign(package: Package) -> bool:
    """Whether what is here of the package is of another version than this program installs, or a checkout."""
    there = find_spec(package.name) is not None
    return there and not is_of_ours(package.name) and _found(package) != package.version


def _found(package: Package) -> str | None:
    return found_version(_distribution(package))


def _distribution(package: Package) -> str:
    """Return the name by which pip knows what is installed of `package`."""
    return "mmcv-full" if package is MMCV and found_version("mmcv-full") else package.name


def _keep_working(theirs: Sequence[Package]) -> str:
    """Keep what this program did not install. Raises UserError where it does not work."""
    if reason := import_failure("mmtracking"):
        raise UserError(_in_the_way(theirs, reason.partition("; run:")[0]))
    return f"{_title()}: is installed and works, kept"


def _in_the_way(theirs: Sequence[Package], reason: str) -> str:
    found = " and ".join(f"{_distribution(package)} {_found(package) or 'of unknown version'}" for package in theirs)
    names = " ".join(_distribution(package) for package in theirs)
    wanted = ", ".join(f"{package.name} {package.version}" for package in theirs)
    return (
        f"{found} was left alone, but {reason}; MMTracking is proven with {wanted}: take the other out "
        f"(pip uninstall {names}) and run this again, or use an environment of its own"
    )


def _title() -> str:
    how = "compiled operations" if compiled_operations() else "operations of torchvision"
    return f"mmtrack {found_version('mmtrack') or 'of unknown version'} ({how})"


def _checked_source(source: str) -> Path:
    """Return the folder `source`, which must hold whatever is not here yet: of the four, and of what they import."""
    folder = Path(source)
    if not folder.is_dir():
        archives = ", ".join(package.archive for package in PACKAGES)
        raise UserError(f"--from {source}: no such folder; give one that holds {archives}")
    absent = [
        package.archive for package in PACKAGES if not (_is_there(package) or (folder / package.archive).is_file())
    ]
    wheels = {path.name.partition("-")[0].lower() for path in folder.glob("*.whl")}
    needs = [need for need in (*NEEDS, *IN_TURN) if not are_there([need])]
    absent += [f"a wheel of {need}" for need in needs if need.partition(">")[0].replace("-", "_") not in wheels]
    if absent:
        raise UserError(f"--from {source}: lacks {', '.join(absent)}")
    return folder


def _install_needs(folder: Path | None) -> None:
    where = ("--no-index", "--find-links", str(folder)) if folder else ()
    _pip(*where, *NEEDS, what="what MMTracking needs")


def _wheels(packages: Sequence[Package], folder: Path | None, work: Path) -> list[Path]:
    """Return the wheels of `packages`, from `folder` or else from the index; mmcv's is made in the folder `work`."""
    if folder is None:
        folder = work
        _download(packages, work)
    wheels = []
    for package in packages:
        archive = folder / package.archive
        check_archive(archive, f"{package.name} {package.version}", package.sha256)
        wheels.append(build_mmcv(archive, work) if package is MMCV else archive.resolve())
    return wheels


def _download(packages: Sequence[Package], folder: Path) -> None:
    wheels = [package for package in packages if package is not MMCV]
    if MMCV in packages:
        download_sdist(f"mmcv=={MMCV.version}", MMCV.name, MMCV.version, MMCV.sha256, folder, OFFLINE)
    if wheels:
        requirements = folder / "wheels.txt"
        lines = [f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n" for package in wheels]
        requirements.write_text("".join(lines), encoding="utf-8")
        how = ("--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(requirements), "-d", str(folder))
        what = " and ".join(f"{package.name} {package.version}" for package in wheels)
        run_pip("download", *how, what=what, offline=OFFLINE, pinned=False)


def build_mmcv(sdist: Path, out: Path) -> Path:
    """Write the wheel of mmcv's source archive into the folder `out`; return its path. Its setup.py is not run."""
    sources = read_sdist(sdist)
    files = package_files(sources, {"mmcv": "mmcv"}, (".py", ".json"))
    licences = {name: sources[name] for name in ("LICENSE", "LICENSES.md")}
    about = (
        "Summary: mmcv 1.7.2 without its compiled operations, repackaged by mec-transfer\n"
        "Home-page: https://github.com/open-mmlab/mmcv\nAuthor: MMCV Contributors\nLicense: Apache-2.0\n"
        "Requires-Python: >=3.7\n"
        # OpenCV goes by two names on the index: its own metadata names neither.
        + "".join(f"Requires-Dist: {need}\n" for need in ("addict", "numpy", "packaging", "Pillow", "pyyaml", "yapf"))
    )
    return write_wheel(out, "mmcv", MMCV_WHEEL, files, licences, about)


def _pip(*arguments: str, what: str) -> None:
    run_pip("install", *arguments, what=what, offline=OFFLINE)
