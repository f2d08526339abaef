from __future__ import annotations

import os
import platform
import sys
from importlib import metadata

import numpy as np
import pytest
import torch

from mec_transfer.common import control_groups, runtime
from mec_transfer.common.errors import UserError
from mec_transfer.common.progress import Meter, track
from mec_transfer.common.runtime import derive_seed, limit_threads, peak_memory, pick_device, versions


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


def test_available_memory_is_the_least_of_the_machines_and_the_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    for machine, groups, least in (
        (9000, None, 9000),
        (9000, 1600, 1600),
        (None, 10, 10),
        (5, 10, 5),
        (None, None, None),
    ):
        monkeypatch.setattr(runtime, "_meminfo_available", lambda machine=machine: machine)
        monkeypatch.setattr(control_groups, "memory_left", lambda groups=groups: groups)
        assert runtime.available_memory() == least


@pytest.mark.parametrize(("quota", "cores"), [(None, 8), (64.0, 8), (2.0, 2), (2.5, 3), (0.5, 1)])
def test_a_container_uses_as_many_cores_as_it_has_time_for(
    quota: float | None, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_visible_cores", lambda: 8)
    monkeypatch.setattr(control_groups, "cpu_quota", lambda: quota)
    assert runtime.usable_cores() == cores
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    limit_threads()
    assert os.environ.get("OMP_NUM_THREADS") == (str(cores) if cores < 8 else None)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    limit_threads()
    assert os.environ["OMP_NUM_THREADS"] == "5"


def test_this_machine_says_how_much_memory_is_left() -> None:
    free = runtime.available_memory()
    assert sys.platform != "linux" or (free is not None and free > 10 << 20)
