"""Poses of a sequence in PoseTrack17's JSON, which detectors of that time, and UniTrack's instructions, write.

`annolist` lists the frames in the order of time, each with its `image`, [{"name": ...}], and `annorect`, a person each:
`annopoints` is [{"point": [...]}], a point has `id` (the place in `JOINTS`), `x`, `y` and perhaps `score`, and a person
perhaps `score`; every value is a list of one. Scores are 1 where not given.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mec_transfer.datasets import values
from mec_transfer.datasets.annotations import Json
from mec_transfer.datasets.videos.detections import JOINTS
from mec_transfer.datasets.videos.pose_files import PoseFrame, check_points


def read_annolist(document: Json, problems: list[str]) -> tuple[PoseFrame, ...]:
    """Return a detector's output, a `PoseFrame` for each frame; `problems` gets a line for each broken one.

    Raises:
        DataError: there is no `annolist`.
    """
    frames = []
    for index, entry in enumerate(document.items("annolist")):
        try:
            frames.append(_frame(entry, index))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            reason = str(error) if isinstance(error, ValueError) else "needs an image with a name, and annorect"
            problems.append(document.complain("annolist", index, reason))
    return tuple(frames)


def _frame(entry: dict[str, Any], index: int) -> PoseFrame:
    """Raises ValueError, or another error where something is missing."""
    image = entry["image"][0]
    persons = [_person(rectangle) for rectangle in entry["annorect"]]
    count = len(persons)
    return PoseFrame(
        image={"file_name": str(image["name"]).replace("\\", "/"), "id": index},
        identities=np.full(count, -1, dtype=np.int64),
        poses=np.array([pose for pose, _ in persons], dtype=np.float64).reshape(count, len(JOINTS), 3),
        scores=np.array([score for _, score in persons], dtype=np.float64),
        heads=np.full(count, np.nan),
        regions=(),
    )


def _person(rectangle: dict[str, Any]) -> tuple[np.ndarray, float]:
    """Return a pose and its score. Raises ValueError, or another error where something is missing."""
    pose = np.full((len(JOINTS), 3), np.nan)
    groups = rectangle.get("annopoints") or [{}]
    for point in groups[0].get("point", []):
        joint = _value(point, "id")
        if joint not in range(len(JOINTS)):
            raise ValueError(f"a point has id {joint:g}; there are 0 to {len(JOINTS) - 1}")
        score = _value(point, "score") if "score" in point else 1.0
        pose[int(joint)] = _value(point, "x"), _value(point, "y"), score
    check_points(pose[:, :2])
    there = ~np.isnan(pose[:, 0])
    if "score" in rectangle:
        return pose, _value(rectangle, "score")
    return pose, float(pose[there, 2].mean()) if there.any() else 0.0


def _value(item: dict[str, Any], key: str) -> float:
    """Raises ValueError."""
    found: Any = item.get(key)
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    return values.number(found, key)
