"""What set-up installs by pip, and the folder that carries it; pip itself is not asked."""

from __future__ import annotations

import json
import re
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from mec_transfer.common.errors import RunError, UserError
from tools import packages

EXTRAS = ["detection", "tracking", "plot"]
TORCH, NUMPY = (f"{name}-{packages.constraints()[name]}-py3-none-any.whl" for name in ("torch", "numpy"))


class Pip:
    """Notes what it is asked for, and puts a file for it where wheels go."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, action: str, *words: str, what: str, offline: str, pinned: bool = True) -> None:
        self.asked.append((action, *words))
        if "--wheel-dir" in words:
            folder = Path(words[words.index("--wheel-dir") + 1])
            pins = {name.lower(): version for name, version in packages.constraints().items()}
            for word in words:
                if name := re.match(r"[\w-]+(?=$|[>=])", word):
                    file = f"{name[0].replace('-', '_')}-{pins.get(name[0].lower(), '1')}-py3-none-any.whl"
                    (folder / file).write_text(word)


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> Pip:
    pip = Pip()
    monkeypatch.setattr(packages, "run_pip", pip)
    engine = "pb1-detectron2-0.6.tar.gz"
    monkeypatch.setattr(packages.detectron2, "download_detectron2", lambda folder: (folder / engine).write_text("d2"))
    monkeypatch.setattr(packages.mmtracking, "download_mmtracking", lambda folder: pytest.fail("not asked for"))
    space = namedtuple("space", "free")(int(20e9))
    monkeypatch.setattr(packages.shutil, "disk_usage", lambda folder: space)
    return pip


@pytest.fixture
def folder(pip: Pip, tmp_path: Path) -> Path:
    packages.download(tmp_path / "wheels", EXTRAS, cpu=False)
    return tmp_path / "wheels"


def test_all_that_the_extras_name_is_wanted() -> None:
    wanted = packages.requirements(["plot", "dev"])
    assert "torch>=2.9" in wanted and "faster-coco-eval>=1.6" in wanted and "timm>=1.0" in wanted
    assert len(set(wanted)) == len(wanted) and not any("mec-transfer" in requirement for requirement in wanted)
    assert set(packages.PAIR) <= set(packages.constraints())


def test_a_download_serves_what_it_was_made_for(pip: Pip, folder: Path) -> None:
    wanted = pip.asked[0]
    assert {"torch>=2.9", "matplotlib>=3.8", "yacs>=0.1.8", "setuptools>=68", "wheel"} <= {*wanted}
    assert "hypothesis>=6.100" not in wanted and "six>=1.16" not in wanted
    assert pip.asked[1][-2:] == ("--no-deps", "trackeval>=1.3")
    packages.check_folder(folder, EXTRAS, cpu=False)
    packages.check_folder(folder, ["tracking"], cpu=False)
    held = json.loads((folder / "contents.json").read_text())["files"]
    assert {TORCH, NUMPY, "pb1-detectron2-0.6.tar.gz"} <= {*held}


def without_contents(folder: Path) -> None:
    (folder / "contents.json").unlink()


def without_torch(folder: Path) -> None:
    (folder / TORCH).unlink()


def damaged(folder: Path) -> None:
    (folder / NUMPY).write_text("numpy>=1.62")


def for_another(folder: Path) -> None:
    contents = json.loads((folder / "contents.json").read_text())
    (folder / "contents.json").write_text(json.dumps(contents | {"for": "Linux x86_64, Python 3.99"}))


@pytest.mark.parametrize(
    ("spoil", "extras", "cpu", "error"),
    [
        (
            shutil.rmtree,
            EXTRAS,
            False,
            "no such folder; on a machine with a network: bash tools/setup_env.sh --download",
        ),
        (without_contents, EXTRAS, False, "holds no contents.json, .* --without mmtracking$"),
        (without_torch, EXTRAS, False, f"lacks {TORCH}; on a machine with a network"),
        (damaged, EXTRAS, False, f"{NUMPY} is damaged"),
        (for_another, EXTRAS, False, "was made for Linux x86_64, Python 3.99, but this is "),
        (lambda folder: None, [*EXTRAS, "mmtracking", "dev"], False, "lacks mmtracking, dev; .*--download .* --dev$"),
        (lambda folder: None, EXTRAS, True, "holds torch with CUDA, .*--without mmtracking --cpu$"),
    ],
)
def test_a_folder_that_does_not_serve_says_what_it_lacks(folder: Path, spoil, extras, cpu, error) -> None:  # type: ignore[no-untyped-def]
    spoil(folder)
    with pytest.raises(UserError, match=error) as caught:
        packages.check_folder(folder, extras, cpu)
    assert "\n" not in str(caught.value)


def test_a_folder_of_an_older_checkout_says_what_is_new(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pins = packages.constraints()
    monkeypatch.setattr(packages, "constraints", lambda: pins | {"numpy": "9.9", "tqdm": "9.9", "mypy": "9.9"})
    with pytest.raises(UserError, match=r"lacks numpy==9.9, tqdm==9.9; on a machine with a network"):
        packages.check_folder(folder, EXTRAS, cpu=False)
    monkeypatch.setattr(packages, "constraints", lambda: pins)
    wanted = packages.requirements(EXTRAS)
    monkeypatch.setattr(packages, "requirements", lambda extras: [*wanted, "new-library>=2"])
    with pytest.raises(UserError, match=r"lacks new-library; on a machine"):
        packages.check_folder(folder, EXTRAS, cpu=False)


def test_both_builds_of_torch_do_not_share_a_folder(pip: Pip, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.sys, "platform", "linux")
    with pytest.raises(UserError, match="holds torch with CUDA; give another folder"):
        packages.download(folder, EXTRAS, cpu=True)
    packages.check_folder(folder, EXTRAS, cpu=False)


def test_torch_without_cuda_comes_with_its_torchvision(pip: Pip, monkeypatch: pytest.MonkeyPatch) -> None:
    pins = packages.constraints()
    pair = [f"torch=={pins['torch']}+cpu", f"torchvision=={pins['torchvision']}+cpu"]
    monkeypatch.setattr(packages, "_installed", lambda package: None)
    packages.install(EXTRAS, cpu=True, wheels=None)
    assert pip.asked[0][-5:] == ("--no-deps", "--index-url", packages.CPU_INDEX, *pair) and len(pip.asked) == 3
    monkeypatch.setattr(packages, "_installed", lambda package: pins["torch"])
    pip.asked.clear()
    packages.install(EXTRAS, cpu=True, wheels=None)
    assert len(pip.asked) == 2


def test_an_index_without_them_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def run_pip(*words: str, **more: object) -> None:
        raise RunError("pip could not install torch (No matching distribution found)")

    monkeypatch.setattr(packages, "run_pip", run_pip)
    monkeypatch.setattr(packages, "_installed", lambda package: None)
    assert packages.main(["install", str(tmp_path), "--extras", "plot", "--cpu"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("setup_env.sh: error: --cpu: pip could not install torch (No matching distribution found). ")
    assert f"looked for at {packages.CPU_INDEX}" in said and "without --cpu" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("free", "cpu", "error"),
    [(20, False, ""), (7, False, "7.0 GB of disk are free, about 8.4 are needed: 5.5 to stay"), (7, True, "")],
)
def test_too_little_disk_is_told_first(
    free: int,
    cpu: bool,
    error: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(packages, "GIGABYTES", {True: (0.5, 1.5), False: (2.9, 5.5)})
    monkeypatch.setattr(packages.sys, "platform", "linux")
    space = namedtuple("space", "free")(int(free * 1e9))
    monkeypatch.setattr(packages.shutil, "disk_usage", lambda folder: space)
    words = ["check", str(tmp_path / "clone/.venv"), "--extras", "plot", *(["--cpu"] if cpu else [])]
    assert packages.main(words) == (2 if error else 0)
    printed = capsys.readouterr()
    assert ("about 0.5 GB to download, about 1.5 GB of disk" if cpu else "about 2.9 GB to download") in printed.out
    assert error in printed.err
