from __future__ import annotations

import pytest
import torch
from torchvision.transforms import functional

from mec_transfer.backbone.backbone import Preprocessing
from mec_transfer.datasets.pixels import normalise


def test_is_torchvisions_bit_for_bit_and_leaves_its_input() -> None:
    batch = torch.randint(0, 256, (2, 3, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    before, given = batch.clone(), Preprocessing()
    expected = [functional.normalize(x.float() / 255, list(given.mean), list(given.std)) for x in batch]
    assert torch.equal(normalise(batch, given), torch.stack(expected))
    assert torch.equal(batch, before)


def test_bgr_statistics_are_in_the_networks_own_order() -> None:
    order = Preprocessing(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), channel_order="BGR")
    red = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    red[:, 0] = 255
    found = normalise(red, order)[0, :, 0, 0].double()
    assert found == pytest.approx([(0 - 0.1) / 0.5, (0 - 0.2) / 0.6, (1 - 0.3) / 0.7], abs=1e-6)
