"""What a job's folder tells of a number: its config, what differs from the published, the command that repeats it."""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from mec_transfer.benchmark import BenchmarkConfig
from mec_transfer.common.files import write_json
from mec_transfer.report.jobs import Jobs, describe_changes, end_of_log, shipped_benchmark
from mec_transfer.results.record import ModelInfo, Record, write_record
from mec_transfer.results.store import Store
from mec_transfer.suite.registry import BenchmarkFile, benchmark_config, find_benchmark

PLACES = {"checkpoint": "my weights.pth", "encoder": "teacher", "data": "/data/x", "workdir": "out/jobs/m/j"}


def stored(out: Path, config: BenchmarkConfig, job: dict[str, Any] | None = None, **about: Any) -> tuple[Jobs, Record]:
    """A number of `config` in a store, with the job.json that a run leaves."""
    record = Record(
        **{
            "status": "ok",
            "model": ModelInfo(name="a model", sha256="ab" * 32, arch="resnet50"),
            "benchmark": config.info(),
            "metrics": {config.metrics.primary: 1.0},
            "primary": config.metrics.primary,
            **about,
        }
    )
    folder = out / "jobs/m/j"
    write_record(folder, record)
    write_json(folder / "job.json", {"config": config.model_dump(mode="json"), **PLACES} if job is None else job)
    return Jobs(Store.read(out)), record


def command(name: str, tmp_path: Path, overrides: list[str], **about: Any) -> list[str]:
    """Return the words of the command that a page shows for a number by a shipped config."""
    jobs, record = stored(tmp_path, benchmark_config(find_benchmark(name, Path()), overrides), **about)
    found = jobs.command(record, PLACES)
    assert found
    return shlex.split(f"{found} {record.trial}")


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("knn_dino", []),
        ("knn_dino", ["recipe.k=10", "recipe.ks=[10]"]),
        ("semisup_1pct_barlow", ["recipe.epochs=3"]),
        ("linear_fast", ["version=7"]),
        ("voc0712_c4", ["recipe.changes={SOLVER.MAX_ITER: 7}"]),
        ("vos_unitrack", ["recipe.radius=3"]),
    ],
)
def test_the_command_is_one_that_gives_the_same_config(name: str, overrides: list[str], tmp_path: Path) -> None:
    program, word, *words = command(name, tmp_path, overrides)
    module = importlib.import_module(f"mec_transfer.cli.{word}")
    parser = argparse.ArgumentParser(exit_on_error=False)
    module.add_arguments(parser)
    args = parser.parse_args(words)
    assert program == "mec-transfer" and args.config == name and args.encoder == "teacher" and args.name == "a model"
    assert (str(args.data), args.checkpoint, args.trial, args.seed) == ("/data/x", "my weights.pth", 0, 0)
    file = BenchmarkFile.read(find_benchmark(args.config, Path()))
    assert file.config(args.overrides) == file.config(overrides)


def test_the_command_of_a_later_trial_on_eight_processes_from_another_seed(tmp_path: Path) -> None:
    words = command("knn_dino", tmp_path, [], trial=2, seed=7, details={"processes": 8})
    assert words[:5] == ["torchrun", "--nproc-per-node", "8", "-m", "mec_transfer.cli.main"]
    assert words[-4:] == ["--seed", "5", "--trial", "2"]


@pytest.mark.parametrize("change", [["dataset.name=mine"], ["dataset.layout=unlabelled"]])
def test_there_is_no_such_command_for_data_of_ones_own(change: list[str], tmp_path: Path) -> None:
    jobs, record = stored(tmp_path, benchmark_config(find_benchmark("knn_dino", Path()), change))
    assert jobs.config(record) is not None and jobs.command(record, PLACES) is None


def test_there_is_no_such_command_for_a_config_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        f"base: {find_benchmark('knn_dino', Path())}\nid: mine\nprotocol: mine\nrecipe: {{k: 7, ks: [7]}}\n"
    )
    jobs, record = stored(tmp_path, benchmark_config(tmp_path / "mine.yaml"))
    assert jobs.config(record) is not None and jobs.command(record, PLACES) is None
    assert describe_changes(benchmark_config(tmp_path / "mine.yaml")) == []


def test_what_differs_is_each_setting_with_its_published_value() -> None:
    config = benchmark_config(find_benchmark("knn_dino", Path()), ["recipe.k=10", "recipe.ks=[10, 20]", "title=Other"])
    shipped = shipped_benchmark("knn_dino")
    assert shipped
    recipe = shipped.published.model_dump()["recipe"]
    assert describe_changes(config) == [
        f"`recipe.k`: 10, published with {recipe['k']}",
        f"`recipe.ks`: [10, 20], published with {json.dumps(list(recipe['ks']))}",
    ]
    assert describe_changes(shipped.published) == []


def test_a_config_that_is_not_kept_is_the_shipped_one_if_that_has_its_hash(tmp_path: Path) -> None:
    shipped = benchmark_config(find_benchmark("knn_dino", Path()))
    jobs, record = stored(tmp_path / "a", shipped, {})
    assert jobs.config(record) == shipped and jobs.command(record, {}) is None
    jobs, record = stored(tmp_path / "b", benchmark_config(find_benchmark("knn_dino", Path()), ["recipe.k=10"]), {})
    assert jobs.config(record) is None


@pytest.mark.parametrize("text", ["[]", "{", '{"config": 3}', '{"config": {"family": "x"}}'])
def test_a_job_file_that_says_nothing(text: str, tmp_path: Path) -> None:
    config = benchmark_config(find_benchmark("knn_dino", Path()), ["recipe.k=10"])
    jobs, record = stored(tmp_path, config)
    (tmp_path / "jobs/m/j/job.json").write_text(text)
    assert jobs.config(record) is None


def test_a_job_file_beside_any_trial_serves_them_all(tmp_path: Path) -> None:
    config = benchmark_config(find_benchmark("knn_dino", Path()), ["recipe.k=10"])
    _, record = stored(tmp_path, config)
    earlier = record.model_copy(update={"trial": 1, "seed": 1})
    write_record(tmp_path / "jobs/a/a", earlier)
    jobs = Jobs(Store.read(tmp_path))
    assert jobs.config(earlier) == jobs.config(record) == config
    assert jobs.command(earlier, {}) is None and jobs.command(record, PLACES) is not None


def test_of_two_records_of_one_trial_the_first_folder_counts(tmp_path: Path) -> None:
    config = benchmark_config(find_benchmark("knn_dino", Path()))
    _, record = stored(tmp_path, config)
    write_record(tmp_path / "jobs/a", record)
    assert Jobs(Store.read(tmp_path)).folder(record) == tmp_path / "jobs/a"


def test_the_end_of_a_log(tmp_path: Path) -> None:
    assert end_of_log(tmp_path) == ""
    (tmp_path / "log.txt").write_bytes(b"first\n" + b"a line \xff\n" * 1000 + b"error: the last\n")
    lines = end_of_log(tmp_path).splitlines()
    assert lines[-1] == "error: the last" and set(lines[:-1]) == {"a line �"} and len(lines) < 600
