from __future__ import annotations

from pathlib import Path

import pytest

from mec_transfer.common import control_groups
from mec_transfer.common.control_groups import cpu_quota, memory_left


@pytest.fixture(params=[1, 2])
def version(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Control groups of either version; this process is in a task of a step of a job, as SLURM has it."""
    number: int = request.param
    lines = "3:cpuset:/\n4:memory:/job/step/task\n5:cpu,cpuacct:/job/step/task\n"
    (tmp_path / "own").write_text(lines if number == 1 else "0::/job/step/task\n")
    monkeypatch.setattr(control_groups, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(control_groups, "_GROUPS", tmp_path)
    return number


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def test_the_memory_left_is_the_least_of_all_groups(version: int, tmp_path: Path) -> None:
    top = tmp_path / "memory" if version == 1 else tmp_path
    limit, used, files = control_groups._MEMORY_1 if version == 1 else control_groups._MEMORY_2

    def limit_group(name: str, most: str, taken: int, of_files: int) -> None:
        stat = f"anon 1\n{files} {of_files}\nactive_file 7"
        write(top / name, **{limit: most, used: str(taken), "memory__stat": stat})

    assert memory_left() is None
    limit_group("job/step/task", "max", 1000, 0)
    assert memory_left() is None
    limit_group("job", "3000", 2900, 1500)  # of which more than half is what files take that were read
    assert memory_left() == 1600
    limit_group("", "2000", 1000, 0)
    assert memory_left() == 1000


def test_the_quota_is_the_least_of_all_groups(version: int, tmp_path: Path) -> None:
    def limit_group(name: str, quota: int, period: int = 100_000) -> None:
        if version == 1:
            write(tmp_path / "cpu" / name, cpu__cfs_quota_us=str(quota), cpu__cfs_period_us=str(period))
        else:
            write(tmp_path / name, cpu__max=f"{'max' if quota < 0 else quota} {period}")

    assert cpu_quota() is None
    limit_group("job/step/task", -1)
    assert cpu_quota() is None
    limit_group("job", 400_000)
    assert cpu_quota() == 4
    limit_group("", 75_000, 50_000)
    assert cpu_quota() == 1.5


def test_a_machine_without_control_groups_has_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_groups, "_OWN_GROUPS", tmp_path / "absent")
    assert memory_left() is None and cpu_quota() is None
