"""What is installed is found whole, cut off, or of another's making; nothing is installed here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mec_transfer.engines import presence
from mec_transfer.engines.repackage import record

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a distribution as pip leaves it into a folder that Python imports from."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(presence.sysconfig, "get_path", lambda name: str(tmp_path))

    def put(name: str, version: str) -> Path:
        info = f"{name}-{version}.dist-info"
        files = {f"{name}/__init__.py": b"whole = True\n"}
        files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
        files[f"{info}/RECORD"] = record(files, f"{info}/RECORD").encode()
        for path, content in files.items():
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_bytes(content)
        return tmp_path

    return put


def test_a_copy_that_was_cut_off_is_recognised(install: Install) -> None:
    folder = install("mecengine", "0.6+mec1")
    assert presence.is_whole("mecengine", "0.6+mec1") and not presence.is_whole("mecengine", "0.6+mec2")
    assert presence.overwriting("mecengine", "absent") == "--force-reinstall"
    (folder / "mecengine/__init__.py").write_bytes(b"whole")
    assert not presence.is_whole("mecengine", "0.6+mec1")
    (folder / "mecengine-0.6+mec1.dist-info/RECORD").unlink()
    assert not presence.is_whole("mecengine", "0.6+mec1")
    assert presence.overwriting("mecengine", "absent") == "--ignore-installed"


def test_whose_an_installation_is(install: Install, tmp_path: Path) -> None:
    install("mecours", "1.7.2+mec1")
    install("mectheirs", "1.7.2")
    (tmp_path / "meccut").mkdir()
    (tmp_path / "meccut/__init__.py").touch()
    found = {name: presence.is_of_ours(name) for name in ("mecours", "mectheirs", "meccut", "mecabsent")}
    assert found == {"mecours": True, "mectheirs": False, "meccut": True, "mecabsent": False}
    assert presence.found_version("mectheirs") == "1.7.2" and presence.found_version("mecabsent") is None


def test_requirements_are_met_by_any_version(install: Install) -> None:
    install("mecneed", "0.1.5")
    assert presence.are_there(["mecneed>=0.1.5,<0.1.6", "mecneed"]) and not presence.are_there(
        ["mecneed", "mecabsent>1"]
    )
