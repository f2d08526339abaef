"""Leaving the other processes."""

import weakref

import pytest
import torch

from mec_transfer.common import distributed


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
