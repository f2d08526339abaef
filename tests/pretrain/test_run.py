"""The mec-pretrain command: what it leaves, how it resumes, and what it refuses."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pretrain.__main__ import main
from pretrain.trainer import Trainer
from tests import warm

TINY = """
arch: resnet18
dim: 16
pred_dim: 8
views: {size: 32}
batch_size: 6
epochs: 2
warmup_epochs: 1
log_every: 2
eps: 16.0
"""
STEPS = 6


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder with tiny.yaml and 20 images below images/."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "tiny.yaml").write_text(TINY)
    random = np.random.default_rng(0)
    for i in range(20):
        path = folder / "images" / f"part{i % 2}" / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(path)
    return folder


def run(inputs, out, *more, data="images"):
    command = [inputs / "tiny.yaml", "--data", inputs / data, "--out", out, "--device", "cpu", "--workers", "0", *more]
    return main([str(word) for word in command])


@pytest.fixture(scope="module")
def finished(inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "out"
    assert run(inputs, out) == 0
    return out


def read(out):
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return torch.load(out / "checkpoint_last.pth", weights_only=True), lines


def same(first, second):
    """Bitwise equality of whatever a checkpoint holds."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def test_what_a_run_leaves(finished):
    checkpoint, lines = read(finished)
    about = {key: checkpoint[key] for key in ("format", "epoch", "step", "arch", "stem", "preprocessing")}
    assert about == {
        "format": "mec-transfer/1",
        "epoch": 2,
        "step": STEPS,
        "arch": "resnet18",
        "stem": "imagenet",
        "preprocessing": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "channel_order": "RGB"},
    }
    assert checkpoint["config"]["views"]["size"] == 32
    assert {name.partition(".")[0] for name in checkpoint["state_dict"]} == {"encoder", "teacher", "predictor"}
    assert "encoder.fc.6.weight" in checkpoint["state_dict"] and "encoder.conv1.weight" in checkpoint["state_dict"]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 6]
    assert [line["epoch"] for line in lines] == [0, 0, 0, 1, 1]
    wanted = {
        "loss",
        "coding_length",
        "lr",
        "images_per_second",
        "lamda_inv",
        "spectral_norm",
        "embedding_std",
        "effective_rank",
    }
    assert all(wanted <= set(line) for line in lines)
    assert lines[0]["lr"] == 0 and lines[3]["lr"] == pytest.approx(0.5 * 6 / 256)
    assert lines[0]["lamda_inv"] == pytest.approx(48) and lines[-1]["lamda_inv"] == pytest.approx(6)


def test_a_finished_run_returns_at_once_without_torch(inputs, finished):
    before = (finished / "checkpoint_last.pth").stat().st_mtime_ns
    arguments = [str(inputs / "tiny.yaml"), "--data", str(inputs / "images"), "--out", str(finished)]
    code = (
        "import sys; from pretrain.__main__ import main\n"
        f"code = main({arguments!r}); assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(Path.cwd())}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert "finished" in done.stderr
    assert (finished / "checkpoint_last.pth").stat().st_mtime_ns == before


def test_a_finished_run_is_known_by_its_checkpoint_alone(inputs, finished, tmp_path, capsys):
    shutil.copy(finished / "checkpoint_last.pth", tmp_path)
    assert run(inputs, tmp_path) == 0
    assert "step 6 of 6" in capsys.readouterr().err
    assert (tmp_path / "done.json").is_file()
    assert same(read(tmp_path)[0], read(finished)[0])


def test_resume_is_bitwise_an_undisturbed_run(inputs, finished, tmp_path, monkeypatch, capsys):
    step = Trainer.step

    def interrupted(self, *views):
        if self.done == 4:  # one step into the second epoch
            raise KeyboardInterrupt
        return step(self, *views)

    monkeypatch.setattr(Trainer, "step", interrupted)
    assert run(inputs, tmp_path) == 130
    assert "interrupted" in capsys.readouterr().err
    assert read(tmp_path)[0]["step"] == 3
    with (tmp_path / "log.jsonl").open("a") as log:  # what a kill in mid-epoch leaves
        log.write('{"step": 4, "loss": 1.0}\n{"step": Infinity}\n{"step": 5, "lo')
    with (tmp_path / "log.jsonl").open("ab") as log:  # and a disk that fails
        log.write(b"\xff\xfe\n")

    monkeypatch.setattr(Trainer, "step", step)
    assert run(inputs, tmp_path) == 0
    (resumed, lines), (undisturbed, expected) = read(tmp_path), read(finished)
    assert same(resumed, undisturbed)
    assert untimed(lines) == untimed(expected)


def untimed(lines):
    return [{name: value for name, value in line.items() if name != "images_per_second"} for line in lines]


def states(out):
    checkpoint = read(out)[0]
    return {key: checkpoint[key] for key in ("epoch", "step", "state_dict", "optimizer")}


def test_going_on_after_every_step_is_bitwise_an_undisturbed_run(inputs, finished, tmp_path, monkeypatch):
    """The command is cut off at each step once, with what it last saved one or two steps behind."""
    step, every_two = Trainer.step, ("--set", "save_every_steps=2")
    for cut in range(1, STEPS):

        def cut_off(self, *views, cut=cut):
            if self.done == cut:
                raise SystemExit(9)
            return step(self, *views)

        monkeypatch.setattr(Trainer, "step", cut_off)
        with pytest.raises(SystemExit):
            run(inputs, tmp_path, *every_two)
    monkeypatch.setattr(Trainer, "step", step)
    assert run(inputs, tmp_path, *every_two) == 0
    assert same(states(tmp_path), states(finished))
    assert untimed(read(tmp_path)[1]) == untimed(read(finished)[1])


def test_ten_minutes_after_the_last_checkpoint_there_is_another(inputs, finished, tmp_path, monkeypatch):
    step = Trainer.step

    def cut_off(self, *views):
        if self.done == 5:
            raise SystemExit(9)
        return step(self, *views)

    with monkeypatch.context() as patch:
        patch.setattr("mec_transfer.common.resumable.SAVE_SECONDS", 0)
        patch.setattr(Trainer, "step", cut_off)
        with pytest.raises(SystemExit):
            run(inputs, tmp_path)
    assert read(tmp_path)[0]["step"] == 5
    assert run(inputs, tmp_path) == 0
    assert same(states(tmp_path), states(finished))
    assert untimed(read(tmp_path)[1]) == untimed(read(finished)[1])


def test_a_kill_loses_no_more_than_the_steps_since_the_last_checkpoint(inputs, finished, tmp_path):
    command = [sys.executable, "-m", "pretrain", inputs / "tiny.yaml", "--data", inputs / "images", "--out", tmp_path]
    more = ("--device", "cpu", "--workers", "1", "--set", "save_every_steps=1")
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    with warm.Popen([str(word) for word in (*command, *more)], env=environment, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / "checkpoint_last.pth").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
    assert process.returncode == -signal.SIGKILL and not (tmp_path / "done.json").exists()
    assert run(inputs, tmp_path, "--set", "save_every_steps=1") == 0
    assert same(states(tmp_path), states(finished))
    assert untimed(read(tmp_path)[1]) == untimed(read(finished)[1])
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_saves_and_stops(inputs, finished, tmp_path, monkeypatch, capsys, number):
    step, before = Trainer.step, signal.getsignal(number)

    def signalled(self, *views):
        if self.done == 4:  # the line of step 6 has the largest norm of steps 5 and 6
            os.kill(os.getpid(), number)
        return step(self, *views)

    monkeypatch.setattr(Trainer, "step", signalled)
    assert run(inputs, tmp_path) == 128 + number
    assert "saved at step 5" in capsys.readouterr().err and read(tmp_path)[0]["step"] == 5
    assert signal.getsignal(number) == before
    monkeypatch.setattr(Trainer, "step", step)
    assert run(inputs, tmp_path) == 0
    assert same(states(tmp_path), states(finished))
    assert untimed(read(tmp_path)[1]) == untimed(read(finished)[1])


@pytest.mark.parametrize("damage", ["cut short", "a flipped bit"])
def test_a_damaged_checkpoint_gives_way_to_the_previous_one(inputs, finished, tmp_path, capsys, damage):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    last = tmp_path / "checkpoint_last.pth"
    content = bytearray(last.read_bytes())
    assert torch.load(tmp_path / "checkpoint_previous.pth", weights_only=True)["step"] == 3
    content[len(content) // 2] ^= 4
    last.write_bytes(content[: len(content) // 2] if damage == "cut short" else content)
    assert run(inputs, tmp_path) == 0
    message = capsys.readouterr().err
    assert f"{last}: cannot be read" in message and "going on from checkpoint_previous.pth instead, step 3" in message
    assert same(states(tmp_path), states(finished))
    assert torch.load(tmp_path / "checkpoint_previous.pth", weights_only=True)["step"] == 3


def test_a_full_disk_keeps_the_checkpoint(inputs, tmp_path, monkeypatch, capsys):
    save, saved = torch.save, []

    def full(value, handle):
        if saved:
            handle.write(b"half of it")
            raise OSError(28, "No space left on device")
        saved.append(save(value, handle))

    monkeypatch.setattr(torch, "save", full)
    assert run(inputs, tmp_path) == 1
    message = capsys.readouterr().err
    assert "checkpoint_last.pth: cannot be written (No space left on device); what was there before is kept" in message
    assert read(tmp_path)[0]["step"] == 3
    assert sorted(path.suffix for path in tmp_path.iterdir()).count(".tmp") == 0


def test_teacher_and_its_statistics_are_their_own(finished):
    state = read(finished)[0]["state_dict"]
    assert not torch.equal(state["teacher.conv1.weight"], state["encoder.conv1.weight"])
    assert not torch.equal(state["teacher.layer4.0.bn1.running_mean"], state["encoder.layer4.0.bn1.running_mean"])


@pytest.mark.parametrize(("order", "warned"), [("4", True), ("exact", False)])
def test_the_series_range_is_watched_where_there_is_a_series(inputs, tmp_path, capsys, order, warned):
    small = ("--set", "eps=2", "--set", "warmup_epochs=0", "--set", "max_steps=2", "--set", "base_lr=1e-6")
    assert run(inputs, tmp_path, "--set", f"order={order}", *small) == 0
    assert all(line["spectral_norm"] > 1 for line in read(tmp_path)[1])
    assert ("the Taylor series may diverge" in capsys.readouterr().err) == warned


def test_max_steps_stops_in_mid_epoch(inputs, tmp_path):
    assert run(inputs, tmp_path, "--set", "max_steps=4") == 0
    checkpoint, lines = read(tmp_path)
    assert (checkpoint["epoch"], checkpoint["step"], lines[-1]["step"]) == (1, 4, 4)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--set", "batch_size=7"], "config.batch_size (there 6, now 7)"),
        (["--set", "views.size=24"], "config.views.size (there 32, now 24)"),
        (["--seed", "1"], "seed (there 0, now 1)"),
    ],
)
def test_another_run_is_not_continued(inputs, finished, capsys, more, named):
    assert run(inputs, finished, *more) == 2
    message = capsys.readouterr().err
    assert named in message and "checkpoint_last.pth" in message and message.count("\n") == 1


def test_other_images_are_not_the_same_run(inputs, finished, capsys):
    assert run(inputs, finished, data="images/part0") == 2
    assert "num_images (there 20, now 10)" in capsys.readouterr().err


def test_resume_never_wants_an_empty_folder(inputs, finished, capsys):
    assert run(inputs, finished, "--resume", "never") == 2
    assert "not empty" in capsys.readouterr().err


def test_a_diverged_loss_names_the_step_and_keeps_the_checkpoint(inputs, tmp_path, capsys):
    assert run(inputs, tmp_path, "--set", "base_lr=1e30", "--set", "warmup_epochs=0") == 1
    message = capsys.readouterr().err
    assert "failed: the loss is nan at step 2 (epoch 0, images part" in message and "Traceback" not in message
    assert not (tmp_path / "checkpoint_last.pth").exists()
    left = torch.load(tmp_path / "nonfinite_step000002_rank0.pth", weights_only=True)
    assert f"images {', '.join(left['images'][:3])} and 3 more" in message
    assert (left["step"], len(left["indices"]), left["views"][0].shape) == (1, 6, (6, 3, 32, 32))
    assert left["state_dict"]["encoder.conv1.weight"].isfinite().all()  # huge, but not touched by the loss


def test_a_determinant_that_is_not_positive_names_the_step(inputs, tmp_path, capsys):
    assert run(inputs, tmp_path, "--set", "order=exact", "--set", "eps=1e-3") == 1
    message = capsys.readouterr().err
    assert "failed: step 1 (epoch 0): det(I + C) is not positive at lamda_inv" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 cut short"])
def test_a_damaged_checkpoint_is_refused(inputs, tmp_path, capsys, content):
    (tmp_path / "checkpoint_last.pth").write_bytes(content)
    assert run(inputs, tmp_path) == 2
    message = capsys.readouterr().err
    assert f"{tmp_path / 'checkpoint_last.pth'}: cannot be read" in message and message.count("\n") == 1


def test_a_foreign_checkpoint_is_refused(inputs, tmp_path, capsys):
    torch.save({"state_dict": {}}, tmp_path / "checkpoint_last.pth")
    assert run(inputs, tmp_path) == 2
    assert "not a checkpoint of mec-pretrain" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--set", "bach_size=8"], "Did you mean 'batch_size'?"),
        (["--set", "views.sise=8"], "Did you mean 'size'?"),
        (["--set", "eps=zero"], "'eps' = 'zero'"),
        (["--set", "order=0"], "'order' = 0: must be an integer from 1 on, or 'exact'"),
        (["--set", "warmup_epochs=3"], "warmup_epochs = 3 is more than epochs = 2"),
        (["--set", "views.crop_scale=[0.5, 0.2]"], "crop_scale must be"),
        (["--set", "std=[0.2, 0.0, 0.2]"], "std must be"),
        (["--set", "batch_size=21"], "holds 20 images, one batch is 21"),
        (["--workers", "-1"], "can be negative"),
        (["--seed", "-1"], "can be negative"),
        (["--device", "tpu"], "--device tpu"),
        (["--data", "/nowhere/at/all"], "/nowhere/at/all: no such folder"),
    ],
)
def test_a_wrong_input_gives_one_line(inputs, tmp_path, capsys, more, named):
    assert run(inputs, tmp_path / "out", *more) == 2
    message = capsys.readouterr().err
    assert message.startswith("mec-pretrain: error: ") and named in message and message.count("\n") == 1


def test_an_empty_folder_and_a_file_for_a_folder(inputs, tmp_path, capsys):
    assert main([str(inputs / "tiny.yaml"), "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert f"{tmp_path}: holds 0 images" in capsys.readouterr().err
    assert run(inputs, inputs / "tiny.yaml") == 2
    assert "tiny.yaml: is a file" in capsys.readouterr().err
    assert main(["no_such_config", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "mec_r50_100ep" in capsys.readouterr().err


def test_milestones_are_kept_beside_the_last(inputs, finished, tmp_path):
    assert run(inputs, tmp_path, "--set", "keep_every_epochs=1") == 0
    first, second = (torch.load(tmp_path / f"checkpoint_epoch000{i}.pth", weights_only=True) for i in (1, 2))
    assert (first["epoch"], first["step"]) == (1, 3) and second["epoch"] == 2
    assert same(second["state_dict"], read(finished)[0]["state_dict"])


def test_a_milestone_serves_where_the_last_two_are_damaged(inputs, finished, tmp_path, capsys):
    shutil.copy(finished / "checkpoint_previous.pth", tmp_path / "checkpoint_epoch0001.pth")
    (tmp_path / "checkpoint_epoch0000.pth").write_bytes(b"older, and damaged too")
    for name in ("checkpoint_last.pth", "checkpoint_previous.pth"):
        (tmp_path / name).write_bytes(b"PK cut short")
    assert run(inputs, tmp_path) == 0
    assert "going on from checkpoint_epoch0001.pth instead, step 3" in capsys.readouterr().err
    assert same(states(tmp_path), states(finished))


def test_progress_shows_the_figures_of_the_step(inputs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mec_transfer.common.progress._LOG_INTERVAL_SECONDS", 0)
    assert run(inputs, tmp_path, "--set", "max_steps=2") == 0
    line = capsys.readouterr().err.splitlines()[1]
    assert line.startswith("pretraining [2/2 steps]  loss ")
    assert (
        all(f"  {name} " in line for name in ("coding_length", "lr", "lamda_inv", "images_per_second"))
        and "left" in line
    )


def test_loading_processes_change_nothing(inputs, finished, tmp_path):
    assert run(inputs, tmp_path, "--workers", "2") == 0
    assert same(read(tmp_path)[0], read(finished)[0])


def test_labelled_images_are_watched_without_a_trace_in_the_weights(inputs, finished, tmp_path):
    for split in ("train", "val"):
        for part in ("part0", "part1"):
            shutil.copytree(inputs / "images" / part, tmp_path / "labelled" / split / part)
    more = ("--labelled", tmp_path / "labelled", "--set", "online_knn={k: 3}")
    assert run(inputs, tmp_path / "out", *more) == 0
    checkpoint, lines = read(tmp_path / "out")
    assert same(checkpoint["state_dict"], read(finished)[0]["state_dict"])
    accuracies = [(line["step"], line["knn_top1"]) for line in lines if "knn_top1" in line]
    assert [step for step, _ in accuracies] == [3, 6] and all(50 <= top1 <= 100 for _, top1 in accuracies)
    assert (tmp_path / "out" / "training.png").read_bytes()[:4] == b"\x89PNG"


def test_a_chunk_that_does_not_divide_is_refused(inputs, tmp_path, capsys):
    assert run(inputs, tmp_path, "--set", "chunk_size=4") == 2
    assert "chunk_size = 4 does not divide the 6 images" in capsys.readouterr().err


def test_the_train_split_of_a_data_set_is_taken(inputs, tmp_path, capsys):
    for split in ("train", "val"):
        shutil.copytree(inputs / "images" / "part0", tmp_path / "data" / split / "class")
    assert run(inputs, tmp_path / "out", "--set", "max_steps=1", data=tmp_path / "data") == 0
    assert f"pretraining on {tmp_path / 'data' / 'train'}" in capsys.readouterr().err
    assert read(tmp_path / "out")[0]["run"]["num_images"] == 10


def test_two_commands_do_not_train_in_one_folder(inputs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mec_transfer.common.lock.time.monotonic", lambda: float("inf"))  # no patience
    code = (
        "import sys; from pathlib import Path; from mec_transfer.common.lock import folder_lock\n"
        "with folder_lock(Path(sys.argv[1]), 'x'): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        assert run(inputs, tmp_path) == 2
        holder.stdin.close()
    assert f"{tmp_path}: another process ({holder.pid}) is pretraining here" in capsys.readouterr().err
    assert not (tmp_path / "log.jsonl").exists()


def test_a_fault_in_loading_is_one_line_and_a_traceback_in_a_file(inputs, tmp_path, monkeypatch, capsys):
    def fail(self, item):
        raise KeyError("a bug")

    monkeypatch.setattr("pretrain.data.TwoViews.__getitem__", fail)
    assert run(inputs, tmp_path, "--workers", "1") == 1
    assert capsys.readouterr().err == "mec-pretrain: failed: loading failed: KeyError: 'a bug'\n"
    assert "in fail" in (tmp_path / "traceback.txt").read_text()


def test_a_full_gpu_is_told_with_what_makes_a_step_smaller(inputs, tmp_path, monkeypatch, capsys):
    def step(self, *views):
        raise torch.OutOfMemoryError("GPU 0 has a total capacity of 79.18 GiB of which 297.44 MiB is free.")

    monkeypatch.setattr(Trainer, "step", step)
    assert run(inputs, tmp_path / "out") == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(
        "mec-pretrain: failed: step 1: GPU 0's memory of 79.18 GiB is full; take more processes, or "
    )
    assert told.endswith("--set chunk_size=N to embed N images of the batch at a time")
