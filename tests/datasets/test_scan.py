"""Looking at many files, on a disk that answers at once and on one that does not."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from mec_transfer.common.errors import DataError
from mec_transfer.datasets import scan
from mec_transfer.datasets.scan import file_sizes, look_at_all

PATHS = [f"{number:03d}.jpg" for number in range(200)]


class Clocks:
    """What takes the place of `time`: only what a test lets pass passes, however busy the machine is."""

    def __init__(self) -> None:
        self.waited = self.worked = 0.0

    def perf_counter(self) -> float:
        return self.waited + self.worked

    def thread_time(self) -> float:
        return self.worked


@pytest.mark.parametrize(("waits", "several"), [(0.0, False), (2.9, False), (3.1, True)])
def test_threads_look_at_files_where_the_disk_is_slow_alone(
    waits: float, several: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "_CHUNK", 100)
    monkeypatch.setattr(scan, "time", clocks := Clocks())
    threads: list[int] = []
    main = threading.get_ident()

    def look(path: str) -> str:
        threads.append(threading.get_ident())
        if threads[-1] == main:
            clocks.worked += 1e-5
            clocks.waited += waits * 1e-5
        return path.upper()

    assert look_at_all(look, PATHS) == [path.upper() for path in PATHS]
    assert len(threads) == len(PATHS)
    assert (set(threads) != {main}) == several


@pytest.mark.parametrize("seconds", [0.0, 0.005])
def test_what_goes_wrong_is_raised_wherever_it_was_looked(seconds: float) -> None:
    def look(path: str) -> int:
        time.sleep(seconds)
        if path == PATHS[-1]:
            raise DataError(f"{path}: is broken")
        return 0

    with pytest.raises(DataError, match="199.jpg: is broken"):
        look_at_all(look, PATHS)


def test_sizes_are_those_of_the_files(tmp_path: Path) -> None:
    for number, path in enumerate(PATHS[:50]):
        (tmp_path / path).write_bytes(b"x" * number)
    assert file_sizes(tmp_path, [*PATHS[:50], "missing.jpg"]).tolist() == [*range(50), -1]
    assert look_at_all(len, []) == []
