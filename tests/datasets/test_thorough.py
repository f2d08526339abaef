"""Every image looked at: what is cut off is found by its end, what is spoilt inside by decoding it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mec_transfer.cli.main import main
from mec_transfer.datasets.config import DatasetConfig
from mec_transfer.datasets.registry import open_data
from mec_transfer.datasets.thorough import broken_images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An ImageFolder of 60 images a split, so that a sample of 16 misses most."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for split in ("train", "val"):
        for label in ("cat", "dog"):
            (tmp_path / split / label).mkdir(parents=True)
            for number in range(30):
                suffix = ("jpg", "png", "bmp")[number % 3]
                Image.fromarray(noise).save(tmp_path / split / label / f"{number:02d}.{suffix}")
    return tmp_path


def found(folder: Path, decode_all: bool) -> list[str]:
    problems = broken_images(open_data(DatasetConfig(name="x", layout="imagefolder"), folder), decode_all)
    return [line.partition(": ")[0] for line in problems]


@pytest.mark.parametrize("decode_all", [False, True])
def test_a_whole_data_set_has_none(folder: Path, decode_all: bool) -> None:
    assert found(folder, decode_all) == []


@pytest.mark.parametrize("name", ["train/dog/21.jpg", "val/cat/10.png"])
@pytest.mark.parametrize("decode_all", [False, True])
def test_a_file_that_is_cut_off_is_found(folder: Path, name: str, decode_all: bool) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:600])
    assert found(folder, decode_all) == [str(path)]


def test_bytes_after_the_end_are_no_problem(folder: Path) -> None:
    path = folder / "train/dog/21.jpg"
    path.write_bytes(path.read_bytes() + b"trailing bytes of a camera")
    assert found(folder, False) == found(folder, True) == []


def test_a_file_of_zeros_is_found(folder: Path) -> None:
    path = folder / "train/dog/21.jpg"
    path.write_bytes(bytes(500))
    assert found(folder, False) == [str(path)]


def test_what_is_spoilt_inside_takes_decoding(folder: Path) -> None:
    path = folder / "val/cat/10.png"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    assert found(folder, False) == [] and found(folder, True) == [str(path)]


def test_the_command_names_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "train/dog/21.jpg"
    path.write_bytes(path.read_bytes()[:600])
    assert main(["data", "check", str(folder)]) == 2
    assert f"problem: {path}: not a readable image" in capsys.readouterr().out
