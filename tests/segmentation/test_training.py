"""Trainings: rates, order, a kill in between, and two processes for one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from mec_transfer.backbone.backbone import Backbone
from mec_transfer.common.errors import RunError, UserError
from mec_transfer.datasets.config import SegmentsDatasetConfig
from mec_transfer.datasets.registry import open_data
from mec_transfer.datasets.segments.split import SegmentSplit
from mec_transfer.segmentation.config import ScheduleConfig
from mec_transfer.segmentation.loading import BatchPlan, load_batches
from mec_transfer.segmentation.network import Segmenter
from mec_transfer.segmentation.training import SegmenterState, Stepper, train
from tests import warm
from tests.segmentation.conftest import recipe

# Trains to the end, or until it is killed, and says the losses' sum and every weight's.
PROGRAM = """
import json, sys, torch
from pathlib import Path
from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.common import distributed, interrupt
from mec_transfer.datasets.config import SegmentsDatasetConfig
from mec_transfer.datasets.registry import open_data
from mec_transfer.segmentation import training
from mec_transfer.segmentation.network import Segmenter
from tests.segmentation.conftest import recipe

training.SegmenterState.is_due = property(lambda self: True)  # a state after every iteration
masks, folder, changes = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
data = open_data(SegmentsDatasetConfig(name="x", layout="voc_seg", train=("train",), test="val"), masks)
backbone, one = resolve_backbone("random:resnet18:1"), recipe(**changes)
with distributed.process_group(torch.device("cpu")), interrupt.raised_signals():
    network = Segmenter(backbone, one, 3, seed=0)
    about = {"folder": folder, "identity": {"a": 1}, "seed": 4, "workers": 0}
    training.train(network, data.train, one, backbone.preprocessing, **about)
    torch.save(network.state_dict(), folder / f"rank{distributed.rank()}.pt")
"""


def start(masks: Path, folder: Path, changes: dict[str, object], **environment: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", PROGRAM, str(masks), str(folder), json.dumps(changes)]
    return warm.Popen(command, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def split(masks: Path) -> SegmentSplit:
    data = open_data(SegmentsDatasetConfig(name="x", layout="voc_seg", train=("train",), test="val"), masks)
    return data.train  # type: ignore[attr-defined,no-any-return]


def test_rates_follow_the_published_formulas() -> None:
    poly = ScheduleConfig(kind="poly", power=0.9, min_lr=1e-4)
    rates = [poly.rate(0.01, iteration, 20000) for iteration in (0, 5000, 19999)]
    assert rates == pytest.approx([0.01, 0.0099 * 0.75**0.9 + 1e-4, 0.0099 * (1 / 20000) ** 0.9 + 1e-4])
    steps = ScheduleConfig(kind="steps", steps=(21000, 27000))
    wanted = {0: 0.003, 20999: 0.003, 21000: 0.0003, 26999: 0.0003, 27000: 0.00003, 29999: 0.00003}
    assert {at: steps.rate(0.003, at, 30000) for at in wanted} == pytest.approx(wanted)
    for wrong in ({"kind": "poly", "steps": [3]}, {"kind": "steps", "steps": [3, 2]}, {"kind": "steps", "power": 0.5}):
        with pytest.raises(ValidationError):
            ScheduleConfig.model_validate_json(json.dumps(wrong))
    with pytest.raises(ValidationError, match=r"schedule.steps \[4\] must lie before iterations 4"):
        recipe(schedule={"kind": "steps", "steps": [4]})


def test_an_epoch_shows_each_image_once_and_its_rest_is_left_out() -> None:
    plan = BatchPlan(images=10, batch=4, iterations=6, seed=3)
    batches = list(plan)
    assert plan.an_epoch == 2 and [len(batch) for batch in batches] == [4] * 6
    for epoch in range(3):
        images = [image for batch in batches[2 * epoch : 2 * epoch + 2] for _, _, image in batch]
        assert len(set(images)) == 8 and {key[0] for batch in batches[2 * epoch :][:2] for key in batch} == {epoch}
    assert batches[0] != batches[2]
    later = BatchPlan(images=10, batch=4, iterations=6, seed=3, first=3)
    assert list(later) == batches[3:]
    shares = [list(BatchPlan(images=10, batch=4, iterations=6, seed=3, rank=rank, world=2)) for rank in range(2)]
    assert [sorted([*a, *b]) for a, b in zip(*shares, strict=True)] == [sorted(batch) for batch in batches]


def test_batches_are_the_same_with_and_without_loading_processes(split: SegmentSplit) -> None:
    plan = BatchPlan(images=len(split), batch=4, iterations=3, seed=3)
    alone, helped = (list(load_batches(split, recipe(), plan, workers, False)) for workers in (0, 2))
    assert len(alone) == 3 and alone[0][0].shape == (4, 3, 32, 32)
    for one, other in zip(alone, helped, strict=True):
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))


def test_a_step_is_sgd_with_momentum_and_decay_at_the_schedules_rate(split: SegmentSplit, resnet18: Backbone) -> None:
    one = recipe(head={"channels": 8, "convs": 1}, auxiliary=None)
    (batch,) = load_batches(split, one, BatchPlan(images=len(split), batch=4, iterations=1, seed=0), 0, False)
    stepper = Stepper(Segmenter(resnet18, one, 3, seed=0).train(), one, resnet18.preprocessing, seed=0)
    weight = stepper.network.head.classifier.weight
    expected, velocity = weight.detach().clone(), torch.zeros_like(weight)
    for iteration in range(3):
        stepper.step(batch)
        assert weight.grad is not None
        rate = (0.02 - 0.0001) * (1 - iteration / 4) ** 0.9 + 0.0001
        velocity = 0.9 * velocity + weight.grad + 0.0005 * expected
        expected = expected - rate * velocity
        torch.testing.assert_close(weight.detach(), expected)


def test_a_loss_that_is_not_finite_stops_with_the_weights_before_it(split: SegmentSplit, resnet18: Backbone) -> None:
    (batch,) = load_batches(split, recipe(), BatchPlan(images=len(split), batch=4, iterations=1, seed=0), 0, False)
    stepper = Stepper(Segmenter(resnet18, recipe(), 3, seed=0).train(), recipe(), resnet18.preprocessing, seed=0)
    with torch.no_grad():
        stepper.network.head.classifier.weight[0, 0] = torch.inf
    with pytest.raises(RunError, match=r"the loss became nan at iteration 1 .* lower recipe.lr"):
        stepper.step(batch)
    assert stepper.iteration == 0 and stepper.network.backbone.conv1.weight.isfinite().all()  # type: ignore[union-attr,operator]


def test_a_state_of_another_training_is_refused(split: SegmentSplit, resnet18: Backbone, tmp_path: Path) -> None:
    def run(identity: dict[str, int]) -> None:
        network = Segmenter(resnet18, recipe(iterations=1), 3, seed=0)
        train(
            network, split, recipe(iterations=1), resnet18.preprocessing, folder=tmp_path, identity=identity, seed=0,
            workers=0,
        )  # fmt: skip

    run({"a": 1})
    run({"a": 1})  # which has nothing left to do
    with pytest.raises(UserError, match=r"training_state.pt: the network in this folder is of another training"):
        run({"a": 2})


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_stopped_and_the_same_again_gives_the_same_bits(masks: Path, tmp_path: Path, number: int) -> None:
    changes: dict[str, object] = {"iterations": 8}
    undisturbed = start(masks, tmp_path / "undisturbed", changes)
    stopped = start(masks, tmp_path / "stopped", changes)
    deadline = time.monotonic() + 120
    state = tmp_path / "stopped" / SegmenterState.NAME
    while not state.exists() and stopped.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    stopped.send_signal(number)
    said = stopped.communicate(timeout=60)[1]
    assert stopped.returncode not in (0, None) and state.exists(), said
    reached = torch.load(state)["iteration"]
    assert 0 < reached < 8, "it was stopped too late to mean anything"
    again = start(masks, tmp_path / "stopped", changes)
    said = again.communicate(timeout=120)[1]
    assert again.returncode == 0 and f"going on from iteration {reached} of 8" in said, said
    assert undisturbed.wait(timeout=120) == 0
    one, other = (torch.load(tmp_path / name / "rank0.pt") for name in ("undisturbed", "stopped"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_two_processes_train_one_network_as_one_process_does(masks: Path, tmp_path: Path) -> None:
    """Dropout is each process's own, so it is left out here; a tiny rate, since batch norm makes much of last bits."""
    changes: dict[str, object] = {"lr": 1e-6, "schedule": {"kind": "steps", "steps": []}, "auxiliary": None}
    changes["head"] = {"channels": 8, "convs": 1}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    runs = [start(masks, tmp_path / "two", changes, RANK=str(rank), **where) for rank in range(2)]
    runs.append(start(masks, tmp_path / "one", changes))
    said = [run.communicate(timeout=120)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], said
    first, second, alone = (torch.load(tmp_path / name) for name in ("two/rank0.pt", "two/rank1.pt", "one/rank0.pt"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    for name in first:
        torch.testing.assert_close(first[name], alone[name], rtol=1e-4, atol=1e-5)
    momenta = [torch.load(tmp_path / name / SegmenterState.NAME)["optimizer"]["state"] for name in ("two", "one")]
    for ours, theirs in zip(momenta[0].values(), momenta[1].values(), strict=True):
        close = (ours["momentum_buffer"] - theirs["momentum_buffer"]).norm() / theirs["momentum_buffer"].norm()
        assert close < 0.02
