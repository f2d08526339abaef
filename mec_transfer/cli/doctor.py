"""What this machine has, and whether the pieces work: one line each, with what to do where something is wrong.

With --benchmarks, a line for each benchmark as well: ready, or what it lacks and the command that installs it.

For a missing part that --without names, a line says what does not run without it.

Exit status 1 when something is broken, or when a part of the program is missing that --without does not name; a version
other than the tested one is only mentioned.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from mec_transfer.common import extras
from mec_transfer.common.runtime import usable_cores

CORE = ("numpy", "torch", "torchvision", "PIL", "pydantic", "yaml", "rich", "safetensors")
"""What every command imports; a library that lacks a system library fails here as it would there."""
OPTIONAL = ("detection", "tracking", "mmtracking", "svm", "plot")
"""The parts that an installation may do without."""
_ELSE = {"plot": "training.png is not drawn"}
"""What is lost without a part that no benchmark needs."""
TESTED = ("torch", "torchvision", "numpy", "pillow", "pydantic", "safetensors")
ROOMY_GIB = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where runs are to go (default: here)")
    parser.add_argument(
        "--benchmarks", action="store_true", help="say of each benchmark whether it is ready, or what it lacks"
    )
    parser.add_argument(
        "--without", action="append", default=[], choices=OPTIONAL, help="do not miss this part (may be given again)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    checks: list[Callable[[], Iterator[str]]] = [
        _python,
        _packages,
        _core,
        *(functools.partial(_left_out if part in args.without else _part, part) for part in OPTIONAL),
        _torchvision_kernel,
        _gpu,
        lambda: _disk(args.out),
        _configs,
        *(_benchmarks() if args.benchmarks else ()),
    ]
    broken = 0
    for check in checks:
        try:
            for line in check():
                print(f"ok    {line}")
        except Exception as error:  # whatever a broken installation raises is what this command is there to tell
            broken += 1
            print(f"BAD   {' '.join(str(error).split()) or type(error).__name__}")
    return 1 if broken else 0


def _python() -> Iterator[str]:
    yield f"python {sys.version.split()[0]}"


def _packages() -> Iterator[str]:
    tested = _constraints()
    for name in TESTED:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            raise RuntimeError(f"{name} is not installed; bash tools/setup_env.sh") from None
        same = version.partition("+")[0] == tested.get(name, version)
        yield f"{name} {version}" + ("" if same else f" (tested with {tested[name]}; numbers may move a little)")


def _core() -> Iterator[str]:
    """Import what every command imports, and name what cannot be imported."""
    missing = []
    for name in CORE:
        try:
            importlib.import_module(name)
        except Exception as error:  # an ImportError, or whatever else a half installed library raises
            missing.append(f"{name} ({' '.join(str(error).split()) or type(error).__name__})")
    if missing:
        raise RuntimeError(f"no command works without {', '.join(missing)}; bash tools/setup_env.sh")
    yield f"every command: {', '.join(CORE)}"


def _part(part: str) -> Iterator[str]:
    """Import what an optional part of the program imports."""
    extras.require(part)
    names = [library.name for library in extras.PARTS[part].libraries]
    if part == "detection":
        from mec_transfer.detection import engine

        engine.load()
        if importlib.util.find_spec("faster_coco_eval"):  # else pycocotools measures the same, slower
            names.append(importlib.import_module("faster_coco_eval").__name__)
    if part == "mmtracking":
        from mec_transfer.engines.presence import import_failure

        if reason := import_failure("mmtracking"):  # in a process of its own, which it patches
            raise RuntimeError(reason)
    yield f"{extras.PARTS[part].what}: {', '.join(names)}"


def _left_out(part: str) -> Iterator[str]:
    """Say what does not run without a part; nothing if the part is installed after all."""
    from mec_transfer.suite.registry import benchmark_config, benchmark_files, parts_needed

    if not extras.lacking(part):
        return
    lost = sorted(path.stem for path in benchmark_files() if part in parts_needed(benchmark_config(path)))
    what = f"{len(lost)} benchmarks do not run ({', '.join(lost)})" if lost else _ELSE[part]
    yield f"without {part}: {what}"


def _constraints() -> dict[str, str]:
    from mec_transfer.common.paths import CONFIGS

    path = CONFIGS.parent / "constraints.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    pairs = (line.split("#")[0].strip().partition("==") for line in lines)
    return {name.lower(): version for name, equals, version in pairs if equals}


def _torchvision_kernel() -> Iterator[str]:
    try:
        import torch
        from torchvision.ops import nms

        boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]])
        kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist()
    except Exception as error:
        raise RuntimeError(
            f"torchvision's kernels do not work ({error}): torch and torchvision are of different builds; install "
            "both from the same index"
        ) from None
    if kept != [0, 2]:
        raise RuntimeError(f"torchvision.ops.nms keeps boxes {kept} where [0, 2] are right; reinstall torchvision")
    yield "torchvision's kernels (nms)"


def _gpu() -> Iterator[str]:
    import torch

    if not torch.cuda.is_available():
        yield f"no GPU: everything runs on {usable_cores()} CPU cores; ImageNet recipes will take very long"
        return
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        total = torch.ones(256, device=f"cuda:{index}").sum().item()
        if total != 256:
            raise RuntimeError(f"GPU {index} adds 256 ones to {total}; do not use it")
        yield f"GPU {index}: {torch.cuda.get_device_name(index)}, {memory:.0f} GiB"


def _disk(out: Path) -> Iterator[str]:
    if out.exists() and not out.is_dir():
        raise RuntimeError(f"{out}: is a file; choose another --out")
    there = next(folder for folder in (out.resolve(), *out.resolve().parents) if folder.is_dir())
    if not os.access(there, os.W_OK):
        raise RuntimeError(f"{there}: cannot be written; choose another --out")
    free = shutil.disk_usage(there).free / 2**30
    hint = "" if free >= ROOMY_GIB else f"; ImageNet features and checkpoints want about {ROOMY_GIB}"
    yield f"{there}: {free:.0f} GiB free{hint}"


def _benchmarks() -> Iterator[Callable[[], Iterator[str]]]:
    """Yield a check of each benchmark."""
    from mec_transfer.suite.registry import benchmark_config, benchmark_files, parts_needed

    lacking = functools.cache(extras.lacking)

    def check(path: Path) -> Iterator[str]:
        if problem := "; ".join(filter(None, map(lacking, parts_needed(benchmark_config(path))))):
            raise RuntimeError(f"{path.stem}: {problem}")
        yield f"{path.stem}: ready"

    for path in sorted(benchmark_files(), key=lambda path: path.stem):
        yield functools.partial(check, path)


def _configs() -> Iterator[str]:
    from mec_transfer.common.config import load_config
    from mec_transfer.common.paths import CONFIGS
    from mec_transfer.suite.config import SuiteConfig
    from mec_transfer.suite.registry import benchmark_config, benchmark_files, find_benchmark
    from pretrain.config import PretrainConfig

    benchmarks = benchmark_files()
    for path in benchmarks:
        benchmark_config(path)
    recipes = sorted((CONFIGS / "pretrain").glob("*.yaml"))
    for path in recipes:
        load_config(PretrainConfig, path)
    suites = sorted((CONFIGS / "suites").glob("*.yaml"))
    for path in suites:
        for entry in load_config(SuiteConfig, path).benchmarks:
            find_benchmark(entry.config, path.parent)
    if not benchmarks:
        raise RuntimeError(f"{CONFIGS}: no benchmark configs; run from a clone, or pip install -e it")
    yield f"{len(benchmarks)} benchmarks, {len(recipes)} recipes, {len(suites)} suites: all configs load"
