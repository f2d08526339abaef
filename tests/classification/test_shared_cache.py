"""One cache for many runs: real processes at once, one of which is killed in the middle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mec_transfer.cli.main import main
from mec_transfer.common.files import read_json
from tests import warm

SMALL = ["recipe.view.resize=null", "recipe.view.crop=32"]
KNN = [*SMALL, "recipe.ks=[1, 5]", "recipe.k=5"]
RUN = """
import sys, time
from mec_transfer.classification import feature_store
from mec_transfer.cli.main import main
feature_store.PART_IMAGES = 10
real = feature_store.FeatureStore.write
def write(store, part, values):
    print(store.about["split"], part, flush=True)
    if sys.argv[1] == "hang" and (store.about["split"], part) == ("train", 2):
        time.sleep(600)
    real(store, part, values)
feature_store.FeatureStore.write = write
sys.exit(main(sys.argv[2:]))
"""


class Runs:
    """Commands on one cache."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.data, self.cache = folder, data, folder / "cache"

    def start(self, command: str, out: str, overrides: list[str], how: str = "run") -> subprocess.Popen[str]:
        words = [command, "random:resnet18:1", "--data", str(self.data), "--out", str(self.folder / out)]
        words += ["--cache", str(self.cache), "--device", "cpu", "--workers", "0"]
        words += [word for override in overrides for word in ("--set", override)]
        return warm.Popen(
            [sys.executable, "-c", RUN, how, *words, *(["--fast"] if command == "linear" else [])],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def details(self, out: str) -> dict[str, object]:
        record = read_json(self.folder / out / "record.json")
        return {**record["details"], "metrics": record["metrics"]}

    def parts(self) -> dict[str, bytes]:
        """All that is in the cache, but for notes."""
        files = (path for path in self.cache.rglob("*") if path.is_file() and path.name not in (".lock", "about.json"))
        return {str(path.relative_to(self.cache)): path.read_bytes() for path in files}


def test_two_runs_share_a_cache_and_outlive_the_kill_of_one(tmp_path: Path, tiny_images: Path) -> None:
    alone, shared = Runs(tmp_path / "alone", tiny_images), Runs(tmp_path / "shared", tiny_images)
    undisturbed = alone.start("knn", "knn", KNN)
    killed = shared.start("knn", "killed", KNN, "hang")
    assert killed.stdout
    assert [killed.stdout.readline() for _ in range(5)] == ["val 0\n", "val 1\n", "train 0\n", "train 1\n", "train 2\n"]
    waiting = [shared.start("knn", "knn", KNN), shared.start("linear", "fast", [*SMALL, "recipe.epochs=2"])]
    for process in waiting:  # both have come to where the first one holds the lock
        assert process.stderr
        said = iter(process.stderr.readline, "")
        assert f"another process ({killed.pid}) is computing the same features; waiting for it" in next(
            line for line in said if "another process" in line
        )
    killed.kill()
    outputs = [process.communicate(timeout=120) for process in (undisturbed, *waiting)]
    assert [process.returncode for process in (undisturbed, *waiting)] == [0, 0, 0], outputs
    knn, fast = shared.details("knn"), shared.details("fast")
    assert knn["metrics"] == alone.details("knn")["metrics"]
    assert sorted([knn["features_computed"], fast["features_computed"]]) == [0, 28]  # 60 less val's 12 and train's 20
    assert shared.parts() == alone.parts() and len(shared.parts()) == 2 + 5


def test_a_cache_that_is_no_folder_is_one_line(
    tmp_path: Path, tiny_images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cache"
    file.write_text("mine")
    for command in (
        ["knn", "random:resnet18", "--data", str(tiny_images)],
        ["run", "--suite", "paper", "--data-root", str(tmp_path)],
    ):
        for cache in (file, file / "below"):
            assert main([*command, "--out", str(tmp_path / "out"), "--cache", str(cache)]) == 2
            assert capsys.readouterr().err == (
                f"mec-transfer: error: --cache {cache}: {file} is a file; give a folder\n"
            )
    assert not (tmp_path / "out").exists() and file.read_text() == "mine"
