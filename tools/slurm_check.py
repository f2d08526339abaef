#!/usr/bin/env python3
"""Make this Debian machine a SLURM cluster of one node, run the smoke suite on it, and disturb it in every way.

    sudo .venv/bin/python tools/slurm_check.py [--work DIR] [--keep]

Installs slurm-wlm and munge where they are missing. The daemons run on the loopback with their files in DIR (default:
/tmp/mec_transfer_slurm) and are stopped at the end; the two GPUs of the node are device files that do nothing. Then it
runs the suite on this machine and on the cluster, where the run's process is killed, stopped and started again, a job
is preempted, SLURM's controller is away for a while, a job meets its time limit, one has two processes, and the
scripts of docs/clusters.md do the jobs. A table says what was wanted and what came out.

Exit status: 0 all as wanted; 1 something is not; 77 no SLURM is available here.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FORMATS = ("md", "csv", "json")
DEBIAN = {"slurmctld": "slurm-wlm", "slurmd": "slurm-wlm", "sbatch": "slurm-wlm", "munged": "munge", "jq": "jq"}
CONFIG = """
ClusterName=mec
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu
StateSaveLocation={work}/state
SlurmdSpoolDir={work}/spool
SlurmctldPidFile={work}/slurmctld.pid
SlurmdPidFile={work}/slurmd.pid
SlurmctldLogFile={work}/slurmctld.log
SlurmdLogFile={work}/slurmd.log
KillWait=10
UnkillableStepTimeout=300
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory} Gres=gpu:2 State=UNKNOWN
PartitionName=test Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
_LONG_SECONDS = 150.0
LIMITED = """
id: limited
models:
  long:
    pretrain: mec_r18_demo
    data: pretrain
    overrides: [arch=resnet18, epochs=40, warmup_epochs=1, max_steps=STEPS]
benchmarks: [demo_knn]
"""
TWO_PROCESSES = """
import sys
from pathlib import Path
from mec_transfer.launchers.launcher import Task
from mec_transfer.launchers.slurm import SlurmLauncher
from mec_transfer.launchers.slurm_submit import SlurmOptions
out, data = Path(sys.argv[1]), sys.argv[2]
words = ("mec_r18_demo", "--data", data, "--out", str(out), "--workers", "0")
words += ("--set", "arch=resnet18", "--set", "epochs=2", "--set", "max_steps=4")
task = Task(title="two", module="pretrain", arguments=words, log=out / "log.txt", gpus=2)
options, folder = SlurmOptions(minutes=30, cpus=1, gpus_per_node=2), out.parent / "two_slurm"
with SlurmLauncher(lambda task, line: print(line), options, folder) as launcher:
    launcher.start(task)
    sys.exit(launcher.wait().status)
"""


class NoSlurm(Exception):
    """No SLURM is available; the message says why."""


class Cluster:
    """SLURM on the loopback."""

    def __init__(self, work: Path) -> None:
        self.work, self.host = work, socket.gethostname().partition(".")[0]
        os.environ["SLURM_CONF"] = str(work / "slurm.conf")

    def start(self) -> None:
        """Install, configure and start it."""
        if os.geteuid():
            raise NoSlurm("it takes root to install and start it")
        if missing := sorted({package for command, package in DEBIAN.items() if shutil.which(command) is None}):
            print(f"installing {' '.join(missing)}", flush=True)
            environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            for words in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
                tell(["apt-get", "--quiet", *words], env=environ)
        for folder in ("state", "spool"):
            (self.work / folder).mkdir(parents=True, exist_ok=True)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 * 9 // 10
        text = CONFIG.format(host=self.host, work=self.work, cores=os.cpu_count(), memory=memory)
        (self.work / "slurm.conf").write_text(text)
        for index in (0, 1):
            tell(["mknod", f"{self.work}/gpu{index}", "c", "1", "3"])
        (self.work / "gres.conf").write_text(f"NodeName={self.host} Name=gpu File={self.work}/gpu[0-1]\n")
        if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode:
            Path("/run/munge").mkdir(mode=0o755, exist_ok=True)
            shutil.chown("/run/munge", "munge", "munge")
            tell(["runuser", "-u", "munge", "--", shutil.which("munged") or "/usr/sbin/munged"])
        for daemon in ("slurmctld", "slurmd"):
            self.daemon(daemon)
        wait_for(lambda: "idle" in said("sinfo", "--noheader", "--format=%T"), 60, "an idle node")
        tell(["srun", "--gpus=1", "--time=1", "true"])

    def daemon(self, name: str) -> None:
        """Start slurmctld or slurmd."""
        tell([shutil.which(name) or f"/usr/sbin/{name}"])

    def end(self, name: str) -> None:
        """Stop slurmctld or slurmd."""
        path = self.work / f"{name}.pid"
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(path.read_text()), signal.SIGTERM)
            wait_for(lambda: not path.exists(), 30, f"the end of {name}")

    def stop(self) -> None:
        """Cancel all jobs and stop the daemons."""
        said("scancel", "--me")
        for name in ("slurmd", "slurmctld"):
            self.end(name)


def tell(command: list[str], env: dict[str, str] | None = None) -> None:
    """Run a command that the cluster needs."""
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=600, check=False)
    if done.returncode:
        raise NoSlurm(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-2000:]}")


def said(*command: str) -> str:
    """Return what a command prints, "" where it fails."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def wait_for(ready: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until it is so. Raises NoSlurm where it takes too long."""
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > until:
            raise NoSlurm(f"waited {seconds:g} s for {what}; squeue says: {said('squeue')}")
        time.sleep(0.5)


def jobs(*states: str) -> dict[str, str]:
    """Return the queue's jobs, id to name, in any of some states."""
    lines = said("squeue", "--me", "-r", "--noheader", f"--states={','.join(states)}", "--format=%i %j").splitlines()
    return dict(line.split(" ", 1) for line in lines)


class Run:
    """`mec-transfer run`, in the background."""

    def __init__(self, work: Path, out: str, *options: str, on_slurm: bool) -> None:
        asked = ["--launcher", "slurm", "--cpus", "1", "--gpus", "1", "--partition", "test"]
        self.command = [sys.executable, "-m", "mec_transfer.cli.main", "run", "--out", out, "--workers", "0"]
        self.command += [*options, *(asked if on_slurm else ())]
        self.work, self.log = work, work / f"{out}.log"

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, or start it again."""
        with self.log.open("ab") as log:
            return subprocess.Popen(self.command, cwd=self.work, stdout=log, stderr=log, start_new_session=True)

    def printed(self) -> str:
        """All that it has printed, over all starts."""
        return self.log.read_text()

    def ended(self) -> int:
        """Run it to its end; return its exit status."""
        return self.start().wait()


class Check:
    """The disturbances, and the table of what came out."""

    def __init__(self, work: Path, cluster: Cluster) -> None:
        self.work, self.cluster = work, cluster
        self.rows: list[tuple[str, str, str]] = []

    def row(self, what: str, wanted: object, got: object) -> None:
        """Note what was wanted and what came out."""
        self.rows.append((what, str(wanted), str(got)))
        print(f"{'ok   ' if wanted == got else 'WRONG'} {what}: wanted {wanted}, got {got}", flush=True)

    def table(self) -> str:
        """Return all rows as Markdown."""
        lines = [
            f"| {what} | {wanted} | {got}{'' if wanted == got else ' **(wrong)**'} |" for what, wanted, got in self.rows
        ]
        return "\n".join(["| step | wanted | got |", "| --- | --- | --- |", *lines])

    def boards(self, one: str, other: str) -> str:
        """Say whether two runs have the same three leaderboards."""
        same = all((self.work / one / f"leaderboard.{form}").read_bytes()
                   == (self.work / other / f"leaderboard.{form}").read_bytes() for form in FORMATS)  # fmt: skip
        return "equal byte for byte" if same else "different"

    def smoke(self) -> None:
        """The smoke suite, here and on the cluster, where its process and its jobs are disturbed."""
        self.row(
            "smoke suite, local launcher: exit status",
            0,
            Run(self.work, "local", "--suite", "smoke", on_slurm=False).ended(),
        )
        shutil.copytree(self.work / "local/data", self.work / "cluster/data")
        run = Run(self.work, "cluster", "--suite", "smoke", "--time-limit", "60", on_slurm=True)
        earlier = set(jobs("all").values())
        process = run.start()
        wait_for(lambda: jobs("RUNNING"), 300, "a running job")
        before = jobs("PENDING", "RUNNING")
        process.kill()
        process.wait()
        self.row(
            "SIGKILL to the run's process: jobs that stay in the queue", len(before), len(jobs("PENDING", "RUNNING"))
        )
        process = run.start()
        wait_for(lambda: "is in the queue (" in run.printed(), 120, "jobs that are found again")
        time.sleep(15)
        names = set(jobs("all").values()) - earlier
        self.row("the same command again: arrays in the queue", len(set(before.values())), len(names))
        job = next(iter(jobs("RUNNING")))
        said("scontrol", "requeue", job)
        self.row("a job is preempted (scontrol requeue): restarts", "Restarts=1", self.restarts(job))
        self.cluster.end("slurmctld")
        wait_for(lambda: "SLURM does not answer" in run.printed(), 60, "a word about SLURM's silence")
        self.cluster.daemon("slurmctld")
        wait_for(lambda: "SLURM answers again" in run.printed(), 90, "a word about its answer")
        self.row("no controller for some seconds: the run goes on", True, process.poll() is None)
        wait_for(lambda: len([*self.work.glob("cluster/jobs/*/*/record.json")]) >= 4, 3600, "four finished jobs")
        process.send_signal(signal.SIGINT)
        self.row("Ctrl-C: exit status", 130, process.wait(60))
        left = re.findall(r"jobs that stay with SLURM and go on: \d+.*scancel \d", run.printed())
        self.row("Ctrl-C: says that its jobs go on, and how to cancel them", True, bool(left))
        self.row("the same command again: exit status", 0, run.ended())
        self.row("leaderboards of local and SLURM", "equal byte for byte", self.boards("local", "cluster"))
        begun = sum("SLURM job" in line and "in the queue" not in line for line in run.printed().splitlines())
        self.row("submitted for 1 pretraining and 18 jobs", 19, begun)

    def restarts(self, job: str) -> str:
        """Wait until a job has been started again."""
        wait_for(lambda: "Restarts=1" in said("scontrol", "show", "job", job), 120, "a restart")
        return "Restarts=1"

    def limit(self) -> None:
        """A pretraining that takes longer than its job may: it is stopped about a minute before its two are up."""
        steps, seconds = 30, 0.0
        while seconds < 0.8 * _LONG_SECONDS:
            steps = int(steps * _LONG_SECONDS / seconds) if seconds else steps
            (self.work / "limited.yaml").write_text(LIMITED.replace("STEPS", str(steps)))
            options, local = ("--suite", "limited.yaml", "--data-root", "local/data"), f"long_local_{steps}"
            began = time.monotonic()
            status = Run(self.work, local, *options, on_slurm=False).ended()
            seconds = time.monotonic() - began
        self.row(f"pretraining of {steps} steps ({seconds:.0f} s), local: exit status", 0, status)
        more = ("--time-limit", "2", "--requeues", "50")
        run = Run(self.work, "long_cluster", *options, *more, on_slurm=True)
        self.row("with a time limit of 2 minutes: exit status", 0, run.ended())
        self.row("its job was requeued at its limit", True, "its time is up; requeued" in run.printed())
        self.row("leaderboards of local and SLURM", "equal byte for byte", self.boards(local, "long_cluster"))

    def two_processes(self) -> None:
        """A job of two processes, against the same under torchrun."""
        data = self.work / "local/data/pretrain"
        there = subprocess.run(
            [sys.executable, "-c", TWO_PROCESSES, str(self.work / "two"), str(data)], cwd=self.work, check=False
        )
        self.row("pretraining of two processes: exit status", 0, there.returncode)
        words = f"--data {data} --out two_local --workers 0 --set arch=resnet18 --set epochs=2 --set max_steps=4"
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "pretrain"]
        here = subprocess.run(
            [*launch, "mec_r18_demo", *words.split()], cwd=self.work, capture_output=True, check=False
        )
        self.row("the same under torchrun: exit status", 0, here.returncode)
        self.row("their weights", "equal", "equal" if self.weights("two") == self.weights("two_local") else "different")

    def weights(self, out: str) -> str:
        """Return what `mec-transfer inspect` says of a checkpoint."""
        path = str(self.work / out / "checkpoint_last.pth")
        return said(sys.executable, "-m", "mec_transfer.cli.main", "inspect", path).replace(path, "")

    def mistakes(self) -> None:
        """What SLURM does not take is one line."""
        run = Run(self.work, "mistake", "--suite", "limited.yaml", "--data-root", "local/data", "--time-limit", "2",
                  "--slurm", "begin=never", on_slurm=True)  # fmt: skip
        status = run.ended()
        self.row("an option that SLURM refuses: exit status, last line", "2, SLURM refuses the jobs",
                 f"{status}, {run.printed().splitlines()[-1].partition('error: ')[2].partition(':')[0]}")  # fmt: skip

    def own_script(self) -> None:
        """The scripts of docs/clusters.md, on three jobs of which one waits for another."""
        page = (ROOT / "docs/clusters.md").read_text()
        scripts = [block for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) if block.startswith("#!")]
        for name, script in zip(("job.sh", "submit.sh"), scripts, strict=True):  # in the page's order
            (self.work / name).write_text(script)
        (self.work / "own.yaml").write_text(
            "id: own\nmodels: {random: random:resnet18}\nbenchmarks: [demo_robust, demo_linear_fast, demo_vos]\n"
        )
        options = ("--suite", "own.yaml", "--data-root", "local/data")
        plan = Run(self.work, "own", *options, on_slurm=False)
        done = subprocess.run(
            [*plan.command, "--plan-json"], cwd=self.work, capture_output=True, text=True, check=False
        )
        (self.work / "plan.json").write_text(done.stdout)
        bin_folder = Path(sys.executable).parent
        environ = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
        submit = ["bash", "submit.sh", "--cpus-per-task=1"]
        asked = subprocess.run(submit, cwd=self.work, env=environ, capture_output=True, text=True, check=False)
        self.row("submit.sh of docs/clusters.md: exit status", 0, asked.returncode)
        self.row("its arrays, and those that wait for a job of the first", (2, 1),
                 (asked.stdout.count("array "), asked.stdout.count("--dependency=afterok:")))  # fmt: skip
        active = ("PENDING", "RUNNING", "COMPLETING")
        wait_for(lambda: not jobs(*active), 600, "the end of all that submit.sh has submitted")
        self.row("the run afterwards: exit status", 0, plan.ended())
        self.row("its jobs found done", 3, plan.printed().count(": done before"))


def main() -> int:
    """Run the command; return its exit status."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, with all below it
    parser = argparse.ArgumentParser(
        description=textwrap.dedent(__doc__ or ""), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("/tmp/mec_transfer_slurm"), help="an empty or new folder")
    parser.add_argument("--keep", action="store_true", help="leave the cluster running, and the folder")
    args = parser.parse_args()
    work = args.work.absolute()
    if work.exists() and any(work.iterdir()):
        parser.error(f"--work {work}: is not empty")
    # One thread a job here as there, so that the numbers are equal to the last digit.
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    cluster = Cluster(work)
    check = Check(work, cluster)
    try:
        cluster.start()
    except (NoSlurm, OSError) as error:
        print(f"NOTHING WAS CHECKED: no SLURM is available here: {error}", file=sys.stderr)
        cluster.stop()
        return 77
    try:
        check.smoke()
        check.limit()
        check.two_processes()
        check.mistakes()
        check.own_script()
    except NoSlurm as error:
        check.row(str(error), True, False)
    finally:
        print(f"\nSLURM {said('sinfo', '--version')}\n{check.table()}")
        if not args.keep:
            cluster.stop()
    wrong = sum(wanted != got for _, wanted, got in check.rows)
    if not wrong and not args.keep:
        shutil.rmtree(work)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
