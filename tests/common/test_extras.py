"""What is said where a library of an optional part is missing or broken; every extra brings what its part needs.

tests/integration/test_wheel.py runs the commands without these libraries.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
import tomllib
from pathlib import Path

import pytest

from mec_transfer.common import extras
from mec_transfer.common.command import exit_status
from mec_transfer.common.errors import MissingExtra

ROOT = Path(__file__).resolve().parents[2]


def hide(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in names else find_spec(name))


def test_where_everything_is_there_nothing_is_said() -> None:
    parts = extras.PARTS.keys() - {"detection", "mmtracking", "wandb"}  # which the fast checks do without
    assert {part: extras.lacking(part) for part in parts} == dict.fromkeys(parts, "")


def test_one_line_names_what_is_missing_and_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "scipy", "cv2")
    with pytest.raises(MissingExtra) as caught:
        extras.require("tracking")
    assert str(caught.value) == "object tracking needs scipy and opencv: pip install 'mec-transfer[tracking]'"
    extras.require("plot")


def test_what_is_there_and_does_not_import_is_told_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    hide(monkeypatch, "trackeval")
    assert extras.lacking("tracking") == (
        "object tracking needs TrackEval: pip install --no-deps trackeval; object tracking: opencv does not import "
        "(libGL.so.1: cannot open shared object file); pip install --force-reinstall opencv-python-headless"
    )


def test_an_import_that_nobody_asked_for_first_ends_a_command_in_the_same_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hide(monkeypatch, "matplotlib")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    def command() -> int:
        importlib.import_module("matplotlib.figure")
        return 0

    assert exit_status("x", command) == 2
    assert capsys.readouterr().err == "x: error: a plot needs matplotlib: pip install 'mec-transfer[plot]'\n"
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
        exit_status("x", lambda: bool(importlib.import_module("nowhere_to_be_found")))


def test_every_extra_brings_what_its_part_imports() -> None:
    """But for what has a cure of its own."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for part, about in extras.PARTS.items():
        brought = {re.split("[>=<]", requirement)[0] for requirement in listed[part]}
        assert {library.package for library in about.libraries if not library.cure} <= brought
    everything = next(requirement for requirement in listed["dev"] if requirement.startswith("mec-transfer["))
    assert set(everything.partition("[")[2].rstrip("]").split(",")) == extras.PARTS.keys() - {"wandb"}


def test_whatever_the_core_does_without_is_imported_within_functions_alone() -> None:
    """Only the engines' own modules, which come after `require`, have such a library at their top."""
    optional = {library.top for about in extras.PARTS.values() for library in about.libraries}
    found = set()
    for path in [*(ROOT / "mec_transfer").rglob("*.py"), *(ROOT / "pretrain").rglob("*.py")]:
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if optional & {name.partition(".")[0] for name in names}:
                found.add(path.relative_to(ROOT / "mec_transfer").parent.as_posix())
    assert found == {"detection", "tracking/mmtrack"}
