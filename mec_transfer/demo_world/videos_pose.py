"""The demo world's videos of figures, as PoseTrack18 holds them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from mec_transfer.common.files import write_json
from mec_transfer.demo_world.detector import Detected
from mec_transfer.demo_world.figures import KEYPOINTS
from mec_transfer.demo_world.footage import Frame

_ROUND = 3
_BOX = 1.3  # times the extent of the joints: the official boxes are made like that
_BONES = (
    ("head_top", "nose"),
    ("nose", "head_bottom"),
    ("head_bottom", "left_shoulder"),
    ("head_bottom", "right_shoulder"),
    *(
        (f"{side}_{a}", f"{side}_{b}")
        for side in ("left", "right")
        for a, b in (("shoulder", "elbow"), ("elbow", "wrist"))
    ),
    *((f"{side}_{a}", f"{side}_{b}") for side in ("left", "right") for a, b in (("shoulder", "hip"), ("hip", "knee"))),
    *((f"{side}_knee", f"{side}_ankle") for side in ("left", "right")),
    ("left_hip", "right_hip"),
)


def write_posetrack18(root: Path, sequence: str, frames: list[Frame], detections: list[list[Detected]]) -> None:
    """Write annotations/val/<sequence>.json and, in the form of a submission, detections/<sequence>.json.

    A joint that is hidden by someone else or outside the frame is not annotated (0, 0, 0), nor are the ears.
    """
    truth, found = _start(sequence, len(frames)), _start(sequence, len(frames))
    for index, frame in enumerate(frames):
        people = [(identity, body) for identity, body in frame.bodies.items() if _any_joint(body.joints)]
        for place, (identity, body) in enumerate(people):
            assert body.joints is not None and body.head is not None
            seen = ~np.isnan(body.joints[:, 0])
            record = _record(truth, index, place, body.joints, seen.astype(float))
            x0, y0, x1, y1 = body.head
            head = [round(value, _ROUND) for value in (x0, y0, x1 - x0, y1 - y0)]
            truth["annotations"].append({"bbox_head": head, **record, "track_id": identity - 1, "scores": []})
        poses = [one for one in detections[index] if _any_joint(one.joints)]
        for place, one in enumerate(poses):
            assert one.joints is not None
            scores = one.joints[:, 2]
            record = _record(found, index, place, one.joints[:, :2], (scores > 0).astype(float))
            more = {"scores": [round(float(value), 4) for value in scores], "score": round(one.score, 4)}
            found["annotations"].append({**record, "track_id": place, **more})
    write_json(root / "annotations" / "val" / f"{sequence}.json", truth)
    write_json(root / "detections" / f"{sequence}.json", found)


def _start(sequence: str, length: int) -> dict[str, Any]:
    """A file without anyone in it: its images are numbered as the official ones, source, sequence, frame."""
    number = sequence.split("_")[0]
    first = 10_000_000_000 + int(number) * 10_000
    images = [
        {
            "has_no_densepose": True,
            "is_labeled": True,
            "file_name": f"images/val/{sequence}/{index:06d}.jpg",
            "nframes": length,
            "frame_id": first + index,
            "vid_id": number,
            "id": first + index,
        }
        for index in range(length)
    ]
    category = {
        "supercategory": "person",
        "id": 1,
        "name": "person",
        "keypoints": list(KEYPOINTS),
        "skeleton": [[KEYPOINTS.index(a) + 1, KEYPOINTS.index(b) + 1] for a, b in _BONES],
    }
    return {"images": images, "annotations": [], "categories": [category]}


def _any_joint(joints: np.ndarray | None) -> bool:
    return joints is not None and not bool(np.isnan(joints[:, 0]).all())


def _record(data: dict[str, Any], index: int, place: int, joints: np.ndarray, flags: np.ndarray) -> dict[str, Any]:
    """What truth and detections have in common of someone's joints, (17, 2) with NaN for the absent ones."""
    image = data["images"][index]["id"]
    low, high = np.nanmin(joints, axis=0), np.nanmax(joints, axis=0)
    middle, extent = (low + high) / 2, (high - low) * _BOX
    box = [*(middle - extent / 2), *extent]
    keypoints: list[float] = []
    for (x, y), flag in zip(joints, flags):
        keypoints += [0, 0, 0] if math.isnan(x) else [round(float(x), _ROUND), round(float(y), _ROUND), float(flag)]
    return {
        "id": image * 100 + place,
        "image_id": image,
        "category_id": 1,
        "bbox": [round(float(value), _ROUND) for value in box],
        "keypoints": keypoints,
    }
