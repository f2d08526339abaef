"""The installed MMTracking: its proofs, and each patch's cure. The one file here that imports it."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed, nn

from mec_transfer.cli.main import main
from mec_transfer.common.errors import CheckpointError, ConfigError, MissingExtra
from mec_transfer.tracking.mmtrack import check, engine, patches

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mmtrack") is None,
    reason="MMTracking is not installed: mec-transfer engines install mmtracking",
)


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    engine.load()


def test_every_proof_passes_and_nothing_else_is_said(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # Training is tested by itself, for more steps than this one's.
    monkeypatch.setattr(check, "PROOFS", {name: proof for name, proof in check.PROOFS.items() if name != "SiamRPN++"})
    assert main(["engines", "check", "mmtracking"]) == 0
    out, error = capfd.readouterr()
    lines = out.splitlines()
    assert all(line.startswith("ok    ") for line in lines) and error == ""
    assert len(lines) == len(engine.TESTED) + len(check.PROOFS)


def test_a_proof_that_fails_is_told_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "PROOFS", {"a": lambda: 1 / 0, "b": lambda: "well"})
    assert main(["engines", "check", "mmtracking"]) == 1
    assert capsys.readouterr().out.splitlines()[-2:] == ["BAD   a: division by zero", "ok    b: well"]


def test_what_is_installed_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["engines", "install", "mmtracking"]) == 0
    assert "kept" in capsys.readouterr().out


def test_a_missing_engine_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mmtrack" else find_spec(name))
    engine.load.cache_clear()
    with pytest.raises(
        MissingExtra, match="^a trained tracker needs MMTracking: mec-transfer engines install mmtracking$"
    ):
        engine.load()
    monkeypatch.undo()
    engine.load()


def test_numpy_is_mended_wherever_an_alias_is_used_and_nowhere_else() -> None:
    """Every module of the four that names np.int or np.float in its code sees them; NumPy itself stays as it is."""
    use = re.compile(r"^(?!\s*>>>).*\bnp\.(int|float|object|str|long|asfarray)\b", re.MULTILINE)
    found = set()
    for package in ("mmcv", "mmdet", "mmcls", "mmtrack"):
        folder = Path(str(importlib.import_module(package).__file__)).parent
        for path in folder.rglob("*.py"):
            if ".mim" not in path.parts and use.search(path.read_text(encoding="utf-8")):
                found.add(".".join((package, *path.relative_to(folder).with_suffix("").parts)))
    docstrings = {"mmdet.core.mask.structures", "mmdet.models.roi_heads.bbox_heads.bbox_head"}
    assert found - docstrings == set(patches._NUMPY_ALIASES_USED_BY)
    for name in patches._NUMPY_ALIASES_USED_BY:
        assert np.arange(2.0).astype(importlib.import_module(name).np.int).dtype == np.int64
    assert not hasattr(np, "int") and not hasattr(np, "asfarray")


def test_boxes_are_measured_and_tracks_are_scored() -> None:
    from mmtrack.core.evaluation import eval_mot
    from motmetrics.distances import iou_matrix

    assert iou_matrix([[0, 0, 2, 2]], [[0, 0, 2, 2], [1, 0, 2, 2]], max_iou=0.9).tolist() == [[0, pytest.approx(2 / 3)]]
    truth = [{"bboxes": np.array([[0.0, 0, 9, 9]]), "labels": np.array([0]), "instance_ids": np.array([7])}] * 2
    truth = [one | {"bboxes_ignore": np.zeros((0, 4)), "instance_ids_ignore": np.zeros(0)} for one in truth]
    tracks = [[np.array([[3.0, 0, 0, 9, 9, 0.9]])]] * 2
    scores = eval_mot([tracks], [truth], classes=("pedestrian",), nproc=1, logger="silent")
    assert scores["MOTA"] == scores["IDF1"] == 1.0


def test_videos_are_sampled_frame_by_frame() -> None:
    from mmtrack.datasets.samplers import SOTVideoSampler

    class Videos(list[int]):
        num_frames_per_video = (2, 1)

    assert list(SOTVideoSampler(Videos((0, 1, 2)))) == [(0, 0), (0, 1), (1, 0)]


def test_a_gpus_number_gives_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmcv.parallel import _functions

    assert _functions._get_stream(0) is None or torch.cuda.is_available()
    assert _functions._get_stream(torch.device("cpu")) is None


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    distributed.init_process_group(
        "gloo", store=distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
    )
    yield
    distributed.destroy_process_group()


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, img: torch.Tensor) -> torch.Tensor:
        return (img * self.weight).sum()

    def train_step(self, data: dict[str, torch.Tensor], optimizer: object) -> dict[str, Any]:
        return {"loss": self(**data), "num_samples": len(data["img"])}


@pytest.mark.usefixtures("one_process")
def test_several_processes_on_a_cpu_unwrap_what_their_loader_wraps() -> None:
    from mmcv.parallel import DataContainer, MMDistributedDataParallel

    network = MMDistributedDataParallel(Model())
    batch = {"img": DataContainer([torch.tensor([[1.0, 2.0]])], stack=True)}
    assert network(**batch) == 3
    done = network.train_step(batch, None)
    done["loss"].backward()
    assert done["num_samples"] == 1 and network.module.weight.grad.tolist() == [1, 2]


@pytest.mark.parametrize("place", ["https://example.org/r50.pth", "torchvision://resnet50", "open-mmlab://resnet50"])
def test_weights_are_never_fetched(place: str) -> None:
    import mmdet.models

    backbone = {"type": "ResNet", "depth": 18, "init_cfg": {"type": "Pretrained", "checkpoint": place}}
    with pytest.raises(ConfigError, match=rf"load weights from {place}; .* checkpoint alone: set init_cfg=None there"):
        mmdet.models.build_backbone(backbone).init_weights()


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('code of a file was run')",))


def test_a_file_runs_no_code_and_mmcvs_own_checkpoints_load(tmp_path: Path) -> None:
    from mmcv.runner import load_checkpoint, save_checkpoint

    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(2)).backward()
    optimizer.step()
    meta = {"CLASSES": ("person",), "epoch": 3, "hook_msgs": {}, "best_score": np.float64(0.5)}
    save_checkpoint(model, str(tmp_path / "ours.pth"), optimizer, meta=meta)
    other = Model()
    found = load_checkpoint(other, str(tmp_path / "ours.pth"), map_location="cpu", logger="silent")
    assert torch.equal(other.weight, model.weight) and found["meta"]["best_score"] == 0.5
    torch.save({"state_dict": {}, "meta": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match=r"evil.pth: holds more than tensors, .*\(.*exec\); not loaded$"):
        load_checkpoint(other, str(tmp_path / "evil.pth"), logger="silent")


def test_a_config_can_be_written_out() -> None:
    from mmcv import Config

    config = Config({"model": {"type": "SiamRPN", "scales": [8], "lr": 0.1}})
    assert eval(config.pretty_text.partition("=")[2]) == config.model
