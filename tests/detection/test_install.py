"""Detectron2's installation: what is refused, and what is recognised as unfinished. Nothing is installed here."""

from __future__ import annotations

import io
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from mec_transfer.common.errors import RunError, UserError
from mec_transfer.detection import install, repackage
from mec_transfer.detection.repackage import Edit, apply_edits, build_wheel, package_files, read_sdist

EDIT = Edit("NumPy has no np.bool", "structures/masks.py", "np.bool)", "bool)", 2)
FILE = "detectron2/structures/masks.py"


def archive(path: Path, files: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as out:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"pb1-detectron2-0.6/{name}")
            entry.size = len(text)
            out.addfile(entry, io.BytesIO(text.encode()))
    return path


def test_another_archive_than_the_pinned_one_is_refused(tmp_path):
    sdist = archive(tmp_path / "pb1-detectron2-0.6.tar.gz", {"detectron2/__init__.py": "import os"})
    with pytest.raises(UserError, match=rf"is not that of pb1-detectron2 0.6 \({repackage.SDIST_SHA256}\); nothing"):
        build_wheel(sdist, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [sdist.name]


def test_only_code_and_configs_are_taken(tmp_path):
    files = {"detectron2/a.py": "a", "detectron2/b.cu": "b", "setup.py": "s", "projects/DeepLab/deeplab/c.py": "c"}
    found = package_files(read_sdist(archive(tmp_path / "a.tar.gz", files)))
    assert found == {"detectron2/a.py": b"a", "detectron2/projects/deeplab/c.py": b"c"}


def test_an_edit_is_done_and_told_in_the_first_line():
    text = apply_edits({FILE: b"x = np.zeros(2, np.bool)\ny = np.ones(2, np.bool)\n"}, [EDIT])[FILE].decode()
    first, rest = text.split("\n", 1)
    assert first == "# Changed by mec-transfer from Detectron2 0.6: NumPy has no np.bool."
    assert rest == "x = np.zeros(2, bool)\ny = np.ones(2, bool)\n"


@pytest.mark.parametrize("source", [{FILE: b"np.bool)"}, {}], ids=["once", "no file"])
def test_another_source_than_the_edits_are_written_for_is_refused(source):
    with pytest.raises(UserError, match="times where 2 are expected .*not the source that the edits are written for"):
        apply_edits(source, [EDIT])


def test_the_record_of_a_wheel_is_what_is_in_it():
    files = {"a.py": b"one", "b.py": b""}
    files["i/RECORD"] = repackage._record(files, "i/RECORD").encode()
    with zipfile.ZipFile(io.BytesIO(repackage._zip(files))) as wheel:
        assert {name: wheel.read(name) for name in wheel.namelist()} == files
    assert repackage._zip(files) == repackage._zip(files)
    assert files["i/RECORD"].decode().splitlines()[1].endswith(",0") and files["i/RECORD"].endswith(b"i/RECORD,,\n")


def test_a_copy_that_was_cut_off_is_recognised(tmp_path, monkeypatch):
    info = tmp_path / f"detectron2-{repackage.WHEEL_VERSION}.dist-info"
    info.mkdir()
    (tmp_path / "detectron2").mkdir()
    files = {"detectron2/__init__.py": b"whole = True\n", f"{info.name}/METADATA": b"Name: detectron2\n"}
    files[f"{info.name}/METADATA"] += f"Version: {repackage.WHEEL_VERSION}\n".encode()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (info / "RECORD").write_text(repackage._record(files, f"{info.name}/RECORD"))
    monkeypatch.setattr(install.metadata, "distribution", lambda name: metadata.PathDistribution(info))
    assert install._repackaged_is_whole()
    (tmp_path / "detectron2/__init__.py").write_bytes(b"whole")
    assert not install._repackaged_is_whole()
    (info / "RECORD").unlink()
    assert not install._repackaged_is_whole() and not install._files_recorded()


def test_why_the_official_source_is_not_built_is_told(monkeypatch):
    monkeypatch.setattr(install.shutil, "which", lambda name: None)
    assert install._official_obstacle() == "no git"
    monkeypatch.setattr(install.shutil, "which", lambda name: "/bin/git" if name == "git" else None)
    assert install._official_obstacle() == "no C++ compiler"


def test_what_pip_cannot_do_is_one_line():
    with pytest.raises(RunError, match="pip could not install the engine .*no-such-project.*run this again") as caught:
        install._pip("install", "--no-index", "mec-no-such-project", what="the engine")
    assert "\n" not in str(caught.value)
