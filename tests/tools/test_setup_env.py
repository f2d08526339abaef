"""setup_env.sh with a Python that only notes what it is asked for, and what it says without a network."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PYTHON = """#!/usr/bin/env bash
case "$*" in
  "-m venv "*)
    mkdir -p "${@: -1}/bin"
    cp "$0" "${@: -1}/bin/python"
    echo "#!${@: -1}/bin/python" >"${@: -1}/bin/pip" ;;
  *"import torch"*) [ -n "${TORCH:-}" ] || exit 1; echo "$TORCH"; exit ;;
  *" show "*) exit 1 ;;
  *as_uri*) echo file:///wheels; exit ;;
  *" doctor "*)
    for word; do
      case $word in detection|mmtracking) echo "ok    without $word: some benchmarks do not run" ;; esac
    done
    [ -z "${BROKEN:-}" ] || { echo "BAD   something"; exit 1; } ;;
esac
case "$*" in
  *" check "*|*" install "*|*" download "*) echo "$* ${PIP_NO_INDEX:+offline}" | sed "s:$CHECKOUT/::g" >>"$CALLS" ;;
esac
"""


@dataclasses.dataclass
class Checkout:
    """A clone with that Python."""

    root: Path
    environ: dict[str, str]

    def set_up(self, *words: str, status: int = 0, **environ: str) -> tuple[list[str], str, str]:
        """Run the script: what it had Python do, its last line, and its other words."""
        calls = Path(self.environ["CALLS"])
        calls.write_text("")
        command = ["bash", str(self.root / "tools/setup_env.sh"), *words]
        done = subprocess.run(command, env=self.environ | environ, capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        return calls.read_text().splitlines(), (done.stdout.splitlines() or [""])[-1], done.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / "a clone"
    (root / "tools").mkdir(parents=True)
    for name in ("tools/setup_env.sh", "tools/packages.py", "pyproject.toml", "setup.py", "constraints.txt"):
        shutil.copy(ROOT / name, root / name)
    (root / "mec_transfer").symlink_to(ROOT / "mec_transfer")
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("MEC_TRANSFER_", "PIP_"))}
    noted = {"PYTHON": str(python), "CALLS": str(tmp_path / "calls"), "CHECKOUT": str(root)}
    return Checkout(root, bare | noted)


ALL = "detection,mmtracking,tracking,plot,svm,transfer"
INSTALLED = [
    f"tools/packages.py check .venv --extras {ALL} ",
    f"tools/packages.py install .venv --extras {ALL} ",
    "-m mec_transfer.cli.main engines install detectron2 ",
    "-m mec_transfer.cli.main engines install mmtracking ",
]


def test_everything_is_installed_once(checkout: Checkout) -> None:
    calls, last, said = checkout.set_up()
    assert (calls, last) == (INSTALLED, f"{checkout.root}/.venv/bin") and "without" not in said
    assert checkout.set_up() == ([], f"{checkout.root}/.venv/bin", "")
    (checkout.root / "constraints.txt").write_text("torch==3.0\n")
    assert checkout.set_up()[0] == INSTALLED


def test_an_environment_with_more_serves_and_one_with_less_does_not(checkout: Checkout) -> None:
    calls, _, said = checkout.set_up("--without", "detection", "--dev")
    assert (
        calls[1] == "tools/packages.py install .venv --extras mmtracking,tracking,plot,svm,transfer,dev "
        and len(calls) == 3
    )
    assert said.splitlines()[-1] == "without detection: some benchmarks do not run"
    assert checkout.set_up("--without", "detection")[0] == []
    assert checkout.set_up("--without", "detection", "--without", "mmtracking", "--dev")[0] == []
    assert checkout.set_up()[0] == INSTALLED
    assert checkout.set_up("--dev")[0] != []
    assert checkout.set_up("--dev")[0] == checkout.set_up(MEC_TRANSFER_WITHOUT="mmtracking")[0] == []


def test_what_does_not_work_leaves_no_stamp(checkout: Checkout) -> None:
    _, last, said = checkout.set_up(BROKEN="1", status=2)
    assert last == "" and "BAD   something\nsetup_env.sh: error: what was installed does not work" in said
    assert checkout.set_up()[0] == INSTALLED


def test_an_environment_keeps_its_build_of_torch(checkout: Checkout) -> None:
    calls, _, said = checkout.set_up("--cpu", TORCH="")
    assert [call.endswith("--cpu ") for call in calls] == [True, True, False, False]
    checkout.set_up("--dev", "--cpu", TORCH="cpu")
    calls, _, said = checkout.set_up(TORCH="cpu")
    assert calls == [] and "keeps its torch without CUDA, for CPUs alone; for the other one, remove that folder" in said
    assert checkout.set_up("--cpu", TORCH="cpu") == ([], f"{checkout.root}/.venv/bin", "")

    (checkout.root / ".venv/.mec-transfer").unlink()  # as an interrupted call leaves it
    calls, _, said = checkout.set_up(TORCH="cpu")
    assert calls[1] == f"tools/packages.py install .venv --extras {ALL} --cpu " and "for CPUs alone" in said
    (checkout.root / ".venv/.mec-transfer").unlink()
    calls, _, said = checkout.set_up("--cpu", TORCH="gpu")
    assert calls == INSTALLED and "keeps its torch with CUDA, which runs on CPUs too" in said
    assert "with CUDA, which runs on CPUs too" in checkout.set_up("--cpu")[2]


def test_a_folder_of_wheels_is_all_that_pip_sees(checkout: Checkout) -> None:
    calls, _, _ = checkout.set_up("--wheels", "my wheels")
    assert calls == [
        f"tools/packages.py check .venv --wheels my wheels --extras {ALL} ",
        f"tools/packages.py install .venv --wheels my wheels --extras {ALL} offline",
        "-m mec_transfer.cli.main engines install detectron2 --from my wheels offline",
        "-m mec_transfer.cli.main engines install mmtracking --from my wheels offline",
    ]


def test_a_download_installs_nothing(checkout: Checkout) -> None:
    calls, last, _ = checkout.set_up("--download", "wheels", "--cpu", MEC_TRANSFER_ENV="active")
    assert calls == [f"tools/packages.py download wheels --extras {ALL} --cpu "] and last == ""
    assert not (checkout.root / ".venv").exists()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--gpu"], "unknown option '--gpu'; there are --dev, --cpu, "),
        (["--without"], "--without needs a part"),
        (["--without", "plot"], "--without 'plot': only detection and mmtracking"),
        (["--wheels"], "--wheels needs the folder that --download made"),
        (["--download", ""], "--download needs a folder"),
        (["--download", "a", "--wheels", "a"], "give one of them"),
        (["--active"], "--active: no virtual or conda environment is active"),
    ],
)
def test_a_wrong_word_is_one_line(checkout: Checkout, words: list[str], error: str) -> None:
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        checkout.environ.pop(name, None)
    calls, _, said = checkout.set_up(*words, status=2)
    assert calls == [] and said.startswith("setup_env.sh: error: ") and error in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("system", "words", "error"),
    [
        ("MINGW64_NT-10.0", [], "not supported; on Windows run this within WSL 2"),
        ("Darwin x86_64", [], "Macs with an Intel processor"),
        ("Darwin arm64", ["--cpu"], "leave --cpu out"),
    ],
)
def test_another_system_is_one_line(checkout: Checkout, system: str, words: list[str], error: str) -> None:
    bin = checkout.root.parent / "bin"
    bin.mkdir()
    name, _, machine = system.partition(" ")
    (bin / "uname").write_text(f"#!/bin/sh\n[ \"$1\" = -s ] && echo '{name}' || echo '{machine}'\n")
    (bin / "uname").chmod(0o755)
    calls, _, said = checkout.set_up(*words, PATH=f"{bin}:{os.environ['PATH']}", status=2)
    assert calls == [] and error in said and said.count("\n") == 1


def test_a_folder_that_does_not_serve_is_one_line_before_anything_is_made(checkout: Checkout, tmp_path: Path) -> None:
    checkout.environ["PYTHON"] = sys.executable
    _, _, said = checkout.set_up("--wheels", str(tmp_path / "none"), "--dev", status=2)
    make = f"on a machine with a network: bash tools/setup_env.sh --download {tmp_path}/none --dev"
    assert said == f"setup_env.sh: error: --wheels {tmp_path}/none: no such folder; {make}\n"
    assert not (checkout.root / ".venv").exists()
