"""The demo world's videos, in the layouts of the tracking data sets.

A clip is drawn once, also where several layouts show it.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from random import Random
from typing import Protocol

from mec_transfer.common.files import write_text
from mec_transfer.common.progress import track
from mec_transfer.demo_world import ilsvrc, videos_crowd, videos_pose, videos_single
from mec_transfer.demo_world.detector import Detected, detect
from mec_transfer.demo_world.footage import Frame, shoot
from mec_transfer.demo_world.picture import write_jpeg
from mec_transfer.demo_world.storyboard import CLIPS, SEQUENCES


class _Writer(Protocol):
    def __call__(self, root: Path, sequence: str, frames: list[Frame], detections: list[list[Detected]], /) -> None: ...


_IMAGES = {
    "otb": ("otb/{}/img/{:04d}.jpg", 1),
    "lasot": ("lasot/{}/img/{:08d}.jpg", 1),
    "uav123": ("uav123/data_seq/UAV123/{}/{:06d}.jpg", 1),
    "trackingnet": ("trackingnet/TRAIN_0/frames/{}/{}.jpg", 0),
    "got10k": ("got10k/train/{}/{:08d}.jpg", 1),
    "vot": ("vot/{}/color/{:08d}.jpg", 1),
    "ILSVRC": (f"ILSVRC/Data/{ilsvrc.VID}/{{}}/{{:06d}}.JPEG", 0),
    "davis": ("davis/JPEGImages/480p/{}/{:05d}.jpg", 0),
    "motchallenge": ("motchallenge/train/{}/img1/{:06d}.jpg", 1),
    "mots": ("mots/train/{}/img1/{:06d}.jpg", 1),
    "posetrack18": ("posetrack18/images/val/{}/{:06d}.jpg", 0),
}
"""Layout -> its frames' names below the world and the first one's number."""
_ANNOTATIONS = {
    "otb": ("otb/{}/groundtruth_rect.txt",),
    "lasot": tuple(f"lasot/{{}}/{name}.txt" for name in ("groundtruth", "full_occlusion", "out_of_view")),
    "uav123": ("uav123/anno/UAV123/{}.txt",),
    "trackingnet": ("trackingnet/TRAIN_0/anno/{}.txt",),
    "got10k": tuple(f"got10k/train/{{}}/{name}" for name in ("groundtruth.txt", "absence.label", "cover.label")),
    "vot": ("vot/{}/groundtruth.txt",),
    "ILSVRC": (f"ILSVRC/Annotations/{ilsvrc.VID}/{{}}/{{:06d}}.xml",),
    "davis": ("davis/Annotations/480p/{}/{:05d}.png",),
    "motchallenge": (
        "motchallenge/train/{}/gt/gt.txt",
        "motchallenge/train/{}/det/det.txt",
        "motchallenge/train/{}/seqinfo.ini",
    ),
    "mots": ("mots/train/{}/gt/gt.txt", "mots/train/{}/det/det.txt", "mots/train/{}/seqinfo.ini"),
    "posetrack18": ("posetrack18/annotations/val/{}.json", "posetrack18/detections/{}.json"),
}
_WRITERS: dict[str, _Writer] = {
    "otb": videos_single.write_otb,
    "lasot": videos_single.write_lasot,
    "uav123": videos_single.write_uav123,
    "trackingnet": videos_single.write_trackingnet,
    "got10k": videos_single.write_got10k,
    "vot": videos_single.write_vot,
    "ILSVRC": ilsvrc.write_video,
    "davis": videos_single.write_davis,
    "motchallenge": videos_crowd.write_motchallenge,
    "mots": videos_crowd.write_mots,
    "posetrack18": videos_pose.write_posetrack18,
}
_LISTS = {
    "davis": "davis/ImageSets/2017/val.txt",
    "vot": "vot/list.txt",
    "got10k": "got10k/train/list.txt",
}


def file_names() -> tuple[list[str], list[str]]:
    """Return the frames' paths below the world, and those of everything written beside them."""
    pictures, others = [], [name for layout, name in _LISTS.items() if layout in SEQUENCES]
    for layout, sequences in SEQUENCES.items():
        pattern, first = _IMAGES[layout]
        for sequence, clip in sequences.items():
            numbers = range(first, first + CLIPS[clip].length)
            pictures += [pattern.format(sequence, number) for number in numbers]
            for name in _ANNOTATIONS[layout]:
                others += dict.fromkeys(name.format(sequence, number) for number in numbers)
    return pictures, others


def write_videos(out: Path, seed: int) -> None:
    """Draw the clips and write each in every layout that shows it, the annotations after the frames."""
    clips = _clips()
    total = sum(CLIPS[name].length for name in clips)
    drawn = track(
        ((name, frame) for name in clips for frame in shoot(CLIPS[name], seed)), "drawing tracking", total, "frames"
    )
    for clip, pairs in groupby(drawn, key=lambda pair: pair[0]):
        frames = [frame for _, frame in pairs]
        detections = detect(frames, Random(f"{seed}/videos/{clip}/detections"))
        for layout, sequences in SEQUENCES.items():
            pattern, first = _IMAGES[layout]
            for sequence in (name for name, shown in sequences.items() if shown == clip):
                for number, frame in enumerate(frames, start=first):
                    write_jpeg(out / pattern.format(sequence, number), frame.image)
                _WRITERS[layout](out / layout, sequence, frames, detections)
    for layout, name in _LISTS.items():
        if layout in SEQUENCES:
            write_text(out / name, "".join(f"{sequence}\n" for sequence in SEQUENCES[layout]))


def _clips() -> list[str]:
    shown = {clip for sequences in SEQUENCES.values() for clip in sequences.values()}
    return [name for name in CLIPS if name in shown]
