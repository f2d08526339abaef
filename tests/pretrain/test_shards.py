"""A run does not depend on whether its images lie in shards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mec_transfer.datasets.images.folders import open_unlabelled
from mec_transfer.datasets.images.shard_writer import write_splits
from pretrain.__main__ import main

TINY = """
arch: resnet18
dim: 16
pred_dim: 8
views: {size: 32}
batch_size: 6
epochs: 1
warmup_epochs: 0
log_every: 1
eps: 16.0
save_every_steps: 1
"""


def test_pretraining_on_shards_is_bitwise_that_on_files(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for i in range(14):
        path = tmp_path / "images" / f"part{i % 2}" / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(path)
    write_splits({"": open_unlabelled(tmp_path / "images")}, tmp_path / "shards", 20_000)
    assert len(list((tmp_path / "shards").glob("*.tar"))) > 2
    (tmp_path / "tiny.yaml").write_text(TINY)
    logs, weights = [], []
    for data in ("images", "shards"):
        out = tmp_path / f"run_{data}"
        command = [tmp_path / "tiny.yaml", "--data", tmp_path / data, "--out", out, "--device", "cpu"]
        assert main([str(word) for word in command]) == 0
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        logs.append([{key: line[key] for key in line if key != "images_per_second"} for line in lines])
        weights.append(torch.load(out / "checkpoint_last.pth", weights_only=True))
    assert len(logs[0]) == 2 and logs[0] == logs[1]
    assert weights[0]["state_dict"].keys() == weights[1]["state_dict"].keys()
    assert all(torch.equal(value, weights[1]["state_dict"][name]) for name, value in weights[0]["state_dict"].items())
    # One and the same run: what was begun on files may go on on shards.
    again = [tmp_path / "tiny.yaml", "--data", tmp_path / "shards", "--out", tmp_path / "run_images", "--device", "cpu"]
    stamp = (tmp_path / "run_images" / "checkpoint_last.pth").stat().st_mtime_ns
    assert main([str(word) for word in again]) == 0
    assert (tmp_path / "run_images" / "checkpoint_last.pth").stat().st_mtime_ns == stamp


def test_damaged_shards_stop_before_the_first_step(tmp_path: Path, capsys) -> None:
    for i in range(6):
        path = tmp_path / "images" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 40), (i, i, i)).save(path)
    write_splits({"": open_unlabelled(tmp_path / "images")}, tmp_path / "shards", 10**6)
    shard = tmp_path / "shards" / "shard-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-1])
    (tmp_path / "tiny.yaml").write_text(TINY)
    command = [tmp_path / "tiny.yaml", "--data", tmp_path / "shards", "--out", tmp_path / "run", "--device", "cpu"]
    assert main([str(word) for word in command]) == 2
    error = capsys.readouterr().err
    assert f"{shard}: truncated" in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()
