from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from mec_transfer.common.errors import MissingExtra
from mec_transfer.results.leaderboard import build_leaderboard
from mec_transfer.results.writers import _numbers, write_tensorboard, write_wandb
from tests.results.test_exports import detectors
from tests.results.test_leaderboard import PARTIAL, record


def test_tensorboard_reads_every_number_at_the_step_of_its_seed(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed: ITS WRITER WAS NOT TRIED")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write_tensorboard(build_leaderboard([*detectors(), record("a/b", "x-knn-dino", 60.0)]), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a_b", "mec", "random"]
    events = EventAccumulator(str(tmp_path / "mec"))
    events.Reload()
    found = {}
    for tag in events.Tags()["tensors"]:
        found[tag] = [(event.step, round(event.tensor_proto.float_val[0], 3)) for event in events.Tensors(tag)]
    assert found["voc-c4/AP50"] == [(0, 82.0), (1, 82.4)] and found["voc-c4/mask_AP75"] == [(0, 36.0), (1, 36.5)]
    assert len(found) == 6


def test_columns_that_differ_in_their_data_alone_have_tags_of_their_own() -> None:
    found = [record("mec", "x-knn-dino", 60.0), record("mec", "x-knn-dino", 70.0, dataset=PARTIAL)]
    numbers = {tag: value for tag, value, _ in _numbers(build_leaderboard(found), 0) if tag.endswith("top1")}
    assert sorted(numbers.values()) == [60.0, 70.0] and all("data f" in tag for tag in numbers)


def test_wandb_keeps_every_mean_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed: ITS WRITER WAS NOT TRIED")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    write_wandb(build_leaderboard(detectors()), tmp_path)
    runs = sorted((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(runs) == 2
    assert any(b"voc-c4/AP50" in path.read_bytes() and b"82.2" in path.read_bytes() for path in runs)


@pytest.mark.parametrize(("write", "library"), [(write_tensorboard, "tensorboard"), (write_wandb, "wandb")])
def test_a_library_that_is_missing_is_named(write, library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == library else find_spec(name))
    with pytest.raises(MissingExtra, match=rf"pip install 'mec-transfer\[{library}\]'"):
        write(build_leaderboard(detectors()), tmp_path / "out")
    assert not (tmp_path / "out").exists()
