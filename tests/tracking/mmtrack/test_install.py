"""MMTracking's installation: what is kept, refused and asked of pip. Nothing is installed here."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.paths import CONFIGS
from mec_transfer.tracking.mmtrack import install
from mec_transfer.tracking.mmtrack.install import MMCV, MMCV_WHEEL, NEEDS, PACKAGES, build_mmcv, install_mmtracking
from tests.engines.sdists import write_sdist

WHOLE = {package.name: package.version for package in PACKAGES} | {"mmcv": MMCV_WHEEL}


class Machine:
    """What is installed on a machine, and what pip is asked to do there."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = dict(WHOLE)
        self.broken: set[str] = set()
        self.compiled: Path | None = None
        self.failure: str | None = None
        self.asked: list[tuple[str, ...]] = []

    def pip(self, action: str, *arguments: str, what: str, offline: str, **kwargs: object) -> None:
        self.asked.append((action, *arguments))
        if "--no-deps" in arguments and action == "install":
            self.broken.clear()
            self.versions = dict(WHOLE)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    there = Machine()

    def is_whole(package: str, version: str) -> bool:
        return there.versions.get(package) == version and package not in there.broken

    monkeypatch.setattr(install, "is_whole", is_whole)
    monkeypatch.setattr(install, "found_version", lambda package: there.versions.get(package))
    monkeypatch.setattr(install, "find_spec", lambda name: there.versions.get(name))
    monkeypatch.setattr(install, "is_of_ours", lambda package: "+mec" in there.versions.get(package, ""))
    monkeypatch.setattr(install, "compiled_operations", lambda: there.compiled)
    monkeypatch.setattr(install, "are_there", lambda needs: True)
    monkeypatch.setattr(install, "overwriting", lambda *packages: "--force-reinstall")
    monkeypatch.setattr(install, "import_failure", lambda engine: there.failure)
    monkeypatch.setattr(install, "run_pip", there.pip)
    monkeypatch.setattr(install, "download_sdist", lambda *args: there.asked.append(("sdist", *map(str, args[:1]))))
    return there


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hold four small archives, and have them known by their sha256."""
    packages = []
    for package in PACKAGES:
        path = tmp_path / "archives" / package.archive
        path.parent.mkdir(exist_ok=True)
        if package.name == "mmcv":
            write_sdist(path, {"mmcv/__init__.py": "", "LICENSE": "Apache", "LICENSES.md": "all"})
        else:
            path.write_bytes(package.name.encode())
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        packages.append(install.Package(package.name, package.version, package.archive, sha256))
    monkeypatch.setattr(install, "PACKAGES", tuple(packages))
    monkeypatch.setattr(install, "MMCV", packages[0])
    return tmp_path / "archives"


def test_what_is_whole_is_kept_without_a_question(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "import_failure", lambda engine: pytest.fail("a process was started"))
    assert install_mmtracking() == "mmtrack 0.14.0 (operations of torchvision): is installed, kept"
    machine.versions["mmcv"] = "1.7.2"  # by its own setup.py
    assert install_mmtracking().endswith("kept") and machine.asked == []


def test_compiled_operations_are_kept_where_they_load(machine: Machine) -> None:
    machine.compiled = Path("_ext.so")
    machine.versions |= {"mmcv-full": "1.7.1"}
    del machine.versions["mmcv"]
    assert install_mmtracking() == "mmtrack 0.14.0 (compiled operations): is installed and works, kept"
    machine.failure = "MMTracking does not import (undefined symbol: _ZN3c10); run: mec-transfer engines install"
    with pytest.raises(
        UserError, match=r"^mmcv-full 1.7.1 was left alone, but MMTracking does not import \(undefined"
    ) as caught:
        install_mmtracking()
    assert "pip uninstall mmcv-full" in str(caught.value) and machine.asked == []


def test_a_folder_of_archives_is_enough(machine: Machine, folder: Path) -> None:
    machine.versions.clear()
    assert install_mmtracking(str(folder)) == "mmtrack 0.14.0 (operations of torchvision): installed"
    needs, engine = machine.asked
    assert needs == ("install", "--no-index", "--find-links", str(folder), *NEEDS)
    assert engine[:4] == ("install", "--no-deps", "--no-index", "--force-reinstall")
    wheels = [f"mmcv-{MMCV_WHEEL}-py3-none-any.whl", *(package.archive for package in PACKAGES[1:])]
    assert [Path(path).name for path in engine[4:]] == wheels


def test_only_what_is_broken_is_installed_anew(machine: Machine, folder: Path) -> None:
    machine.broken = {"mmdet"}
    for package in PACKAGES:
        if package.name != "mmdet":  # not needed for that
            (folder / package.archive).unlink()
    assert install_mmtracking(str(folder)).endswith(": installed")
    assert machine.asked[-1][4:] == (str(folder / "mmdet-2.28.2-py3-none-any.whl"),)


def test_without_a_folder_each_is_downloaded_by_its_hash(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.versions.clear()
    with pytest.raises(OSError, match="mmcv-1.7.2.tar.gz"):  # this pip downloads nothing
        install_mmtracking()
    assert machine.asked[1] == ("sdist", "mmcv==1.7.2")
    download = machine.asked[2]
    assert download[:4] == ("download", "--no-deps", "--only-binary=:all:", "--require-hashes")


def test_a_download_fetches_what_is_missing_or_damaged(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[str] = []

    def download(packages: list[install.Package], work: Path) -> None:
        wanted.extend(package.name for package in packages)
        for package in packages:
            (work / package.archive).write_text("fetched")

    monkeypatch.setattr(install, "_download", download)
    install.download_mmtracking(folder)
    assert wanted == []
    (folder / PACKAGES[1].archive).unlink()
    (folder / PACKAGES[2].archive).write_text("damaged")
    install.download_mmtracking(folder)
    assert wanted == ["mmcls", "mmdet"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(package.archive for package in PACKAGES)
    assert (folder / PACKAGES[2].archive).read_text() == "fetched"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: folder.parent / "no",
            r"--from .*no: no such folder; give one that holds mmcv-1.7.2.tar.gz, mmcls",
        ),
        (lambda folder: folder / MMCV.archive, r"mmcv-1.7.2.tar.gz: no such folder; give one"),
        (lambda folder: unlink(folder / MMCV.archive), r"^--from .*: lacks mmcv-1.7.2.tar.gz$"),
        (lambda folder: spoiled(folder / MMCV.archive), r"mmcv-1.7.2.tar.gz: sha256 .* is not that of mmcv 1.7.2 \("),
        (lambda folder: spoiled(folder / PACKAGES[3].archive), r"sha256 .* is not that of mmtrack 0.14.0 \("),
    ],
    ids=["nowhere", "a file", "one missing", "another source", "another wheel"],
)
def test_a_folder_that_does_not_serve_is_one_line(
    spoil: Callable[[Path], Path], message: str, machine: Machine, folder: Path
) -> None:
    machine.versions.clear()
    with pytest.raises(UserError, match=message) as caught:
        install_mmtracking(str(spoil(folder)))
    assert "\n" not in str(caught.value) and not any("--no-deps" in asked for asked in machine.asked)


def unlink(path: Path) -> Path:
    path.unlink()
    return path.parent


def spoiled(path: Path) -> Path:
    path.write_bytes(path.read_bytes() + b"x")
    return path.parent


def test_a_folder_without_what_they_import_is_one_line(
    machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.versions.clear()
    (folder / MMCV.archive).unlink()
    (folder / "python_dateutil-4.0.0-py3-none-any.whl").touch()
    here = {"addict>=2.4", "pandas", "python-dateutil"}
    monkeypatch.setattr(install, "are_there", lambda needs: not here & set(needs))
    with pytest.raises(UserError, match="lacks mmcv-1.7.2.tar.gz, a wheel of addict>=2.4, a wheel of pandas$"):
        install_mmtracking(str(folder))
    assert machine.asked == []


def test_another_version_is_left_alone(machine: Machine) -> None:
    machine.versions["mmcls"] = "0.24.1"
    assert install_mmtracking() == "mmtrack 0.14.0 (operations of torchvision): is installed and works, kept"
    machine.failure = "MMTracking does not import (No module named 'mmengine'); run: mec-transfer engines install"
    with pytest.raises(
        UserError, match=r"^mmcls 0.24.1 was left alone, but MMTracking does not import \(No module"
    ) as caught:
        install_mmtracking()
    assert "proven with mmcls 0.25.0" in str(caught.value) and "; run:" not in str(caught.value)
    del machine.versions["mmtrack"]
    with pytest.raises(
        UserError, match="mmcls 0.24.1 was left alone, but there is no mmtrack beside it; .*uninstall mmcls"
    ):
        install_mmtracking()
    assert machine.asked == []


def test_a_wheel_of_ours_made_otherwise_is_made_anew(machine: Machine, folder: Path) -> None:
    machine.versions["mmcv"] = "1.7.2+mec0"
    install_mmtracking(str(folder))
    assert [Path(path).name for path in machine.asked[-1][4:]] == [f"mmcv-{MMCV_WHEEL}-py3-none-any.whl"]


def test_an_installation_that_does_not_import_is_told(machine: Machine, folder: Path) -> None:
    machine.broken, machine.failure = {"mmdet"}, "MMTracking does not import (No module named 'addict')"
    with pytest.raises(RunError, match="MMTracking is installed now, but MMTracking does not import"):
        install_mmtracking(str(folder))


def test_mmcvs_wheel_holds_its_python_and_runs_nothing(tmp_path: Path) -> None:
    files = {"mmcv/__init__.py": "a", "mmcv/model_zoo/x.json": "{}", "mmcv/ops/csrc/nms.cu": "c", "setup.py": "1 / 0"}
    archive = write_sdist(tmp_path / "mmcv-1.7.2.tar.gz", files | {"LICENSE": "Apache", "LICENSES.md": "all"})
    wheel = build_mmcv(archive, tmp_path)
    assert wheel.name == "mmcv-1.7.2+mec1-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as opened:
        held = [name for name in opened.namelist() if not name.endswith(("METADATA", "WHEEL", "RECORD"))]
    info = "mmcv-1.7.2+mec1.dist-info/licenses"
    assert held == ["mmcv/__init__.py", "mmcv/model_zoo/x.json", f"{info}/LICENSE", f"{info}/LICENSES.md"]


def test_the_extra_brings_what_the_installer_asks_for() -> None:
    import tomllib

    project = tomllib.loads((CONFIGS.parent / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["mmtracking"] == list(NEEDS)
