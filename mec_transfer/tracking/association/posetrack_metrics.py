"""PoseTrack's metrics of tracked poses, from files as its evaluation takes and gives them.

Each of the 15 joints is tracked as an object of its own (leonid-pishchulin/poseval, evaluateTracking.py): a joint
matches where it is no farther than half a head size from the truth's, a head size being 0.6 of the diagonal of the
head's box. MOTA is 1 - (misses + false positives + switches) / joints of the truth, the counts summed over the
sequences, and what is reported is the mean over the joints that there are; Precision and Recall likewise. IDs sums the
switches of all joints and IDF1 is the mean over the joints of the mean over the sequences, as UniTrack has them in its
copy of that code. CLEAR and Identity are TrackEval's, on the similarity 1 - distance / head size. In one thing they
differ from poseval's py-motmetrics: TrackEval keeps a match of the frame before where it still holds, py-motmetrics
also an older one.

Of poseval are also what is left out and what is odd: frames without an annotated person are not counted, nor are joints
in ignored regions, nor is the last annotated frame of a sequence (where it is the only one, it is counted here); in a
frame without a single predicted person every joint has one miss and one false positive, however many persons there are.

HOTA, DetA and AssA are of whole persons in all annotated frames, by TrackEval: the similarity of two poses is the share
of the truth's joints that match.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.annotations import Json
from mec_transfer.datasets.videos.detections import JOINTS
from mec_transfer.datasets.videos.pose_files import PoseFrame, pose_box, read_pose_file
from mec_transfer.datasets.videos.posetrack import PoseVideo
from mec_transfer.tracking.association.pose_matching import PosePair, joint_data, match_frames, person_data
from mec_transfer.tracking.association.trackeval_metrics import measure_prepared, pooled_prepared
from mec_transfer.tracking.association.tracks import TrackedFrame
from mec_transfer.tracking.sequences import RESULTS, TRUTH, Files, Measured

METRICS = ("MOTA", "IDF1", "IDs", "Precision", "Recall", "HOTA", "DetA", "AssA")
"""IDs: identity switches, of all joints together."""
_OF_PERSONS = METRICS[5:]
_NAMES = (
    *("nose", "head_bottom", "head_top", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee"),
    *("left_ankle", "right_ankle"),
)
"""PoseTrack18's joints in its order; no ear is ever there."""
_PLACES = [_NAMES.index(name) for name in JOINTS]
_COUNTS = ("CLR_TP", "CLR_FN", "CLR_FP", "IDSW")


def result_files(video: PoseVideo, frames: Sequence[TrackedFrame]) -> Files:
    """Return SEQUENCE.json in PoseTrack18's form, with the images of the ground truth."""
    images = Json(video.ground_truth).items("images")
    annotations: list[dict[str, Any]] = []
    for image, frame in zip(images, frames, strict=True):
        poses = frame.poses if frame.poses is not None else np.empty((0, len(JOINTS), 3))
        for identity, pose, box, score in zip(frame.identities, poses, frame.boxes, frame.scores, strict=True):
            x0, y0, x1, y1 = (round(float(value), 3) for value in box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": 1,
                    "track_id": int(identity),
                    "bbox": [x0, y0, round(x1 - x0, 3), round(y1 - y0, 3)],
                    "score": round(float(score), 6),
                    **_keypoints(pose),
                }
            )
    category = {"id": 1, "name": "person", "supercategory": "person", "keypoints": list(_NAMES)}
    data = {"images": images, "annotations": annotations, "categories": [category]}
    return {f"{video.name}.json": (json.dumps(data, allow_nan=False) + "\n").encode()}


def _keypoints(pose: np.ndarray) -> dict[str, list[float]]:
    triples, scores = np.zeros((len(_NAMES), 3)), np.zeros(len(_NAMES))
    there = ~np.isnan(pose[:, 0])
    places = np.array(_PLACES)[there]
    triples[places, :2], triples[places, 2], scores[places] = pose[there, :2].round(3), 1, pose[there, 2].round(6)
    return {"keypoints": triples.ravel().tolist(), "scores": scores.tolist()}


def truth_files(video: PoseVideo) -> Files:
    """Return SEQUENCE.json, a copy of the annotations."""
    return {f"{video.name}.json": video.ground_truth.read_bytes()}


def measure(folder: Path, sequences: Sequence[str]) -> Measured:
    """Compute `METRICS` of each sequence and of all together.

    Raises:
        UserError: a file is missing or damaged.
    """
    pairs = _pairs(folder, sequences)
    persons = measure_prepared({name: person_data(found, name) for name, found in pairs.items()}, _OF_PERSONS)
    joints = {name: _measure_joints(found) for name, found in pairs.items()}
    return Measured(
        overall=_combine(list(joints.values())) | persons.overall,
        by_sequence={name: _combine([joints[name]]) | persons.by_sequence[name] for name in sequences},
    )


def pooled(folder: Path, sequences: Sequence[str], metric: str) -> Callable[[Sequence[int]], float]:
    """Return a function that measures one of `METRICS` on a sample of the sequences, by their places.

    Raises:
        UserError: a file is missing or damaged.
        KeyError: there is no such metric.
    """
    pairs = _pairs(folder, sequences)
    if metric in _OF_PERSONS:
        return pooled_prepared({name: person_data(found, name) for name, found in pairs.items()}, metric)
    if metric not in METRICS:
        raise KeyError(metric)
    joints = [_measure_joints(found) for found in pairs.values()]
    return lambda sample: _combine([joints[place] for place in sample])[metric]


def _pairs(folder: Path, sequences: Sequence[str]) -> dict[str, list[PosePair]]:
    return {name: match_frames(_truth(folder, name), _results(folder, name)) for name in sequences}


def read_results(folder: Path, sequence: str) -> list[TrackedFrame]:
    """Read a written result, a `TrackedFrame` for each of the sequence's frames.

    Raises:
        UserError: a file is missing or damaged.
    """
    frames = []
    for frame in _results(folder, sequence):
        there = ~np.isnan(frame.poses[:, :, 0]).all(axis=1)
        poses = frame.poses[there]
        boxes = np.array([pose_box(pose) for pose in poses], dtype=np.float64).reshape(-1, 4)
        frames.append(
            TrackedFrame(identities=frame.identities[there], boxes=boxes, scores=frame.scores[there], poses=poses)
        )
    return frames


def _truth(folder: Path, sequence: str) -> tuple[PoseFrame, ...]:
    return _read(folder / TRUTH / f"{sequence}.json", heads=True)


def _results(folder: Path, sequence: str) -> tuple[PoseFrame, ...]:
    return _read(folder / RESULTS / f"{sequence}.json", heads=False)


def _read(path: Path, *, heads: bool) -> tuple[PoseFrame, ...]:
    """Raises DataError."""
    problems: list[str] = []
    frames = read_pose_file(path, problems, identified=True, heads=heads)
    if problems:
        raise DataError(problems[0])
    return frames


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Joints:
    """What was counted of the 15 joints in a sequence."""

    counts: Mapping[str, np.ndarray]
    """(15,) of each of `_COUNTS`."""
    idf1: np.ndarray
    """(15,), 0-1; NaN where a joint is neither in the truth nor in the results."""


def _measure_joints(pairs: Sequence[PosePair]) -> _Joints:
    from trackeval.metrics import CLEAR, Identity

    clear, identity = CLEAR({"PRINT_CONFIG": False}), Identity({"PRINT_CONFIG": False})
    counts = {name: np.zeros(len(JOINTS)) for name in _COUNTS}
    idf1 = np.full(len(JOINTS), np.nan)
    for joint in range(len(JOINTS)):
        data: dict[str, Any] = joint_data(pairs, joint)
        found = clear.eval_sequence(data)
        for name in _COUNTS:
            counts[name][joint] = found[name]
        if data["num_gt_dets"] or data["num_tracker_dets"]:
            idf1[joint] = identity.eval_sequence(data)["IDF1"]
    return _Joints(counts=counts, idf1=idf1)


def _combine(sequences: Sequence[_Joints]) -> dict[str, float]:
    """Return the joints' metrics over several sequences."""
    matched, missed, false, switched = (sum(one.counts[name] for one in sequences) for name in _COUNTS)
    truth, found = matched + missed, matched + false
    with np.errstate(invalid="ignore", divide="ignore"):
        mota = 1 - (missed + false + switched) / np.where(truth, truth, np.nan)
        precision = matched / np.where(found, found, np.nan)
        recall = matched / np.where(truth, truth, np.nan)
        known = ~np.isnan([one.idf1 for one in sequences])  # a sequence without a joint says nothing about it
        idf1 = np.sum([np.where(there, one.idf1, 0) for there, one in zip(known, sequences)], axis=0)
        idf1 = idf1 / np.where(known.any(axis=0), known.sum(axis=0), np.nan)
    return {
        "MOTA": _mean(mota),
        "IDF1": _mean(idf1),
        "IDs": float(np.sum(switched)),
        "Precision": _mean(precision),
        "Recall": _mean(recall),
    }


def _mean(values: np.ndarray) -> float:
    """Return the mean of what is not NaN, as a percentage; 0 if nothing is."""
    values = values[~np.isnan(values)]
    return 100.0 * float(values.mean()) if len(values) else 0.0
