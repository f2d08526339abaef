from __future__ import annotations

import platform
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

from mec_transfer.common import runtime
from mec_transfer.common.errors import UserError
from mec_transfer.common.progress import Meter, track
from mec_transfer.common.runtime import derive_seed, peak_memory, pick_device, versions


def test_seeds_depend_on_every_part_and_on_nothing_else() -> None:
    assert derive_seed(0, "order", 3) == derive_seed(0, "order", 3)
    assert len({derive_seed(seed, what, epoch) for seed in range(4) for what in "ab" for epoch in range(4)}) == 32
    assert 0 <= derive_seed("x") < 2**63


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="--device tpu"):
        pick_device("tpu")
    if not torch.cuda.is_available():
        assert pick_device("auto") == torch.device("cpu")
        with pytest.raises(UserError, match="sees no GPU"):
            pick_device("cuda")


def test_versions_name_what_moves_numbers() -> None:
    found = versions()
    assert {"python", "torch", "torchvision", "numpy", "pillow", "scipy", "pycocotools", "trackeval"} <= set(found)
    assert any(name.startswith("opencv-") for name in found)


@pytest.mark.parametrize("name", ["opencv-python", "opencv-python-headless"])
def test_versions_record_whichever_opencv_and_engine_are_installed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    installed = {name: "4.12", "detectron2": "0.6", "fvcore": "0.1.5", "faster-coco-eval": "1.8"}

    def version(wanted: str) -> str:
        if wanted not in installed:
            raise metadata.PackageNotFoundError(wanted)
        return installed[wanted]

    monkeypatch.setattr(metadata, "version", version)
    assert versions() == {"python": platform.python_version(), **installed}


def test_progress_writes_to_standard_error_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mec_transfer.common.progress._LOG_INTERVAL_SECONDS", 0.0)
    assert list(track(range(3), "counting", 3)) == [0, 1, 2]
    meter = Meter("training", 10, "steps", start=4)
    meter.advance(loss=0.5, lr=0.1)
    meter.close()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "counting [3/3 batches]" in captured.err
    assert "training [5/10 steps]  loss 0.5  lr 0.1" in captured.err


def test_other_ranks_are_silent(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("mec_transfer.common.progress._LOG_INTERVAL_SECONDS", 0.0)
    list(track(range(3), "counting", 3))
    assert capsys.readouterr().err == ""


def test_peak_memory_is_in_bytes_and_holds_what_is_held() -> None:
    before = peak_memory()
    held = np.ones(64 << 20, dtype=np.uint8)
    assert before > 10 << 20 and peak_memory() >= held.nbytes


@pytest.mark.parametrize("version", [1, 2])
def test_available_memory_is_the_least_of_the_machines_and_the_groups(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job of SLURM has its limit two levels above the process's own group."""
    top = tmp_path / "memory" if version == 1 else tmp_path
    limit, used, files = runtime._VERSION_1 if version == 1 else runtime._VERSION_2

    def limit_group(name: str, most: str, taken: int, of_files: int) -> None:
        folder = top / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / limit).write_text(f"{most}\n")
        (folder / used).write_text(f"{taken}\n")
        (folder / "memory.stat").write_text(f"anon 1\n{files} {of_files}\nactive_file 7\n")

    (tmp_path / "own").write_text(
        "3:cpuset:/\n4:cpu,memory:/job/step/task\n" if version == 1 else "0::/job/step/task\n"
    )
    monkeypatch.setattr(runtime, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(runtime, "_GROUPS", tmp_path)
    monkeypatch.setattr(runtime, "_meminfo_available", lambda: 9000)
    assert runtime.available_memory() == 9000
    limit_group("job/step/task", "max", 1000, 0)
    assert runtime.available_memory() == 9000
    limit_group("job", "3000", 2900, 1500)  # of which more than half is what files take that were read
    assert runtime.available_memory() == 1600
    limit_group("", "2000", 1000, 0)
    assert runtime.available_memory() == 1000
    monkeypatch.setattr(runtime, "_meminfo_available", lambda: None)
    assert runtime.available_memory() == 1000
    monkeypatch.setattr(runtime, "_OWN_GROUPS", tmp_path / "absent")
    assert runtime.available_memory() is None


def test_this_machine_says_how_much_memory_is_left() -> None:
    free = runtime.available_memory()
    assert sys.platform != "linux" or (free is not None and free > 10 << 20)
