from __future__ import annotations

import pytest
import torch

from mec_transfer.classification.feature_rows import FeatureRows, PickedRows


@pytest.fixture
def whole() -> torch.Tensor:
    return torch.arange(23 * 3, dtype=torch.float32).view(23, 3)


@pytest.mark.parametrize("size", [1, 5, 8, 23, 40])
def test_rows_in_parts_are_used_as_one_tensor(whole: torch.Tensor, size: int) -> None:
    rows = FeatureRows(whole.split(size))
    assert (len(rows), rows.shape, rows.device) == (23, whole.shape, whole.device)
    for start, stop in ((0, 23), (4, 5), (4, 16), (10, 99), (7, 7)):
        assert torch.equal(rows[start:stop], whole[start:stop])
        again = rows.between(start, stop)  # its parts are of different lengths
        assert torch.equal(again[:], whole[start:stop]) and len(again) == len(whole[start:stop])
        assert torch.equal(again[torch.arange(len(again))], whole[start:stop])
    for picked in (torch.tensor([22, 0, 7, 7]), torch.tensor([], dtype=torch.int64)):
        assert torch.equal(rows[picked], whole[picked])


def test_picked_rows_are_looked_up_in_their_order(whole: torch.Tensor) -> None:
    picked = torch.tensor([20, 3, 3, 11, 9])
    rows = PickedRows(FeatureRows(whole.split(4)), picked)
    assert (len(rows), rows.shape) == (5, (5, 3))
    assert torch.equal(rows[:], whole[picked]) and torch.equal(rows[1:4], whole[picked[1:4]])
    assert torch.equal(rows[torch.tensor([4, 0])], whole[[9, 20]])


def test_rows_between_two_places_are_not_copied(whole: torch.Tensor) -> None:
    parts = whole.split(8)
    found = FeatureRows(parts).between(6, 20).parts
    assert [len(part) for part in found] == [2, 8, 4]
    assert [part.data_ptr() for part in found] == [parts[0][6].data_ptr(), parts[1].data_ptr(), parts[2].data_ptr()]
