"""The Kalman filter of DeepSORT and its successors: a box that moves at constant velocity, many boxes at once.

State: centre x and y, aspect ratio (width / height), height, and the four velocities per frame. Measured: the first
four. Noise is in proportion to the height: 1/20 of it for positions, 1/160 for velocities (Wojke et al. 2017,
nwojke/deep_sort; the same in FairMOT and UniTrack).
"""

from __future__ import annotations

import numpy as np

# N states; a mean is (N, 8), a covariance (N, 8, 8), a measurement (N, 4), all float64.

GATE = 9.4877
"""95 % of the chi-square distribution with four degrees of freedom."""

_POSITION, _VELOCITY = 1 / 20, 1 / 160
_RATIO, _RATIO_VELOCITY, _RATIO_MEASURED = 1e-2, 1e-5, 1e-1
_TINY_HEIGHT = 1e-6
_MOTION = np.eye(8) + np.eye(8, k=4)

State = tuple[np.ndarray, np.ndarray]
"""Means and covariances."""


class KalmanFilter:
    """Starts, predicts and corrects states, and says how far measurements are from them."""

    def start(self, measured: np.ndarray) -> State:
        """Return the states of boxes seen for the first time: at rest, but of unknown velocity."""
        mean = np.concatenate([measured, np.zeros_like(measured)], axis=1)
        position, velocity = 2 * _POSITION * measured[:, 3], 10 * _VELOCITY * measured[:, 3]
        return mean, _squares(position, _RATIO, velocity, _RATIO_VELOCITY)

    def predict(self, mean: np.ndarray, covariance: np.ndarray) -> State:
        """Return the states one frame later."""
        height = mean[:, 3]
        noise = _squares(_POSITION * height, _RATIO, _VELOCITY * height, _RATIO_VELOCITY)
        return mean @ _MOTION.T, _MOTION @ covariance @ _MOTION.T + noise

    def correct(self, mean: np.ndarray, covariance: np.ndarray, measured: np.ndarray) -> State:
        """Return predicted states after a measurement of each."""
        expected, spread = self._project(mean, covariance)
        gain = np.linalg.solve(spread, covariance[:, :4]).swapaxes(1, 2)
        correction = (gain @ (measured - expected)[..., None])[..., 0]
        return mean + correction, covariance - gain @ spread @ gain.swapaxes(1, 2)

    def distances(self, mean: np.ndarray, covariance: np.ndarray, measured: np.ndarray) -> np.ndarray:
        """Return the (N, M) squared Mahalanobis distances of M measurements from N states; `GATE` is 95 % of them."""
        expected, spread = self._project(mean, covariance)
        away = (measured[None] - expected[:, None]).swapaxes(1, 2)
        whitened = np.linalg.solve(np.linalg.cholesky(spread), away)
        squared: np.ndarray = np.square(whitened).sum(axis=1)
        return squared

    def _project(self, mean: np.ndarray, covariance: np.ndarray) -> State:
        position = _POSITION * mean[:, 3]
        noise = np.square(np.stack([position, position, np.full_like(position, _RATIO_MEASURED), position], 1))
        return mean[:, :4], covariance[:, :4, :4] + noise[:, :, None] * np.eye(4)


def to_measurements(boxes: np.ndarray) -> np.ndarray:
    """Return centre x, centre y, aspect ratio and height, (N, 4), of boxes x0, y0, x1, y1."""
    sides = boxes[:, 2:] - boxes[:, :2]
    ratio = sides[:, :1] / (sides[:, 1:] + _TINY_HEIGHT)
    return np.concatenate([boxes[:, :2] + sides / 2, ratio, sides[:, 1:]], axis=1)


def to_boxes(mean: np.ndarray) -> np.ndarray:
    """Return the boxes x0, y0, x1, y1, (N, 4), of states or measurements."""
    height = mean[:, 3]
    half = np.stack([mean[:, 2] * height, height], axis=1) / 2
    return np.concatenate([mean[:, :2] - half, mean[:, :2] + half], axis=1)


def _squares(position: np.ndarray, ratio: float, velocity: np.ndarray, ratio_velocity: float) -> np.ndarray:
    """Return the diagonal covariances, (N, 8, 8), of standard deviations in the order of the state."""
    ratios, velocities = np.full_like(position, ratio), np.full_like(position, ratio_velocity)
    deviations = [position, position, ratios, position, velocity, velocity, velocities, velocity]
    squared: np.ndarray = np.square(np.stack(deviations, axis=1))[:, :, None] * np.eye(8)
    return squared
