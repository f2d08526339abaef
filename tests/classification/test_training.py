"""The training loop: signals cost nothing, whenever they come."""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Callable

import pytest

from mec_transfer.benchmark import Benchmark, Job
from mec_transfer.classification import training
from mec_transfer.classification.network import ValImages
from mec_transfer.classification.training_state import STATE_NAME
from mec_transfer.common.interrupt import Interrupted, raised_signals
from mec_transfer.common.paths import CONFIGS
from mec_transfer.suite.registry import load_benchmark

MakeJob = Callable[..., Job]
SIZES = ["recipe.epochs=2", "recipe.batch=16", "recipe.replicas=2", "recipe.train_crop=32", "recipe.eval_view.crop=32"]
OWN = {
    "linear_mec": ["recipe.base_lr=4.0"],
    "semisup_1pct_barlow": ["recipe.labels=50%", "recipe.lr_head=0.05"],
}


def benchmark(name: str) -> Benchmark:
    overrides = ["dataset.name=tiny", "recipe.eval_view.resize=null", *SIZES, *OWN[name]]
    return load_benchmark(CONFIGS / "classification" / f"{name}.yaml", overrides)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("name", OWN)
def test_stopped_after_every_step_and_in_every_judgement_it_is_bitwise_undisturbed(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, workers: int
) -> None:
    expected, job = benchmark(name).run(make_job("undisturbed")), make_job("stopped", workers=workers)
    numbers = itertools.cycle([signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
    step, judge, judged = training.Meter.advance, ValImages.map, []

    def stopped_step(self: training.Meter, *args: int, **figures: float) -> None:
        step(self, *args, **figures)
        signal.raise_signal(next(numbers))  # held: the step is whole

    def stopped_judgement(self: ValImages, *args: object) -> object:
        if len(judged) % 2 == 0:  # the second attempt comes through
            judged.append("stopped")
            signal.raise_signal(next(numbers))
        judged.append("done")
        return judge(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(training.Meter, "advance", stopped_step)
    monkeypatch.setattr(ValImages, "map", stopped_judgement)
    stops = 0
    while True:
        try:
            with raised_signals():
                found = benchmark(name).run(job)
            break
        except Interrupted:
            stops += 1
            assert stops < 30 and ((job.workdir / STATE_NAME).is_file() or stops == 1)  # the first: before any step
    assert "saved at step 1 of epoch 1" in capsys.readouterr().err
    steps = len(expected.details["epochs"]) * (3 if name == "linear_mec" else 2)
    assert stops > steps and "stopped" in judged
    assert json.dumps(found.details) == json.dumps(expected.details) and found.metrics == expected.metrics
    predicted = [
        (folder / "predictions.npz").read_bytes() for folder in (job.workdir, job.workdir.parent / "undisturbed")
    ]
    assert predicted[0] == predicted[1]


def test_a_second_ctrl_c_does_not_wait_for_the_step(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job()

    def impatient(*_: object) -> list[float]:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return []

    monkeypatch.setattr(training, "_rates", impatient)
    with pytest.raises(KeyboardInterrupt) as stopped:
        benchmark("linear_mec").run(job)
    assert not isinstance(stopped.value, Interrupted) and not (job.workdir / STATE_NAME).exists()


def test_a_kill_costs_no_more_than_what_came_after_the_last_state_of_an_epoch(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, job = benchmark("linear_mec").run(make_job("undisturbed")), make_job("killed")
    advance = training.Meter.advance

    def killed(self: training.Meter, *args: int, **figures: float) -> None:
        advance(self, *args, **figures)
        if self.done == 3:  # the last step of the first epoch
            raise SystemExit(9)

    with monkeypatch.context() as patch:
        patch.setattr(training, "SAVE_SECONDS", 0)
        patch.setattr(training.Meter, "advance", killed)
        with pytest.raises(SystemExit):
            benchmark("linear_mec").run(job)
    found = benchmark("linear_mec").run(job)
    assert "going on after epoch 0 and 2 steps of 2" in capsys.readouterr().err
    assert json.dumps(found.details) == json.dumps(expected.details) and found.metrics == expected.metrics
