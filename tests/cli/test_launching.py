"""The words of `mec-transfer run` for a SLURM cluster."""

from __future__ import annotations

import argparse

import pytest

from mec_transfer.cli import launching, run
from mec_transfer.cli.main import main
from mec_transfer.launchers.slurm_submit import SlurmOptions

ENOUGH = ("--launcher", "slurm", "--time-limit", "90.5")


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    return parser.parse_args(["--suite", "demo", "--out", "out", *words])


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine from which jobs can be submitted."""
    monkeypatch.setattr(launching, "require_slurm", lambda: None)


def test_on_this_machine_there_is_nothing_to_ask_for() -> None:
    assert launching.slurm_options(parse("--time-limit", "5", "--jobs", "2")) is None


@pytest.mark.usefixtures("here")
def test_what_is_asked_for() -> None:
    assert launching.slurm_options(parse(*ENOUGH)) == SlurmOptions(minutes=91, cpus=8, gpus=8)
    words = "--partition p --account a --qos q --constraint c --cpus 4 --gpus 2 --max-running 3 --requeues 0".split()  # noqa: SIM905
    assert launching.slurm_options(parse(*ENOUGH, *words, "--slurm", "mem=9G", "--slurm", "exclusive")) == SlurmOptions(
        minutes=91,
        partition="p",
        account="a",
        qos="q",
        constraint="c",
        cpus=4,
        gpus=2,
        max_running=3,
        requeues=0,
        extra=("mem=9G", "exclusive"),
    )
    cpus = launching.slurm_options(parse(*ENOUGH, "--device", "cpu"))
    assert cpus and cpus.gpus == 0


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--partition", "p"], "--partition: goes with --launcher slurm"),
        (["--max-running", "2"], "--max-running: goes with --launcher slurm"),
        (["--slurm", "mem=9G"], "--slurm: goes with --launcher slurm"),
        (["--launcher", "slurm"], "--launcher slurm needs --time-limit MINUTES"),
        ([*ENOUGH, "--jobs", "2"], "with --launcher slurm it is --max-running"),
        ([*ENOUGH, "--plan-json"], "--plan-json is for launchers of your own"),
        ([*ENOUGH, "--cpus", "0"], "--cpus 0: must be at least 1"),
        ([*ENOUGH, "--requeues", "-1"], "--requeues -1: must be at least 0"),
        ([*ENOUGH, "--gpus", "2", "--device", "cpu"], "contradict each other"),
        ([*ENOUGH, "--slurm", "array=1"], "--slurm array: use --max-running"),
    ],
)
def test_what_does_not_go_together_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--suite", "demo", "--out", "out", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_where_no_job_can_be_submitted_the_run_does_not_begin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["run", "--suite", "demo", "--out", "out", *ENOUGH]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no sbatch here" in line
