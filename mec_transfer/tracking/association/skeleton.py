"""A pose as a mask: the trunk filled, the limbs as thick lines, as UniTrack draws it (its utils/mask.py)."""

from __future__ import annotations

import numpy as np

from mec_transfer.datasets.videos.detections import JOINTS

_TRUNK = ("right_hip", "left_hip", "left_shoulder", "head_bottom", "right_shoulder")
_LIMBS = (
    *(("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist")),
    *(("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist")),
    *(("left_shoulder", "head_bottom"), ("right_shoulder", "head_bottom"), ("head_bottom", "head_top")),
    *(("left_shoulder", "left_hip"), ("left_hip", "left_knee"), ("left_knee", "left_ankle")),
    *(("right_shoulder", "right_hip"), ("right_hip", "right_knee"), ("right_knee", "right_ankle")),
)
BONES = tuple((JOINTS.index(start), JOINTS.index(end)) for start, end in _LIMBS)
"""Pairs of joints that a line joins."""
_THINNEST = 8
_PART = 20
"""A line is a twentieth of the pose's longer side."""


def draw_pose(pose: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a pose, (15, 3) of (x, y, score), as a mask, (height, width) bool; one without a joint is empty."""
    import cv2

    mask = np.zeros((height, width), dtype=np.uint8)
    there = ~np.isnan(pose[:, 0])
    if not there.any():
        return mask.astype(bool)
    points = np.where(there[:, None], np.trunc(pose[:, :2]), 0).astype(np.int32)
    trunk = [points[joint] for joint in map(JOINTS.index, _TRUNK) if there[joint]]
    if len(trunk) > 2:
        cv2.fillConvexPoly(mask, np.array(trunk), 1)
    side = int(np.ptp(points[there], axis=0).max())
    thickness = max(side // _PART, _THINNEST)
    for start, end in BONES:
        if there[start] and there[end]:
            cv2.line(mask, tuple(map(int, points[start])), tuple(map(int, points[end])), 1, thickness)
    return mask.astype(bool)
