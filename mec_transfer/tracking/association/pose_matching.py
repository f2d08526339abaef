"""Which joints of which persons match, frame by frame, in the form that TrackEval's metrics take."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.videos.pose_files import PoseFrame, without_ignored

_NEAR = 0.5
"""Head sizes that a joint may be off (PCKh)."""
_NOBODY = -1
"""The identity that poseval makes up on both sides in a frame without predictions."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PosePair:
    """G persons of the truth and P predicted ones in an annotated frame."""

    truth: np.ndarray
    """(G,) int64: identities."""
    found: np.ndarray
    """(P,) int64: identities."""
    in_truth: np.ndarray
    """(G, 15) bool: the joint is annotated."""
    in_found: np.ndarray
    """(P, 15) bool: the joint is predicted."""
    similarity: np.ndarray
    """(G, P, 15) float64: 1 - distance / head size where that is 0.5 or more, else 0."""


def match_frames(truth: Sequence[PoseFrame], results: Sequence[PoseFrame]) -> list[PosePair]:
    """Compare the frames that have an annotated person, joints in ignored regions left out.

    Raises:
        DataError: the results have another number of frames.
    """
    if len(truth) != len(results):
        raise DataError(f"{len(results)} frames of results, but {len(truth)} of ground truth")
    return [_compare(true, found) for true, found in zip(truth, results) if len(true.identities)]


def joint_data(pairs: Sequence[PosePair], joint: int) -> dict[str, Any]:
    """Return one joint's tracks as TrackEval's metrics take them, by poseval's rules: see `posetrack_metrics`."""
    counted = pairs[:-1] if len(pairs) > 1 else pairs
    truth, found, similarity = [], [], []
    for pair in counted:
        if not len(pair.truth) or not len(pair.found):
            truth.append(np.array([_NOBODY]))
            found.append(np.array([_NOBODY]))
            similarity.append(np.zeros((1, 1)))
            continue
        rows, columns = pair.in_truth[:, joint], pair.in_found[:, joint]
        truth.append(pair.truth[rows])
        found.append(pair.found[columns])
        similarity.append(pair.similarity[rows][:, columns, joint])
    return _as_trackeval(truth, found, similarity)


def person_data(pairs: Sequence[PosePair], sequence: str) -> dict[str, Any]:
    """Return whole persons' tracks as TrackEval's metrics take them; persons without a joint are left out."""
    truth, found, similarity = [], [], []
    for pair in pairs:
        rows, columns = pair.in_truth.any(axis=1), pair.in_found.any(axis=1)
        annotated = pair.in_truth[rows].sum(axis=1)
        share = (pair.similarity[rows][:, columns] > 0).sum(axis=2) / annotated[:, None]
        truth.append(pair.truth[rows])
        found.append(pair.found[columns])
        similarity.append(share)
    return {**_as_trackeval(truth, found, similarity), "seq": sequence}


def _as_trackeval(truth: list[np.ndarray], found: list[np.ndarray], similarity: list[np.ndarray]) -> dict[str, Any]:
    data: dict[str, Any] = {"num_timesteps": len(truth), "similarity_scores": similarity}
    for side, identities in (("gt", truth), ("tracker", found)):
        every = np.unique(np.concatenate(identities)) if identities else np.empty(0)
        data[f"{side}_ids"] = [np.searchsorted(every, frame) for frame in identities]
        data[f"num_{side}_ids"] = len(every)
        data[f"num_{side}_dets"] = sum(len(frame) for frame in identities)
    return data


def _compare(truth: PoseFrame, results: PoseFrame) -> PosePair:
    true, found = without_ignored(truth, truth.regions), without_ignored(results, truth.regions)
    apart = np.linalg.norm(true.poses[:, None, :, :2] - found.poses[None, :, :, :2], axis=3)
    apart = apart / true.heads[:, None, None]
    near = apart <= _NEAR  # never where a joint is absent: NaN
    return PosePair(
        truth=true.identities,
        found=found.identities,
        in_truth=~np.isnan(true.poses[:, :, 0]),
        in_found=~np.isnan(found.poses[:, :, 0]),
        similarity=np.where(near, 1 - apart, 0.0),
    )
