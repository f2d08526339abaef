"""A run that is looked at is bitwise the run that is not; what is due when; and what the end leaves."""

import json
import random

import numpy as np
import pytest
import torch
from PIL import Image

from mec_transfer.common.errors import ConfigError, DataError, UserError
from mec_transfer.common.runtime import seed_everything
from pretrain.config import PretrainConfig
from pretrain.log import StepLog
from pretrain.model import MecModel
from pretrain.observe import Observers

CPU = torch.device("cpu")
TINY = {"arch": "resnet18", "dim": 16, "pred_dim": 8, "views": {"size": 32}, "batch_size": 6}
TINY |= {"epochs": 4, "warmup_epochs": 1, "online_knn": {"k": 3, "max_train": 8, "max_val": 6}}


def make_config(**keys):
    return PretrainConfig.model_validate(TINY | keys)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    root, draws = tmp_path_factory.mktemp("labelled"), np.random.default_rng(0)
    for name in ("train/dark", "train/light", "val/dark", "val/light"):
        (root / name).mkdir(parents=True)
        for i in range(4):
            pixels = draws.integers(0, 200, (36, 40, 3)) + (55 if "light" in name else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i}.png")
    return root


def train(config, out, observed):
    """Four steps of a hand-written loop with all that training has: two per epoch, the next one's views drawn at
    random from the global streams, which observers may therefore not touch."""
    seed_everything(0)
    model = MecModel(config.arch, config.stem, config.dim, config.pred_dim)
    optimizer = torch.optim.SGD(model.trained_parameters(), lr=0.1, momentum=0.9)
    observers = Observers.open(config, out, *observed, CPU, 0)
    log = StepLog.open(out / "log.jsonl", 0)
    for step in range(1, 5):
        views = torch.randn(2, 6, 3, 32, 32) + float(np.random.random()) + random.random()
        (z1, z2), (p1, p2) = model(*views), model.targets(*views)
        loss = ((z1 - p2) ** 2).mean() + ((z2 - p1) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.update_teacher(0.9)
        log.write(figures := {"step": step, "epoch": (step - 1) // 2, "loss": loss.item()})
        observers.step(figures)
        if step % 2 == 0 and (found := observers.epoch_end(step // 2 - 1, step, model)):
            log.write({"step": step, "epoch": step // 2 - 1, **found})
    observers.close(out / "log.jsonl")
    modes = [module.training for module in model.modules()]
    return model.state_dict(), modes, (torch.get_rng_state(), np.random.random(), random.random())


def test_a_run_that_is_looked_at_is_the_same_run(labelled, tmp_path):
    config = make_config()
    (alone, alone_modes, alone_random) = train(config, tmp_path / "alone", (None, False))
    (seen, seen_modes, seen_random) = train(config, tmp_path / "seen", (labelled, True))
    assert alone.keys() == seen.keys() and all(torch.equal(alone[name], seen[name]) for name in alone)
    assert alone_modes == seen_modes and torch.equal(alone_random[0], seen_random[0])
    assert alone_random[1:] == seen_random[1:]
    lines = [json.loads(line) for line in (tmp_path / "seen" / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["epoch"]) for line in lines if "knn_top1" in line] == [(2, 0), (4, 1)]
    assert Image.open(tmp_path / "seen" / "training.png").format == "PNG"

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "seen" / "tensorboard"))
    events.Reload()
    drawn = {name: {event.step: event.value for event in events.Scalars(name)} for name in events.Tags()["scalars"]}
    assert drawn.keys() == {"loss", "knn_top1"}
    for name in drawn:
        assert drawn[name] == pytest.approx({line["step"]: line[name] for line in lines if name in line})


@pytest.mark.parametrize(
    ("every", "max_steps", "due"), [(1, None, [0, 1, 2, 3]), (2, None, [1, 3]), (3, None, [2, 3]), (9, 5, [2, 3])]
)
def test_it_is_due_every_n_epochs_and_at_the_last_step(labelled, tmp_path, every, max_steps, due):
    config = make_config(online_knn={"k": 3, "every_epochs": every}, max_steps=max_steps)
    observers = Observers.open(config, tmp_path, labelled, False, CPU, 0)
    observers.knn.measure = lambda encoder, stop: 12.5
    model = MecModel("resnet18", "imagenet", 16, 8)
    steps = {0: 2, 1: 4, 2: 5 if max_steps else 6, 3: 8}
    assert [epoch for epoch, step in steps.items() if observers.epoch_end(epoch, step, model)] == due


def test_labelled_images_alone_are_a_wish_for_the_k_nn(labelled, tmp_path):
    config = make_config(online_knn=None)
    with pytest.raises(ConfigError, match="online_knn.k = 20: more neighbours than the 8 training images"):
        Observers.open(config, tmp_path, labelled, False, CPU, 0)
    assert not any(tmp_path.iterdir())


def test_a_k_nn_without_labelled_images_is_told(tmp_path, capsys):
    observers = Observers.open(make_config(), tmp_path, None, False, CPU, 0)
    assert "give --labelled DIR" in capsys.readouterr().err
    assert observers.epoch_end(0, 2, MecModel("resnet18", "imagenet", 16, 8)) == {}


def test_what_is_missing_is_found_before_the_training(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="/nowhere: no such folder"):
        Observers.open(make_config(), tmp_path, tmp_path / "nowhere", False, CPU, 0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'mec-transfer\[tensorboard\]'"):
        Observers.open(make_config(), tmp_path, None, True, CPU, 0)


def test_one_process_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    observers = Observers.open(make_config(), tmp_path, None, True, CPU, 0)
    observers.step({"step": 1, "epoch": 0, "loss": 1.0})
    StepLog.open(tmp_path / "log.jsonl", 0).write({"step": 1, "loss": 1.0})
    observers.close(tmp_path / "log.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


@pytest.mark.parametrize("cause", ["no line", "drawing"])
def test_a_plot_that_fails_fails_nothing_else(tmp_path, monkeypatch, capsys, cause):
    log = tmp_path / "log.jsonl"
    log.write_text("cut off\n" if cause == "no line" else '{"step": 1, "loss": 1.0}\n')
    if cause == "drawing":
        monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: 1 / 0)
    Observers.open(make_config(online_knn=None), tmp_path, None, False, CPU, 0).close(log)
    message = capsys.readouterr().err
    assert message.startswith("warning: ") and "training.png: not drawn (" in message and message.count("\n") == 1


@pytest.mark.parametrize("text", [None, ""])
def test_a_run_without_a_step_leaves_no_plot_and_no_word(tmp_path, capsys, text):
    if text is not None:
        (tmp_path / "log.jsonl").write_text(text)
    Observers.open(make_config(online_knn=None), tmp_path, None, False, CPU, 0).close(tmp_path / "log.jsonl")
    assert capsys.readouterr().err == "" and not (tmp_path / "training.png").exists()
