"""The demo world's videos and pictures as ImageNet VID and DET hold them: an XML file for each picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mec_transfer.demo_world.detector import Detected
from mec_transfer.demo_world.footage import Frame

VID = "VID/train/ILSVRC2015_VID_train_0000"
DET = "DET/train/ILSVRC2013_train/n02084071"
"""Where frames and pictures lie, below Data and below Annotations."""
_CLASS = "n02084071"
"""Everything goes by the name of one of the thirty classes: dogs."""


def write_video(root: Path, sequence: str, frames: list[Frame], _: list[list[Detected]]) -> None:
    """Write everyone in each frame, hidden where less than a fifth is seen."""
    for number, frame in enumerate(frames):
        objects = [(str(identity), body.box, body.visibility < 0.2) for identity, body in frame.bodies.items()]
        write_annotation(root / "Annotations" / VID / sequence / f"{number:06d}.xml", frame.image.shape, objects)


def write_annotation(
    path: Path, shape: Sequence[int], objects: Sequence[tuple[str, tuple[int, int, int, int], bool]]
) -> None:
    """Write a picture's annotation.

    Args:
        path: the file.
        shape: the picture's height and width.
        objects: for each its track ("" in a picture), its corners x0, y0, x1, y1, and whether it is hidden.
    """
    text = "".join(_object(*thing) for thing in objects)
    size = f"\t<size>\n\t\t<width>{shape[1]}</width>\n\t\t<height>{shape[0]}</height>\n\t</size>\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation>\n\t<filename>{path.stem}</filename>\n{size}{text}</annotation>\n", encoding="utf-8")


def _object(track: str, box: tuple[int, int, int, int], hidden: bool) -> str:
    x0, y0, x1, y1 = box
    corners = {"xmax": x1, "xmin": x0, "ymax": y1, "ymin": y0}
    bounds = "".join(f"\t\t\t<{key}>{value}</{key}>\n" for key, value in corners.items())
    before = f"\t\t<trackid>{track}</trackid>\n" if track else ""
    after = f"\t\t<occluded>{int(hidden)}</occluded>\n\t\t<generated>0</generated>\n" if track else ""
    return f"\t<object>\n{before}\t\t<name>{_CLASS}</name>\n\t\t<bndbox>\n{bounds}\t\t</bndbox>\n{after}\t</object>\n"
