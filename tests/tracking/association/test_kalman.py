from __future__ import annotations

import numpy as np
from scipy import stats

from mec_transfer.tracking.association.kalman import GATE, KalmanFilter, to_boxes, to_measurements


class Textbook:
    """One state: x = F x, P = F P F' + Q; S = H P H' + R, K = P H' S^-1, x += K (z - H x), P = (I - K H) P."""

    F = np.block([[np.eye(4), np.eye(4)], [np.zeros((4, 4)), np.eye(4)]])
    H = np.hstack([np.eye(4), np.zeros((4, 4))])

    def __init__(self, z: np.ndarray) -> None:
        h = z[3]
        self.x = np.concatenate([z, np.zeros(4)])
        self.P = np.diag([h / 10, h / 10, 0.01, h / 10, h / 16, h / 16, 1e-5, h / 16]) ** 2

    def predict(self) -> None:
        h = self.x[3]
        noise = np.diag([h / 20, h / 20, 0.01, h / 20, h / 160, h / 160, 1e-5, h / 160]) ** 2
        self.x, self.P = self.F @ self.x, self.F @ self.P @ self.F.T + noise

    def _innovation(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        h = self.x[3]
        noise = np.diag([h / 20, h / 20, 0.1, h / 20]) ** 2
        return z - self.H @ self.x, self.H @ self.P @ self.H.T + noise

    def correct(self, z: np.ndarray) -> None:
        y, S = self._innovation(z)
        K = self.P @ self.H.T @ np.linalg.inv(S)
        self.x, self.P = self.x + K @ y, (np.eye(8) - K @ self.H) @ self.P

    def distance(self, z: np.ndarray) -> float:
        y, S = self._innovation(z)
        return float(y @ np.linalg.inv(S) @ y)


def boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corner = rng.uniform(0, 300, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(10, 80, (count, 2))], axis=1)


def test_many_states_at_once_follow_the_textbook() -> None:
    rng = np.random.default_rng(0)
    seen = boxes(rng, 6)
    measured, ours = to_measurements(seen), KalmanFilter()
    slow = [Textbook(z) for z in measured]
    mean, covariance = ours.start(measured)
    for _ in range(8):
        mean, covariance = ours.predict(mean, covariance)
        for item in slow:
            item.predict()
        others = to_measurements(boxes(rng, 5))
        expected = [[item.distance(z) for z in others] for item in slow]
        np.testing.assert_allclose(ours.distances(mean, covariance, others), expected, rtol=1e-9)
        seen = seen + rng.normal(0, 3, seen.shape)
        measured = to_measurements(seen)
        mean, covariance = ours.correct(mean, covariance, measured)
        for item, z in zip(slow, measured):
            item.correct(z)
        np.testing.assert_allclose(mean, [item.x for item in slow], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(covariance, [item.P for item in slow], rtol=1e-7, atol=1e-12)


def test_boxes_and_measurements_are_each_others_inverse() -> None:
    found = boxes(np.random.default_rng(1), 4)
    measured = to_measurements(found)
    np.testing.assert_allclose(measured[:, 2], (found[:, 2] - found[:, 0]) / (found[:, 3] - found[:, 1]), rtol=1e-6)
    np.testing.assert_allclose(to_boxes(measured), found, atol=1e-5)


def test_gate_is_95_percent_of_chi_square() -> None:
    assert abs(GATE - stats.chi2.ppf(0.95, 4)) < 1e-4


def test_no_states_are_no_trouble() -> None:
    ours, none = KalmanFilter(), np.empty((0, 4))
    mean, covariance = ours.start(none)
    assert ours.predict(mean, covariance)[0].shape == (0, 8) and to_boxes(mean).shape == (0, 4)
