"""Single-object tracking, frames a second: all scales in one pass without autograd, against how it is usually written.

    python benchmarks/sot.py                                   ResNet-18 and -50 on the CPU, some minutes
    python benchmarks/sot.py --arch resnet50 --device cuda --frames 50

All track the same drawn video with the same weights and settings (sot_xcorr, sot_dcf). The contestants take turns, a
video each, so that a busy machine slows them alike. Figures are medians over the repeats, each ratio the median of the
ratios to `network alone` in the same turn; the processor's time hardly depends on what else runs. `network alone`
passes ready crops, as many as the tracker needs: nothing can be faster. `published order` is UniTrack's: OpenCV's
crops, one pass of three with autograd on, a crop of the new place whether it is used or not, a convolution for the
response. `a pass for each scale` is the same with three passes of one crop.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.common.paths import CONFIGS
from mec_transfer.common.runtime import hardware, versions
from mec_transfer.datasets.videos.frames import Frames, open_frames
from mec_transfer.suite.registry import load_benchmark
from mec_transfer.tracking.appearance import Appearance
from mec_transfer.tracking.sot.config import SotRecipe, target_cells
from mec_transfer.tracking.sot.matching import Matcher, hann_window
from mec_transfer.tracking.sot.search import follow_box, make_matcher
from mec_transfer.tracking.sot.sot import Sot
from mec_transfer.tracking.sot.xcorr import Xcorr

FIRST = np.array([200.0, 150.0, 90.0, 70.0])


def draw_video(folder: Path, count: int, width: int = 640, height: int = 480) -> Frames:
    rng = np.random.default_rng(0)
    layers = [Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)) for _ in range(2)]
    background, target = (
        layer.resize(size, Image.Resampling.BICUBIC) for layer, size in zip(layers, [(width, height), (90, 70)])
    )
    for index in range(count):
        image = background.copy()
        image.paste(target, (199 + 4 * index, 149 + 2 * index))
        image.save(folder / f"{index + 1:04d}.png")
    return open_frames(folder, "drawn")


class Contest:
    """The contestants, each a function that tracks the video and returns its boxes."""

    def __init__(self, frames: Frames, arch: str, recipe: SotRecipe, device: torch.device) -> None:
        self.frames, self.recipe, self.device = frames, recipe, device
        self.features = Appearance(resolve_backbone(f"random:{arch}:0"), stage=recipe.stage, device=device)
        other = Appearance(resolve_backbone(f"random:{arch}:0"), stage=recipe.stage, device=device)
        self.usual = other._network.to(memory_format=torch.contiguous_format).requires_grad_(True)
        size = recipe.crop_size
        self.crops = torch.randn(recipe.scales, size, size, 3, device=device).permute(0, 3, 1, 2)

    def network(self) -> None:
        for index in range(len(self.frames)):
            if index:
                self.features(self.crops)
            if index + 1 < len(self.frames) and (not index or self.recipe.update):
                self.features(self.crops[:1])
        self._wait()

    def ours(self) -> np.ndarray:
        boxes = follow_box(self.frames, FIRST, self.features, self.recipe, lambda: None)
        self._wait()
        return boxes

    def published(self, passes: int) -> np.ndarray:
        recipe, size = self.recipe, FIRST[2:].copy()
        middle = FIRST[:2] + size / 2 - 2
        matcher, factors = make_matcher(recipe), recipe.scale_step ** np.array([-1, 0, 1])
        boxes = [FIRST]
        for index in range(len(self.frames)):
            pixels = self.features.prepare(self.frames.read(index))[0].cpu().permute(1, 2, 0).numpy()
            if index:
                windows = size * (factors[:, None] * (1 + recipe.padding))
                crops = torch.stack([self._crop(pixels, middle, window) for window in windows]).to(self.device)
                found = torch.cat([self.usual(part) for part in crops.split(len(crops) // passes)])
                response = self._respond(matcher, found).detach()
                peaks, places = response.flatten(1).max(dim=1)
                scale = int((peaks.cpu().double().numpy() * recipe.scale_penalty ** np.array([1, 0, 1])).argmax())
                middle = middle + matcher.shift(*divmod(int(places[scale]), response.shape[2])) * windows[scale]
                size = (windows[scale] / (1 + recipe.padding)).clip(0.2 * FIRST[2:], 5 * FIRST[2:])
                boxes.append(np.array([*(middle - size / 2 + 2), *size]))
            crop = self._crop(pixels, middle, size * (1 + recipe.padding))[None].to(self.device)
            if not index or recipe.update:
                target = target_cells(recipe.crop_size, recipe.padding)
                matcher.learn(self.usual(crop).detach()[:, :, target, target])
        self._wait()
        return np.array(boxes)

    def _respond(self, matcher: Matcher, found: torch.Tensor) -> torch.Tensor:
        if isinstance(matcher, Xcorr) and matcher.template is not None:
            weighted = found * hann_window(found.shape[-1], found.device)
            return 0.1 * torch.nn.functional.conv2d(weighted, matcher.template)[:, 0]
        with torch.no_grad():  # our filter writes into views
            return matcher.respond(found.detach())

    def _crop(self, pixels: np.ndarray, middle: np.ndarray, window: np.ndarray) -> torch.Tensor:
        side = self.recipe.crop_size
        scale, corner = (side - 1) / window, middle - window / 2
        matrix = np.array([[scale[0], 0, -scale[0] * corner[0]], [0, scale[1], -scale[1] * corner[1]]])
        return torch.from_numpy(cv2.warpAffine(pixels, matrix, (side, side)).transpose(2, 0, 1).copy())

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def measure(contest: Contest, repeats: int) -> list[str]:
    contestants: dict[str, Callable[[], object]] = {
        "network alone": contest.network,
        "mec-transfer": contest.ours,
        "published order": lambda: contest.published(1),
        "a pass for each scale": lambda: contest.published(contest.recipe.scales),
    }
    bare, frames = next(iter(contestants)), len(contest.frames)
    contest.network()  # the first pass allocates
    apart = float(np.abs(contest.ours() - contest.published(1)).max())
    wall: dict[str, list[float]] = {name: [] for name in contestants}
    busy: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, contestant in contestants.items():
            began, before = time.perf_counter(), sum(os.times()[:2])
            contestant()
            wall[name].append(time.perf_counter() - began)
            busy[name].append(sum(os.times()[:2]) - before)
    return [
        f"{name} | {frames / statistics.median(wall[name]):.2f} | {_ratio(wall, name, bare):.2f} | "
        f"{statistics.median(busy[name]) / frames:.2f} | {_ratio(busy, name, bare):.2f} | "
        + (f"{apart:.2g} |" if name == "published order" else "|")
        for name in contestants
    ]


def _ratio(times: dict[str, list[float]], name: str, bare: str) -> float:
    return statistics.median(a / b for a, b in zip(times[name], times[bare], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--config", nargs="+", default=["sot_xcorr", "sot_dcf"])
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    machine = hardware()
    about = [f"{machine['cpu']}, {machine['cores']} cores", f"{torch.get_num_threads()} threads"]
    about += [str(machine["gpu"])] if args.device != "cpu" else []
    about += [f"torch {versions()['torch']}, OpenCV {cv2.__version__}", f"load average {os.getloadavg()[0]:.1f}"]
    print(f"{', '.join(about)}; 640 x 480, {args.frames} frames, {args.repeats} repeats\n")
    print("| config | | | frames/s | of network alone | CPU s a frame | of network alone | boxes apart, px |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        frames = draw_video(Path(folder), args.frames)
        for config in args.config:
            benchmark = load_benchmark(CONFIGS / "tracking" / f"{config}.yaml")
            assert isinstance(benchmark, Sot)
            recipe = benchmark.config.recipe
            if int(cv2.__version__.split(".")[0]) >= 5:
                recipe = recipe.model_copy(update={"subpixels": 0})  # OpenCV 5 does not round
            for arch in args.arch:
                for row in measure(Contest(frames, arch, recipe, torch.device(args.device)), args.repeats):
                    print(f"| {config} | {arch} | {row}", flush=True)


if __name__ == "__main__":
    main()
