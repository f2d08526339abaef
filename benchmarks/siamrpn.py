"""SiamRPN++ through this project and through MMTracking's own tools, side by side on the demo world.

    python benchmarks/siamrpn.py tools                 their tools/train.py and tools/test.py: the same numbers
    python benchmarks/siamrpn.py steps frames start    seconds of an iteration, a frame, and up to the first iteration

tools   trains two iterations with the same config, seed and batches by MMTracking's command, then measures that
        command's weights by its test command and by ours
steps   the same batches through mmcv's runner behind MMDataParallel and through ours, in turn; the median of the ratios
frames  the same frames through `single_gpu_test` and through ours, in turn
start   from the start of Python to the end of the first iteration of `mec-transfer track`, of one pair

With `--device cuda --pairs 28` iterations and frames are of a GPU, where losses and boxes are compared to a tolerance.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SEQUENCES = ("HiddenHeart", "TwinStars")


class World:
    """Network, config and data of the demo benchmark."""

    def __init__(self, scratch: Path, pairs: int, device: str = "cpu") -> None:
        import torch

        from mec_transfer.backbone.source import resolve_backbone
        from mec_transfer.common.paths import CONFIGS
        from mec_transfer.datasets.registry import open_data
        from mec_transfer.suite.registry import benchmark_config
        from mec_transfer.tracking.mmtrack import network
        from mec_transfer.tracking.mmtrack.config import SOT_LAYOUT, stock_path
        from mec_transfer.tracking.mmtrack.sot_data import Mixture, TrackSet

        self.backbone = resolve_backbone("random:resnet50:0")
        self.stock = stock_path("siamrpn_r50_demo.py")
        changes = {"data.samples_per_gpu": pairs, "data.samples_per_epoch": pairs}
        self.config = network.read_config(self.stock, changes)
        network.fit_backbone(self.config, self.backbone, SOT_LAYOUT)
        chosen = f"dataset.sequences={json.dumps(SEQUENCES)}"
        benchmark = benchmark_config(CONFIGS / "tracking" / "demo_siamrpn.yaml", [chosen])
        data: Any = open_data(benchmark.dataset, scratch / "world" / "otb")
        self.data = data  # of a layout with sequences to train on
        pipeline = self.config.data.train.dataset_cfgs[0].pipeline
        self.pairs = Mixture([TrackSet(data.training[0].tracks, pipeline)], [1.0])
        self.device = torch.device(device)

    def tracker(self) -> Any:
        import torch

        from mec_transfer.tracking.mmtrack import network

        torch.manual_seed(0)
        return network.build_tracker(self.config, self.backbone, self.device)

    def batches(self, pairs: int, count: int) -> list[Any]:
        from mmcv.parallel import collate

        from mec_transfer.tracking.mmtrack.batches import BatchPlan, Schedule, SeededItems

        items = SeededItems(self.pairs, 0)
        plan = BatchPlan(Schedule(samples=pairs, batch=pairs, processes=1, epochs=count), 0)
        return [collate([items[key] for key in keys], samples_per_gpu=pairs) for keys in plan]


def same(ours: Any, theirs: Any, device: str, apart: float) -> bool:
    """Whether two results are equal: bit for bit on a CPU, up to `apart` on a GPU, whose sums have no fixed order."""
    import numpy as np

    return np.array_equal(ours, theirs) if device == "cpu" else np.allclose(ours, theirs, rtol=apart, atol=apart)


def tolerance(device: str, apart: str) -> str:
    """Return how equal `same` wants them."""
    return "bit for bit" if device == "cpu" else f"to {apart}"


def steps(scratch: Path, args: argparse.Namespace, count: int = 8) -> str:
    """Time iterations in turn; the order changes each time."""
    import logging

    from mmcv import Config
    from mmcv.parallel import MMDataParallel
    from mmcv.runner import EpochBasedRunner, build_optimizer

    from mec_transfer.tracking.mmtrack.batches import Schedule, seed_streams
    from mec_transfer.tracking.mmtrack.training import Runner

    world, pairs = World(scratch, args.pairs, args.device), args.pairs
    batches, settings = world.batches(pairs, count), Config(copy.deepcopy(world.config._cfg_dict.to_dict()))
    schedule = Schedule(samples=pairs * count, batch=pairs, processes=1, epochs=1)
    ours = Runner(world.tracker(), world.config, schedule, 0, world.device)
    model = MMDataParallel(world.tracker(), device_ids=[0])
    quiet = logging.Logger("quiet", logging.CRITICAL)
    theirs = EpochBasedRunner(model, optimizer=build_optimizer(model, settings.optimizer), logger=quiet, max_epochs=1)
    theirs.register_training_hooks(settings.lr_config, settings.optimizer_config)
    theirs.mode, theirs.data_loader, theirs._max_iters = "train", range(count), count
    theirs.call_hook("before_run")
    theirs.model.train()
    theirs.call_hook("before_train_epoch")

    def their_step(batch: Any) -> float:
        seed_streams(0, "step", theirs.iter, 0)
        theirs.call_hook("before_train_iter")
        theirs.run_iter(batch, train_mode=True)
        theirs.call_hook("after_train_iter")
        theirs._iter += 1
        return float(theirs.outputs["log_vars"]["loss"])

    def our_step(batch: Any) -> float:
        return ours.step(batch)["loss"]

    ratios, seconds = [], []
    for number, batch in enumerate(batches):
        took, losses = {}, {}
        for step in (their_step, our_step) if number % 2 else (our_step, their_step):
            began = time.perf_counter()
            losses[step] = step(batch)
            took[step] = time.perf_counter() - began
        if not same(losses[our_step], losses[their_step], args.device, 0.01):
            raise SystemExit(f"iteration {number + 1}: {losses[our_step]} is not {losses[their_step]}")
        if number:  # the first one allocates
            ratios.append(took[our_step] / took[their_step])
            seconds.append(took[our_step])
    what = f"an iteration of {pairs} pairs, ours to mmcv's runner, same losses {tolerance(args.device, '1 %')}"
    return f"| {what} | {statistics.median(ratios):.3f} | 1.03 | {statistics.median(seconds):.2f} s |"


def frames(scratch: Path, args: argparse.Namespace) -> str:
    """Time sequences in turn."""
    import numpy as np
    from mmcv.parallel import MMDataParallel
    from mmtrack.apis import single_gpu_test
    from mmtrack.datasets import build_dataloader

    from mec_transfer.tracking.mmtrack.evaluation import OnePass
    from mec_transfer.tracking.mmtrack.following import follow
    from mec_transfer.tracking.mmtrack.sot_data import VideoSet

    world = World(scratch, 1, args.device)
    tracker, pipeline = world.tracker().eval(), world.config.data.test.pipeline

    class Own(VideoSet):
        def prepare_test_data(self, video_ind: int, frame_ind: int) -> Any:
            return self.frame(frame_ind)

    ratios, rates = [], []
    for number in range(4):
        video = world.data.videos[number % 2]
        targets = OnePass(False).targets(video)

        def ours() -> Any:
            return follow(tracker, video, targets, pipeline, lambda: None)  # noqa: B023

        def theirs() -> Any:
            loader = build_dataloader(Own(video, pipeline, targets), 1, 0, dist=False, shuffle=False)  # noqa: B023
            return single_gpu_test(MMDataParallel(tracker, device_ids=[0]), loader)["track_bboxes"]

        if number < 2:  # the first pass over frames of this size allocates
            ours(), theirs()
        took, found = {}, {}
        for way in (ours, theirs) if number < 2 else (theirs, ours):
            began = time.perf_counter()
            found[way] = np.array(way())
            took[way] = time.perf_counter() - began
        corners = found[theirs][:, :4]
        if not same(
            found[ours], np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1), args.device, 0.05
        ):
            raise SystemExit(f"{video.name}: the boxes differ")
        ratios.append(took[ours] / took[theirs])
        rates.append(len(video.frames) / took[ours])
    what = f"a frame, ours to single_gpu_test, same boxes {tolerance(args.device, '0.05 pixels')}"
    return f"| {what} | {statistics.median(ratios):.3f} | 1.05 | {statistics.median(rates):.2f} frames/s |"


FIRST = """
import os, sys
from mec_transfer.cli.main import main
from mec_transfer.common.progress import Meter

def advance(self, *args, **figures):
    if self.title == "training":
        os.write(1, b"done")
        os._exit(0)

Meter.advance = advance
main(sys.argv[1:])
"""


def start(scratch: Path, args: argparse.Namespace) -> str:
    """Time the command up to the end of its first iteration."""
    words = ["track", "random:resnet50", "--config", "demo_siamrpn", "--data", str(scratch / "world" / "otb")]
    seconds = []
    for number in range(3):
        began = time.perf_counter()
        out = ["--out", str(scratch / f"start{number}")]
        done = subprocess.run([sys.executable, "-c", FIRST, *words, *out], capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - began)
        if done.stdout != "done":
            raise SystemExit(done.stderr)
    what = "from the start of Python to the end of the first iteration, two pairs"
    return f"| {what} | | 15 s | {statistics.median(seconds):.1f} s |"


ITEMS = '''
"""What our loader gives, in its order, whatever index is asked for; and each step's seed."""
from mmcv.runner import HOOKS, Hook
from mmdet.datasets import DATASETS
from mmtrack.datasets import BaseSOTDataset
from pathlib import Path
from benchmarks.siamrpn import World
from mec_transfer.tracking.mmtrack.batches import SeededItems, seed_streams


@DATASETS.register_module()
class SamePairs(BaseSOTDataset):

    def __init__(self, scratch, pairs):
        self.items = SeededItems(World(Path(scratch), pairs).pairs, 0)
        self.pairs, self.given = pairs, 0

    def load_data_infos(self, split="train"):
        return []

    def __len__(self):
        return self.pairs

    def __getitem__(self, index):
        key = (self.given // self.pairs, self.given % self.pairs, 0)
        self.given += 1
        return self.items[key]


@HOOKS.register_module()
class SameSeeds(Hook):
    def before_train_iter(self, runner):
        seed_streams(0, "step", runner.iter, 0)
'''


def tools(scratch: Path, args: argparse.Namespace, pairs: int = 2) -> str:
    """Train and test by MMTracking's own commands."""
    import mmtrack
    import numpy as np
    import torch

    from mec_transfer.backbone.convert import convert
    from mec_transfer.datasets.videos.box_video import box_lines
    from mec_transfer.tracking.mmtrack.batches import Schedule
    from mec_transfer.tracking.mmtrack.evaluation import OnePass
    from mec_transfer.tracking.mmtrack.following import follow
    from mec_transfer.tracking.mmtrack.training import Runner

    world = World(scratch, pairs)
    ours = world.tracker()
    torch.save({"state_dict": ours.state_dict()}, scratch / "begin.pth")
    convert(world.backbone, "openmmlab-sot", scratch / "sot.pth", overwrite=True)
    (scratch / "same_pairs.py").write_text(ITEMS)
    infos = ["The format of each line in this txt is (video_path,annotation_path,start_frame_id,end_frame_id)"]
    for video in world.data.videos:
        infos.append(f"{video.name}/img,{video.name}/groundtruth_rect.txt,1,{len(video.frames)}")
    (scratch / "infos.txt").write_text("\n".join(infos))
    test = {
        "ann_file": str(scratch / "infos.txt"),
        "img_prefix": str(scratch / "world" / "otb"),
    }
    config = copy.deepcopy(world.config._cfg_dict.to_dict())
    config["model"]["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": str(scratch / "sot.pth")}
    config["data"] |= {"workers_per_gpu": 0, "persistent_workers": False, "samples_per_epoch": pairs}
    config["data"]["train"] = {"type": "SamePairs", "scratch": str(scratch), "pairs": pairs}
    for part in ("val", "test"):
        config["data"][part] |= test
    config |= {"custom_imports": {"imports": ["same_pairs"]}, "custom_hooks": [{"type": "SameSeeds"}]}
    config |= {
        "load_from": str(scratch / "begin.pth"),
        "log_config": {"interval": 1, "hooks": [{"type": "TextLoggerHook"}]},
    }
    (scratch / "config.py").write_text("".join(f"{key} = {value!r}\n" for key, value in config.items()))
    folder = Path(mmtrack.__file__).parent / ".mim" / "tools"
    began = (
        "import sys, runpy; from mec_transfer.tracking.mmtrack import engine; engine.load(); sys.argv = sys.argv[1:]; "
    )
    run = [sys.executable, "-c", f"{began}runpy.run_path(sys.argv[0], run_name='__main__')"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(scratch), os.environ.get("PYTHONPATH", "")])
    }

    def own(tool: str, *words: str) -> str:
        command = [*run, str(folder / tool), str(scratch / "config.py"), *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        return done.stdout + done.stderr

    own("train.py", "--work-dir", str(scratch / "work"), "--no-validate", "--seed", "0")
    (log,) = (scratch / "work").glob("*.log.json")
    theirs = [row["loss"] for line in log.read_text().splitlines() if "loss" in (row := json.loads(line))]
    runner = Runner(ours, world.config, Schedule(samples=pairs, batch=pairs, processes=1, epochs=2), 0, world.device)
    mine = [runner.step(batch)["loss"] for batch in world.batches(pairs, 2)]
    if [round(loss, 5) for loss in mine] != theirs:
        raise SystemExit(f"the losses are {mine}, MMTracking's {theirs}")
    # Its optimizer's rates are NumPy's numbers. The file was written a minute ago, by this script's own command.
    trained = torch.load(scratch / "work" / "epoch_2.pth", map_location="cpu", weights_only=False)["state_dict"]
    differing = [name for name, tensor in ours.state_dict().items() if not torch.equal(tensor, trained[name])]
    if differing:
        raise SystemExit(f"after two iterations {differing[0]} and {len(differing) - 1} more tensors differ")
    text = own("test.py", "--checkpoint", str(scratch / "work" / "epoch_2.pth"), "--eval", "track", "--gpu-id", "0")
    found = {name: float(value) for name, value in re.findall(r"'(\w+)': ([\d.]+)", text)}
    rule = OnePass(False)
    for video in world.data.videos:
        boxes = follow(ours, video, rule.targets(video), world.config.data.test.pipeline, lambda: None)
        for part, files in (("results", {f"{video.name}.txt": box_lines(boxes)}), ("truth", rule.truth(video))):
            for name, data in files.items():
                (scratch / "own" / part).mkdir(parents=True, exist_ok=True)
                (scratch / "own" / part / name).write_bytes(data)
    measured = rule.measure(scratch / "own", [video.name for video in world.data.videos]).overall
    if any(not np.isclose(measured[name], found[name], atol=6e-4) for name in measured):
        raise SystemExit(f"measured {measured}, MMTracking {found}")
    what = f"tools/train.py: losses {', '.join(f'{loss:.5f}' for loss in mine)}, all weights bit for bit; tools/test.py"
    return f"| {what}: {', '.join(f'{name} {value:.3f}' for name, value in measured.items())} | same | same | |"


PARTS = {"tools": tools, "steps": steps, "frames": frames, "start": start}


def main() -> None:
    """Print a table of the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--device", default="cpu", help="for steps and frames")
    parser.add_argument("--world", type=Path, help="of `mec-transfer data demo`; drawn where it is not given")
    parser.add_argument("--pairs", type=int, default=4, help="of an iteration of steps")
    args = parser.parse_args()
    from mec_transfer.tracking.mmtrack import engine

    engine.load()
    print("| what | ratio | asked for | |\n| --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        world = args.world or Path(folder, "world")
        draw = [sys.executable, "-m", "mec_transfer.cli.main", "data", "demo", "--out", str(world)]
        subprocess.run(draw, check=True, capture_output=True)  # a whole one is left as it is
        for part in args.parts:
            (Path(folder) / part).mkdir()
            (Path(folder) / part / "world").symlink_to(world.resolve())
            print(PARTS[part](Path(folder) / part, args), flush=True)


if __name__ == "__main__":
    main()
