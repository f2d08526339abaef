from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch.utils.data import DistributedSampler

from mec_transfer.classification.batches import BatchPlan, TrainingImages
from mec_transfer.classification.config import ViewConfig
from mec_transfer.classification.transforms import train_transform
from mec_transfer.common.errors import DataError, UserError
from mec_transfer.datasets.images.folders import open_split


def _plan(images: int, batch: int, replicas: int, joint: bool = False, rank: int = 0, world: int = 1, part=None):
    return BatchPlan(images=images, batch=batch, replicas=replicas, joint=joint, part=part, rank=rank, world=world)


@pytest.mark.parametrize("images", [64, 100, 3, 97, 12_811])
def test_replicas_get_what_the_published_sampler_gives_eight_processes(images: int) -> None:
    plan = _plan(images, 256, 8)
    for replica in range(8):
        sampler = DistributedSampler(range(images), num_replicas=8, rank=replica, shuffle=False)
        loader = torch.utils.data.DataLoader(range(images), batch_size=32, sampler=sampler)
        published = [batch.tolist() for batch in loader]
        ours = [[position % images for position in plan.groups(step)[replica][1]] for step in range(plan.steps)]
        assert ours == published


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_processes_share_each_batch_without_rest(world: int, joint: bool) -> None:
    plans = [_plan(100, 32, 8, joint, rank, world) for rank in range(world)]
    assert plans[0].steps == 4
    for step in range(4):
        groups = [group for plan in plans for group in plan.groups(step)]
        assert sorted(p for _, positions in groups for p in positions) == list(
            range(step * 32, min(step * 32 + 32, 104))
        )
        assert len({len(positions) for _, positions in groups}) == 1  # a mean of means is the mean
        assert len(groups) == (world if joint else 8)
        if not joint:
            assert sorted(groups) == sorted(_plan(100, 32, 8).groups(step))
    assert plans[0].smallest_group == len(plans[0].groups(3)[0][1])


def test_groups_are_loaded_in_parts() -> None:
    plan = _plan(100, 64, 1, joint=True, part=24)
    assert [len(part) for part in plan.parts(plan.groups(0)[0][1])] == [24, 24, 16]


def test_a_number_of_processes_that_does_not_divide_is_refused() -> None:
    with pytest.raises(UserError, match="3 processes cannot share a recipe of 8 replicas"):
        _plan(100, 32, 8, world=3)


def _epoch(folder: Path, epoch: int, plan: BatchPlan, workers: int = 0, seed: int = 5) -> list[tuple]:
    images = open_split(folder, "train")
    data = TrainingImages(images, train_transform(ViewConfig(resize=None, crop=32)), plan, seed, workers, pin=False)
    found = []
    for groups in data.epoch(epoch):
        for replica, parts in groups:
            batch = list(parts)
            found.append((replica, torch.cat([x for x, _ in batch]), torch.cat([y for _, y in batch])))
    return found


def test_neither_workers_nor_parts_nor_what_came_before_change_what_is_seen(tiny_images: Path) -> None:
    plan = _plan(48, 16, 2)
    torch.manual_seed(0)
    first = _epoch(tiny_images, 3, plan)
    torch.manual_seed(99)
    for other in (
        _epoch(tiny_images, 3, plan, workers=2),
        _epoch(tiny_images, 3, dataclasses.replace(plan, part=3)),
    ):
        for (replica, images, labels), (replica2, images2, labels2) in zip(first, other, strict=True):
            assert replica == replica2
            assert torch.equal(images, images2)
            assert torch.equal(labels, labels2)


def test_epochs_and_seeds_differ_in_order_and_cuts(tiny_images: Path) -> None:
    plan = _plan(48, 48, 1)
    (_, images, labels), (_, images2, labels2) = _epoch(tiny_images, 0, plan)[0], _epoch(tiny_images, 1, plan)[0]
    assert not torch.equal(labels, labels2)
    assert not torch.equal(images.float().mean(dim=(1, 2, 3)).sort()[0], images2.float().mean(dim=(1, 2, 3)).sort()[0])
    assert sorted(labels.tolist()) == sorted(labels2.tolist()) == sorted(list(range(6)) * 8)
    assert not torch.equal(labels, _epoch(tiny_images, 0, plan, seed=6)[0][2])
    assert images.dtype == torch.uint8
    assert images.shape == (48, 3, 32, 32)


def test_the_global_generator_is_left_alone(tiny_images: Path) -> None:
    data = TrainingImages(
        open_split(tiny_images, "train"),
        train_transform(ViewConfig(resize=None, crop=32)),
        _plan(48, 48, 1),
        seed=0,
        workers=0,
        pin=False,
    )
    dataset = data._loader.dataset
    before = torch.get_rng_state()
    dataset[(0, 1, 2)]
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_one_line_from_any_process(tiny_images: Path, tmp_path: Path, workers: int) -> None:
    images = open_split(tiny_images, "train")
    (tmp_path / "bad.png").write_bytes(b"not an image")
    broken = dataclasses.replace(images, root=tmp_path, paths=("bad.png",) * len(images))
    data = TrainingImages(
        broken, train_transform(ViewConfig(resize=None, crop=32)), _plan(48, 16, 1), 0, workers, pin=False
    )
    with pytest.raises(DataError) as caught:
        for groups in data.epoch(0):
            for _, parts in groups:
                list(parts)
    assert str(caught.value).startswith(f"{tmp_path / 'bad.png'}: ")
    assert "\n" not in str(caught.value)
