"""How many GPUs a job takes, and which jobs run beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mec_transfer.launchers.launcher import Ended, Task
from mec_transfer.launchers.slurm_submit import SlurmOptions
from mec_transfer.suite import run as module
from mec_transfer.suite.config import load_suite
from mec_transfer.suite.plan import RunOptions
from mec_transfer.suite.registry import benchmark_config, find_benchmark


@pytest.mark.parametrize(
    ("processes", "gpus", "taken"), [(8, 8, 8), (8, 7, 4), (8, 3, 2), (8, 1, 1), (8, None, 1), (1, 8, 1), (6, 4, 3)]
)
def test_a_job_takes_a_divisor_of_its_published_processes(processes: int, gpus: int | None, taken: int) -> None:
    assert RunOptions(out=Path("out"), gpus=gpus).gpus_of(processes) == taken


@pytest.mark.parametrize(("of_a_node", "most", "taken"), [(8, None, 8), (4, None, 8), (8, 4, 4), (0, None, 1)])
def test_a_cluster_gives_a_job_all_its_processes(of_a_node: int, most: int | None, taken: int) -> None:
    options = RunOptions(out=Path("out"), gpus=most, slurm=SlurmOptions(minutes=60, gpus_per_node=of_a_node))
    assert options.gpus_of(8) == taken


@pytest.mark.parametrize(
    ("name", "overrides", "processes"),
    [
        ("knn_dino", [], 1),
        ("linear_mec", [], 8),
        ("semisup_10pct_swav", [], 8),
        ("semisup_1pct_barlow", ["recipe.replicas=4"], 4),
        ("voc0712_c4", [], 8),
        ("coco_fpn_1x", [], 8),
        ("coco_c4_1x", ["recipe.images_per_batch=4"], 2),
        ("coco_c4_1x", ["recipe.images_per_batch=5"], 1),
        ("coco_c4_1x", ["recipe.changes={SOLVER.IMS_PER_BATCH: 6}"], 3),
        ("demo_mask_rcnn", [], 1),
        ("vos_unitrack", [], 1),
    ],
)
def test_the_processes_of_the_published_runs(name: str, overrides: list[str], processes: int) -> None:
    assert benchmark_config(find_benchmark(name, Path()), overrides).processes == processes


class Launcher:
    """Has GPUs and runs nothing: tasks end in the order in which they began."""

    def __init__(self, show: Any, *, gpus: Sequence[str], **_: Any) -> None:
        self.free, self.running, self.begun = len(gpus), [], []
        launchers.append(self)

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *_: object) -> None:
        assert not self.running

    def has_room(self, task: Task) -> bool:
        return task.gpus <= self.free

    def start(self, task: Task) -> None:
        self.free -= task.gpus
        self.running.append(task)
        self.begun.append((task.title, task.gpus, len(self.running)))

    def wait(self) -> Ended:
        task = self.running.pop(0)
        self.free += task.gpus
        return Ended(task=task, status=1, reason="not run in this test")


launchers: list[Launcher] = []


def test_narrow_jobs_fill_the_gpus_that_a_wide_one_cannot_have(world, fake, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    import fake_family

    monkeypatch.setattr(module, "LocalLauncher", Launcher)
    monkeypatch.setattr(module, "visible_gpus", lambda: list("0123"))
    wide = property(lambda config: 8 if config.id == "two" else 1)
    monkeypatch.setattr(fake_family.FakeConfig, "processes", wide, raising=False)
    world.pretrain()
    models = [f"{name}={world.root / 'b.txt'}" for name in ("b", "c")]
    source = world.root / "suite.yaml"
    outcome = module.run_suite(
        load_suite(source, models), source, RunOptions(out=world.out, data_root=world.data, gpus=4)
    )
    begun = launchers.pop().begun
    assert begun[0] == ("mec", 4, 1)  # jobs wait for it; it is made for eight
    assert begun[1:4] == [("random  one", 1, 1), ("b  one", 1, 2), ("c  one", 1, 3)]
    assert begun[4:] == [(f"{m}  two  trial {t}", 4, 1) for m in ("random", "b", "c") for t in (0, 1)]
    assert (outcome.jobs, outcome.failed) == (12, 12)  # the pretraining was not run either
