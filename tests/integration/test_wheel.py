"""The wheel holds all that a clone does: installed by itself, its commands run from any folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mec_transfer.demo_world.world import WorldSize, write_demo_world

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("mec_transfer", "pretrain", "configs", "pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE")

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the unpacked wheel and nothing else."""
    root = tmp_path_factory.mktemp("wheel")
    (root / "source").mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, root / "source" / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, root / "source")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(root / "site"), str(root / "source")], check=True)
    shutil.rmtree(root / "source")
    return root / "site"


def run(installed: Path, folder: Path, module: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_the_wheel_that_runs(installed: Path, tmp_path: Path) -> None:
    where = "import mec_transfer.common.paths as p; print(p.__file__, p.CONFIGS)"
    done = subprocess.run(
        [sys.executable, "-c", where],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
    )
    assert done.stdout.decode().split() == [
        str(installed / "mec_transfer/common/paths.py"),
        str(installed / "mec_transfer/configs"),
    ]
    shipped = sorted(path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.yaml"))
    assert (
        sorted(path.relative_to(installed / "mec_transfer/configs") for path in installed.rglob("configs/*/*.yaml"))
        == shipped
    )


def test_its_commands_run_from_any_folder(installed: Path, tmp_path: Path) -> None:
    size = WorldSize(train_per_class=3, val_per_class=1, unlabelled=16)
    world = write_demo_world(tmp_path / "world", 0, ("classification", "pretrain"), size)
    assert "imagenet-knn-dino" in run(installed, tmp_path, "mec_transfer.cli.main", "ls")
    small = ("--device", "cpu", "--workers", "0")
    pretraining = ("arch=resnet18", "epochs=1", "warmup_epochs=0", "batch_size=8", "max_steps=1")
    overrides = [word for override in pretraining for word in ("--set", override)]
    run(
        installed,
        tmp_path,
        "pretrain",
        "mec_r50_demo",
        "--data",
        str(world / "pretrain"),
        "--out",
        "mec",
        *small,
        *overrides,
    )
    knn = ("knn", "mec/checkpoint_last.pth", "--config", "demo_knn", "--data", str(world / "imagenet"), "--out", "knn")
    assert "demo-knn-dino" in run(
        installed, tmp_path, "mec_transfer.cli.main", *knn, *small, "--set", "recipe.ks=[1]", "--set", "recipe.k=1"
    )
