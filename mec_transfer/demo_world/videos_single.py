"""The demo world's videos of targets that are given in the first frame, as OTB and DAVIS 2017 hold them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mec_transfer.common.files import write_text
from mec_transfer.demo_world.detector import Detected
from mec_transfer.demo_world.footage import Frame
from mec_transfer.demo_world.picture import write_palette_png


def write_otb(root: Path, sequence: str, frames: list[Frame], _: list[list[Detected]]) -> None:
    """Write identity 1's boxes, one line a frame: x,y,width,height, the first pixel being 1.

    As OTB annotates it, a box holds the whole target in the frame, hidden parts included.
    """
    boxes = [frame.bodies[1].box for frame in frames]
    lines = [f"{x0 + 1},{y0 + 1},{x1 - x0},{y1 - y0}\n" for x0, y0, x1, y1 in boxes]
    write_text(root / sequence / "groundtruth_rect.txt", "".join(lines))


def write_davis(root: Path, sequence: str, frames: list[Frame], _: list[list[Detected]]) -> None:
    """Write what is seen of each identity, a PNG a frame whose palette's indices are the identities."""
    palette = _palette()
    for number, frame in enumerate(frames):
        labels = np.zeros(frame.image.shape[:2], dtype=np.uint8)
        for identity, body in frame.bodies.items():
            labels[body.seen] = identity
        write_palette_png(root / "Annotations" / "480p" / sequence / f"{number:05d}.png", labels, palette)


def _palette() -> bytes:
    """VOC's colours, which DAVIS took over: a label's bits, lowest first, are dealt to red, green and blue in turn."""
    colours = bytearray()
    for label in range(256):
        for channel in range(3):
            bits = [(label >> (3 * place + channel)) & 1 for place in range(3)]
            colours.append(sum(bit << (7 - place) for place, bit in enumerate(bits)))
    return bytes(colours)
