from __future__ import annotations

import numpy as np

from mec_transfer.datasets.videos.detections import JOINTS
from mec_transfer.tracking.association.skeleton import BONES, draw_pose


def standing(scale: int) -> np.ndarray:
    """Return a person with spread arms, `scale` pixels a unit, the neck at (10, 4) units."""
    places = {
        "head_top": (10, 0),
        "nose": (10, 2),
        "head_bottom": (10, 4),
        "right_shoulder": (7, 5),
        "right_elbow": (4, 5),
        "right_wrist": (1, 5),
        "left_shoulder": (13, 5),
        "left_elbow": (16, 5),
        "left_wrist": (19, 5),
        "right_hip": (8, 11),
        "right_knee": (8, 15),
        "right_ankle": (8, 19),
        "left_hip": (12, 11),
        "left_knee": (12, 15),
        "left_ankle": (12, 19),
    }
    return np.array([[scale * value + 0.9 for value in places[name]] + [1.0] for name in JOINTS])


def test_trunk_is_filled_and_limbs_are_lines() -> None:
    mask = draw_pose(standing(10), 220, 230)
    assert (mask.shape, mask.dtype) == ((220, 230), bool)
    assert mask[60:100, 85:115].all()  # trunk
    column = np.flatnonzero(mask[:, 30])  # right arm, around y = 50: 190 // 20 = 9 pixels and OpenCV's rim
    assert (column.min(), column.max()) == (45, 55)
    assert not mask[150, 95:105].any()  # between the legs
    assert mask[20, 100]  # the neck's line goes to the top of the head


def test_small_poses_have_lines_of_eight_pixels_and_large_ones_of_a_twentieth() -> None:
    def thickness(scale: int) -> int:
        column = draw_pose(standing(scale), 21 * scale, 21 * scale)[:, 3 * scale]
        return int(column.sum())

    assert 8 <= thickness(5) <= 9
    assert 38 <= thickness(40) <= 39


def test_absent_joints_have_no_lines() -> None:
    pose = standing(10)
    pose[JOINTS.index("right_elbow")] = np.nan
    mask = draw_pose(pose, 220, 230)
    assert not mask[50, :60].any()
    assert mask[50, 160]
    only = np.full((15, 3), np.nan)
    assert not draw_pose(only, 40, 40).any()
    only[3] = (20, 20, 1)
    assert not draw_pose(only, 40, 40).any()


def test_each_bone_joins_two_joints_and_the_nose_is_on_none() -> None:
    assert len(set(BONES)) == 13
    assert {joint for bone in BONES for joint in bone} == set(range(15)) - {JOINTS.index("nose")}
