"""A whole run on a SLURM that runs what it is given at once, on this machine. tools/slurm_check.py asks a real one."""

from __future__ import annotations

import os

from mec_transfer.cli.main import main
from mec_transfer.launchers import slurm

# Every job in turn, in the background; all that is submitted counts as running.
SBATCH = r"""
cp "$1" "$CLUSTER/script"
echo "Submitted batch job 7"
for i in 0 1 2; do
  SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$i SLURM_JOB_ID=7$i SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 \
    sh "$CLUSTER/script" >"$CLUSTER/$i.log" 2>&1
done >/dev/null 2>&1 &
"""
SQUEUE = r"""
name=$(sed -n 's/^#SBATCH --job-name=//p' "$CLUSTER/script" 2>/dev/null) || exit 0
for i in 0 1 2; do echo "7|$i|RUNNING||$name"; done
"""
SRUN = 'while :; do case "$1" in --output) shift 2;; -*) shift;; *) exec "$@";; esac; done'


def test_a_suite_by_way_of_slurm_has_the_same_leaderboard(world, fake, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    cluster = world.root / "cluster"
    cluster.mkdir()
    scripts = {"sbatch": SBATCH, "squeue": SQUEUE, "srun": SRUN, "scontrol": "exit 1", "scancel": "exit 1"}
    for name, script in scripts.items():
        (cluster / name).write_text(f"#!/bin/sh\n{script}\n")
        (cluster / name).chmod(0o755)
    inherited = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [world.env["PYTHONPATH"], inherited])))
    monkeypatch.setenv("PATH", f"{cluster}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CLUSTER", str(cluster))
    monkeypatch.setattr(slurm, "_QUEUE_SECONDS", 0.1)
    monkeypatch.setattr(slurm, "_FILES_SECONDS", 0.1)
    monkeypatch.chdir(world.root)
    world.write("two.yaml", (world.root / "two.yaml").read_text() + "recipe: {fail_for: random}\n")
    words = ["run", "--suite", "suite.yaml", "--data-root", "data", "--device", "cpu", "--workers", "0"]
    assert main([*words, "--out", "here"]) == 1
    capsys.readouterr()
    assert main([*words, "--out", "there", "--launcher", "slurm", "--time-limit", "60", "--cpus", "1"]) == 1
    said = capsys.readouterr().err
    assert "    random  one:  SLURM job 7_0" in said and "    random  one:  top1 " in said, said
    assert said.count("FAILED  the loss is nan at step 7") == 2
    assert world.board("there") == world.board("here")
