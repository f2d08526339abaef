"""What a number is made of: the images or sequences that it was measured on, so that it can be measured on others.

A comparison asks how a metric would have come out on another draw of the same number of images. It draws them anew from
those that there are, and a family measures its metric on each draw. Nothing here imports torch.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np


class Units(abc.ABC):
    """The units of one job: what its predictions come to for each image or sequence."""

    kind: str
    """What a unit is, in the plural, for instance `images`."""
    count: int
    truth: str
    """A text that is the same only for jobs that were measured on the same units, in the same order."""

    @abc.abstractmethod
    def measure(self, metric: str, counts: np.ndarray) -> np.ndarray:
        """Measure a metric on several draws of units.

        Args:
            metric: one of the record's.
            counts: (count, R) int32: how often each unit is in each draw.

        Returns:
            (R,) float64 in the record's own measure (percentages as 0-100); all counts 1 give the record's number.
            NaN for a draw in which there is nothing to measure.

        Raises:
            KeyError: the metric is none that follows from the units.
            UserError: a file of the job is missing or damaged.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ratios(Units):
    """Metrics that are a sum over the units, divided by the sum of the units' sizes: means, where all sizes are 1."""

    kind: str
    truth: str
    totals: Mapping[str, np.ndarray]
    """Metric to (count,) float64: a unit's mean times its size."""
    sizes: np.ndarray
    """(count,), for instance the objects of a sequence."""

    @property
    def count(self) -> int:  # type: ignore[override]
        """How many units there are."""
        return len(self.sizes)

    def measure(self, metric: str, counts: np.ndarray) -> np.ndarray:
        """Divide the sums."""
        draws = counts.astype(np.float64)
        size = self.sizes.astype(np.float64) @ draws
        with np.errstate(invalid="ignore"):
            return np.asarray(self.totals[metric] @ draws / np.where(size > 0, size, np.nan))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pooled(Units):
    """Metrics that a published evaluator computes of all units of a draw together."""

    kind: str
    truth: str
    count: int
    pool: Callable[[str], Callable[[Sequence[int]], float]]
    """Gives, for a metric, the function that measures it on a draw: on the units' places, each as often as drawn."""

    def measure(self, metric: str, counts: np.ndarray) -> np.ndarray:
        """Call the evaluator once a draw."""
        measured = self.pool(metric)
        return np.array([measured(np.repeat(np.arange(self.count), draw).tolist()) for draw in counts.T])
