"""How long a conversion of a ResNet-50 takes, with its proof, against what it cannot go below.

    python benchmarks/convert_speed.py [--repeats 5] [--out benchmarks/results/convert_speed.md]

Each row is a whole process, started from nothing, on a checkpoint of a ResNet-50 with a momentum encoder and
projectors (224 MB, a MoCo v2 file without its queue). The first two rows are limits: importing torch and
torchvision, and that plus reading and hashing the file and writing the bytes out. Wall and processor time are medians
over the repeats; on a busy machine only the second can be compared, and that roughly.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from mec_transfer.backbone.backbone import build_resnet
from mec_transfer.backbone.layouts import LAYOUTS
from mec_transfer.common.files import write_text
from mec_transfer.common.runtime import hardware, versions

IMPORTS = "import torch, torchvision"
COPY = """
import hashlib, pickle, sys, torch, torchvision
source, out = sys.argv[1:]
state_dict = torch.load(source, map_location="cpu", weights_only=True)["state_dict"]
with open(source, "rb") as handle:
    hashlib.file_digest(handle, "sha256")
prefix = "module.encoder_q."
arrays = {name: tensor.numpy() for name, tensor in state_dict.items() if name.startswith(prefix)}
with open(out, "wb") as handle:
    pickle.dump({"model": arrays}, handle)
"""


def write_checkpoint(path: Path) -> None:
    """A file like MoCo v2's: query and key encoder, each with a two-layer projector."""
    state_dict: dict[str, torch.Tensor] = {}
    for prefix in ("module.encoder_q.", "module.encoder_k."):
        network = build_resnet("resnet50")
        network.fc = torch.nn.Sequential(torch.nn.Linear(2048, 2048), torch.nn.ReLU(), torch.nn.Linear(2048, 128))
        state_dict |= {f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"epoch": 200, "arch": "resnet50", "state_dict": state_dict}, path)


def measure(command: list[str]) -> tuple[float, float]:
    """Run a command; return its wall and processor seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "moco_r50.pth.tar"
        write_checkpoint(source)
        python = [sys.executable, "-c"]
        commands = {
            "limit: import torch and torchvision": [*python, IMPORTS],
            "limit: read, hash and pickle, no check at all": [*python, COPY, str(source), str(folder / "copy.pkl")],
        }
        for layout in LAYOUTS.values():
            out = folder / f"{layout.name}{layout.suffixes[0]}"
            convert = ["-m", "mec_transfer.cli.main", "convert", str(source), "--to", layout.name, "--out", str(out)]
            commands[f"mec-transfer convert --to {layout.name}"] = [sys.executable, *convert]
        rows = ["| run | wall s | processor s |", "|---|---|---|"]
        for title, command in commands.items():
            times = []
            for _ in range(args.repeats):
                for left in folder.glob(f"{Path(command[-1]).name}*"):
                    left.unlink()  # a conversion that is there already would not be done again
                times.append(measure(command))
            wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
            rows.append(f"| {title} | {wall:.2f} | {cpu:.2f} |")
        size = source.stat().st_size / 1e6
    machine, made = hardware(), versions()
    table = "\n".join(rows) + (
        f"\n\nMedians of {args.repeats}; a {size:.0f} MB checkpoint; {machine['cpu']}, {machine['cores']} cores, "
        f"load {os.getloadavg()[0]:.1f} at the end; torch {made['torch']}, torchvision {made['torchvision']}.\n"
    )
    print(table)
    if args.out:
        write_text(args.out, f"# convert_speed.py\n\n{table}")


if __name__ == "__main__":
    main()
