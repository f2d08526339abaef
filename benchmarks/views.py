"""Images a second and core from JPEG bytes to the network's input: the reference pipeline, the fast one, and kornia.

    python benchmarks/views.py                          photographs of 500 x 375 pixels, drawn; one core
    python benchmarks/views.py --images DIR             a folder of your own images
    python benchmarks/views.py --device cuda            colour on the GPU, timed apart

`whole` is decoding, both views, their batch and its normalisation, all on one core. `worker` is the part that stays on
the CPU where a GPU does the colours. An image counts once, with its two views. The pipelines take turns batch by
batch, so that a noisy machine slows them alike; medians. kornia's row, where kornia is installed, gives the time of
its colour operations (jitter, gray, blur, solarize) on the same crops in place of ours.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import default_collate

from mec_transfer.backbone.backbone import Preprocessing
from mec_transfer.datasets.images.folders import open_unlabelled
from pretrain.config import ViewsConfig
from pretrain.data import TwoViews
from pretrain.fast_views import Uncoloured, apply_colour, to_input


class Photographs:
    """Random images with a photograph's spectrum, as JPEG bytes."""

    def __init__(self, number: int, size: tuple[int, int]) -> None:
        self.files = [_photograph(seed, size) for seed in range(number)]

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> bytes:
        return self.files[index]

    def name(self, index: int) -> str:
        return f"photograph {index}"


def _photograph(seed: int, size: tuple[int, int]) -> bytes:
    random = np.random.default_rng(seed)
    total = np.zeros((size[1], size[0], 3))
    for cells in (4, 8, 16, 32, 64, 128, 256):
        layer = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += np.asarray(layer.resize(size, Image.Resampling.BICUBIC), float) / cells**0.5
    total = 255 * (total - total.min()) / (total.max() - total.min())
    file = io.BytesIO()
    Image.fromarray(total.astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(args.device)
    images = open_unlabelled(args.images) if args.images else Photographs(64, (500, 375))
    datasets = {name: TwoViews(images, ViewsConfig(size=args.size, pipeline=name), seed=0) for name in ("pil", "fast")}
    contest = Contest(datasets, args.batch, device)
    seconds = contest.times(args.repeats)
    sizes = [len(images.read(i)) for i in range(min(64, len(images)))]
    print(f"{len(images)} images, {statistics.mean(sizes) / 1024:.0f} KiB each; views of {args.size} px; one core")
    print("| pipeline | images/s and core | against pil |\n| --- | ---: | ---: |")
    for name, taken in seconds.items():
        rate = args.batch / statistics.median(taken)
        ratio = statistics.median(a / b for a, b in zip(seconds["pil, whole"], taken))
        print(f"| {name} | {rate:.1f} | {ratio:.2f}x |")


class Contest:
    """The pipelines, each of which makes batch `number` when called."""

    def __init__(self, datasets: dict[str, TwoViews], batch: int, device: torch.device) -> None:
        self.datasets, self.batch, self.device = datasets, batch, device
        cpu = torch.device("cpu")
        self.entries: dict[str, Callable[[int], object]] = {
            "pil, whole": lambda number: self._inputs(self._load("pil", number), cpu),
            "fast, whole": lambda number: self._inputs(self._load("fast", number), cpu),
            "fast, worker": lambda number: self._load("fast", number),
        }
        self.loaded = [self._load("fast", number) for number in range(4)]
        if device.type == "cuda":
            self.entries["fast, GPU's part"] = lambda number: self._inputs(self.loaded[number % 4], device)
        else:
            self.entries["fast, colour alone"] = lambda number: [apply_colour(v, cpu) for v in self.loaded[number % 4]]
        if importlib.util.find_spec("kornia"):
            colour = kornia_colour(device)
            self.entries["kornia, colour alone"] = lambda number: [
                colour(view.pixels.to(device).float() / 255, i) for i, view in enumerate(self.loaded[number % 4])
            ]

    def times(self, repeats: int) -> dict[str, list[float]]:
        """Return seconds a batch."""
        found: dict[str, list[float]] = {name: [] for name in self.entries}
        for number in range(-1, repeats):
            for name, make in self.entries.items():
                began = time.perf_counter()
                make(abs(number))
                if self.device.type == "cuda":
                    torch.cuda.synchronize()
                if number >= 0:  # the first one warms up
                    found[name].append(time.perf_counter() - began)
        return found

    def _load(self, pipeline: str, number: int) -> list[Uncoloured]:
        dataset = self.datasets[pipeline]
        first = number * self.batch
        loaded: list[Uncoloured] = default_collate(
            [dataset[(0, i % len(dataset.images))] for i in range(first, first + self.batch)]
        )
        return loaded

    @staticmethod
    def _inputs(views: list[Uncoloured], device: torch.device) -> list[torch.Tensor]:
        return [to_input(view, Preprocessing(), device) for view in views]


def kornia_colour(device: torch.device) -> Callable[[torch.Tensor, int], torch.Tensor]:
    """The same recipe by kornia's own transforms, which draw for each image."""
    from kornia import augmentation as k  # type: ignore[import-not-found]

    def view(blur: float, solarize: float) -> torch.nn.Module:
        return torch.nn.Sequential(
            k.ColorJitter(0.4, 0.4, 0.2, 0.1, p=0.8),
            k.RandomGrayscale(p=0.2),
            k.RandomGaussianBlur((13, 13), (0.1, 2.0), p=blur),
            k.RandomSolarize(thresholds=0.01, additions=0.0, p=solarize),
        ).to(device)

    views = (view(1.0, 0.0), view(0.1, 0.2))
    return lambda pixels, number: views[number](pixels)


if __name__ == "__main__":
    main()
