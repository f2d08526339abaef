"""Video object segmentation: the first frame's masks are propagated by feature similarity and measured as DAVIS does.

Results are DAVIS' submission: SEQUENCE/FRAME.png, a palette image whose pixels number the objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from mec_transfer.common.errors import UserError
from mec_transfer.datasets.videos.davis import DavisVideo
from mec_transfer.datasets.videos.frames import open_frames
from mec_transfer.datasets.videos.index_masks import encode_index_mask, read_index_mask
from mec_transfer.tracking.appearance import Features, map_size
from mec_transfer.tracking.config import STRIDE
from mec_transfer.tracking.overlay import Marks
from mec_transfer.tracking.sequences import RESULTS, TRUTH, Files, Measured, Tick
from mec_transfer.tracking.task import FrozenTask, frame_map
from mec_transfer.tracking.vos.config import MULTIPLE, VosConfig, VosRecipe
from mec_transfer.tracking.vos.davis_metrics import contour_accuracy, mean_recall_decay, region_similarity
from mec_transfer.tracking.vos.propagation import Propagation, Propagator


class Vos(FrozenTask[DavisVideo]):
    """Video object segmentation by label propagation."""

    METRICS = ("J&F", "J", "F", "J_recall", "F_recall", "J_decay", "F_decay")
    config: VosConfig

    @torch.inference_mode()
    def follow(self, video: DavisVideo, features: Features, tick: Tick) -> Files:
        """Propagate the first mask; return a PNG for every frame, the first one included.

        Raises:
            DataError: a frame cannot be read.
            RunError: a frame's features are not finite.
        """
        resizing = _Dino(self.config.recipe.short_side) if self.config.recipe.variant == "dino" else _UniTrack()
        files: dict[str, bytes] = {}
        propagator: Propagator | None = None
        for index, original in enumerate(video.frames.read_all()):
            pixels = resizing.frame(original)
            found = frame_map(video, index, pixels, features)
            if propagator is None:
                first = video.mask(0)
                labels = resizing.to_cells(first, video.objects, pixels).to(found.device)
                propagator = Propagator(_propagation(self.config.recipe), found, labels)
            else:
                labels = propagator(found)
            whole = index == 0 and resizing.keeps_first
            mask = first if whole else resizing.to_mask(labels, pixels, original.shape[:2])
            files[f"{video.name}/{video.frames.paths[index].stem}.png"] = encode_index_mask(mask)
            tick()
        return files

    def truth(self, video: DavisVideo) -> Files:
        """Return the masks as they are counted: numbered from 1, merged where the split merges."""
        return {
            f"{video.name}/{path.stem}.png": encode_index_mask(video.mask(index))
            for index, path in enumerate(video.frames.paths)
        }

    def measure(self, folder: Path, sequences: Sequence[str]) -> Measured:
        """Compute J and F of every object of every frame but the first and the last; all objects count the same."""
        objects = {name: _measure(folder, name) for name in sequences}
        by_sequence = {name: _mean(values) for name, values in objects.items()}
        return Measured(overall=_mean([row for values in objects.values() for row in values]), by_sequence=by_sequence)

    def marks(self, video: DavisVideo, folder: Path) -> Callable[[int], Marks]:
        """Draw the masks found, and the true ones' outlines."""
        numbers = range(1, video.objects + 1)

        def at(index: int) -> Marks:
            name = f"{video.name}/{video.frames.paths[index].stem}.png"
            (found, _), (true, _) = (read_index_mask(folder / part / name) for part in (RESULTS, TRUTH))
            return Marks(
                masks={number: found == number for number in numbers},
                true_masks=tuple(true == number for number in numbers),
            )

        return at


def _propagation(recipe: VosRecipe) -> Propagation:
    names = ("variant", "recent", "radius", "topk", "temperature")
    return Propagation(**{name: getattr(recipe, name) for name in names})


class _UniTrack:
    """Frames as they are; soft labels resized bilinearly both ways, the background winning ties."""

    keeps_first = False
    """The first mask goes to the map and back like the others; it is not measured."""

    def frame(self, pixels: np.ndarray) -> np.ndarray:
        return pixels

    def to_cells(self, mask: np.ndarray, objects: int, pixels: np.ndarray) -> torch.Tensor:
        """Return soft labels, (L, rows, columns), of a mask, (H, W)."""
        columns, rows = map_size(pixels.shape[1], pixels.shape[0])
        return _resize(_one_hot(mask, objects), (rows, columns))

    def to_mask(self, labels: torch.Tensor, pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return object numbers, (H, W) uint8, for soft labels, (L, rows, columns)."""
        return _resize(labels, size).argmax(0).to(torch.uint8).cpu().numpy()


class _Dino:
    """Frames with a fixed short side; the mask by its nearest pixels, each label's map stretched to 0...1."""

    keeps_first = True

    def __init__(self, short_side: int) -> None:
        self._short_side = short_side

    def frame(self, pixels: np.ndarray) -> np.ndarray:
        height, width = pixels.shape[:2]
        short, long = self._short_side, int(self._short_side * max(height, width) / min(height, width))
        long = long // MULTIPLE * MULTIPLE
        size = (long, short) if height > width else (short, long)
        return _resize_as_opencv(pixels, size)

    def to_cells(self, mask: np.ndarray, objects: int, pixels: np.ndarray) -> torch.Tensor:
        columns, rows = map_size(pixels.shape[1], pixels.shape[0])
        small = Image.fromarray(mask).resize((columns, rows), Image.Resampling.NEAREST)
        return _one_hot(np.asarray(small), objects)

    def to_mask(self, labels: torch.Tensor, pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        rows, columns = labels.shape[1:]
        large = _resize(labels, (rows * STRIDE, columns * STRIDE))[:, : pixels.shape[0], : pixels.shape[1]]
        low, high = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
        stretched = (large - low) / (high - low).clamp(min=torch.finfo(large.dtype).tiny)
        # A label that is everywhere alike becomes 0 / 0 in the published code, which its argmax prefers to any number.
        stretched = torch.where((high == low) & (high > 0), torch.inf, stretched)
        found = Image.fromarray(stretched.argmax(0).to(torch.uint8).cpu().numpy())
        return np.asarray(found.resize((size[1], size[0]), Image.Resampling.NEAREST))


def _one_hot(mask: np.ndarray, objects: int) -> torch.Tensor:
    numbers = torch.arange(objects + 1, dtype=torch.uint8)
    return (torch.from_numpy(np.array(mask)) == numbers[:, None, None]).float()


def _resize(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]


def _resize_as_opencv(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image, (H, W, 3) uint8, bilinearly in OpenCV's 8-bit arithmetic: coefficients are n / 2048."""
    (above, below, down), (left, right, across) = (_neighbours(*lengths) for lengths in zip(pixels.shape, size))
    values = pixels.astype(np.int32)
    values = values[:, left] * (2048 - across[:, None]) + values[:, right] * across[:, None]
    values >>= 4  # its vector instructions drop bits between the steps
    down = down[:, None, None]
    values = ((values[above] * (2048 - down)) >> 16) + ((values[below] * down) >> 16)
    return ((values + 2) >> 2).astype(np.uint8)


def _neighbours(length: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, for each of the `wanted` places along an axis, the two pixels it lies between and 2048 x how far."""
    at = ((np.arange(wanted) + 0.5) * (length / wanted) - 0.5).clip(0, length - 1)
    first = at.astype(int)
    return first, (first + 1).clip(max=length - 1), np.round((at - first) * 2048).astype(np.int32)


def _measure(folder: Path, sequence: str) -> list[dict[str, float]]:
    """Return the metrics of each object of a sequence."""
    paths = open_frames(folder / TRUTH / sequence, sequence).paths
    objects = int(read_index_mask(paths[0])[0].max())
    if len(paths) < 3 or not objects:
        raise UserError(
            f"{folder / TRUTH / sequence}: {len(paths)} masks with {objects} objects; to measure takes at least 3 and 1"
        )
    regions: list[list[float]] = [[] for _ in range(objects)]
    contours: list[list[float]] = [[] for _ in range(objects)]
    for path in paths[1:-1]:
        truth, found = read_index_mask(path)[0], read_index_mask(folder / RESULTS / sequence / path.name)[0]
        if truth.shape != found.shape or int(found.max()) > objects:
            height, width = found.shape
            raise UserError(
                f"{folder / RESULTS / sequence / path.name}: {width}x{height} pixels, numbers up to {found.max()}; the "
                f"truth has {truth.shape[1]}x{truth.shape[0]} pixels and {objects} objects"
            )
        for number in range(1, objects + 1):
            regions[number - 1].append(region_similarity(truth == number, found == number))
            contours[number - 1].append(contour_accuracy(truth == number, found == number))
    return [_statistics(region, contour) for region, contour in zip(regions, contours, strict=True)]


def _statistics(regions: list[float], contours: list[float]) -> dict[str, float]:
    (j, j_recall, j_decay), (f, f_recall, f_decay) = mean_recall_decay(regions), mean_recall_decay(contours)
    values = (50 * (j + f), *(100 * value for value in (j, f, j_recall, f_recall, j_decay, f_decay)))
    return dict(zip(Vos.METRICS, values, strict=True))


def _mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: sum(row[name] for row in rows) / len(rows) for name in Vos.METRICS}
