"""Training shared by two processes on CPUs: statistics of all images, one network in the end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests import warm

# A training whose rate is too small to change a weight: what its batch norms end with depends on the images alone.
PROGRAM = """
import sys, torch
from pathlib import Path
from mec_transfer.common import distributed
from mec_transfer.common.paths import CONFIGS
from mec_transfer.common.runtime import seed_everything
from mec_transfer.backbone.source import resolve_backbone
from tests.datasets.reading import open_objects
from mec_transfer.detection import engine
engine.load()
from mec_transfer.detection import guard, loading, network, training
from tests.detection.conftest import SHORT

device = torch.device("cpu")
with distributed.process_group(device):
    backbone = resolve_backbone("random:resnet18:1")
    changes = {**SHORT, "MODEL.ROI_HEADS.NUM_CLASSES": 2, "SOLVER.BASE_LR": 1e-12}
    config = network.read_config(CONFIGS / "detection" / "coco_fpn_1x_d2.yaml", changes)
    network.fit_backbone(config, backbone)
    seed_everything(0)
    detector = network.build_network(config, backbone, device)
    guard.check_network(detector, backbone, "RGB")
    items = loading.training_records(open_objects(Path(sys.argv[1]) / "coco", "coco", "train"), masks=True)
    notes = training.train(detector, config, items, Path(sys.argv[2]), seed=4, workers=0)
    torch.save((notes, detector.state_dict()), f"{sys.argv[2]}/rank{distributed.rank()}.pt")
"""


def start(boxes: Path, folder: Path, **environment: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", PROGRAM, str(boxes), str(folder)]
    return warm.Popen(command, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True)


@pytest.mark.integration
def test_two_processes_end_with_one_network_and_the_statistics_of_all_images(boxes, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    both = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    runs = [start(boxes, tmp_path / "two", RANK=str(rank), **both) for rank in range(2)]
    runs.append(start(boxes, tmp_path / "one"))
    said = [run.communicate(timeout=120)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], said
    (notes, first), (_, second), (_, alone) = (
        torch.load(tmp_path / name) for name in ("two/rank0.pt", "two/rank1.pt", "one/rank0.pt")
    )
    assert notes == []  # PreciseBN found its batch norms
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    statistics = [name for name in first if "running_" in name]
    assert len(statistics) == 2 * (20 + 8)  # those of the backbone and of the FPN
    for name in statistics:
        # fvcore takes Bessel's correction back for a process's own n/2 values, not for n: 1/n too little, here to 1/11.
        rtol = 0.1 if name.endswith("var") else 0.01
        assert torch.allclose(first[name], alone[name], rtol=rtol, atol=1e-4), name
