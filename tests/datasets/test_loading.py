from __future__ import annotations

import os

import pytest
from torch.utils.data import DataLoader, Dataset

from mec_transfer.common.errors import DataError, RunError
from mec_transfer.datasets.loading import plain_errors


class _Failing(Dataset[int]):
    """Item 2 does not load."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        if index == 2 and self.how == "die":
            os._exit(3)
        if index == 2:
            raise {"user": DataError("/data/x.png: broken"), "bug": KeyError("a bug")}[self.how]
        return index


@pytest.mark.parametrize("workers", [0, 1])
def test_a_users_error_keeps_its_kind_and_its_line(workers: int) -> None:
    loaded = plain_errors(DataLoader(_Failing("user"), batch_size=None, num_workers=workers))
    assert [next(loaded), next(loaded)] == [0, 1]
    with pytest.raises(DataError) as caught:
        next(loaded)
    assert str(caught.value) == "/data/x.png: broken"


def test_a_dead_process_is_a_run_error() -> None:
    with pytest.raises(RunError, match="a loading process died"):
        list(plain_errors(DataLoader(_Failing("die"), batch_size=None, num_workers=1)))


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(KeyError):
        list(plain_errors(DataLoader(_Failing("bug"), batch_size=None)))
