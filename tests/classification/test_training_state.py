from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mec_transfer.classification.training_state import STATE_NAME, TrainingState, load_state, save_state
from mec_transfer.common.errors import UserError


def _state(key: str = "abc") -> TrainingState:
    top = np.arange(10).reshape(2, 5)
    return TrainingState(
        key=key,
        epoch=3,
        seconds=1.5,
        history=[{"epoch": 1, "loss": 0.5, "top1": 50.0, "lr": [0.1, 1.0]}],
        best_epoch=2,
        best=top,
        last=top + 1,
        modules={"head": {"weight": torch.ones(2, 3)}},
        optimizer={"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
    )


def test_a_state_comes_back_whole(tmp_path: Path) -> None:
    state = _state()
    save_state(tmp_path, state)
    again = load_state(tmp_path, "abc")
    assert (again.epoch, again.seconds, again.history, again.best_epoch) == (3, 1.5, state.history, 2)
    assert np.array_equal(again.best, state.best)
    assert np.array_equal(again.last, state.last)
    assert torch.equal(again.modules["head"]["weight"], torch.ones(2, 3))
    assert again.optimizer["param_groups"] == [{"lr": 0.1, "params": [0]}]


def test_no_state_is_a_fresh_one(tmp_path: Path) -> None:
    assert load_state(tmp_path, "abc") == TrainingState(key="abc")


def test_another_jobs_state_is_refused(tmp_path: Path) -> None:
    save_state(tmp_path, _state("other"))
    with pytest.raises(UserError, match=r"left by another job \(other, this one is abc\)"):
        load_state(tmp_path, "abc")


@pytest.mark.parametrize("damage", ["empty", "truncated", "other"])
def test_a_damaged_state_says_what_to_do(tmp_path: Path, damage: str) -> None:
    save_state(tmp_path, _state())
    path = tmp_path / STATE_NAME
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-200])
    else:
        torch.save({"key": "abc"}, path)
    with pytest.raises(UserError, match=f"{STATE_NAME}: .*delete it") as caught:
        load_state(tmp_path, "abc")
    assert "\n" not in str(caught.value)


def test_the_state_before_the_last_stays_until_training_is_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, over = _state(), _state(), _state()
    second.epoch, over.epoch, over.optimizer = 4, 5, None
    save_state(tmp_path, first)
    save_state(tmp_path, second)
    (tmp_path / STATE_NAME).write_bytes(b"PK cut short")
    assert load_state(tmp_path, "abc").epoch == 3
    assert "going on from training_state_previous.pt instead, epoch 3, step 0" in capsys.readouterr().err
    save_state(tmp_path, over)
    assert [path.name for path in tmp_path.iterdir()] == [STATE_NAME] and load_state(tmp_path, "abc").epoch == 5
