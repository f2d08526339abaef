"""Which joints of which persons match, frame by frame, in the form that TrackEval's metrics take."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.pose_files import PoseFrame, without_ignored

_NEAR = 0.5
"""Head sizes that a joint may be off (PCKh)."""
_NOBODY = -1
"""The identity that poseval makes up on both sides in a frame without predictions."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PosePair:
    """G persons of the truth and P predicted ones in an annotated frame."""

    truth: numpy.ndarray
    """(G,) int64: identities."""
    found: numpy.ndarray
    """(P,) int64: identities."""
    in_truth: numpy.ndarray
    """(G, 15) bool: the joint is annotated."""
    in_found: numpy.ndarray
    """(P, 15) bool: the joint is predicted."""
    similarity: numpy.ndarray
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
    """Return one joint's tracks as TrackEval's metrics take them, by poseval's rules: see `pose_scores`."""
    counted = pairs[:-1] if len(pairs) > 1 else pairs
    truth, found, similarity = [], [], []
    for pair in counted:
        if not len(pair.truth) or not len(pair.found):
            truth.append(numpy.array([_NOBODY]))
            found.append(numpy.array([_NOBODY]))
            similarity.append(numpy.zeros((1, 1)))
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


def _as_trackeval(
    truth: list[numpy.ndarray], found: list[numpy.ndarray], similarity: list[numpy.ndarray]
) -> dict[str, Any]:
    data: dict[str, Any] = {"num_timesteps": len(truth), "similarity_scores": similarity}
    for side, identities in (("gt", truth), ("tracker", found)):
        every = numpy.unique(numpy.concatenate(identities)) if identities else numpy.empty(0)
        data[f"{side}_ids"] = [numpy.searchsorted(every, frame) for frame in identities]
        data[f"num_{side}_ids"] = len(every)
        data[f"num_{side}_dets"] = sum(len(frame) for frame in identities)
    return data


def _compare(truth: PoseFrame, results: PoseFrame) -> PosePair:
    true, found = without_ignored(truth, truth.regions), without_ignored(results, truth.regions)
    apart = numpy.linalg.norm(true.poses[:, None, :, :2] - found.poses[None, :, :, :2], axis=3)
    apart = apart / true.heads[:, None, None]
    near = apart <= _NEAR  # never where a joint is absent: NaN
    return PosePair(
        truth=true.identities,
        found=found.identities,
        in_truth=~numpy.isnan(true.poses[:, :, 0]),
        in_found=~numpy.isnan(found.poses[:, :, 0]),
        similarity=numpy.where(near, 1 - apart, 0.0),
    )
