"""Loading processes: what goes wrong in them, and that none is left."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from mec_transfer.common.errors import DataError, RunError
from mec_transfer.datasets.loading import Loader
from tests import warm


def living_children() -> list[multiprocessing.process.BaseProcess]:
    """Return this process's children that are there.

    torch's handler of SIGCHLD may raise just after `waitpid` has collected one; multiprocessing then lists it for ever.
    """
    return [child for child in multiprocessing.active_children() if child.pid and _is_there(child.pid)]


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class _Unpackable:
    def __reduce__(self) -> str:
        raise OSError(28, "No space left on device")


class _Failing(Dataset[int]):
    """Item 2 does not load."""

    def __init__(self, how: str = "") -> None:
        self.how = how

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> object:
        if index != 2 or not self.how:
            return index
        if self.how == "bug":
            raise KeyError("a bug")
        if self.how == "pack":
            return _Unpackable()
        if self.how == "user":
            raise DataError("/data/x.png: broken")
        if self.how == "exit":
            os._exit(1)
        os.kill(os.getpid(), getattr(signal, self.how))
        time.sleep(60)
        return index


def load(how: str, workers: int, **options: object) -> list[int]:
    return list(Loader(_Failing(how), workers, batch_size=None, **options))


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_a_users_error_keeps_its_kind_and_its_line(workers: int) -> None:
    loaded = iter(Loader(_Failing("user"), workers, batch_size=None))
    assert [next(loaded), next(loaded)] == [0, 1]
    with pytest.raises(DataError) as caught:
        next(loaded)
    assert str(caught.value) == "/data/x.png: broken"
    assert not living_children()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bug_is_one_line_and_keeps_its_traceback(workers: int) -> None:
    with pytest.raises(RunError, match=r"^loading failed: KeyError: 'a bug'$") as caught:
        load("bug", workers)
    assert "__getitem__" in "".join(map(str, (caught.value.__cause__, caught.getrepr(chain=True))))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("exit", "a loading process died (exit status 1)"),
        ("SIGKILL", "a loading process died (killed by signal 9 (SIGKILL; out of memory?))"),
        ("SIGBUS", "/dev/shm is full"),
        ("pack", "/dev/shm is full"),  # else only a thread of the queue's knows of it, and the run waits for ever
    ],
)
def test_a_dead_process_is_a_run_error_and_takes_the_others_along(how: str, said: str) -> None:
    with pytest.raises(RunError) as caught:
        load(how, 2)
    assert str(caught.value).startswith(said)
    assert not living_children()


def test_a_process_that_dies_while_nobody_waits_is_found_out_at_the_next_item() -> None:
    loaded = iter(Loader(_Failing(), 1, batch_size=None))
    next(loaded)
    (worker,) = living_children()
    worker.kill()
    worker.join()  # torch's own handler would raise right here
    with pytest.raises(RunError, match="a loading process died"):
        list(loaded)


def test_a_process_that_dies_when_all_is_loaded_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    leave = _MultiProcessingDataLoaderIter._shutdown_workers

    def die_first(iterator: _MultiProcessingDataLoaderIter) -> None:
        for worker in iterator._workers:
            os.kill(worker.pid, signal.SIGKILL)
        leave(iterator)

    monkeypatch.setattr(_MultiProcessingDataLoaderIter, "_shutdown_workers", die_first)
    loaded, found = iter(Loader(_Failing(), 2, batch_size=None)), []
    with contextlib.suppress(RunError):  # which it may be, or not be noticed at all
        found += loaded
    assert found == [0, 1, 2, 3] and not living_children()


@pytest.mark.parametrize("persistent", [False, True])
def test_no_process_is_left_of_an_iteration_that_is_left_early(persistent: bool) -> None:
    loader = Loader(_Failing(), 2, persistent=persistent, batch_size=None)
    assert next(iter(loader)) == 0
    gc.collect()
    assert not living_children()
    assert list(loader) == list(loader) == [0, 1, 2, 3]
    assert len(living_children()) == 2 * persistent
    loader.stop()
    assert not living_children()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_loading_processes_leave_signals_to_the_main_one(number: signal.Signals) -> None:
    loaded = iter(Loader(_Failing(), 2, batch_size=None))
    found = [next(loaded)]
    for worker in living_children():
        assert worker.pid
        os.kill(worker.pid, number)
    assert found + list(loaded) == [0, 1, 2, 3]


def test_an_epoch_draws_what_torchs_own_loader_would_have_drawn() -> None:
    draws = []
    for make in (Loader, lambda data, workers, **options: torch.utils.data.DataLoader(data, num_workers=workers)):
        torch.manual_seed(0)
        loader = make(_Failing(), 1, batch_size=None)
        for _ in range(2):
            list(loader)
        draws.append(torch.rand(3))
    assert torch.equal(*draws)


PROGRAM = """
import os, signal, sys, time
from torch.utils.data import Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter
from mec_transfer.common.command import exit_status
from mec_transfer.common.errors import DataError
from mec_transfer.datasets.loading import Loader

class Slow(Dataset):
    def __len__(self): return 1000
    def __getitem__(self, index):
        if sys.argv[1] == "broken" and index == 3: raise DataError("x.png: broken")
        if index > 1: time.sleep(1000)
        return index

def work():
    held = []
    for item in Loader(Slow(), int(sys.argv[2]), batch_size=None, persistent=True):
        held.append(sys._getframe())  # a cycle keeps the loader alive until the interpreter ends
        print(item, flush=True)

sys.exit(exit_status("program", work))
"""


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _gone(pids: list[int]) -> bool:
    until = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def _everyone(process: subprocess.Popen[str], number: int) -> None:
    os.killpg(process.pid, number)


def _main_alone(process: subprocess.Popen[str], number: int) -> None:
    os.kill(process.pid, number)


@pytest.mark.parametrize("send", [_everyone, _main_alone])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL])
def test_a_program_that_is_stopped_while_it_loads_ends_with_its_processes(
    send: Callable[[subprocess.Popen[str], int], None], number: signal.Signals
) -> None:
    process = warm.Popen(
        [sys.executable, "-c", PROGRAM, "slow", "2"],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    process.stdout.readline()
    workers = _children(process.pid)
    assert len(workers) == 2
    send(process, number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    said = "" if number == signal.SIGKILL else f"interrupted ({number.name}); the same command goes on from here"
    assert error.strip().removeprefix("program: ") == said
    assert _gone(workers)
