"""The life of tracks: detections of a frame join them, start them, and leave them lost, found again or removed.

As UniTrack's association (Zhongdao/UniTrack tracker/mot/multitracker.py and basetrack.py, after FairMOT), quirks
included: a track removed for its age can still be found again in the very next frame, but not after that; a duplicate
among the tracked vanishes without a trace; and appearance is compared by each track's latest features alone, since the
smoothed ones that the published code keeps are used nowhere.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from mec_transfer.tracking.association.assignment import assign, overlap_costs
from mec_transfer.tracking.association.config import AssociationRecipe
from mec_transfer.tracking.association.kalman import GATE, KalmanFilter, to_boxes, to_measurements
from mec_transfer.tracking.association.reconstruction import reconstruction_cost

_USUAL_RATE = 30.0
"""Frames a second that `track_buffer` is meant for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Observed:
    """What is offered to the tracker in one frame."""

    boxes: np.ndarray
    """(N, 4) float64: x0, y0, x1, y1 in any unit that stays the same."""
    cells: Sequence[torch.Tensor]
    """N of `object_cells`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sighting:
    """A track that is seen in a frame."""

    identity: int
    """From 1."""
    detection: int
    """Which of the frame's."""
    box: np.ndarray
    """(4,) float64: the detection's, smoothed by the Kalman filter."""
    refound: bool
    """Whether it was lost in the frame before."""


class _State(enum.Enum):
    TRACKED = enum.auto()
    LOST = enum.auto()
    REMOVED = enum.auto()


class _Track:
    def __init__(self, identity: int, frame: int) -> None:
        self.identity, self.started, self.seen = identity, frame, frame
        self.state, self.confirmed, self.refound = _State.TRACKED, False, False
        self.detection = 0
        self.cells: torch.Tensor
        self.mean: np.ndarray
        """(8,), or without a Kalman filter the latest measurement, (4,)."""
        self.covariance: np.ndarray


class Tracker:
    """Follows the objects of one video."""

    def __init__(self, recipe: AssociationRecipe, frame_rate: float, *, confirmed_at_once: bool = False) -> None:
        """`confirmed_at_once`: a new track counts from its first frame on, not from its second."""
        self._recipe, self._filter = recipe, KalmanFilter()
        self._memory = int(frame_rate / _USUAL_RATE * recipe.track_buffer)
        self._confirmed_at_once = confirmed_at_once or not recipe.kalman
        self._frame = self._identities = 0
        self._tracked: list[_Track] = []
        self._lost: list[_Track] = []
        self._removed: set[int] = set()

    def update(self, seen: Observed) -> list[Sighting]:
        """Take the next frame; return the confirmed tracks that are in it."""
        self._frame += 1
        unconfirmed = [track for track in self._tracked if not track.confirmed]
        pool = _join([track for track in self._tracked if track.confirmed], self._lost)
        found, pool, rest = self._by_appearance(pool, seen)
        if self._recipe.kalman:
            pool = [track for track in pool if track.state is _State.TRACKED]
            again, pool, rest = self._by_overlap(pool, seen, rest, self._recipe.overlap_limit)
            first, unconfirmed, rest = self._by_overlap(unconfirmed, seen, rest, self._recipe.confirm_limit)
            found += again + first
            for track in unconfirmed:
                track.state = _State.REMOVED
        missing = [track for track in pool if track.state is not _State.LOST]
        for track in missing:
            track.state = _State.LOST
        self._sort(found, self._start(seen, rest), missing, unconfirmed if self._recipe.kalman else [])
        return [
            Sighting(identity=track.identity, detection=track.detection, box=box, refound=track.refound)
            for track, box in zip(self._tracked, _boxes(self._tracked))
            if track.confirmed
        ]

    def _by_appearance(self, pool: list[_Track], seen: Observed) -> tuple[list[_Track], list[_Track], np.ndarray]:
        """Return the tracks that were found, the others, and the detections that are left."""
        recipe = self._recipe
        costs = reconstruction_cost([track.cells for track in pool], seen.cells).cpu().double().numpy()
        if recipe.kalman and pool:
            self._predict(pool)
            if costs.size and (recipe.motion_lambda < 1 or recipe.motion_gated):
                means, covariances = _states(pool)
                away = self._filter.distances(means, covariances, to_measurements(seen.boxes))
                if recipe.motion_gated:
                    costs[away > GATE] = np.inf
                costs = recipe.motion_lambda * costs + (1 - recipe.motion_lambda) * away
        pairs, left, rest = assign(costs, recipe.similarity_limit)
        return self._continue(pool, pairs, seen), [pool[row] for row in left], rest

    def _by_overlap(
        self, pool: list[_Track], seen: Observed, rest: np.ndarray, limit: float
    ) -> tuple[list[_Track], list[_Track], np.ndarray]:
        pairs, left, remaining = assign(overlap_costs(_boxes(pool), seen.boxes[rest]), limit)
        pairs[:, 1] = rest[pairs[:, 1]]
        return self._continue(pool, pairs, seen), [pool[row] for row in left], rest[remaining]

    def _predict(self, pool: list[_Track]) -> None:
        means, covariances = _states(pool)
        means[[track.state is not _State.TRACKED for track in pool], 7] = 0  # what is lost does not grow or shrink
        for track, mean, covariance in zip(pool, *self._filter.predict(means, covariances)):
            track.mean, track.covariance = mean, covariance

    def _continue(self, pool: list[_Track], pairs: np.ndarray, seen: Observed) -> list[_Track]:
        """Give matched tracks, (K, 2) of track and detection, what was seen of them; return them."""
        found = [pool[row] for row in pairs[:, 0]]
        if not found:
            return []
        measured = to_measurements(seen.boxes[pairs[:, 1]])
        if self._recipe.kalman:
            for track, mean, covariance in zip(found, *self._filter.correct(*_states(found), measured)):
                track.mean, track.covariance = mean, covariance
        else:
            for track, measurement in zip(found, measured):
                track.mean = measurement
        for track, detection in zip(found, pairs[:, 1].tolist()):
            track.refound = track.state is not _State.TRACKED
            track.state, track.confirmed = _State.TRACKED, True
            track.seen, track.detection, track.cells = self._frame, detection, seen.cells[detection]
        return found

    def _start(self, seen: Observed, rest: np.ndarray) -> list[_Track]:
        started = []
        means, covariances = self._filter.start(to_measurements(seen.boxes[rest]))
        for detection, mean, covariance in zip(rest.tolist(), means, covariances):
            self._identities += 1
            track = _Track(self._identities, self._frame)
            track.confirmed = self._confirmed_at_once or self._frame == 1
            track.detection, track.cells = detection, seen.cells[detection]
            track.mean, track.covariance = mean, covariance
            started.append(track)
        return started

    def _sort(
        self, found: list[_Track], started: list[_Track], missing: list[_Track], dropped: Iterable[_Track]
    ) -> None:
        """Put every track where it belongs."""
        removed = {track.identity for track in dropped}
        for track in self._lost:
            if self._frame - track.seen > self._memory:
                track.state = _State.REMOVED
                removed.add(track.identity)
        known = [track for track in self._tracked if track.state is _State.TRACKED]
        self._tracked = _join(known, [track for track in found if not track.refound], started)
        self._tracked = _join(self._tracked, [track for track in found if track.refound])
        tracked = {track.identity for track in self._tracked}
        lost = [track for track in self._lost if track.identity not in tracked] + missing
        # Those of this frame are left out from the next one on: the published order.
        self._lost = [track for track in lost if track.identity not in self._removed]
        self._removed |= removed
        self._drop_duplicates()

    def _drop_duplicates(self) -> None:
        costs = overlap_costs(_boxes(self._tracked), _boxes(self._lost))
        tracked, lost = set(), set()
        for row, column in np.argwhere(costs < self._recipe.duplicate_limit).tolist():
            age = self._tracked[row].seen - self._tracked[row].started
            if age > self._lost[column].seen - self._lost[column].started:
                lost.add(column)
            else:
                tracked.add(row)
        self._tracked = [track for row, track in enumerate(self._tracked) if row not in tracked]
        self._lost = [track for row, track in enumerate(self._lost) if row not in lost]


def _join(*groups: list[_Track]) -> list[_Track]:
    """Return the tracks of all groups in order, each once."""
    return list({track.identity: track for group in groups for track in group}.values())


def _states(tracks: list[_Track]) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([track.mean for track in tracks]), np.stack([track.covariance for track in tracks])


def _boxes(tracks: list[_Track]) -> np.ndarray:
    return to_boxes(np.stack([track.mean[:4] for track in tracks])) if tracks else np.empty((0, 4))
