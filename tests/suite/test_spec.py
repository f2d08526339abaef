from __future__ import annotations

import json
from pathlib import Path

import pytest

from mec_transfer.common.errors import UserError
from mec_transfer.results.record import read_record
from mec_transfer.suite import child
from mec_transfer.suite.config import load_suite
from mec_transfer.suite.plan import PlannedJob, RunOptions
from mec_transfer.suite.registry import benchmark_config, find_benchmark
from mec_transfer.suite.run import _Run
from mec_transfer.suite.spec import JobSpec
from tests.suite.test_config import ONE_OF_A_KIND


@pytest.fixture
def job(world, fake) -> PlannedJob:  # type: ignore[no-untyped-def]
    """The first job of model b."""
    suite = load_suite(world.root / "suite.yaml", [f"b={world.root / 'b.txt'}"])
    run = _Run.plan(suite, world.root / "suite.yaml", RunOptions(out=world.out, device="cpu"), world.data)
    return next(job for job in run.jobs if job.spec.model.name == "b")


def test_what_is_written_is_what_is_read(job: PlannedJob) -> None:
    path = job.spec.write()
    assert path == job.folder / "job.json"
    assert JobSpec.read(path) == job.spec and json.loads(path.read_text())["key"] == job.spec.key


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_a_config_travels_whole(job: PlannedJob, name: str) -> None:
    config = benchmark_config(find_benchmark(name, Path()), ["version=99"])
    spec = job.spec.model_copy(update={"config": config, "benchmark": config.info()})
    again = JobSpec.read(spec.write())
    assert again == spec and type(again.config) is type(config) and again.config.info() == spec.benchmark


def test_a_process_elsewhere_needs_no_config_file(job: PlannedJob, world) -> None:  # type: ignore[no-untyped-def]
    path = job.spec.write()
    for name in ("one.yaml", "two.yaml", "suite.yaml"):
        (world.root / name).unlink()
    assert child.main(str(path)) == 0
    record = read_record(job.folder)
    assert record.status == "ok" and record.benchmark == job.spec.benchmark and record.dataset == job.spec.dataset


def test_what_changed_since_the_plan_is_named(job: PlannedJob, world) -> None:  # type: ignore[no-untyped-def]
    path = job.spec.write()
    job_json = path.read_text()
    for changed, text in ((world.root / "b.txt", "other weights"), (world.data / "first" / "size", "11")):
        before = changed.read_text()
        changed.write_text(text)
        with pytest.raises(UserError, match=f"^{changed if changed.suffix else changed.parent} changed since the run"):
            JobSpec.read(path).load()
        changed.write_text(before)
    path.write_text(job_json.replace('"seconds": 0.0', '"seconds": 0.5'))
    with pytest.raises(UserError, match=r"job\.json changed since the run began; start it again"):
        JobSpec.read(path).load()
    path.write_text(job_json)
    assert JobSpec.read(path).load()[1].workdir == job.folder


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "does not hold a job"),
        ("{", "not readable as JSON"),
        ('{"key": "x"}', "'model' is missing; 'benchmark' is missing"),
    ],
)
def test_a_file_that_holds_no_job_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "job.json"
    path.write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        JobSpec.read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
