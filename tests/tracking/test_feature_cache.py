from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.common.errors import RunError
from mec_transfer.tracking import feature_cache
from mec_transfer.tracking.appearance import Appearance
from mec_transfer.tracking.feature_cache import CachedFeatures


@pytest.fixture(scope="module")
def appearance() -> Appearance:
    return Appearance(resolve_backbone("random:resnet18:0"), device=torch.device("cpu"))


@pytest.fixture
def pixels(appearance: Appearance) -> torch.Tensor:
    return appearance.prepare(np.random.default_rng(0).integers(0, 256, (33, 40, 3), dtype=np.uint8))


def test_a_map_is_computed_once_and_read_back_bitwise(
    appearance: Appearance, pixels: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = CachedFeatures.open(appearance, tmp_path)(pixels)
    assert torch.equal(first, appearance(pixels))
    again = CachedFeatures.open(appearance, tmp_path)
    monkeypatch.setattr(Appearance, "__call__", lambda *_: pytest.fail("computed again"))
    assert torch.equal(again(pixels), first)


def test_other_pixels_sizes_stages_and_weights_are_other_maps(
    appearance: Appearance, pixels: torch.Tensor, tmp_path: Path
) -> None:
    other_stage = Appearance(appearance.backbone, stage="layer4", device=torch.device("cpu"))
    other_weights = Appearance(resolve_backbone("random:resnet18:1"), device=torch.device("cpu"))
    for model in (appearance, other_stage, other_weights):
        for seen in (pixels, pixels + 1, pixels.transpose(2, 3)):
            assert torch.equal(CachedFeatures.open(model, tmp_path)(seen), model(seen))
    assert len(list(tmp_path.rglob("*.npy"))) == 9


def test_a_damaged_map_is_computed_again(appearance: Appearance, pixels: torch.Tensor, tmp_path: Path) -> None:
    expected = CachedFeatures.open(appearance, tmp_path)(pixels)
    (path,) = tmp_path.rglob("*.npy")
    path.write_bytes(path.read_bytes()[:-100])
    assert torch.equal(CachedFeatures.open(appearance, tmp_path)(pixels), expected)


def test_what_would_pass_the_limit_is_not_kept(appearance: Appearance, pixels: torch.Tensor, tmp_path: Path) -> None:
    one = 256 * 5 * 5 * 4 + 128
    model = CachedFeatures.open(appearance, tmp_path, limit=one)
    model(pixels)
    model(pixels + 1)
    assert len(list(tmp_path.rglob("*.npy"))) == 1
    CachedFeatures.open(appearance, tmp_path, limit=one)(pixels + 2)  # what is there already counts
    assert len(list(tmp_path.rglob("*.npy"))) == 1


def test_a_full_disk_ends_the_keeping_not_the_run(
    appearance: Appearance,
    pixels: torch.Tensor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise RunError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr(feature_cache, "write_bytes", full)
    model = CachedFeatures.open(appearance, tmp_path)
    for seen in (pixels, pixels + 1):
        assert torch.equal(model(seen), appearance(seen))
    assert capsys.readouterr().err.count("features are not kept any more") == 1
