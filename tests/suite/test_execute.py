from __future__ import annotations

import dataclasses
import json
import math
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_family import Fake, FakeConfig, FakeData, fake_backbone

from mec_transfer.benchmark import Benchmark, Job, MetricsConfig, describe_data
from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.lock import folder_lock
from mec_transfer.datasets.config import DatasetConfig
from mec_transfer.results.record import Record, read_record
from mec_transfer.suite.execute import execute_job
from mec_transfer.suite.spec import JobSpec


def make_config(**recipe: object) -> FakeConfig:
    return FakeConfig(
        id="one",
        family="fake",
        kind="fake",
        protocol="fake-one",
        title="Fake",
        published="nowhere",
        dataset=DatasetConfig(name="d", layout="fake", folder="d"),
        metrics=MetricsConfig(primary="top1"),
        recipe=recipe,
    )


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    data = tmp_path / "d"
    data.mkdir()
    (data / "size").write_text("10")
    yield Job(
        model_name="mec",
        backbone=fake_backbone("random:mec"),
        data=FakeData(make_config().dataset, data),
        dataset=describe_data(FakeData(make_config().dataset, data)),
        workdir=tmp_path / "work",
        device="cpu",
    )


def spec_of(benchmark: Benchmark, job: Job) -> JobSpec:
    return JobSpec(
        model=job.model_info(),
        benchmark=benchmark.config.info(),
        dataset=job.dataset,
        trial=job.trial,
        seed=job.seed,
        config=benchmark.config,
        checkpoint=job.backbone.provenance.source,
        encoder="auto",
        data=job.data.folder,
        workdir=job.workdir,
        cache=job.workdir / "cache",
        device=job.device,
        workers=job.workers,
    )


def execute(benchmark: Benchmark, job: Job) -> Record:
    return execute_job(spec_of(benchmark, job), benchmark, job)


def runs(job: Job) -> list[str]:
    path = job.workdir / "runs.txt"
    return path.read_text().split() if path.exists() else []


def test_runs_once_and_then_returns_what_it_left(job: Job) -> None:
    first = execute(Fake(make_config()), job)
    assert first.status == "ok" and runs(job) == ["begin", "end"]
    assert execute(Fake(make_config()), job) == first == read_record(job.workdir)
    assert runs(job) == ["begin", "end"]


def test_the_folder_says_whose_it_is(job: Job) -> None:
    execute(Fake(make_config()), job)
    about = json.loads((job.workdir / "job.json").read_text())
    assert about["key"] == job.key(make_config())
    assert about["model"]["name"] == "mec" and about["config"]["protocol"] == "fake-one"


@pytest.mark.parametrize("change", ["model", "data", "trial", "seed", "config"])
def test_another_job_is_refused_in_one_line(job: Job, change: str) -> None:
    execute(Fake(make_config()), job)
    before = (job.workdir / "record.json").read_bytes()
    config = make_config(seconds=0.001) if change == "config" else make_config()
    other = {
        "model": {"backbone": fake_backbone("random:other")},
        "data": {"dataset": job.dataset.model_copy(update={"fingerprint": "0" * 64})},
        "trial": {"trial": 1},
        "seed": {"seed": 1},
        "config": {},
    }[change]
    with pytest.raises(UserError, match=r"holds another job \(fake-one of mec .*choose another --out") as caught:
        execute(Fake(config), dataclasses.replace(job, **other))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert (job.workdir / "record.json").read_bytes() == before and runs(job) == ["begin", "end"]


def test_a_record_without_its_job_file_is_refused(job: Job) -> None:
    execute(Fake(make_config()), job)
    (job.workdir / "job.json").unlink()
    with pytest.raises(UserError, match=r"record\.json without its job\.json"):
        execute(Fake(make_config()), job)


@pytest.mark.parametrize("text", ["[]", "{}", '{"key": "x"}'])
def test_a_foreign_job_file_is_refused(job: Job, text: str) -> None:
    job.workdir.mkdir()
    (job.workdir / "job.json").write_text(text)
    with pytest.raises(UserError, match="holds another job"):
        execute(Fake(make_config()), job)


def test_a_failure_is_recorded_with_its_reason_and_tried_again(job: Job) -> None:
    benchmark = Fake(make_config(fail_for="mec"))
    with pytest.raises(RunError, match="the loss is nan at step 7"):
        execute(benchmark, job)
    record = read_record(job.workdir)
    assert (record.status, record.error, record.metrics) == ("failed", "the loss is nan at step 7", {})
    assert "RunError: the loss is nan" in (job.workdir / "traceback.txt").read_text()
    (job.data.folder / "mended").touch()
    assert execute(benchmark, job).status == "ok"
    assert not (job.workdir / "traceback.txt").exists()


def test_any_exception_is_one_line_and_a_traceback_in_a_file(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(self: Fake, job: Job) -> Record:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr(Fake, "run", explode)
    with pytest.raises(RunError, match=r"^ZeroDivisionError: division by zero \(see .*traceback\.txt\)$"):
        execute(Fake(make_config()), job)
    assert read_record(job.workdir).error == "ZeroDivisionError: division by zero"
    assert "in explode" in (job.workdir / "traceback.txt").read_text()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_job_is_unfinished_not_failed(
    job: Job, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    def interrupt(self: Fake, job: Job) -> Record:
        raise stop

    with monkeypatch.context() as patch:
        patch.setattr(Fake, "run", interrupt)
        with pytest.raises(stop):
            execute(Fake(make_config()), job)
    assert not (job.workdir / "record.json").exists()
    assert execute(Fake(make_config()), job).status == "ok"


@pytest.mark.parametrize("metrics", [{"top1": math.nan}, {"top1": 1.0, "top5": math.inf}, {"top5": 1.0}])
def test_what_is_not_a_number_is_a_failure(
    job: Job, monkeypatch: pytest.MonkeyPatch, metrics: dict[str, float]
) -> None:
    plain = Fake.run
    monkeypatch.setattr(Fake, "run", lambda self, job: plain(self, job).model_copy(update={"metrics": metrics}))
    with pytest.raises(RunError, match=r"diverged|the run measured no 'top1', only top5"):
        execute(Fake(make_config()), job)
    assert read_record(job.workdir).status == "failed"


def test_a_mistake_found_by_the_check_leaves_nothing(job: Job) -> None:
    (job.data.folder / "broken").touch()
    with pytest.raises(UserError, match="is broken; mend it"):
        execute(Fake(make_config()), job)
    assert not job.workdir.exists()


def test_warnings_of_the_check_go_into_the_record(job: Job) -> None:
    (job.data.folder / "odd").touch()
    assert execute(Fake(make_config()), job).warnings == ["the data is odd"]
    assert read_record(job.workdir).warnings == ["the data is odd"]


@pytest.mark.parametrize("text", ["", "{", '{"schema": 1}'])
def test_a_damaged_record_is_computed_again(job: Job, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    first = execute(Fake(make_config()), job)
    (job.workdir / "record.json").write_text(text)
    assert execute(Fake(make_config()), job).metrics == first.metrics
    assert "the job is run again" in capsys.readouterr().err
    assert runs(job) == ["begin", "end"] * 2


def _hold(folder: Path, ready: multiprocessing.synchronize.Event, release: multiprocessing.synchronize.Event) -> None:
    with folder_lock(folder, "testing"):
        ready.set()
        release.wait(30)


@pytest.mark.parametrize("killed", [False, True])
def test_one_process_at_a_time(job: Job, killed: bool) -> None:
    context = multiprocessing.get_context("fork")
    ready, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(job.workdir, ready, release))
    holder.start()
    assert ready.wait(30)
    in_use = pytest.raises(UserError, match=rf"another process \({holder.pid}\) is running this job")
    with in_use, folder_lock(job.workdir, "running this job", patience=0.2):
        pass
    assert not (job.workdir / "record.json").exists()
    if killed:
        holder.kill()
    else:
        release.set()
    holder.join()
    assert execute(Fake(make_config()), job).status == "ok"


def test_a_lock_is_not_passed_on_to_forked_workers(tmp_path: Path) -> None:
    """A killed job's loading processes live on for some seconds; they must not keep its folder."""
    context = multiprocessing.get_context("fork")
    release = context.Event()
    with folder_lock(tmp_path, "first"):
        worker = context.Process(target=release.wait, args=(30,))
        worker.start()
    ready = context.Event()
    second = context.Process(target=_hold, args=(tmp_path, ready, release))
    second.start()
    assert ready.wait(3), "the forked worker holds the lock"
    release.set()
    worker.join()
    second.join()


def test_a_mistake_is_mended_in_the_same_folder(job: Job) -> None:
    """A job that only failed does not keep its folder from the next; one that left anything of worth does."""
    with pytest.raises(RunError):
        execute(Fake(make_config(fail_for="mec")), job)
    for path in job.workdir.iterdir():
        if path.name == "runs.txt":
            path.unlink()
    (job.workdir / "training_state.pt").write_text("hours")
    with pytest.raises(UserError, match="holds another job"):
        execute(Fake(make_config()), job)
    (job.workdir / "training_state.pt").unlink()
    assert execute(Fake(make_config()), job).status == "ok"
    assert not (job.workdir / "traceback.txt").exists()


def test_a_spec_has_the_jobs_key(job: Job) -> None:
    assert spec_of(Fake(make_config()), job).key == job.key(make_config())
