"""A part of a suite's jobs: `run --only GLOB`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mec_transfer.cli.main import main
from mec_transfer.common.errors import UserError
from mec_transfer.suite.config import SuiteConfig, load_suite
from mec_transfer.suite.only import is_wanted, narrow_suite


def plan(world: Any, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """Return the titles of the jobs that a plan holds."""
    command = ["run", "--suite", str(world.root / "suite.yaml"), "--data-root", str(world.data)]
    assert main([*command, "--out", str(world.out), "--plan-json", *arguments]) == 0
    return [entry["title"] for entry in json.loads(capsys.readouterr().out)]


@pytest.mark.parametrize(
    ("globs", "wanted"),
    [
        ([], True),
        (["mec/knn_dino"], True),
        (["mec/knn*"], True),
        (["*/knn_*", "moco/*"], True),
        (["*dino"], True),
        (["knn_dino"], False),
        (["MEC/knn_dino"], False),
        (["moco/*"], False),
    ],
)
def test_a_glob_is_of_model_and_benchmark(globs: list[str], wanted: bool) -> None:
    assert is_wanted(globs, "mec", "knn_dino") == wanted


def test_what_does_not_match_is_neither_opened_nor_pretrained(world, fake, capsys) -> None:  # type: ignore[no-untyped-def]
    world.pretrain()
    (world.data / "second" / "size").unlink()  # only `two` needs it
    assert plan(world, capsys, "--only", "random/one") == ["random  one"]
    assert "second" not in capsys.readouterr().err


def test_globs_add_up_and_a_model_keeps_its_own_jobs(world, fake, capsys) -> None:  # type: ignore[no-untyped-def]
    model = f"b={world.root / 'b.txt'}"
    titles = plan(world, capsys, "--model", model, "--only", "b/one", "--only", "random/t*")
    assert titles == ["random  two  trial 0", "random  two  trial 1", "b  one"]


def test_only_what_is_asked_for_is_run_and_the_leaderboard_shows_all(world) -> None:  # type: ignore[no-untyped-def]
    world.pretrain()
    first = world.run("--only", "random/one")
    assert first.returncode == 0 and "[1/1] random  one" in first.stderr and not (world.out / "models").exists()
    second = world.run("--only", "random/two")
    assert second.returncode == 0 and "plan: 2 jobs" in second.stderr and len(world.finished()) == 3
    assert {b"`fake-one`", b"`fake-two`"} <= set(world.board()["md"].replace(b"<br>", b" ").split())


def test_a_glob_of_nothing_names_what_there_is(world, fake) -> None:  # type: ignore[no-untyped-def]
    source = world.root / "suite.yaml"
    with pytest.raises(UserError, match=r"--only 'x/\*': matches no job.* models: random; benchmarks: one, two$"):
        narrow_suite(load_suite(source, []), source, ["random/one", "x/*"])


def test_a_suite_that_draws_its_data_is_narrowed_before(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    arguments = ["run", "--suite", "smoke", "--out", str(tmp_path / "out"), "--dry-run"]
    assert main([*arguments, "--only", "random/demo_[km]*"]) == 0
    assert "then 4 benchmarks of 'random'" in capsys.readouterr().err


def test_without_globs_the_suite_is_as_it_was(world, fake) -> None:  # type: ignore[no-untyped-def]
    suite = load_suite(world.root / "suite.yaml", [])
    assert isinstance(suite, SuiteConfig) and narrow_suite(suite, world.root / "suite.yaml", []) is suite
