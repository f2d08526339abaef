"""Whole runs of a small suite, as real processes: resuming, failing, being killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mec_transfer.api import leaderboard
from mec_transfer.cli.main import main
from mec_transfer.launchers.local import Ended, LocalLauncher, Task
from mec_transfer.results.formats import format_leaderboard
from mec_transfer.suite.models import Pretraining
from mec_transfer.suite.run import _reason

JOBS = 3  # one trial of `one` and two of `two`, for each model


def leftover_children(out: Path) -> list[int]:
    """Return the processes that still write below `out`: jobs do, to their logs."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/1"):
        with contextlib.suppress(OSError):
            if link.readlink().is_relative_to(out):
                found.append(int(link.parts[2]))
    return found


def runs(world, name: str) -> list[str]:  # type: ignore[no-untyped-def]
    """What the job whose folder starts with `name` noted."""
    (path,) = world.out.glob(f"jobs/{name}*/runs.txt")
    return path.read_text().split()


def test_from_nothing_to_a_leaderboard_and_again(world) -> None:  # type: ignore[no-untyped-def]
    world.pretrain()
    first = world.run("--seed", "5")
    assert first.returncode == 0, first.stderr
    assert "plan: 3 jobs: 0 done, 3 to run" in first.stderr and "pretraining mec" in first.stderr
    assert "fake-one top1" in first.stdout and "(n=2)" in first.stdout
    finished, board = world.finished(), world.board()
    assert len(finished) == 2 * JOBS and board["md"].count(b"(n=2)") == 2
    assert (world.out / "models/mec/epochs.txt").read_text() == "xxx"
    seeds = [json.loads(p.read_text())["seed"] for p in sorted(world.out.glob("jobs/random/two-*/record.json"))]
    assert seeds == [5, 6]
    (damaged,) = world.out.glob("jobs/random/one-*/record.json")
    damaged.write_text(damaged.read_text()[:100])
    again = world.run("--seed", "5")
    assert again.returncode == 0 and again.stderr.count("done before") == 2 * JOBS - 1
    del finished[damaged.parent.name]
    assert finished.items() < world.finished().items() and world.board() == board
    assert runs(world, "random/one-t0") == ["begin", "end"] * 2 and runs(world, "mec/one-t0") == ["begin", "end"]


def test_a_run_ends_with_a_page_and_does_not_fail_for_want_of_one(world) -> None:  # type: ignore[no-untyped-def]
    first, page = world.run("--only", "random/one"), world.out / "report.html"
    assert first.returncode == 0 and "out/report.html: all of it in a browser" in first.stdout
    assert '"out/jobs/random/one-t0-' in page.read_text()  # the job that repeats the number
    made = page.stat().st_mtime_ns
    again = world.run("--only", "random/one")
    assert "out/report.html" in again.stdout and page.stat().st_mtime_ns == made
    page.unlink()
    page.mkdir()
    third = world.run("--only", "random/one")
    assert third.returncode == 0 and "report.html" not in third.stdout
    assert third.stderr.splitlines()[-1].startswith("warning: report.html could not be written: out/report.html: ")


def test_dry_run_of_a_suite_that_draws_its_own_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["run", "--suite", "smoke", "--out", str(out), "--dry-run"]) == 0
    assert f"draw the demo world in {out / 'data'}, then 13 benchmarks of " in capsys.readouterr().err
    assert not out.exists()


def test_dry_run_touches_nothing(world) -> None:  # type: ignore[no-untyped-def]
    world.pretrain()
    done = world.run("--dry-run")
    assert done.returncode == 0 and "random  two  trial 1: to run" in done.stderr
    assert "mec: pretraining by mec_r50_100ep, then 3 jobs" in done.stderr
    assert not list(world.out.glob("jobs/**/*")) and not (world.out / "models").exists()


def test_a_dry_run_says_by_its_exit_status_that_a_job_cannot_run(world) -> None:  # type: ignore[no-untyped-def]
    (world.data / "second" / "broken").touch()
    done = world.run("--dry-run")
    assert done.returncode == 3 and "random  two  trial 0: cannot run: data/second: is broken" in done.stderr
    assert "random  one: to run" in done.stderr


def test_a_plan_in_json_is_what_a_launcher_of_ones_own_needs(world) -> None:  # type: ignore[no-untyped-def]
    world.pretrain()
    (world.data / "second" / "broken").touch()
    plan = json.loads(world.run("--plan-json").stdout)
    assert [entry["state"] for entry in plan] == ["pretrain first", "to run", "cannot run", "cannot run"]
    assert "is broken; mend it" in plan[2]["problem"] and not (world.root / plan[2]["job"]).exists()
    assert subprocess.run(shlex.split(plan[0]["command"]), cwd=world.root, env=world.env, check=True)
    code = "import sys; from mec_transfer.cli.main import main; sys.exit(main(['job', sys.argv[1]]))"
    for _ in range(2):  # the second time it is done
        done = subprocess.run(
            [sys.executable, "-c", code, plan[1]["job"]], cwd=world.root, env=world.env, capture_output=True, text=True
        )
        assert done.returncode == 0 and done.stdout.startswith("random  fake-one  top1 "), done.stderr
    assert runs(world, "random/one-t0") == ["begin", "end"]
    (world.data / "second" / "broken").unlink()
    plan = {entry["title"]: entry["state"] for entry in json.loads(world.run("--plan-json").stdout)}
    assert plan["random  one"] == "done" and plan["random  two  trial 0"] == "to run"
    assert plan["mec  one"] == plan["mec  two  trial 1"] == "to run" and "mec" not in plan  # it is pretrained
    assert world.run().returncode == 0 and runs(world, "random/one-t0") == ["begin", "end"]


def test_column_by_column_each_told_when_every_model_stands_in_it(world) -> None:  # type: ignore[no-untyped-def]
    world.write("two.yaml", (world.root / "two.yaml").read_text() + "recipe: {fail_for: b}\n")
    world.write("c.txt", "weights of c")
    done = world.run("--model", "b=b.txt", "--model", "c=c.txt")
    told = [line for line in done.stderr.splitlines() if line.startswith(("[", "  = "))]
    begun = [line.split("] ")[1] for line in told if line.startswith("[")]
    two = [f"{name}  two  trial {trial}" for name in ("random", "b", "c") for trial in (0, 1)]
    assert begun == ["random  one", "b  one", "c  one", *two]
    means = {row["model"]: row["cells"] for row in json.loads(world.board()["json"])["rows"]}
    for line, column, names in zip((told[3], told[-1]), (0, 1), (("random", "b", "c"), ("random", "c")), strict=True):
        ranked = sorted(names, key=lambda name: -means[name][column]["mean"])
        numbers = ", ".join(f"{name} {means[name][column]['mean']:.2f}" for name in ranked)
        assert line.endswith(f" top1: {numbers}") and line.startswith("  = ")
    assert len(told) == len(begun) + 2


def test_a_model_added_by_option_is_read_once(world) -> None:  # type: ignore[no-untyped-def]
    assert world.run("--model", "b=b.txt").returncode == 0
    assert len(world.finished()) == 2 * JOBS
    reads = (world.root / "reads.txt").read_text().splitlines()
    again = world.run("--model", "b=b.txt")
    assert again.returncode == 0
    assert (world.root / "reads.txt").read_text().splitlines() == reads
    world.write("b.txt", "other weights of b")
    assert world.run("--model", "b=b.txt").returncode == 0
    assert len(world.finished()) == 3 * JOBS
    assert world.board()["md"].count(b"\n| b (") == 2  # the old weights keep their row, told apart


def test_a_failing_job_is_a_row_and_the_others_go_on(world) -> None:  # type: ignore[no-untyped-def]
    world.write("two.yaml", (world.root / "two.yaml").read_text() + "recipe: {fail_for: b, kill_for: random}\n")
    first = world.run("--model", "b=b.txt")
    assert first.returncode == 1 and "failed: 4 of 6 jobs" in first.stderr
    text = world.board()["md"].decode()
    assert "b, `fake-two`, trials 0, 1: the loss is nan at step 7" in text
    assert "random, `fake-two`, trials 0, 1: killed by signal 9 (SIGKILL; out of memory?)" in text
    assert len(world.finished()) == 2
    (world.data / "second" / "mended").touch()
    second = world.run("--model", "b=b.txt")
    assert second.returncode == 0, second.stderr
    assert len(world.finished()) == 2 * JOBS and "failed" not in world.board()["md"].decode()
    assert runs(world, "random/two-t0") == ["begin", "begin", "end"] and runs(world, "random/one") == ["begin", "end"]


def test_data_that_is_broken_blocks_its_own_column_only(world) -> None:  # type: ignore[no-untyped-def]
    (world.data / "second" / "size").rename(world.data / "second" / "gone")
    first = world.run()
    assert first.returncode == 1 and len(world.finished()) == 1
    assert "data/second: no such data; make it" in world.board()["md"].decode()
    (world.data / "second" / "gone").rename(world.data / "second" / "size")
    (world.data / "second" / "broken").touch()
    second = world.run()
    text = world.board()["md"].decode()
    assert second.returncode == 1 and "is broken; mend it" in text and "no such data" not in text
    assert not list(world.out.glob("jobs/*/two-*/runs.txt"))  # found by the check: nothing was computed
    (world.data / "second" / "broken").unlink()
    world.write("data/second/size", "30")  # put right, and so another fingerprint
    assert world.run().returncode == 0
    assert "failed" not in world.board()["md"].decode() and len(world.finished()) == JOBS
    assert not list(world.out.glob("jobs/*/*blocked*"))  # of what never began nothing is left


def test_data_that_the_disk_does_not_give_blocks_its_own_column_until_it_does(world) -> None:  # type: ignore[no-untyped-def]
    size = world.data / "second/size"
    size.unlink()
    size.symlink_to("/proc/self/mem")  # which cannot be read: a real EIO
    failed = world.run()
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert failed.stderr.count("second: Input/output error") >= 2 and len(world.finished()) == 1
    size.unlink()
    size.write_text("20")
    again = world.run()
    assert again.returncode == 0, again.stderr
    assert len(world.finished()) == JOBS and b"failed" not in world.board()["md"]


def test_one_benchmark_with_two_settings_fails_in_two_columns(world) -> None:  # type: ignore[no-untyped-def]
    both = "two.yaml, {config: two.yaml, set: [recipe.seconds=0.01]}]"
    world.write("suite.yaml", (world.root / "suite.yaml").read_text().replace("two.yaml]", both))
    (world.data / "second" / "size").unlink()
    assert world.run().returncode == 1
    text = world.board()["md"].decode()
    assert "random, `fake-two`, trials 0, 1: " in text and "random, `fake-two+custom-" in text


def test_a_pretraining_that_fails_is_a_row_of_failures(world) -> None:  # type: ignore[no-untyped-def]
    world.pretrain("diverge=true")
    done = world.run()
    assert done.returncode == 1 and len(world.finished()) == JOBS
    text = world.board()["md"].decode()
    assert "pretraining: mec-pretrain: failed: the loss is nan at step 3 (exit status 1)" in text
    world.pretrain()
    assert world.run().returncode == 0
    assert len(world.finished()) == 2 * JOBS and "failed" not in world.board()["md"].decode()


def test_what_is_told_of_a_process_that_could_not_say_it_itself(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.touch()
    job = Ended(task=Task(title="knn", module="m", arguments=(), log=log), status=1)
    assert _reason(job) == f"exit status 1; {log} is empty: is its disk full?"
    log.write_text("pretraining [6/8 steps]  loss -0.1\n")
    pretraining = Pretraining(name="mec", config=log, overrides=[], data=tmp_path, folder=tmp_path)
    assert pretraining.problem(-9) == "pretraining: killed by signal 9 (SIGKILL; out of memory?)"


def test_a_broken_image_that_a_pretraining_meets_is_a_row_of_failures(world) -> None:  # type: ignore[no-untyped-def]
    world.pretrain("broken=true")
    done = world.run()
    assert done.returncode == 1 and len(world.finished()) == JOBS
    assert "images/x.jpg: not a readable image" in world.board()["md"].decode()


def test_a_mistake_in_the_pretraining_stops_the_run(world) -> None:  # type: ignore[no-untyped-def]
    world.pretrain("colour=1")
    done = world.run()
    assert done.returncode == 2 and "error: pretraining of mec: mec-pretrain: error: 'colour' is not" in done.stderr
    assert not world.finished()


def test_two_runs_in_one_folder(world) -> None:  # type: ignore[no-untyped-def]
    world.write("one.yaml", (world.root / "one.yaml").read_text() + "recipe: {seconds: 2.0}\n")
    first = world.start()
    try:
        while not (world.out / "jobs").exists():
            time.sleep(0.05)
        second = world.run()
    finally:
        first.kill()
        first.communicate()
    assert second.returncode == 2
    assert f"another process ({first.pid}) is running a suite here" in second.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_interrupted_it_stops_its_child_and_goes_on_later(world, number: signal.Signals) -> None:  # type: ignore[no-untyped-def]
    world.write("one.yaml", (world.root / "one.yaml").read_text() + "recipe: {seconds: 30.0}\n")
    process = world.start()
    while not list(world.out.glob("jobs/*/one-*/runs.txt")):
        time.sleep(0.05)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert stderr.endswith(f"interrupted ({number.name}); the same command goes on from here\n")
    assert not leftover_children(world.out) and not list(world.out.glob("jobs/**/record.json"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_every_process_leaves_no_failure(world, number: signal.Signals) -> None:  # type: ignore[no-untyped-def]
    world.write("one.yaml", (world.root / "one.yaml").read_text() + "recipe: {seconds: 30.0}\n")
    process = world.start()
    while not list(world.out.glob("jobs/*/one-*/runs.txt")):
        time.sleep(0.05)
    for pid in (*_below(process.pid), process.pid):  # the job first
        os.kill(pid, number)
        time.sleep(0.1)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 128 + number, stderr
    assert not leftover_children(world.out) and not list(world.out.glob("jobs/**/record.json"))


def test_a_child_that_alone_is_stopped_leaves_no_failure_and_the_others_go_on(world) -> None:  # type: ignore[no-untyped-def]
    world.write("one.yaml", (world.root / "one.yaml").read_text() + "recipe: {seconds: 5.0}\n")
    process = world.start()
    while not list(world.out.glob("jobs/*/one-*/runs.txt")):
        time.sleep(0.05)
    for pid in _below(process.pid):
        os.kill(pid, signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1 and "STOPPED  stopped by SIGTERM" in stderr and "failed: 1 of 3 jobs" in stderr
    assert len(world.finished()) == JOBS - 1 and not list(world.out.glob("jobs/*/one-*/record.json"))
    assert "failed" not in world.board()["md"].decode()


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_killed_at_any_moment_it_ends_in_the_same_leaderboard(world, jobs: str) -> None:  # type: ignore[no-untyped-def]
    world.pretrain()
    for name in ("one", "two"):
        world.write(f"{name}.yaml", (world.root / f"{name}.yaml").read_text() + "recipe: {seconds: 0.15}\n")
    assert world.run(out="undisturbed").returncode == 0
    draw = random.Random(0)
    kept: dict[str, int] = {}
    for kill in ("parent", "child", "parent", "parent", "child", "parent"):
        process, before = world.start("--jobs", jobs), traces(world.out)
        while traces(world.out) == before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(draw.uniform(0.0, 0.4))  # after a sign of life: within pretraining, a job, or between two jobs
        children = _below(process.pid)
        if kill == "child" and children:
            with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
                os.kill(draw.choice(children), signal.SIGKILL)
            time.sleep(0.2)
        process.kill()
        process.communicate()
        now = world.finished()
        assert kept.items() <= now.items(), "a finished job was run again"
        kept = now
    last = world.run()
    assert last.returncode == 0, last.stderr
    assert kept.items() <= world.finished().items()
    assert world.board() == world.board("undisturbed")
    assert not leftover_children(world.out)


def test_as_many_jobs_at_once_as_are_asked_for(world) -> None:  # type: ignore[no-untyped-def]
    for name in ("one", "two"):
        world.write(f"{name}.yaml", (world.root / f"{name}.yaml").read_text() + f"recipe: {{meet: {JOBS}}}\n")
    done = world.run("--jobs", str(JOBS))  # each job waits for all others to have begun
    assert done.returncode == 0 and len(world.finished()) == JOBS
    begun = [line.partition("]")[0] for line in done.stderr.splitlines() if line.startswith("[")]
    assert begun == [f"[{number}/{JOBS}" for number in range(1, JOBS + 1)]
    assert "    random  two  trial 1:  top1 " in done.stderr


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--time-limit", "ended after its time limit of 6 s"),
        ("--silence-limit", "because it printed nothing for 6 s"),
    ],
)
def test_a_hung_job_is_ended_told_and_tried_again(world, option: str, reason: str) -> None:  # type: ignore[no-untyped-def]
    world.write("one.yaml", (world.root / "one.yaml").read_text() + "recipe: {seconds: 600.0}\n")
    world.write("two.yaml", (world.root / "two.yaml").read_text() + "recipe: {seconds: 0.0}\n")  # its base is the other
    done = world.run(option, "0.1")
    assert done.returncode == 1 and "failed: 1 of 3 jobs" in done.stderr
    (record,) = world.out.glob("jobs/*/one-*/record.json")
    assert reason in json.loads(record.read_text())["error"]
    assert len(world.finished()) == JOBS - 1
    world.write("one.yaml", (world.root / "one.yaml").read_text().replace("600.0", "0.0"))
    assert world.run().returncode == 0 and len(world.finished()) == JOBS


def test_a_number_that_was_written_outlives_the_limit(world) -> None:  # type: ignore[no-untyped-def]
    for name in ("one", "two"):
        world.write(f"{name}.yaml", (world.root / f"{name}.yaml").read_text() + "recipe: {linger: 600.0}\n")
    assert world.run("--time-limit", "0.1", "--jobs", "3").returncode == 0
    assert len(world.finished()) == JOBS


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_pretraining_that_leaves_no_network_stops_no_job_of_others(world, jobs: int) -> None:  # type: ignore[no-untyped-def]
    world.pretrain("empty=true")
    done = world.run("--jobs", str(jobs))
    assert done.returncode == 1, done.stderr
    assert len(world.finished()) == JOBS and f"failed: {JOBS} of {2 * JOBS} jobs" in done.stderr
    reasons = {json.loads(path.read_text())["error"] for path in world.out.glob("jobs/mec/*/record.json")}
    assert len(reasons) == 1 and "holds no network" in reasons.pop()


def test_folders_whose_names_are_no_text(world) -> None:  # type: ignore[no-untyped-def]
    out = os.fsdecode(b"out\xff")
    (world.root / "data").rename(world.root / os.fsdecode(b"d\xff"))
    done = world.run("--data-root", os.fsdecode(b"d\xff"), out=out)
    assert done.returncode == 0, done.stderr
    assert len([*(world.root / out).glob("jobs/*/*/record.json")]) == JOBS


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--jobs", "0"], "--jobs 0: must be above 0"),
        (["--time-limit", "-1"], "--time-limit -1: must be above 0"),
        (["--gpus", "1", "--jobs", "2"], "give one of them"),
        (["--gpus", "1", "--device", "cpu"], "contradict each other"),
        (["--gpus", "1", "--device", "cuda:1"], "contradict each other"),
        (["--gpus", "99"], "torch sees "),
        (["--time-limit", "nan"], "--time-limit nan: must be above 0"),
    ],
)
def test_slots_that_cannot_be(world, options: list[str], said: str) -> None:  # type: ignore[no-untyped-def]
    done = world.run(*options)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1


def traces(out: Path) -> int:
    """How much has been done: epochs and jobs begun or ended."""
    paths = [*out.glob("jobs/*/*/runs.txt"), *out.glob("models/*/epochs.txt")]
    return sum(path.stat().st_size for path in paths)


def _below(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that these have, the last ones first."""
    children = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and _parent(path) == pid]
    return [*(below for child in children for below in _below(child)), *children]


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_data_that_breaks_during_a_pretraining_fails_its_own_jobs_alone(world, fake, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from mec_transfer.suite import run as module
    from mec_transfer.suite.config import load_suite

    world.pretrain()

    class Launcher(LocalLauncher):
        task: Task | None = None

        def has_room(self, task: Task) -> bool:
            return self.task is None

        def start(self, task: Task) -> None:
            self.task = task

        def wait(self) -> Ended:
            task, self.task = self.task, None
            assert task is not None
            if task.module == "pretrain":
                pretraining = run.pretrainings["mec"]
                pretraining.folder.mkdir(parents=True)
                pretraining.checkpoint.write_text("weights")
                (world.data / "first" / "size").unlink()
                return Ended(task=task, status=0)
            task.log.parent.mkdir(parents=True, exist_ok=True)
            task.log.write_text("error: not run in this test")
            return Ended(task=task, status=1)

    monkeypatch.setattr(module, "LocalLauncher", Launcher)
    suite, source = load_suite(world.root / "suite.yaml", []), world.root / "suite.yaml"
    run = module._Run.plan(suite, source, module.RunOptions(out=world.out), world.data)
    outcome = run.go()
    reasons = {record.error for record in outcome.board.records}
    assert any("no such data; make it" in reason for reason in reasons) and "not run in this test" in reasons


def test_the_folders_of_an_earlier_version_are_its_own_jobs(world, fake, capsys) -> None:  # type: ignore[no-untyped-def]
    """There a job.json held the job's identity alone, and a task.json beside it what the child was to do."""
    world.write("two.yaml", (world.root / "two.yaml").read_text() + "recipe: {fail_for: random}\n")
    assert world.run().returncode == 1
    for path in world.out.glob("jobs/*/*/job.json"):
        job = json.loads(path.read_text())
        identity = ("key", "model", "benchmark", "dataset", "trial", "seed", "config")
        path.write_text(json.dumps({name: job[name] for name in identity}))
        (path.parent / "task.json").write_text("{}")
    finished, folders = world.finished(), sorted(world.out.glob("jobs/*/*"))
    (world.data / "second" / "mended").touch()
    again = world.run()
    assert again.returncode == 0 and again.stderr.count("done before") == 1, again.stderr
    assert finished.items() <= world.finished().items() and sorted(world.out.glob("jobs/*/*")) == folders
    assert runs(world, "random/two-t1") == ["begin", "begin", "end"]
    assert main(["verify", str(world.out)]) == 0
    assert f"{JOBS} verified, 0 bad" in capsys.readouterr().out


def test_a_job_waits_for_the_one_that_it_needs_wherever_the_suite_names_it(world) -> None:  # type: ignore[no-untyped-def]
    world.write("two.yaml", (world.root / "two.yaml").read_text() + "recipe: {seconds: 0.5, needs: ''}\n")
    world.write("one.yaml", (world.root / "one.yaml").read_text() + "trials: 2\nrecipe: {needs: fake-two}\n")
    plan = {entry["title"]: entry for entry in json.loads(world.run("--plan-json").stdout)}
    assert plan["random  one  trial 1"]["after"] == plan["random  two  trial 1"]["job"]
    assert {entry["state"] for entry in plan.values()} == {"to run"} and "after" not in plan["random  two  trial 0"]
    done = world.run("--jobs", "3")
    begun = [line.partition("] ")[2] for line in done.stderr.splitlines() if line.startswith("[")]
    assert done.returncode == 0 and sorted(begun[:2]) == ["random  two  trial 0", "random  two  trial 1"]
    again = world.run("--only", "*/one")  # alone: what it needs is there
    assert again.returncode == 0 and again.stderr.count("done before") == 2


def test_a_job_without_the_one_that_it_needs_says_so(world) -> None:  # type: ignore[no-untyped-def]
    world.write("two.yaml", (world.root / "two.yaml").read_text() + "recipe: {kill_for: random, needs: ''}\n")
    world.write("one.yaml", (world.root / "one.yaml").read_text() + "recipe: {needs: fake-two}\n")
    alone = world.run("--dry-run", "--only", "*/one")
    assert alone.returncode == 3 and "random  one: cannot run: no job by fake-two is finished" in alone.stderr
    done = world.run()
    assert done.returncode == 1 and "failed: 3 of 3 jobs" in done.stderr
    assert done.stderr.index("[1/3] random  two  trial 0") < done.stderr.index("FAILED  no job by fake-two is finished")


def test_a_suites_mean_is_a_column_and_outlives_the_suite(world) -> None:  # type: ignore[no-untyped-def]
    text = (world.root / "suite.yaml").read_text()
    world.write("suite.yaml", text + "means: [{title: Mean of both, of: [one.yaml, two.yaml]}]\n")
    first = world.run("--only", "*/one")
    assert first.returncode == 0 and "Mean of both" not in first.stdout  # half of it is no mean
    done = world.run()
    assert done.returncode == 0 and done.stdout.splitlines()[0].endswith("Mean of both")
    (world.root / "suite.yaml").unlink()
    row = json.loads((world.out / "leaderboard.json").read_text())["rows"][0]
    assert row["means"][0]["mean"] == pytest.approx(sum(cell["mean"] for cell in row["cells"]) / 2)
    assert "Mean of both<br>of 2 columns" in format_leaderboard(leaderboard(world.out), "md")
    assert "Mean of both" in (world.out / "report.html").read_text()
