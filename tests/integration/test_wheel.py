"""The wheel holds all that a clone does: installed by itself, with the core's packages alone, its commands run from any
folder, and what needs an extra says so in one line."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest

from mec_transfer.cli import doctor

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("mec_transfer", "pretrain", "configs", "pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE")
OPTIONAL = (
    *("cv2", "scipy", "pycocotools", "matplotlib", "trackeval", "detectron2", "faster_coco_eval", "tensorboard"),
    *("submitit", "mmtrack", "mmdet", "mmcls", "mmcv", "sklearn"),
)
COMMAND = "mec_transfer.cli.main"
SMALL = ("--device", "cpu", "--workers", "0")

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the unpacked wheel, what it requires, and nothing else."""
    root = tmp_path_factory.mktemp("wheel")
    (root / "source").mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, root / "source" / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, root / "source")
    venv.create(root / "env", symlinks=True)
    site = next((root / "env").glob("lib/python*/site-packages"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(root / "source")], check=True)
    shutil.rmtree(root / "source")
    (wheel,) = metadata.distributions(name="mec-transfer", path=[str(site)])
    for name in closure(wheel.requires or []):
        link(metadata.distribution(name), site)
    return root / "env/bin/python"


def closure(requirements: list[str]) -> set[str]:
    """The distributions that `requirements` lead to, extras left out; a marker that fits no machine has none here."""
    found: set[str] = set()
    todo = list(requirements)
    while todo:
        name = re.split(r"[^\w.-]", line := todo.pop())[0].lower().replace("_", "-")
        if "extra ==" in line or name in found:
            continue
        try:
            todo += metadata.distribution(name).requires or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
    return found


def link(distribution: metadata.Distribution, site: Path) -> None:
    for top in {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}:
        if not (site / top).exists():
            (site / top).symlink_to(Path(str(distribution.locate_file(top))))


def run(python: Path, folder: Path, *words: str, status: int = 0) -> str:
    """Run a module; return what it printed, standard output first."""
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([python, "-m", *words], cwd=folder, env=bare, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def world(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo world as the wheel draws it, but with few images to classify and to pretrain on."""
    root = tmp_path_factory.mktemp("data")
    (root / "draw.py").write_text(
        "from pathlib import Path\n"
        "from mec_transfer.demo_world.world import WorldSize, write_demo_world\n"
        "write_demo_world(Path('world'), size=WorldSize(train_per_class=3, val_per_class=1, unlabelled=8))"
    )
    run(python, root, "draw")
    return root / "world"


def test_it_is_the_wheel_that_runs_and_nothing_optional_is_there(python: Path, tmp_path: Path) -> None:
    (tmp_path / "show.py").write_text(
        "import importlib.util, mec_transfer.common.paths as p\n"
        f"print(p.__file__, p.CONFIGS, *filter(importlib.util.find_spec, {OPTIONAL}))"
    )
    package = next(python.parents[1].glob("lib/python*/site-packages/mec_transfer"))
    found = run(python, tmp_path, "show").split()
    assert found == [str(package / "common/paths.py"), str(package / "configs")]
    shipped = sorted(path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.yaml"))
    assert sorted(path.relative_to(package / "configs") for path in package.rglob("configs/*/*.yaml")) == shipped


def test_its_commands_run_from_any_folder(python: Path, world: Path, tmp_path: Path) -> None:
    """All those of the core: pretraining, what is in its file, data of every layout, numbers, the leaderboard."""
    assert "imagenet-knn-dino" in run(python, tmp_path, COMMAND, "ls")
    assert "moco:v2-800ep" in run(python, tmp_path, COMMAND, "models")
    settings = ("arch=resnet18", "dim=32", "pred_dim=8", "epochs=1", "warmup_epochs=0", "batch_size=8", "max_steps=1")
    small = (*SMALL, *(word for setting in settings for word in ("--set", setting)))
    run(python, tmp_path, "pretrain", "mec_r18_demo", "--data", str(world / "pretrain"), "--out", "mec", *small)
    checkpoint, images = "mec/checkpoint_last.pth", ("--data", str(world / "imagenet"), *SMALL)
    knn = ("--config", "demo_knn", "--set", "recipe.ks=[1]", "--set", "recipe.k=1")
    steps = [
        ["inspect", checkpoint],
        ["convert", checkpoint, "--to", "torchvision", "--out", "converted.pth"],
        ["data", "check", str(world / "imagenet")],
        *(["data", "check", str(world / layout), "--layout", layout] for layout in ("voc", "coco")),
        *(["data", "check", str(world / name), "--config", f"demo_{kind}"] for kind, name in TRACKED.items()),
        ["knn", checkpoint, "--out", "jobs/knn", *images, *knn],
        ["linear", checkpoint, "--out", "jobs/linear", *images, "--config", "demo_linear_fast"],
        ["report", "jobs"],
        ["verify", "jobs"],
        ["leaderboard", "jobs"],
    ]
    done = in_one_process(python, tmp_path, steps)
    assert [(step[:4], status) for step, (status, _, _) in zip(steps, done)] == [(step[:4], 0) for step in steps], done
    assert "<table" in (tmp_path / "jobs/report.html").read_text(encoding="utf-8")
    assert "2 verified, 0 bad" in done[-2][1] and "demo-knn-dino" in done[-1][1]


TRACKED = {"sot_xcorr": "otb", "vos": "davis", "mot": "motchallenge", "mots": "mots", "posetrack": "posetrack18"}
CURES = {
    "detection": "detection needs pycocotools and Detectron2: "
    "pip install 'mec-transfer[detection]' and mec-transfer engines install detectron2",
    "tracking": "object tracking needs scipy, opencv, pycocotools and TrackEval: "
    "pip install 'mec-transfer[tracking]' and pip install --no-deps trackeval",
    "mmtracking": "a trained tracker needs MMTracking, MMDetection, MMCls and MMCV: "
    "mec-transfer engines install mmtracking",
    "svm": "a linear SVM needs scikit-learn: pip install 'mec-transfer[svm]'",
    "plot": "a plot needs matplotlib: pip install 'mec-transfer[plot]'",
    "tensorboard": "--tensorboard needs tensorboard: pip install 'mec-transfer[tensorboard]'",
    "slurm": "--launcher slurm needs submitit: pip install 'mec-transfer[slurm]'",
}


def test_what_needs_an_extra_says_so_in_one_line(python: Path, world: Path, tmp_path: Path) -> None:
    """Every benchmark of a family with an extra, and whatever else one is for."""
    from mec_transfer.suite.registry import benchmark_files

    command = {"detection": "detect", "tracking": "track"}
    steps = [
        ["engines", "check"],
        ["run", "--suite", "demo", "--launcher", "slurm", "--time-limit", "9", "--out", "out"],
    ]
    lines = ["detection", "slurm"]
    for file in benchmark_files():
        if family := file.parent.name if file.parent.name in command else "":
            steps.append([command[family], "random:resnet18", "--config", file.stem, "--data", ".", "--out", "out"])
            lines.append(family)
    printed = in_one_process(python, tmp_path, steps)
    for step, (status, _, error), line in zip(steps, printed, lines, strict=True):
        assert (status, error) == (2, f"mec-transfer: error: {CURES[line]}\n"), step
    assert not (tmp_path / "out").exists()

    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 1.0}\n')
    assert run(python, tmp_path, "pretrain.plot", ".", status=2) == f"pretrain.plot: error: {CURES['plot']}\n"
    words = (
        "mec_r18_demo",
        "--data",
        str(world / "pretrain"),
        "--out",
        "out",
        "--tensorboard",
        "--set",
        "batch_size=8",
        *SMALL,
    )
    assert run(python, tmp_path, "pretrain", *words, status=2) == f"mec-pretrain: error: {CURES['tensorboard']}\n"


def test_doctor_names_the_extras(python: Path, tmp_path: Path) -> None:
    bad, good = in_one_process(
        python,
        tmp_path,
        [["doctor"], ["doctor", *(word for part in doctor.OPTIONAL for word in ("--without", part))]],
    )
    lines = [line.removeprefix("BAD   ") for line in bad[1].splitlines() if not line.startswith("ok ")]
    assert (bad[0], lines) == (1, [CURES[part] for part in doctor.OPTIONAL])
    assert good[0] == 0 and "every command: numpy, torch" in good[1], good


def test_a_suite_records_what_cannot_run_and_does_the_rest(python: Path, world: Path, tmp_path: Path) -> None:
    suite = "id: mixed\nmodels: {random: random:resnet18}\nbenchmarks:\n"
    knn = "- {config: demo_knn, set: ['recipe.ks=[1]', recipe.k=1]}\n"
    (tmp_path / "suite.yaml").write_text(suite + knn + "- demo_mask_rcnn\n- demo_vos\n- demo_mots\n")
    words = ("run", "--suite", "suite.yaml", "--data-root", str(world), "--out", "out", *SMALL)
    plan = run(python, tmp_path, COMMAND, *words, "--dry-run", status=3)
    assert plan.count(f"cannot run: {CURES['detection']}\n") == 1
    assert plan.count(f"cannot run: {CURES['tracking']}\n") == 2
    run(python, tmp_path, COMMAND, *words, status=1)
    records = [json.loads(path.read_bytes()) for path in tmp_path.glob("out/jobs/random/*/record.json")]
    errors = {record["benchmark"]["id"].split("+")[0]: record["error"] for record in records}
    assert errors == {
        "demo_knn": None,
        "demo_mask_rcnn": CURES["detection"],
        **dict.fromkeys(("demo_vos", "demo_mots"), CURES["tracking"]),
    }
    assert "demo-knn" in run(python, tmp_path, COMMAND, "leaderboard", "out")


def in_one_process(python: Path, folder: Path, steps: list[list[str]]) -> list[tuple[int, str, str]]:
    """Run `mec-transfer` commands one after the other, torch being imported once: status, output and errors of each."""
    (folder / "steps.json").write_text(json.dumps(steps))
    (folder / "drive.py").write_text(DRIVE)
    return [(step[0], step[1], step[2]) for step in json.loads(run(python, folder, "drive").splitlines()[0])]


DRIVE = """
import contextlib, io, json
from mec_transfer.cli.main import main

done = []
for step in json.load(open("steps.json")):
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        status = main(step)
    done.append((status, out.getvalue(), error.getvalue()))
print(json.dumps(done))
"""
