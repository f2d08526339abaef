"""What the launcher makes of SLURM's answers. `tools/slurm_check.py` asks a real SLURM.

The commands of SLURM are shell scripts here, which know a folder: the test says what is in the queue, and what happens
each time the launcher sleeps.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mec_transfer.common import extras
from mec_transfer.common.errors import MissingExtra, UserError
from mec_transfer.launchers import slurm, slurm_submit
from mec_transfer.launchers.launcher import Ended, Task
from mec_transfer.launchers.slurm import SlurmLauncher
from mec_transfer.launchers.slurm_job import JobState, Work
from mec_transfer.launchers.slurm_submit import SlurmOptions, require_slurm

OPTIONS = SlurmOptions(minutes=60)
DOWN = 'if [ -e "$CLUSTER/down" ]; then echo "$0: Unable to contact slurm controller" >&2; exit 1; fi'
COMMANDS = {
    "squeue": f'{DOWN}; cat "$CLUSTER/queue"',
    "sacct": '[ -e "$CLUSTER/accounts" ] || { echo accounting is disabled >&2; exit 1; }; cat "$CLUSTER/accounts"',
    "scancel": 'echo "scancel $*" >> "$CLUSTER/said"',
    "scontrol": f'{DOWN}; echo "scontrol $*" >> "$CLUSTER/said"',
    "srun": "exit 1",
    # Takes the job, then says what $CLUSTER/refuse holds.
    "sbatch": """
n=$(($(ls "$CLUSTER"/*.sbatch 2>/dev/null | wc -l) + 7))
cp "$1" "$CLUSTER/$n.sbatch"
if [ -e "$CLUSTER/refuse" ]; then cat "$CLUSTER/refuse" >&2; exit 1; fi
echo "Submitted batch job $n"
""",
}


class Cluster:
    """What the scripts know."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.states = folder, dict[str, tuple[str, ...]]()
        self.file("queue", "")

    def file(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def queue(self, *states: str, array: str = "7") -> None:
        """Let the jobs of the array be in these states; "" is a job that has left the queue."""
        self.states[array] = states
        self.file("queue", "".join(map(self._lines, self.states)))

    def _lines(self, array: str) -> str:
        asked = self.options(array)
        states = [(i if "array" in asked else "N/A", state) for i, state in enumerate(self.states[array]) if state]
        return "".join(f"{array}|{i}|{state}|Priority|{asked['job-name']}\n" for i, state in states)

    def options(self, array: str) -> dict[str, str]:
        """What sbatch was asked for."""
        script = (self.folder / f"{array}.sbatch").read_text()
        return dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", script, re.MULTILINE))

    @property
    def arrays(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob("*.sbatch"))

    @property
    def said(self) -> list[str]:
        path = self.folder / "said"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    (folder := tmp_path / "cluster").mkdir()
    for name, script in COMMANDS.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CLUSTER", str(folder))
    monkeypatch.setattr(slurm, "_QUEUE_SECONDS", 0.0)
    monkeypatch.chdir(tmp_path)
    return Cluster(folder)


class Runs:
    """A launcher, its tasks and what they print."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.lines = folder, list[str]()
        self._monkeypatch = monkeypatch

    def task(self, title: str = "a", **more: Any) -> Task:
        return Task(title=title, module="m", arguments=("x",), log=self.folder / title / "log.txt", **more)

    def start(self, *tasks: Task, options: SlurmOptions = OPTIONS) -> SlurmLauncher:
        launcher = SlurmLauncher(lambda task, line: self.lines.append(f"{task.title}: {line}"), options, Path("slurm"))
        for task in tasks:
            assert launcher.has_room(task)
            launcher.start(task)
        return launcher

    def wait(self, launcher: SlurmLauncher, *events: Callable[[], object]) -> Ended:
        """Wait for a job; each time the launcher sleeps, the next event happens."""
        left: Iterator[Callable[[], object]] = iter(events)
        clock = types.SimpleNamespace(sleep=lambda _: next(left)(), monotonic=time.monotonic, time=time.time)
        self._monkeypatch.setattr(slurm, "time", clock)
        return launcher.wait()

    def finish(self, task: Task, status: int = 0, reason: str = "", prints: str = "") -> Callable[[], None]:
        """An event: the task's job says how it has ended."""

        def end() -> None:
            with task.log.open("a") as log:
                log.write(prints)
            JobState(status=status, reason=reason).write(task.log)

        return end


@pytest.fixture
def runs(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(tmp_path / "jobs", monkeypatch)


def nothing() -> None:
    """An event."""


def test_tasks_of_as_many_gpus_are_one_array_with_all_that_is_asked_for(runs: Runs, cluster: Cluster) -> None:
    options = SlurmOptions(
        minutes=60, partition="p", account="a", qos="q", constraint="c", cpus=4, gpus=8, extra=("mem=9G", "--exclusive")
    )
    tasks = [runs.task("a"), runs.task("b", gpus=16), runs.task("c"), runs.task("d", gpus=12)]
    launcher = runs.start(*tasks, options=options)
    assert launcher.busy and not cluster.arrays
    ended = runs.wait(
        launcher, lambda: cluster.queue("RUNNING", "RUNNING"), runs.finish(tasks[2], prints="hello\nmore")
    )
    assert (ended.task.title, ended.status, ended.reason) == ("c", 0, "")
    assert cluster.arrays == ["7", "8", "9"]
    asked = cluster.options("7")
    every = {"partition": "p", "account": "a", "qos": "q", "constraint": "c", "cpus-per-task": "4", "time": "60"}
    every |= {"mem": "9G", "exclusive": "", "requeue": "", "signal": "USR1@120", "open-mode": "append"}
    assert every.items() <= asked.items() and "wckey" not in asked
    assert (asked["array"], asked["nodes"], asked["gpus-per-node"], asked["ntasks-per-node"]) == (
        "0-1%2",
        "1",
        "1",
        "1",
    )
    several = [cluster.options(array) for array in ("8", "9")]
    assert all("array" not in one for one in several)
    assert [(one["nodes"], one["gpus-per-node"], one["ntasks-per-node"]) for one in several] == [
        ("2", "8", "8"),
        ("2", "6", "6"),
    ]
    assert {"a: SLURM job 7_0", "b: SLURM job 8", "c: hello"} <= set(runs.lines) and "c: more" not in runs.lines
    script = (cluster.folder / "7.sbatch").read_text()
    assert "export OMP_NUM_THREADS=4" in script and "--cpus-per-task=4" in script.partition("srun")[2]


def test_on_cpus_no_gpu_is_asked_for_and_a_short_limit_has_a_short_notice(runs: Runs, cluster: Cluster) -> None:
    task = runs.task()
    launcher = runs.start(task, options=SlurmOptions(minutes=2))
    runs.wait(launcher, lambda: cluster.queue("RUNNING"), runs.finish(task))
    asked = cluster.options("7")
    assert "gpus-per-node" not in asked and asked["signal"] == "USR1@30"


@pytest.mark.parametrize("where", ["squeue", "sacct"])
@pytest.mark.parametrize("state", ["OUT_OF_MEMORY", "TIMEOUT", "NODE_FAIL", "CANCELLED", "FAILED"])
def test_a_job_that_slurm_ends_is_told_with_its_reason(runs: Runs, cluster: Cluster, where: str, state: str) -> None:
    launcher = runs.start(runs.task("a"), runs.task("b"))

    def over() -> None:
        cluster.queue("RUNNING", state if where == "squeue" else "")
        if where == "sacct":
            name = cluster.options("7")["job-name"]
            cluster.file("accounts", f"7_[2-3]|PENDING|{name}\n7_1|{state} by 1000|{name}\n7_1|RUNNING|another\n")

    ended = runs.wait(launcher, over, nothing, nothing)
    assert (ended.task.title, ended.status) == ("b", 1)
    assert ended.reason.startswith(f"SLURM job 7_1: {state}")
    assert ("mem=SIZE" in ended.reason) == (state == "OUT_OF_MEMORY")
    assert launcher.busy


def test_a_job_that_nobody_knows_any_more_has_ended(runs: Runs, cluster: Cluster) -> None:
    assert runs.wait(runs.start(runs.task()), nothing, nothing).reason == "SLURM job 7: no longer in the queue"


def test_files_that_come_late_are_waited_for(runs: Runs, cluster: Cluster) -> None:
    task = runs.task()
    ended = runs.wait(runs.start(task), lambda: cluster.queue("COMPLETED"), runs.finish(task, 1, prints="error: x\n"))
    assert (ended.status, ended.reason, runs.lines[-1]) == (1, "", "a: error: x")


def test_a_requeued_job_is_waited_for(runs: Runs, cluster: Cluster) -> None:
    task = runs.task()
    events = [lambda state=state: cluster.queue(state) for state in ("RUNNING", "COMPLETING", "PENDING", "RUNNING")]
    ended = runs.wait(runs.start(task), *events, runs.finish(task, 138, "its time limit has ended it 3 times"))
    assert (ended.status, ended.reason) == (138, "its time limit has ended it 3 times")


@pytest.mark.parametrize("states", [("RUNNING", "PENDING"), ("RUNNING", "COMPLETED"), ("RUNNING", "CANCELLED"), ("",)])
def test_the_next_run_finds_its_jobs_and_submits_only_what_is_not_there(
    runs: Runs, cluster: Cluster, states: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [runs.task("a"), runs.task("b")]
    with pytest.raises(StopIteration), runs.start(*tasks) as launcher:
        runs.wait(launcher, lambda: cluster.queue("RUNNING", "PENDING"))
    assert "2 jobs stay with SLURM and go on" in (said := capsys.readouterr().err) and "scancel 7)" in said
    cluster.queue(*states)
    runs.lines.clear()
    again = runs.start(*tasks)
    alive = [state for state in states if state in ("RUNNING", "PENDING")]
    with pytest.raises(StopIteration):
        runs.wait(again)
    submitted = len(cluster.arrays) - 1
    assert submitted == (len(alive) < 2)
    assert [line for line in runs.lines if "in the queue" in line] == [
        f"{title}: SLURM job 7_{i} is in the queue ({state})" for i, (title, state) in enumerate(zip("ab", alive))
    ]
    if submitted:
        assert cluster.options("8").get("array") == (None if alive else "0-1%2")


@pytest.mark.parametrize("then", ["PENDING", "CANCELLED"])
def test_a_job_that_is_just_ending_is_decided_on_later(runs: Runs, cluster: Cluster, then: str) -> None:
    task = runs.task()
    with pytest.raises(StopIteration):
        runs.wait(runs.start(task), lambda: cluster.queue("COMPLETING"))
    again = runs.start(task)
    with pytest.raises(StopIteration):
        runs.wait(again, nothing)
    assert cluster.arrays == ["7"] and again.busy
    with pytest.raises(StopIteration):
        runs.wait(again, lambda: cluster.queue(then))
    assert cluster.arrays == (["7"] if then == "PENDING" else ["7", "8"])


def test_a_run_in_a_job_of_its_own_hands_nothing_of_it_on(
    runs: Runs, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_MEM_PER_CPU", "SLURM_CONF"):
        monkeypatch.setenv(name, "5")
    (cluster.folder / "sbatch").write_text("#!/bin/sh\nenv | grep ^SLURM >&2; exit 1\n")
    with pytest.raises(UserError, match="SLURM refuses the jobs: SLURM_CONF=5$"):
        runs.wait(runs.start(runs.task()))
    assert os.environ["SLURM_MEM_PER_CPU"] == "5"


def test_a_job_with_other_settings_is_not_taken_for_this_one(runs: Runs, cluster: Cluster) -> None:
    task = runs.task()
    with pytest.raises(StopIteration):
        runs.wait(runs.start(task), lambda: cluster.queue("PENDING"))
    ended = runs.wait(runs.start(dataclasses.replace(task, arguments=("y",))))
    assert (ended.status, cluster.arrays) == (1, ["7"])
    assert "with other settings; wait for it, or: scancel 7" in ended.reason


def test_slurm_may_be_away_for_a_while(runs: Runs, cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    task = runs.task()
    cluster.file("down", "")
    launcher = runs.start(task)
    events = [nothing, nothing, (cluster.folder / "down").unlink, lambda: cluster.queue("RUNNING")]
    ended = runs.wait(launcher, *events, runs.finish(task))
    assert ended.status == 0 and cluster.arrays == ["7"]
    said = capsys.readouterr().err
    assert said.count("SLURM does not answer (") == 1 and said.count("SLURM answers again") == 1


@pytest.mark.parametrize("taken", [True, False])
def test_when_sbatch_gets_no_answer_its_job_is_looked_for(runs: Runs, cluster: Cluster, taken: bool) -> None:
    task = runs.task()
    cluster.file("refuse", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n")

    def answer() -> None:
        (cluster.folder / "refuse").unlink()
        if taken:
            cluster.queue("PENDING")

    with pytest.raises(StopIteration):
        runs.wait(runs.start(task), answer)
    assert len(cluster.arrays) == (1 if taken else 2)


def test_what_slurm_refuses_is_one_line_and_leaves_nothing(runs: Runs, cluster: Cluster) -> None:
    cluster.file("refuse", "sbatch: error: invalid partition specified: p\nsbatch: error: Batch job failed\n")
    with pytest.raises(UserError) as caught:
        runs.wait(runs.start(runs.task()))
    assert str(caught.value) == "SLURM refuses the jobs: invalid partition specified: p Batch job failed"
    assert not [*runs.folder.glob("*/slurm.json")]


def test_no_more_jobs_at_once_than_asked_for_and_no_fewer(runs: Runs, cluster: Cluster) -> None:
    first = [runs.task("a"), runs.task("b")]
    second = [runs.task(title, gpus=2) for title in "cdef"]
    launcher = runs.start(*first, *second, options=SlurmOptions(minutes=60, max_running=3))

    def queue() -> None:
        cluster.queue(*["RUNNING"] * 2)
        cluster.queue(*["RUNNING"] * 4, array="8")

    assert runs.wait(launcher, queue, runs.finish(first[0])).task.title == "a"
    assert [cluster.options(array)["array"] for array in cluster.arrays] == ["0-1%2", "0-3%1"]
    assert not cluster.said
    assert runs.wait(launcher, nothing, runs.finish(first[1])).task.title == "b"
    assert runs.wait(launcher, nothing, runs.finish(second[0])).task.title == "c"
    assert cluster.said == [f"scontrol update JobId=8 ArrayTaskThrottle={most}" for most in (2, 3)]


def test_what_has_no_room_is_submitted_later(runs: Runs, cluster: Cluster) -> None:
    first, second = runs.task("a"), runs.task("b", gpus=2)
    launcher = runs.start(first, second, options=SlurmOptions(minutes=60, max_running=1))
    runs.wait(launcher, lambda: cluster.queue("RUNNING"), runs.finish(first))
    assert cluster.arrays == ["7"] and launcher.busy
    runs.wait(launcher, lambda: cluster.queue("RUNNING", array="8"), runs.finish(second))
    assert cluster.arrays == ["7", "8"] and not launcher.busy


def test_a_silent_job_is_cancelled(runs: Runs, cluster: Cluster) -> None:
    launcher = runs.start(runs.task(silence_seconds=0.0))
    running, over = (lambda: cluster.queue("RUNNING")), (lambda: cluster.queue("CANCELLED"))
    ended = runs.wait(launcher, running, nothing, over, nothing, nothing)
    assert ended.reason == "cancelled because it printed nothing for 0 s" and cluster.said[0] == "scancel 7"


def test_without_submitit_or_slurm_one_line_says_what_to_do(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    require_slurm()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="no sbatch here; run it on a machine that can submit jobs"):
        require_slurm()
    monkeypatch.setattr(extras.Library, "fault", lambda library: "")
    with pytest.raises(MissingExtra, match=re.escape("needs submitit: pip install 'mec-transfer[slurm]'")):
        require_slurm()


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ("time=3", "--slurm time: use --time-limit"),
        ("--qos=x", "--slurm qos: use --qos"),
        ("chdir=/x", "--slurm chdir: it is set by the launcher"),
        ("A=3", "--slurm A: must be KEY=VALUE, with a long option of sbatch as KEY"),
    ],
)
def test_options_that_are_not_ones_to_give(extra: str, reason: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(reason)}$"):
        SlurmOptions(minutes=1, extra=(extra,))


WORK = """
import sys
from pathlib import Path
from mec_transfer.launchers import slurm_job
slurm_job._KILL_SECONDS = slurm_job._ASK_SECONDS = 0.0
slurm_job.Work("tests.launchers.worker", tuple(sys.argv[1:]), Path("log.txt"), 2)()
"""


class Node:
    """Runs a task as a job of SLURM would."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log.txt"
        self.folder = folder

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[bytes]:
        alone = {"SLURM_JOB_ID": "20005", "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1"}
        path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
        return subprocess.Popen(
            [sys.executable, "-c", WORK, *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path, **alone, **env},
            start_new_session=True,
        )

    def stopped(self, number: signal.Signals) -> int:
        """Start it, send the signal when it works, and return its exit status."""
        before = self.log.read_text() if self.log.exists() else ""
        process = self.start("hang")
        while not (self.log.exists() and "hanging" in self.log.read_text()[len(before) :]):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        return process.wait(20)

    @property
    def state(self) -> JobState:
        return JobState.read(self.log)


@pytest.fixture
def node(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Node:
    (folder := tmp_path / "job").mkdir()
    return Node(folder)


def test_a_job_leaves_its_status_and_its_log(node: Node) -> None:
    assert node.start("say", "hello").wait(20) == 0
    assert node.log.read_text().startswith("hello ") and node.state == JobState(status=0)
    assert node.start("fail").wait(20) == 1
    assert node.log.read_text().endswith("error: broken\n") and node.state == JobState(status=1)


def test_a_job_is_requeued_at_its_time_limit_so_often_and_no_oftener(node: Node, cluster: Cluster) -> None:
    for count in (1, 2):
        assert node.stopped(signal.SIGUSR1) == 138
        assert cluster.said == ["scontrol requeue 20005"] * count
        assert node.state.limits == count
    assert node.stopped(signal.SIGUSR1) == 138 and len(cluster.said) == 2
    assert node.state.reason == "its time limit has ended it 3 times"


def test_a_job_that_slurm_is_about_to_kill_says_nothing_of_its_end(node: Node, cluster: Cluster) -> None:
    assert node.stopped(signal.SIGTERM) == 143
    assert not cluster.said


def test_several_processes_learn_their_ranks(node: Node) -> None:
    ranks = {"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_JOB_NUM_NODES": "2"}
    code = """
import json, os
from mec_transfer.launchers.slurm_job import _join_processes
_join_processes()
names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
print(json.dumps({name: os.environ[name] for name in names}))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, **ranks, "SLURM_JOB_ID": "20005", "SLURM_JOB_NODELIST": "n[07-08]"},
        stdout=subprocess.PIPE,
        text=True,
    )
    said = json.loads(process.communicate()[0])
    assert said == {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "n07", "MASTER_PORT": "20005"}


def test_work_is_told_where_its_log_is_wherever_it_begins(runs: Runs, cluster: Cluster) -> None:
    task = runs.task()
    with pytest.raises(StopIteration):
        runs.wait(runs.start(task))
    import pickle

    (path,) = Path("slurm").glob("7_submitted.pkl")
    work = pickle.loads(path.read_bytes()).function
    assert work == Work("m", ("x",), task.log.absolute(), slurm_submit.SlurmOptions(minutes=1).requeues)
