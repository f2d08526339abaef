"""Training: Detectron2's own trainer's losses, and the same continuation after a stop, bit for bit."""

from __future__ import annotations

import dataclasses
import itertools
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.common.errors import ConfigError, RunError, UserError
from mec_transfer.common.interrupt import Interrupted
from mec_transfer.common.paths import CONFIGS
from mec_transfer.common.runtime import seed_everything
from mec_transfer.detection import engine
from tests.datasets.reading import open_objects
from tests.detection.conftest import SHORT

engine.load()

from detectron2.engine import SimpleTrainer  # noqa: E402
from detectron2.solver import build_lr_scheduler, build_optimizer  # noqa: E402
from detectron2.utils.events import EventStorage  # noqa: E402

from mec_transfer.detection import training  # noqa: E402
from mec_transfer.detection.loading import (  # noqa: E402
    BatchPlan,
    MappedImages,
    load_batches,
    mask_format,
    records,
    seed_step,
    training_records,
)
from mec_transfer.detection.network import build_network, fit_backbone, read_config  # noqa: E402

CPU = torch.device("cpu")


def make(boxes: Path) -> tuple[Any, Any, list[dict[str, Any]]]:
    """A ResNet-18 Mask R-CNN of 3 iterations, and its training images."""
    backbone = resolve_backbone("random:resnet18:1")
    config = read_config(CONFIGS / "detection" / "coco_fpn_1x_d2.yaml", {**SHORT, "MODEL.ROI_HEADS.NUM_CLASSES": 2})
    fit_backbone(config, backbone)
    seed_everything(0)
    network = build_network(config, backbone, CPU)
    return network, config, training_records(open_objects(boxes / "coco", "coco", "train"), masks=True)


def test_losses_are_those_of_detectron2s_own_trainer_on_the_same_batches(boxes):
    network, config, items = make(boxes)
    plan = BatchPlan(items, 2, 0, 3, grouped=True)
    batches = list(load_batches(MappedImages(items, config, 0), plan, workers=0))
    stepper = training.Stepper(network, config, seed=0)
    ours = [stepper.step(batch) for batch in batches]

    stock, config, _ = make(boxes)
    optimizer = build_optimizer(config, stock)
    scheduler = build_lr_scheduler(config, optimizer)

    def seeded():
        for iteration, batch in enumerate(batches):
            seed_step(0, iteration)
            yield batch

    trainer = SimpleTrainer(stock, seeded(), optimizer)
    stock.train()
    theirs = []
    with EventStorage(0) as storage:
        for iteration in range(3):
            storage.iter = trainer.iter = iteration
            trainer.run_step()
            scheduler.step()
            theirs.append({name: values[0] for name, values in storage.latest().items()})
    for mine, stocks in zip(ours, theirs, strict=True):
        assert mine["total"] == pytest.approx(stocks["total_loss"], rel=1e-6)
        for name in ("loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"):
            assert mine[name] == pytest.approx(stocks[name], rel=1e-6)
    assert all(torch.equal(value, stock.state_dict()[name]) for name, value in network.state_dict().items())
    assert ours[0]["total"] != ours[1]["total"]


def test_a_run_that_was_stopped_goes_on_bitwise_and_one_that_is_damaged_too(boxes, tmp_path, monkeypatch):
    whole, config, items = make(boxes)
    training.train(whole, config, items, tmp_path / "whole", seed=4, workers=0)

    step = training.Stepper.step

    def stopped(self, batch):
        losses = step(self, batch)
        if self.iteration in (1, 2):
            signal.raise_signal(signal.SIGTERM)
        return losses

    monkeypatch.setattr(training.Stepper, "step", stopped)
    for _ in range(2):
        network, config, items = make(boxes)
        with pytest.raises(Interrupted):
            training.train(network, config, items, tmp_path / "part", seed=4, workers=0)
    monkeypatch.undo()
    last = tmp_path / "part" / training.CHECKPOINT
    last.write_bytes(last.read_bytes()[:1000])  # cut off: the one before, of iteration 1, is taken
    network, config, items = make(boxes)
    training.train(network, config, items, tmp_path / "part", seed=4, workers=0)
    again = network.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in whole.state_dict().items())


def test_a_state_of_another_training_is_refused_and_one_of_an_earlier_version_taken(tmp_path):
    mine, other = {"data": "a", "seed": 0}, {"data": "b", "seed": 0}
    training.claim(tmp_path, None)
    assert not list(tmp_path.iterdir())
    (tmp_path / training.CHECKPOINT).write_text("a state that an earlier version left without a note")
    training.claim(tmp_path, mine)
    training.claim(tmp_path, mine)
    with pytest.raises(UserError, match="this folder belongs to another training; choose another --out"):
        training.claim(tmp_path, other)
    assert (tmp_path / training.CHECKPOINT).exists()
    (tmp_path / training.CHECKPOINT).unlink()  # a note alone is worth nothing
    training.claim(tmp_path, other)
    training.discard_training(tmp_path)
    assert not list(tmp_path.iterdir())


def test_states_with_an_identity_and_those_of_earlier_versions_without(boxes, tmp_path, capsys):
    """A file that was copied into a folder with the right note is recognised too."""
    network, config, items = make(boxes)
    stepper, mine = training.Stepper(network, config, seed=0), {"data": "a", "seed": 0}
    stepper.step(next(load_batches(MappedImages(items, config, 0), BatchPlan(items, 2, 0, 1, grouped=False), 0)))
    state = training.DetectorState(tmp_path, {"data": "b", "seed": 0})
    state.save(stepper.state())
    with pytest.raises(UserError, match=r"training_last\.pth: the detector in this folder belongs to another"):
        training.train(network, config, items, tmp_path, 0, 0, mine)
    for foreign in ({"model": network.state_dict()}, {**stepper.state(), "format": "mec-transfer/detector-training/9"}):
        torch.save(foreign, state.path)
        with pytest.raises(
            UserError, match=r"training_last\.pth: (is not a whole training state|was written by another)"
        ):
            training.train(network, config, items, tmp_path, 0, 0, mine)
    torch.save({**stepper.state(), "network": {}}, state.path)
    with pytest.raises(UserError, match=r"training_last\.pth: does not fit this run \(Error\(s\) in loading") as caught:
        training.train(network, config, items, tmp_path, 0, 0, mine)
    assert "\n" not in str(caught.value)
    torch.save(stepper.state(), state.path)  # as earlier versions wrote it
    training.train(network, config, items, tmp_path, 0, 0, mine)
    assert "going on from iteration 1 of 3" in capsys.readouterr().err
    assert torch.load(state.path, weights_only=True)["run"] == mine


def test_damage_of_both_states_is_said_and_nothing_is_trained_over_them(boxes, tmp_path):
    network, config, items = make(boxes)
    for name in (training.CHECKPOINT, "training_previous.pth"):
        (tmp_path / name).write_bytes(b"PK cut short")
    with pytest.raises(UserError, match=r"training_last\.pth: cannot be read .*delete it and training_previous\.pth"):
        training.train(network, config, items, tmp_path, 0, 0)


def test_a_loss_that_is_not_finite_stops_before_the_step(boxes):
    network, config, items = make(boxes)
    stepper = training.Stepper(network, config, seed=0)
    batch = next(load_batches(MappedImages(items, config, 0), BatchPlan(items, 2, 0, 1, grouped=False), 0))
    for layer, message in (
        (
            network.roi_heads.box_predictor.cls_score,
            r"not finite at iteration 1 \(.*loss_cls nan.*Lower SOLVER.BASE_LR",
        ),
        (network.proposal_generator.rpn_head.objectness_logits, r"iteration 1: .*Training has diverged.*Lower SOLVER"),
    ):
        with torch.no_grad():
            layer.weight.fill_(float("inf"))
        with pytest.raises(RunError, match=message):
            stepper.step(batch)
    assert stepper.iteration == 0


def test_a_batch_too_large_for_the_gpu_is_one_line_with_the_way_out(boxes):
    network, config, _ = make(boxes)
    stepper = training.Stepper(network, config, seed=0)

    def full(batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    stepper.called = full
    with pytest.raises(RunError, match="1, 16 images: the GPU.s memory is full; .* --set recipe.images_per_batch=N"):
        stepper.step([{}] * 16)


def test_the_schedule_scales_linearly():
    config = read_config(CONFIGS / "detection" / "voc0712_c4_d2.yaml")
    assert training.scale_schedule(config, 4) == 0.25
    assert (config.SOLVER.BASE_LR, config.SOLVER.MAX_ITER, config.SOLVER.WARMUP_ITERS) == (0.005, 96000, 400)
    assert tuple(config.SOLVER.STEPS) == (72000, 88000) and config.SOLVER.IMS_PER_BATCH == 4


def test_a_batch_that_the_processes_cannot_share_is_refused(monkeypatch):
    config = read_config(CONFIGS / "detection" / "voc0712_c4_d2.yaml")
    training.check_schedule(config)
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match="a batch of 16 images does not divide over 3 processes"):
        training.check_schedule(config)


def test_a_plan_goes_on_where_it_stopped_and_groups_by_orientation():
    items = [{"width": 4 if i % 3 else 3, "height": 3 if i % 3 else 4} for i in range(20)]
    plan = BatchPlan(items, 4, 7, 30, grouped=True)
    batches = list(plan)
    assert len(batches) == len(plan) == 30
    plan.first = 11
    assert list(plan) == batches[11:]
    for batch in batches:
        assert [(iteration, slot) for iteration, slot, _ in batch] == [(batch[0][0], slot) for slot in range(4)]
        kinds = [items[index]["width"] > 3 for _, _, index in batch]
        assert kinds[0] == kinds[1] and kinds[2] == kinds[3]
    drawn = [index for batch in batches for _, _, index in batch]
    counts = [drawn.count(i) for i in range(20)]
    assert max(counts) - min(counts) <= 1
    plain = [index for batch in BatchPlan(items, 4, 7, 5, grouped=False) for _, _, index in batch]
    assert sorted(plain) == list(range(20))


def test_batches_depend_on_seed_iteration_and_slot_alone(boxes):
    _, config, items = make(boxes)
    config.INPUT.MIN_SIZE_TRAIN = (48, 56, 64)

    def load(workers, first=0):
        plan = BatchPlan(items, 2, 3, 4, grouped=False)
        plan.first = first
        return list(itertools.chain(*load_batches(MappedImages(items, config, 3), plan, workers)))

    alone, shared, later = load(0), load(2), load(0, first=2)
    for expected, found in itertools.chain(zip(alone, shared, strict=True), zip(alone[4:], later, strict=True)):
        assert torch.equal(expected["image"], found["image"])
        assert torch.equal(expected["instances"].gt_boxes.tensor, found["instances"].gt_boxes.tensor)
    assert len({tuple(item["image"].shape) for item in alone}) > 1


def test_records_keep_the_boxes_and_drop_images_without_objects(boxes):
    split = open_objects(boxes / "voc", "voc", "test")
    item = records(split, masks=False)[0]
    assert item["image_id"] == 1 and item["annotations"][0]["bbox"] == list(split.images[0].objects[0].box)
    with pytest.raises(Exception, match="have no segmentation"):
        training_records(split, masks=True)


@pytest.mark.parametrize("plain", [True, False])
def test_masks_given_as_rle_are_learnt_as_they_are(boxes, plain):
    _, config, items = make(boxes)
    split = open_objects(boxes / "coco", "coco", "train")
    assert mask_format(items) == "polygon"
    rles = []
    for image in split.images:
        objects = []
        for thing in image.objects:
            rle = coco_mask.frPyObjects(thing.segmentation, image.height, image.width)[0]
            if plain:
                filled = coco_mask.decode(rle).flatten(order="F")
                starts = np.flatnonzero(np.diff(filled, prepend=0, append=2))
                rle = {"size": rle["size"], "counts": np.diff(starts, prepend=0).tolist()}
            objects.append(dataclasses.replace(thing, segmentation=rle))
        rles.append(dataclasses.replace(image, objects=tuple(objects)))
    again = training_records(dataclasses.replace(split, images=tuple(rles)), masks=True)
    config.INPUT.MASK_FORMAT = mask_format(again)
    assert config.INPUT.MASK_FORMAT == "bitmask"
    plan = BatchPlan(again, 2, 0, 1, grouped=True)
    (batch,) = load_batches(MappedImages(again, config, 0), plan, workers=0)
    for item in batch:
        found = item["instances"].gt_masks.tensor.sum((1, 2))
        boxes_area = item["instances"].gt_boxes.area()
        assert len(found) == 2 and torch.allclose(found.float(), boxes_area, rtol=0.15)
