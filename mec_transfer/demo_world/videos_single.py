"""The demo world's videos of targets that are given in the first frame: boxes, polygons, and DAVIS 2017's masks."""

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


def write_lasot(root: Path, sequence: str, frames: list[Frame], _: list[list[Detected]]) -> None:
    """Write boxes, and for each frame whether the target is hidden, and whether it is out of the frame."""
    _write_boxes(root / sequence / "groundtruth.txt", frames, "0,0,0,0")
    outside = [1 not in frame.bodies for frame in frames]
    hidden = [1 in frame.bodies and not frame.bodies[1].seen.any() for frame in frames]
    for name, flags in {"full_occlusion": hidden, "out_of_view": outside}.items():
        write_text(root / sequence / f"{name}.txt", ",".join(str(int(flag)) for flag in flags) + "\n")


def write_uav123(root: Path, sequence: str, frames: list[Frame], _: list[list[Detected]]) -> None:
    """Write boxes."""
    _write_boxes(root / "anno" / "UAV123" / f"{sequence}.txt", frames, "NaN,NaN,NaN,NaN")


def write_trackingnet(root: Path, sequence: str, frames: list[Frame], _: list[list[Detected]]) -> None:
    """Write boxes."""
    _write_boxes(root / "TRAIN_0" / "anno" / f"{sequence}.txt", frames, "0,0,0,0")


def write_got10k(root: Path, sequence: str, frames: list[Frame], _: list[list[Detected]]) -> None:
    """Write boxes, and for each frame whether the target is out of it and how much of it is seen, in eighths."""
    folder = root / "train" / sequence
    _write_boxes(folder / "groundtruth.txt", frames, "0,0,0,0")
    bodies = [frame.bodies.get(1) for frame in frames]
    write_text(folder / "absence.label", "".join(f"{int(body is None)}\n" for body in bodies))
    write_text(folder / "cover.label", "".join(f"{round(8 * body.visibility) if body else 0}\n" for body in bodies))


def write_vot(root: Path, sequence: str, frames: list[Frame], _: list[list[Detected]]) -> None:
    """Write the corners of a turned rectangle around what is seen of the target, x1,y1,...,x4,y4."""
    lines = [",".join(f"{number:.2f}" for number in _turned_box(frame.bodies[1].seen)) + "\n" for frame in frames]
    write_text(root / sequence / "groundtruth.txt", "".join(lines))


def _write_boxes(path: Path, frames: list[Frame], absent: str) -> None:
    """Write identity 1's boxes as x,y,width,height, the first pixel being 0."""
    boxes = [frame.bodies[1].box if 1 in frame.bodies else None for frame in frames]
    lines = [f"{box[0]},{box[1]},{box[2] - box[0]},{box[3] - box[1]}\n" if box else f"{absent}\n" for box in boxes]
    write_text(path, "".join(lines))


def _turned_box(seen: np.ndarray) -> list[float]:
    """Return the corners, eight numbers, of a rectangle along the main axes of the pixels in a mask, (H, W) bool."""
    points = np.argwhere(seen)[:, ::-1].astype(np.float64)
    centre = points.mean(axis=0)
    axes = np.linalg.eigh(np.cov((points - centre).T))[1]
    along = (points - centre) @ axes
    (left, top), (right, bottom) = along.min(axis=0) - 0.5, along.max(axis=0) + 0.5
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]]) @ axes.T + centre
    return [float(number) for number in corners.reshape(-1)]


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
