"""The scripts of docs/clusters.md for a SLURM of one's own. tools/slurm_check.py gives them to a real one."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.suite.conftest import World

pytestmark = pytest.mark.skipif(shutil.which("jq") is None, reason="the scripts read the plan by jq")
PAGE = Path(__file__).parents[2] / "docs" / "clusters.md"
COMMANDS = {
    # Notes what is submitted, and answers as SLURM does; --parsable may come with the cluster's name.
    "sbatch": 'echo "$*" >> "$CLUSTER/submitted"; echo "$(($(wc -l < "$CLUSTER/submitted") + 6));here"',
    "scontrol": 'echo "$*" >> "$CLUSTER/requeued"',
    "mec-transfer": f'exec "{sys.executable}" -m mec_transfer.cli.main "$@"',
}


class Scripts:
    """The two scripts in the world's folder, with stand-ins for the commands of SLURM."""

    def __init__(self, world: World) -> None:
        self.world, self.cluster = world, world.root / "cluster"
        self.cluster.mkdir()
        for name, text in COMMANDS.items():
            (self.cluster / name).write_text(f"#!/bin/sh\n{text}\n")
            (self.cluster / name).chmod(0o755)
        blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        job, submit = (block for block in blocks if block.startswith("#!"))
        world.write("job.sh", job)
        world.write("submit.sh", submit)
        path = f"{self.cluster}{os.pathsep}{os.environ['PATH']}"
        self.env = {**world.env, "PATH": path, "CLUSTER": str(self.cluster), "SLURM_JOB_ID": "70"}

    def plan(self) -> dict[str, dict[str, str]]:
        text = self.world.run("--plan-json").stdout
        self.world.write("plan.json", text)
        return {entry["title"]: entry for entry in json.loads(text)}

    def submit(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "submit.sh", *options]
        return subprocess.run(command, cwd=self.world.root, env=self.env, capture_output=True, text=True, check=False)

    def submitted(self) -> list[list[str]]:
        """The words of each sbatch."""
        return [line.split() for line in (self.cluster / "submitted").read_text().splitlines()]

    def job(self, line: int, words: list[str]) -> subprocess.Popen[str]:
        """One task of an array, as SLURM starts it."""
        script = words[words.index("job.sh") :]
        environ = {**self.env, "SLURM_ARRAY_TASK_ID": str(line)}
        return subprocess.Popen(["bash", *script], cwd=self.world.root, env=environ, text=True)


@pytest.fixture
def scripts(world: World) -> Scripts:
    return Scripts(world)


def lines_of(words: list[str]) -> list[int]:
    (chosen,) = (word for word in words if word.startswith("--array="))
    return [int(line) for line in chosen.removeprefix("--array=").split(",")]


def test_a_job_that_needs_another_waits_for_that_one_alone(scripts: Scripts) -> None:
    world = scripts.world
    world.write("one.yaml", (world.root / "one.yaml").read_text() + "trials: 2\nrecipe: {needs: fake-two}\n")
    world.write("two.yaml", (world.root / "two.yaml").read_text() + "recipe: {needs: ''}\n")
    plan = scripts.plan()
    done = scripts.submit("--partition=gpu", "--account=vision")
    assert done.returncode == 0, done.stderr
    first, *waiting = scripts.submitted()
    listed = Path(first[-1]).read_text().splitlines()
    job_of = {number: line.split("\t")[0] for number, line in enumerate(listed, start=1)}
    assert all({"--partition=gpu", "--account=vision"} <= set(words) for words in (first, *waiting))
    assert not any(word.startswith("--dependency") for word in first)
    assert {job_of[line] for line in lines_of(first)} == {
        plan[f"random  two  trial {trial}"]["job"] for trial in (0, 1)
    }
    assert len(waiting) == 2
    for words in waiting:
        (line,) = lines_of(words)
        (dependency,) = (word for word in words if word.startswith("--dependency="))
        array, awaited = re.fullmatch(r"--dependency=afterok:(\d+)_(\d+)", dependency).groups()  # type: ignore[union-attr]
        (after,) = (entry["after"] for entry in plan.values() if entry["job"] == job_of[line])
        assert array == "7" and job_of[int(awaited)] == after and "--kill-on-invalid-dep=yes" in words
    begun_too_early = scripts.job(lines_of(waiting[0])[0], waiting[0])
    assert begun_too_early.wait() == 2  # it has to be told to wait
    for words in (first, *waiting):
        assert [scripts.job(line, words).wait() for line in lines_of(words)] == [0] * len(lines_of(words))
    again = world.run()
    assert again.returncode == 0 and again.stderr.count("done before") == 4


def test_a_plan_with_nothing_to_wait_for_is_one_array_and_an_empty_one_none(scripts: Scripts) -> None:
    scripts.plan()
    assert scripts.submit().returncode == 0
    (words,) = scripts.submitted()
    assert len(lines_of(words)) == 3
    assert [scripts.job(line, words).wait() for line in lines_of(words)] == [0, 0, 0]
    scripts.plan()
    assert scripts.submit().returncode == 0 and len(scripts.submitted()) == 1


def test_what_waits_for_a_job_that_cannot_run_is_told(scripts: Scripts) -> None:
    world = scripts.world
    world.write("one.yaml", (world.root / "one.yaml").read_text() + "recipe: {needs: fake-two}\n")
    world.write("two.yaml", (world.root / "two.yaml").read_text() + "recipe: {needs: ''}\n")
    plan = scripts.plan()
    for entry in plan.values():
        if entry["title"].startswith("random  two"):
            entry["state"] = "cannot run"
    world.write("plan.json", json.dumps(list(plan.values())))
    done = scripts.submit()
    assert done.returncode == 0 and not (scripts.cluster / "submitted").exists()
    one, two = plan["random  one"], plan["random  two  trial 0"]
    assert done.stderr == f"not submitted: {one['job']} waits for {two['job']}, which cannot run\n"


def test_a_refused_array_ends_it(scripts: Scripts) -> None:
    scripts.plan()
    (scripts.cluster / "sbatch").write_text("#!/bin/sh\necho sbatch: error: invalid partition >&2\nexit 1\n")
    done = scripts.submit()
    assert done.returncode == 1 and done.stderr == "sbatch: error: invalid partition\n"


@pytest.mark.parametrize(("status", "requeued"), [(138, True), (0, False), (1, False)])
def test_a_signal_before_the_limit_reaches_the_job_whose_status_counts(
    scripts: Scripts, status: int, requeued: bool
) -> None:
    """Asked to stop, the job takes a while to save and ends with 138, or with its number after all."""
    scripts.plan()
    scripts.submit()
    (words,) = scripts.submitted()
    begun = scripts.cluster / "begun"
    world_job = scripts.world.write(
        "job.py",
        "import pathlib, signal, sys, time\n"
        f"signal.signal(signal.SIGUSR1, lambda *_: (time.sleep(0.5), sys.exit({status})))\n"
        f"pathlib.Path({str(begun)!r}).touch()\n"
        "time.sleep(60)\n",
    )
    (scripts.cluster / "mec-transfer").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{world_job}"\n')
    process = scripts.job(1, words)
    while not begun.exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=30) == status
    assert (scripts.cluster / "requeued").exists() == requeued
