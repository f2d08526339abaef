"""A trained state outlives a mistake in the test data, in a folder of one's own and in a suite's."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from fake_family import Fake, FakeData, fake_backbone

from mec_transfer.benchmark import TRAINING_NAME, Job
from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.lock import folder_lock
from mec_transfer.results.record import DatasetInfo, Record
from mec_transfer.suite.takeover import adopt_training
from tests.suite.test_execute import execute, make_config


class Trained(Fake):
    """Trains once, which leaves a state, and then cannot read the test data that is called broken."""

    trainings = 0

    def training_identity(self, job: Job) -> dict[str, Any]:
        return {"backbone": job.backbone.sha256, "data": job.dataset.train_fingerprint, "seed": job.seed}

    def run(self, job: Job) -> Record:
        state, mine = job.workdir / "training_last.pth", self.training_identity(job)
        if not state.exists():
            self.trainings += 1
            state.write_text(json.dumps(mine))
            (job.workdir / TRAINING_NAME).write_text(json.dumps(mine))
        assert json.loads(state.read_text()) == mine
        if "broken" in job.dataset.fingerprint:
            raise RunError("a test image cannot be read")
        state.unlink()
        (job.workdir / TRAINING_NAME).unlink()
        return super().run(job)


def data(test: str, train: str = "train") -> DatasetInfo:
    return DatasetInfo(name="d", fingerprint=f"{train} {test}", train_fingerprint=train, num_images=10)


@pytest.fixture
def benchmark() -> Trained:
    return Trained(make_config())


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "size").write_text("10")
    return Job(
        model_name="mec",
        backbone=fake_backbone("random:mec"),
        data=FakeData(make_config().dataset, tmp_path / "d"),
        dataset=data("broken"),
        workdir=tmp_path / "jobs" / "mec" / "one-t0-aaaaaaaa",
    )


def test_mended_test_data_is_measured_with_what_was_trained(benchmark: Trained, job: Job) -> None:
    with pytest.raises(RunError, match="a test image cannot be read"):
        execute(benchmark, job)
    mended = dataclasses.replace(job, dataset=data("mended"))
    record = execute(benchmark, mended)
    assert record.status == "ok" and record.dataset == mended.dataset and benchmark.trainings == 1
    assert json.loads((job.workdir / "job.json").read_text())["key"] == mended.key(benchmark.config)
    with pytest.raises(UserError, match="holds another job"):  # a number is not taken over
        execute(benchmark, job)


@pytest.mark.parametrize("change", ["train", "seed", "model"])
def test_another_training_is_refused_and_its_state_kept(benchmark: Trained, job: Job, change: str) -> None:
    with pytest.raises(RunError):
        execute(benchmark, job)
    other = {
        "train": {"dataset": data("mended", train="mended train")},
        "seed": {"seed": 1, "dataset": data("mended")},
        "model": {"backbone": fake_backbone("random:other"), "dataset": data("mended")},
    }[change]
    with pytest.raises(UserError, match="holds another job .*; choose another --out") as caught:
        execute(benchmark, dataclasses.replace(job, **other))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert ("was trained on other training data than is there now" in str(caught.value)) == (change == "train")
    assert benchmark.trainings == 1 and (job.workdir / "training_last.pth").exists()
    assert execute(benchmark, dataclasses.replace(job, dataset=data("mended"))).status == "ok"
    assert benchmark.trainings == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_damaged_note_of_the_training_keeps_the_folder(benchmark: Trained, job: Job, text: str) -> None:
    with pytest.raises(RunError):
        execute(benchmark, job)
    (job.workdir / TRAINING_NAME).write_text(text)
    with pytest.raises(UserError, match="holds another job"):
        execute(benchmark, dataclasses.replace(job, dataset=data("mended")))


def test_a_record_that_cannot_be_read_may_hold_a_number(benchmark: Trained, job: Job) -> None:
    with pytest.raises(RunError):
        execute(benchmark, job)
    (job.workdir / "record.json").write_text("{")
    with pytest.raises(UserError, match="holds another job"):
        execute(benchmark, dataclasses.replace(job, dataset=data("mended")))


def test_a_suite_finds_the_training_in_the_folder_of_the_earlier_key(benchmark: Trained, job: Job) -> None:
    with pytest.raises(RunError):
        execute(benchmark, job)
    folder = job.workdir.with_name("one-t0-bbbbbbbb")
    mended = dataclasses.replace(job, dataset=data("mended"), workdir=folder)
    folder.mkdir()
    adopt_training(benchmark, mended)
    assert not list(job.workdir.glob("training*")) and (folder / "training_last.pth").exists()
    assert execute(benchmark, mended).status == "ok" and benchmark.trainings == 1


@pytest.mark.parametrize("change", ["train", "trial", "benchmark"])
def test_a_suite_takes_no_other_training(
    benchmark: Trained, job: Job, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunError):
        execute(benchmark, job)
    name = {"train": "one-t0-b", "trial": "one-t1-b", "benchmark": "two-t0-b"}[change]
    dataset = data("mended", train="mended train" if change == "train" else "train")
    other = dataclasses.replace(job, dataset=dataset, workdir=job.workdir.with_name(name))
    other.workdir.mkdir()
    adopt_training(benchmark, other)
    assert not list(other.workdir.iterdir()) and (job.workdir / "training_last.pth").exists()
    said = capsys.readouterr().err
    assert ("was trained on other training data than is there now; it is trained again" in said) == (change == "train")
    assert execute(benchmark, other).status == "ok" and benchmark.trainings == 2


def test_a_move_that_was_cut_short_is_finished(benchmark: Trained, job: Job) -> None:
    with pytest.raises(RunError):
        execute(benchmark, job)
    mended = dataclasses.replace(job, dataset=data("mended"), workdir=job.workdir.with_name("one-t0-bbbbbbbb"))
    mended.workdir.mkdir()
    (job.workdir / "training_last.pth").rename(mended.workdir / "training_last.pth")
    adopt_training(benchmark, mended)
    assert {path.name for path in mended.workdir.iterdir()} == {"training_last.pth", TRAINING_NAME}


def test_benchmarks_without_a_training_are_left_alone(job: Job) -> None:
    plain = Fake(make_config(fail_for="mec"))
    with pytest.raises(RunError):
        execute(plain, job)
    with pytest.raises(UserError, match="holds another job"):
        execute(plain, dataclasses.replace(job, dataset=data("mended")))
    with folder_lock(job.workdir, "testing"):
        adopt_training(plain, job)
