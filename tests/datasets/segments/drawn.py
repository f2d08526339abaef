"""Small folders of images with masks, as VOC's and Cityscapes' lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from mec_transfer.datasets.videos.index_masks import encode_index_mask

CLASSES = ("background", "red", "blue")
COLOURS = np.array([(120, 130, 110), (220, 40, 40), (40, 50, 220)])
VOID = 255


def labels(seed: int, size: tuple[int, int] = (48, 40)) -> np.ndarray:
    """A red and a blue rectangle on background, with a void edge on the left; (H, W) uint8 for a size (W, H)."""
    chance = np.random.default_rng(seed)
    found = np.zeros(size[::-1], dtype=np.uint8)
    for label in (1, 2):
        top, left = int(chance.integers(size[1] - 16)), int(chance.integers(2, size[0] - 16))
        found[top : top + 14, left : left + 14] = label
    found[:, 0] = VOID
    return found


def picture(mask: np.ndarray, seed: int) -> Image.Image:
    """Noise of a colour for each class."""
    noise = np.random.default_rng(seed).normal(0, 25, (*mask.shape, 3))
    return Image.fromarray(np.clip(COLOURS[np.where(mask < len(COLOURS), mask, 0)] + noise, 0, 255).astype(np.uint8))


def write_voc(
    root: Path, lists: Mapping[str, Iterable[int]], masks: str = "SegmentationClass", names: bool = True
) -> Path:
    """Write a VOC folder: an image and a mask for every number in `lists`, whose keys are the lists' names."""
    for folder in ("JPEGImages", masks, "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for split, numbers in lists.items():
        chosen = list(numbers)
        (root / f"ImageSets/Segmentation/{split}.txt").write_text("".join(f"p{number:03d}\n" for number in chosen))
        for number in chosen:
            mask = labels(number, (48, 40) if number % 3 else (40, 48))
            picture(mask, number).save(root / f"JPEGImages/p{number:03d}.png")
            (root / masks / f"p{number:03d}.png").write_bytes(encode_index_mask(mask))
    if names:
        (root / "class_names.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    return root


def write_cityscapes(root: Path, split: str, names: Iterable[str], kind: str = "labelIds", city: str = "ulm") -> Path:
    """Write images and masks whose upper half is sky, the lower one road with a car, and a column of void."""
    for name in names:
        image = root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png"
        mask = root / "gtFine" / split / city / f"{name}_gtFine_{kind}.png"
        for path in (image, mask):
            path.parent.mkdir(parents=True, exist_ok=True)
        sky, road, car, void = (23, 7, 26, 3) if kind == "labelIds" else (10, 0, 13, VOID)
        numbers = np.full((24, 40), road, dtype=np.uint8)
        numbers[:12], numbers[14:20, 8:20], numbers[:, 0] = sky, car, void
        Image.new("RGB", (40, 24), (90, 120, 90)).save(image)
        Image.fromarray(numbers).save(mask)
    return root
