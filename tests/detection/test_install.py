"""Detectron2's installation: what is refused, and what is recognised as unfinished. Nothing is installed here."""

from __future__ import annotations

import pytest

from mec_transfer.common.errors import UserError
from mec_transfer.detection import install, repackage
from mec_transfer.detection.repackage import build_wheel
from tests.engines.sdists import write_sdist


def test_another_archive_than_the_pinned_one_is_refused(tmp_path):
    sdist = write_sdist(tmp_path / "pb1-detectron2-0.6.tar.gz", {"detectron2/__init__.py": ""})
    with pytest.raises(UserError, match=rf"is not that of pb1-detectron2 0.6 \({repackage.SDIST_SHA256}\); nothing"):
        build_wheel(sdist, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [sdist.name]


def test_the_wheel_is_kept_only_with_all_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "is_whole", lambda package, version: (package, version) == ("detectron2", "0.6+mec1"))
    monkeypatch.setattr(install, "are_there", lambda needs: "faster-coco-eval" in needs and "yacs>=0.1.8" in needs)
    assert install.install_detectron2() == "detectron2 0.6+mec1 (repackaged): is installed, kept"


def test_why_the_official_source_is_not_built_is_told(monkeypatch):
    monkeypatch.setattr(install.shutil, "which", lambda name: None)
    assert install._official_obstacle() == "no git"
    monkeypatch.setattr(install.shutil, "which", lambda name: "/bin/git" if name == "git" else None)
    assert install._official_obstacle() == "no C++ compiler"


def test_a_folder_that_was_downloaded_is_installed_from(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(requirement, name, version, sha256, folder, offline):
        return write_sdist(folder / f"{name}-{version}.tar.gz", {"detectron2/__init__.py": ""})

    monkeypatch.setattr(install, "download_sdist", download)
    install.download_detectron2(tmp_path)
    archive = tmp_path / "pb1-detectron2-0.6.tar.gz"
    assert [*tmp_path.iterdir()] == [archive]
    monkeypatch.setattr(install, "SDIST_SHA256", install.sha256_file(archive))
    monkeypatch.setattr(install, "download_sdist", lambda *words: pytest.fail("it is there"))
    install.download_detectron2(tmp_path)

    installed = []
    monkeypatch.setattr(install, "build_wheel", lambda sdist, out: installed.append(sdist) or out / "detectron2.whl")
    monkeypatch.setattr(install, "run_pip", lambda *words, **more: None)
    monkeypatch.setattr(install, "import_failure", lambda engine: None)
    install.install_detectron2(str(tmp_path))
    assert installed == [archive]
