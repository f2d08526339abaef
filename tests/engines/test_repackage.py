"""A source archive becomes a wheel of Python alone: what is taken, changed, refused and recorded."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from mec_transfer.common.errors import UserError
from mec_transfer.engines import repackage
from mec_transfer.engines.repackage import Edit, apply_edits, check_archive, package_files, read_sdist, write_wheel
from tests.engines.sdists import write_sdist

EDIT = Edit("NumPy has no np.bool", "structures/masks.py", "np.bool)", "bool)", 2)
FILE = "engine/structures/masks.py"


def test_another_archive_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    sdist = write_sdist(tmp_path / "engine-0.6.tar.gz", {"engine/__init__.py": "import os"})
    with pytest.raises(
        UserError, match=rf"^{sdist}: sha256 [0-9a-f]{{64}} is not that of engine 0.6 \(00ff\); nothing"
    ):
        check_archive(sdist, "engine 0.6", "00ff")


def test_only_code_and_configs_are_taken(tmp_path: Path) -> None:
    files = {"engine/a.py": "a", "engine/b.cu": "b", "setup.py": "s", "projects/x/c.json": "c", "engineer/d.py": "d"}
    sources = read_sdist(write_sdist(tmp_path / "a.tar.gz", files))
    found = package_files(sources, {"engine": "engine", "projects/x": "engine/x"}, (".py", ".json"))
    assert found == {"engine/a.py": b"a", "engine/x/c.json": b"c"}


def test_an_edit_is_done_and_told_in_the_first_line() -> None:
    files = {FILE: b"x = np.zeros(2, np.bool)\ny = np.ones(2, np.bool)\n", "engine/other.py": b"np.bool)"}
    edited = apply_edits(files, [EDIT], "engine", "Engine 0.6")
    first, rest = edited[FILE].decode().split("\n", 1)
    assert first == "# Changed by mec-transfer from Engine 0.6: NumPy has no np.bool."
    assert rest == "x = np.zeros(2, bool)\ny = np.ones(2, bool)\n"
    assert edited["engine/other.py"] == b"np.bool)"


@pytest.mark.parametrize("source", [{FILE: b"np.bool)"}, {}], ids=["once", "no file"])
def test_another_source_than_the_edits_are_written_for_is_refused(source: dict[str, bytes]) -> None:
    with pytest.raises(UserError, match="times where 2 are expected .*not the source that the edits are written for"):
        apply_edits(source, [EDIT], "engine", "Engine 0.6")


def test_a_wheel_holds_what_it_records_and_is_the_same_each_time(tmp_path: Path) -> None:
    files = {"engine/a.py": b"one", "engine/b.py": b""}
    about = "Summary: an engine\n"
    wheel = write_wheel(tmp_path, "engine", "0.6+mec1", files, {"LICENSE": b"free"}, about)
    assert wheel.name == "engine-0.6+mec1-py3-none-any.whl"
    first = wheel.read_bytes()
    assert write_wheel(tmp_path, "engine", "0.6+mec1", files, {"LICENSE": b"free"}, about).read_bytes() == first
    info = "engine-0.6+mec1.dist-info"
    with zipfile.ZipFile(wheel) as opened:
        held = {name: opened.read(name) for name in opened.namelist()}
    assert {name: held[name] for name in files} == files and held[f"{info}/licenses/LICENSE"] == b"free"
    metadata = held[f"{info}/METADATA"].decode()
    assert (
        metadata
        == "Metadata-Version: 2.1\nName: engine\nVersion: 0.6+mec1\nSummary: an engine\nLicense-File: LICENSE\n"
    )
    lines = held[f"{info}/RECORD"].decode().splitlines()
    assert [line.partition(",")[0] for line in lines] == list(held) and lines[-1] == f"{info}/RECORD,,"
    assert lines[1] == "engine/b.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0"


def test_a_record_names_itself_last() -> None:
    assert repackage.record({"a.py": b""}, "i/RECORD").endswith(",0\ni/RECORD,,\n")
