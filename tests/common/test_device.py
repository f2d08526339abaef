"""Each switch on both sides, and what it switches: the other way of computing gives the same."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mec_transfer.classification import neighbours
from mec_transfer.classification.config import ViewConfig
from mec_transfer.classification.feature_rows import FeatureRows, on_device
from mec_transfer.classification.features import default_batch_size
from mec_transfer.common import device as devices
from mec_transfer.common.errors import UserError
from mec_transfer.common.runtime import hardware, peak_gpu_memory, pick_device
from mec_transfer.tracking.vos.affinity import LocalAffinity, Neighbourhood, unit_cells
from pretrain.fast_views import Uncoloured, apply_colour
from tests.pretrain.test_fast_views import smooth_picture
from tests.tracking.association.test_reconstruction import crowd, ours

CPU, GPU = torch.device("cpu"), torch.device("cuda", 1)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A machine with two GPUs, as torch.cuda describes it; a list of what it was told."""
    told: list[object] = []
    described = SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: 2,
        get_device_name=lambda index: f"GPU {index}",
        is_bf16_supported=lambda including_emulation: not including_emulation,
        mem_get_info=lambda device: (1000, 2000),
        set_device=told.append,
        is_initialized=lambda: True,
        max_memory_reserved=lambda: 3000,
    )
    monkeypatch.setattr(devices, "gpu_module", lambda: described)
    return told


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, the CPU's tensors are treated as a GPU's."""
    return lambda: monkeypatch.setattr(devices, "GPU", "cpu")


@pytest.mark.parametrize(
    ("switch", "of_cpu", "of_gpu"),
    [
        (devices.is_gpu, False, True),
        (devices.prefers_large_operations, False, True),
        (devices.prefers_channels_last, False, True),
        (devices.computes_bfloat16, False, True),
        (devices.multiplies_by_onednn, torch.backends.mkldnn.is_available(), False),
        (devices.leaves_cores_free, False, True),
        (devices.copies_pinned_memory, False, True),
        (devices.maps_cost_more_than_reading, True, False),
        (devices.has_own_syncbn, False, True),
        (devices.free_memory, 0, 1000),
        (devices.ddp_devices, None, [1]),
        (devices.take, "gloo", "nccl"),
    ],
)
def test_switches(
    two_gpus: list[object], switch: Callable[[torch.device], object], of_cpu: object, of_gpu: object
) -> None:
    assert switch(CPU) == of_cpu and switch(GPU) == of_gpu
    assert two_gpus == ([GPU] if switch is devices.take else [])


def test_convolutions_are_set_for_gpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = SimpleNamespace(benchmark=False, allow_tf32=True)
    monkeypatch.setattr(torch.backends, "cudnn", flags)
    devices.set_convolutions(CPU, tf32=False)
    assert (flags.benchmark, flags.allow_tf32) == (False, True)
    devices.set_convolutions(GPU, tf32=False)
    assert (flags.benchmark, flags.allow_tf32) == (True, False)


def test_generators_are_given_back() -> None:
    before = torch.get_rng_state()
    with devices.kept_generators(CPU):
        torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)


def test_devices_by_name(two_gpus: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    assert [str(pick_device(name)) for name in ("cpu", "auto", "cuda", "cuda:1")] == [
        "cpu",
        "cuda:0",
        "cuda:0",
        "cuda:1",
    ]
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert [str(pick_device(name)) for name in ("auto", "cuda", "cuda:0")] == ["cuda:1", "cuda:1", "cuda:0"]
    hardware.cache_clear()
    assert (hardware()["gpu"], hardware()["gpus"]) == ("GPU 0", 2)
    hardware.cache_clear()
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match=r"--device auto: process 2 .* has no GPU; there are 2"):
        pick_device("auto")


@pytest.mark.parametrize("name", ["cuda:2", "cuda:99999999999999999999"])
def test_a_gpu_that_is_not_there(two_gpus: list[object], name: str) -> None:
    with pytest.raises(UserError, match=f"--device {name}: has no GPU; there are 2, counted from 0"):
        pick_device(name)


@pytest.mark.parametrize("name", ["", "gpu", "cudax", "cuda:", "cuda:x", "cuda:-1", "CPU", "cuda:0\n"])
def test_what_is_no_device(name: str) -> None:
    with pytest.raises(UserError, match="must be auto, cpu, cuda or cuda:N"):
        pick_device(name)


def test_neighbours_in_large_blocks(as_on_a_gpu: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = (torch.nn.functional.normalize(torch.randn(n, 12)) for n in (333, 700))
    whole = neighbours.nearest(train, test, 9)
    as_on_a_gpu()
    monkeypatch.setattr(neighbours, "_LARGE_BLOCK", 100)
    monkeypatch.setattr(neighbours, "_CHUNK_ELEMENTS", 40_000)
    cut = neighbours.nearest(train, test, 9)
    torch.testing.assert_close(whole[0], cut[0], rtol=0, atol=1e-6)
    assert torch.equal(whole[1], cut[1])


def test_reconstruction_in_large_chunks(as_on_a_gpu: Callable[[], None]) -> None:
    tracks, detections = crowd([5, 3, 7, 7], 5), crowd([6, 4, 4], 6)
    whole = ours(tracks, detections)
    as_on_a_gpu()
    np.testing.assert_allclose(ours(tracks, detections), whole, atol=2e-6)


def test_affinity_in_large_tiles(as_on_a_gpu: Callable[[], None]) -> None:
    frames = [unit_cells(torch.randn(6, 23, 30)) for _ in range(3)]

    def similarities() -> torch.Tensor:
        near = LocalAffinity(23, 30, 6, 2, Neighbourhood(radius=3, shape="disk"), CPU)
        near.remember(frames[0], 0)
        near.remember(frames[1], 1)
        dense = torch.full((2, 690, 690), -torch.inf)
        for block in near.near(frames[2]):
            for group, (values, keys) in enumerate(zip(block.similarity, block.keys % 690, strict=True)):
                dense[group, block.cells[:, None], keys] = values
        return dense

    small = similarities()
    as_on_a_gpu()
    torch.testing.assert_close(similarities(), small, rtol=0, atol=1e-6)


def test_colours_of_a_whole_batch(as_on_a_gpu: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    colour = torch.tensor([[0, 1, 2, 3, 1.2, 0.7, 1.1, 0.05, 0, 1.5, 0], [-1, -1, -1, -1, 0, 0, 0, 0, 0, 0.4, 1]])
    pixels = torch.stack(
        [torch.from_numpy(np.array(smooth_picture(n).resize((24, 24)))).permute(2, 0, 1) for n in (0, 1)]
    )
    each = apply_colour(Uncoloured(pixels, colour), CPU)
    as_on_a_gpu()
    monkeypatch.setattr(torch.Tensor, "pin_memory", torch.Tensor.clone)
    together = apply_colour(Uncoloured(pixels, colour), CPU)
    torch.testing.assert_close(together, each, rtol=0, atol=0.2)  # the blurs are cut off at different reaches


def test_features_go_to_a_gpu_that_has_room(as_on_a_gpu: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    rows = FeatureRows(torch.randn(20, 3).split(7))
    assert on_device(rows, CPU) is rows
    as_on_a_gpu()
    free = {"bytes": 480}
    monkeypatch.setattr(devices, "gpu_module", lambda: SimpleNamespace(mem_get_info=lambda _: (free["bytes"], 9**9)))
    there = on_device(rows, CPU)
    assert isinstance(there, torch.Tensor) and torch.equal(there, rows[:])
    free["bytes"] -= 2
    assert on_device(rows, CPU) is rows


def test_batches_of_frozen_networks() -> None:
    sizes = {224: (32, 512), 32: (128, 512)}
    for crop, expected in sizes.items():
        assert (
            tuple(default_batch_size(ViewConfig(resize=None, crop=crop), device) for device in (CPU, GPU)) == expected
        )


def test_the_peak_of_a_gpus_memory(two_gpus: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    assert peak_gpu_memory() == 3000
    monkeypatch.setattr(devices.gpu_module(), "is_initialized", lambda: False)
    assert peak_gpu_memory() == 0
