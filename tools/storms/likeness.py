"""What two runs of one command must have in common: everything that is not named here as being of the one run alone."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OF_ONE_RUN = (
    *("seconds", "*_seconds", "*_per_second", "finished", "hardware", "peak_memory_bytes"),
    *("features_computed", "features_from_cache"),
    "index",
)
"""Keys of JSON files and checkpoints that may differ: when, on what, how fast, what an earlier try had left to do, and
the name of the index, which is made from where the data lies."""
FILES_OF_ONE_RUN = (
    *(".lock", "log.txt", "traceback.txt"),  # who worked there, what was printed, what a failed try left
    *("memory.json", "done.json", "index/*", "index/*/*"),  # stamps with the times of files
    "cache/maps/*/*.npy",  # feature maps, which are kept as far as there is room
    *("training.png", "report.html"),  # show the speed of training, and when and where jobs ran
)
"""Files that may differ in bytes, and which one of two runs may lack."""


def unlike_files(calm: Path, out: Path) -> Iterator[str]:
    """Say what two folders do not have in common: a file that one alone has, or another content."""
    names = {path.relative_to(folder) for folder in (calm, out) for path in folder.rglob("*") if path.is_file()}
    if not (out / "data").exists():  # it has read the calm run's
        names = {name for name in names if name.parts[0] != "data"}
    for name in sorted(names):
        if any(name.match(pattern) for pattern in FILES_OF_ONE_RUN):
            continue
        if not (out / name).exists():
            yield f"{name}: the calm run alone has it"
        elif not (calm / name).exists():
            yield f"{name}: left behind"
        elif (calm / name).read_bytes() != (out / name).read_bytes() and not _alike(calm, out, name):
            yield f"{name}: differs"


def unlike_numbers(calm: Path, out: Path) -> Iterator[str]:
    """Say which jobs have a number other than the calm run's: at any moment, whatever else is still missing."""
    for path in sorted(out.glob("jobs/*/*/record.json")):
        name = path.relative_to(out)
        if json.loads(path.read_bytes())["status"] != "ok":
            continue
        if not (calm / name).exists() or not _alike(calm, out, name):
            yield f"{name}: another number"


def _alike(calm: Path, out: Path, name: Path) -> bool:
    """Whether two files say the same of more than the one run, wherever the two folders lie."""
    return bool(_lasting(calm / name, calm) == _lasting(out / name, out, calm))


def _lasting(path: Path, *folders: Path) -> Any:
    """Return what a file says of more than the one run and its `folders`."""
    if path.suffix in (".json", ".jsonl"):
        text = path.read_text(encoding="utf-8")
        for folder in folders:
            text = text.replace(str(folder), "OUT")
        return _without([json.loads(line) for line in ([text] if path.suffix == ".json" else text.splitlines())])
    if path.suffix in (".pth", ".pt"):
        import torch

        return _without(torch.load(path, map_location="cpu", weights_only=True))
    return path.read_bytes()


def _without(value: Any) -> Any:
    """Leave out `OF_ONE_RUN`, and put in place of a tensor its bits."""
    if hasattr(value, "detach"):
        return str(value.dtype), tuple(value.shape), value.detach().contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: _without(item) for key, item in value.items() if not _is_of_one_run(str(key))}
    return [_without(item) for item in value] if isinstance(value, list | tuple) else value


def _is_of_one_run(key: str) -> bool:
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in OF_ONE_RUN)
