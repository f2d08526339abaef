"""The page about the Python door, run as it stands."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

from mec_transfer.demo_world.world import WorldSize, write_demo_world

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


def test_the_page_runs(tmp_path: Path) -> None:
    world = write_demo_world(tmp_path / "world", 0, ("classification",), WorldSize(train_per_class=3, val_per_class=1))
    from mec_transfer import compare, evaluate, leaderboard, load_backbone

    names = {"compare": compare, "evaluate": evaluate, "leaderboard": leaderboard, "load_backbone": load_backbone}
    failed, tried = doctest.testfile(
        str(PAGE), module_relative=False, globs={**names, "world": world, "out": tmp_path / "out"}
    )
    assert failed == 0 and tried >= 8


def test_importing_it_brings_neither_torch_nor_numpy() -> None:
    code = "import sys, mec_transfer; sys.exit(bool({'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
