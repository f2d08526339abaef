"""Leaving the other processes."""

import weakref

import pytest
import torch

from mec_transfer.common import distributed
from mec_transfer.common.errors import RunError, UserError


class Held:
    pass


def fail(kept):
    held = Held()
    held.itself = held  # only the collector takes it away
    kept.append(weakref.ref(held))
    raise ValueError("first")


def test_nothing_of_a_failed_run_outlives_the_process_group(monkeypatch):
    """A wrapped model that an exception's frames kept would take the group down with it, and could hang there."""
    kept, alive = [], []
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: alive.append(kept[0]() is not None))

    def explain():
        try:
            fail(kept)
        except ValueError:
            raise RuntimeError("second") from None

    with pytest.raises(RuntimeError, match="second"), distributed.process_group(torch.device("cpu")):
        explain()
    assert alive == [False]


@pytest.mark.parametrize("error", [UserError("a mistake"), RunError("the disk is full")])
def test_what_rank_0_does_for_all_comes_to_all_and_its_error_too(monkeypatch, error):
    """Two processes in turn: what rank 0 sends is what rank 1 is handed."""

    def fail():
        raise error

    assert distributed.on_first(lambda: 7) == 7
    sent = []

    def gather(value):
        sent.append(value)
        return [sent[0], None]

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed, "gather_objects", gather)
    for work, there in ((lambda: 7, None), (fail, type(error))):
        sent.clear()
        for rank in ("0", "1"):
            monkeypatch.setenv("RANK", rank)
            mine = work if rank == "0" else lambda: pytest.fail("rank 1 worked")
            if there:
                with pytest.raises(there, match=str(error)):
                    distributed.on_first(mine)
            else:
                assert distributed.on_first(mine) == 7
