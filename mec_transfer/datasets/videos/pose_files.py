"""Poses of a sequence in PoseTrack18's JSON: ground truth, a detector's output and tracking results alike.

`images` lists the frames in the order of time, each with `file_name` and `id`, and perhaps `ignore_regions_x` and
`ignore_regions_y`, polygons in which no joint counts. `categories` has one entry, whose `keypoints` name the joints:
the 15 of `JOINTS` in any order, and perhaps others (PoseTrack18 has two ears that it does not use). `annotations` has a
person each: `image_id`, `keypoints` (x, y, visibility of each joint; three zeros: absent), and `track_id`, `bbox_head`
([x, y, width, height]), `scores` (one a joint) and `score` where they are needed or known; scores are 1 where not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets import values
from mec_transfer.datasets.annotations import Json
from mec_transfer.datasets.values import FARTHEST
from mec_transfer.datasets.videos.detections import JOINTS

_HEAD = 0.6
"""PoseTrack's head size is this much of the diagonal of the head's box."""
_WIDEN = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class PoseFrame:
    """The persons in a frame."""

    image: dict[str, Any]
    """Its entry in `images`."""
    identities: np.ndarray
    """(N,) int64; -1 where they were not asked for."""
    poses: np.ndarray
    """(N, 15, 3) float64: x, y, score of each of `JOINTS`; all three NaN where a joint is absent."""
    scores: np.ndarray
    """(N,) float64: of a person; where there is none, the mean of its joints'."""
    heads: np.ndarray
    """(N,) float64: head size in pixels; NaN where they were not asked for."""
    regions: tuple[np.ndarray, ...]
    """Ignored polygons, (P, 2) float64 of (x, y)."""


def read_pose_file(path: Path, problems: list[str], *, identified: bool, heads: bool) -> tuple[PoseFrame, ...]:
    """Read a file, a `PoseFrame` for each of its images; `problems` gets a line for each thing that is wrong.

    Args:
        path: the file.
        problems: what is sound is returned all the same.
        identified: whether every person must have a `track_id`, once in a frame; else none is read.
        heads: whether every person must have a `bbox_head`; else none is read.

    Raises:
        DataError: the file cannot be read at all.
    """
    document = Json(path)
    images, columns = document.items("images"), _columns(document)
    persons: dict[int, list[_Person]] = {}
    for index, image in enumerate(images):
        try:
            name = image.get("file_name")
            if "id" not in image or not isinstance(name, str) or not Path(name.replace("\\", "/")).name:
                raise ValueError("needs an id (a number) and a file_name")
            number = values.whole(image["id"], "id")
            if number in persons:
                raise ValueError(f"id {number} is there twice")
        except ValueError as error:
            raise DataError(document.complain("images", index, str(error))) from None
        persons[number] = []
    for index, item in enumerate(document.items("annotations")):
        try:
            number = values.whole(item.get("image_id"), "image_id")
            if number not in persons:
                raise ValueError(f"there is no image {number}")
            person = _Person(item, columns, identified=identified, head=heads)
            if person.identity >= 0 and any(person.identity == other.identity for other in persons[number]):
                raise ValueError(f"track_id {person.identity} is in image {number} twice")
            persons[number].append(person)
        except ValueError as error:
            problems.append(document.complain("annotations", index, str(error)))
    frames = []
    for index, (image, there) in enumerate(zip(images, persons.values(), strict=True)):
        try:
            regions = _regions(image)
        except ValueError as error:
            problems.append(document.complain("images", index, str(error)))
            regions = ()
        frames.append(_frame({**image, "file_name": image["file_name"].replace("\\", "/")}, there, regions))
    return tuple(frames)


def without_ignored(frame: PoseFrame, regions: Sequence[np.ndarray]) -> PoseFrame:
    """Return the frame without joints in `regions`, polygons like its own, and without persons that have none left."""
    if not regions:
        return frame
    poses = frame.poses.copy()
    points = poses[:, :, :2]
    inside = np.zeros(points.shape[:2], dtype=bool)
    for region in regions:
        inside |= _contains(region, points)
    poses[inside] = np.nan
    left = ~np.isnan(poses[:, :, 0]).all(axis=1)
    return dataclasses.replace(
        frame,
        poses=poses[left],
        identities=frame.identities[left],
        scores=frame.scores[left],
        heads=frame.heads[left],
    )


def check_points(points: np.ndarray) -> None:
    """Raises ValueError where one of (K, 2) points, or of NaN, is in no image."""
    if (np.abs(points) > FARTHEST).any():
        raise ValueError(f"a point is more than {FARTHEST:g} pixels away")


def pose_box(pose: np.ndarray) -> tuple[float, float, float, float]:
    """Return x0, y0, x1, y1 around a pose's joints, (K, 3), at least one of them there.

    As UniTrack has it (utils/box.py): whole pixels, cut off towards 0, and 10 pixels wide where all joints are in line.
    """
    points = np.trunc(pose[~np.isnan(pose[:, 0]), :2])
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return float(x0), float(y0), float(x1 + _WIDEN * (x0 == x1)), float(y1 + _WIDEN * (y0 == y1))


def _columns(document: Json) -> list[int]:
    """Return where in `keypoints` each of `JOINTS` is, and the number of joints last. Raises DataError."""
    categories = document.items("categories")
    names = categories[0].get("keypoints") if len(categories) == 1 else None
    if not isinstance(names, list) or not set(JOINTS) <= {str(name) for name in names}:
        what = f"'categories' needs one entry, whose 'keypoints' hold {', '.join(JOINTS)}"
        raise DataError(f"{document.path}:1: {what}")
    return [*(names.index(name) for name in JOINTS), len(names)]


class _Person:
    def __init__(self, item: dict[str, Any], columns: list[int], *, identified: bool, head: bool) -> None:
        """Raises ValueError."""
        *places, count = columns
        triples = _numbers(item.get("keypoints"), 3 * count, "keypoints").reshape(count, 3)[places]
        check_points(triples[:, :2])
        scores = item.get("scores")
        known = _numbers(scores, count, "scores")[places] if scores else np.ones(len(places))
        self.pose = np.concatenate([triples[:, :2], known[:, None]], axis=1)
        self.pose[(triples == 0).all(axis=1)] = np.nan
        there = ~np.isnan(self.pose[:, 0])
        score = item.get("score", self.pose[there, 2].mean() if there.any() else 0.0)
        self.score = values.number(score, "score")
        self.identity = values.whole(item.get("track_id"), "track_id") if identified else -1
        if identified and self.identity < 0:
            raise ValueError(f"track_id is {self.identity}, a whole number from 0 is needed")
        self.head = np.nan
        if head:
            self.head = _HEAD * float(np.hypot(*_numbers(item.get("bbox_head"), 4, "bbox_head")[2:]))
            if not self.head:
                raise ValueError("bbox_head is empty")


def _numbers(found: Any, count: int, name: str) -> np.ndarray:
    """Raises ValueError."""
    needs = f"{name} needs {count} finite numbers"
    if not isinstance(found, list) or len(found) != count:
        raise ValueError(f"{needs}, and {f'has {len(found)}' if isinstance(found, list) else 'is no list of them'}")
    return np.array(values.numbers(found, f"{needs}: a value"), dtype=np.float64)


def _regions(image: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Raises ValueError."""
    all_x, all_y = image.get("ignore_regions_x") or [], image.get("ignore_regions_y") or []
    wrong = ValueError("ignore_regions_x and ignore_regions_y need as many polygons, each with 3 points or more")
    if not isinstance(all_x, list) or not isinstance(all_y, list) or len(all_x) != len(all_y):
        raise wrong
    regions = []
    for xs, ys in zip(all_x, all_y):
        if not isinstance(xs, list) or len(xs) < 3:
            raise wrong
        x, y = (_numbers(side, len(xs), "an ignore region") for side in (xs, ys))
        regions.append(np.stack([x, y], axis=1))
        check_points(regions[-1])
    return tuple(regions)


def _frame(image: dict[str, Any], persons: list[_Person], regions: tuple[np.ndarray, ...]) -> PoseFrame:
    return PoseFrame(
        image=image,
        identities=np.array([person.identity for person in persons], dtype=np.int64),
        poses=np.array([person.pose for person in persons], dtype=np.float64).reshape(-1, len(JOINTS), 3),
        scores=np.array([person.score for person in persons], dtype=np.float64),
        heads=np.array([person.head for person in persons], dtype=np.float64),
        regions=regions,
    )


def _contains(polygon: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return which points, (..., 2), lie strictly inside a polygon, (P, 2); NaN points do not."""
    x, y = points[..., 0, None], points[..., 1, None]
    (x0, y0), (x1, y1) = polygon.T, np.roll(polygon, -1, axis=0).T
    side = (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
    between = (x >= np.minimum(x0, x1)) & (x <= np.maximum(x0, x1))
    between &= (y >= np.minimum(y0, y1)) & (y <= np.maximum(y0, y1))
    border = ((side == 0) & between).any(axis=-1)
    # A ray to the right crosses an edge that starts below and ends above the point, or the reverse, right of the point.
    crosses = ((y0 > y) != (y1 > y)) & ((side > 0) == (y1 > y0))
    inside: np.ndarray = (crosses.sum(axis=-1) % 2 == 1) & ~border
    return inside
