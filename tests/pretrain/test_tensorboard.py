"""TensorBoard's own reader finds what was written, each step once; and a run goes on where it cannot be written."""

import importlib.util
import math

import pytest

from mec_transfer.common.errors import UserError
from pretrain.tensorboard import TensorBoard


def read(folder):
    """What TensorBoard would draw: {name: [(step, value), ...]}."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def write(folder, steps, loss):
    board = TensorBoard(folder)
    for step in steps:
        board.write(step, {"loss": loss, "lr": step / 10})
    board.close()


def test_what_is_written_is_drawn(tmp_path):
    write(tmp_path / "board", (1, 10, 20), -0.25)
    found = read(tmp_path / "board")
    assert found["loss"] == [(1, -0.25), (10, -0.25), (20, -0.25)]
    assert [value for _, value in found["lr"]] == pytest.approx([0.1, 1, 2])


def test_after_a_resume_no_step_is_drawn_twice(tmp_path, monkeypatch):
    clock = iter(range(1_800_000_000, 1_900_000_000))
    monkeypatch.setattr("tensorboard.summary.writer.event_file_writer.time.time", lambda: next(clock))  # file names
    write(tmp_path, (1, 10, 20, 30), 1.0)
    write(tmp_path, (20, 30, 40), 2.0)  # from a checkpoint after step 15
    assert len(list(tmp_path.iterdir())) == 2
    assert read(tmp_path)["loss"] == [(1, 1.0), (10, 1.0), (20, 2.0), (30, 2.0), (40, 2.0)]


def test_a_figure_that_is_not_a_number_is_kept(tmp_path):
    write(tmp_path, (1,), math.nan)
    ((step, value),) = read(tmp_path)["loss"]
    assert step == 1 and math.isnan(value)


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else find_spec(name))
    with pytest.raises(UserError, match=r"pip install 'mec-transfer\[tensorboard\]'") as caught:
        TensorBoard(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_in_its_place_ends_the_writing_and_nothing_else(tmp_path, capsys):
    (tmp_path / "board").write_text("")
    write(tmp_path / "board", (1, 2), 0.0)
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "the run goes on without TensorBoard" in message


def test_a_full_disk_ends_the_writing_and_nothing_else(tmp_path, capsys, monkeypatch):
    from tensorboard.summary.writer.record_writer import RecordWriter

    def full(self, data):
        raise OSError(28, "No space left on device")

    board = TensorBoard(tmp_path / "board")
    board.write(1, {"loss": 0.0})
    monkeypatch.setattr(RecordWriter, "write", full)
    monkeypatch.setattr("threading.excepthook", lambda arguments: None)  # TensorBoard's thread dies loudly
    for step in range(2, 200):
        board.write(step, {"loss": 0.0})
    board.close()
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "No space left on device" in message
