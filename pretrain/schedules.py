"""Per-iteration schedules of a MEC run, as pure functions of the iteration (from 0).

Source: MEC main_pretrain.py. A warm-up runs in equal steps from its first value at iteration 0 to its last at
iteration `warmup - 1`; what follows starts at iteration `warmup`.
"""

from __future__ import annotations

import dataclasses
import math

from pretrain.config import PretrainConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedules:
    """The schedules of one run; `step` counts from 0."""

    steps_per_epoch: int
    total: int
    """Iterations of the whole schedule."""
    last: int
    """Iterations after which the run stops: `total`, or the config's max_steps."""
    warmup: int
    peak: float
    lamda: float
    lamda_inv_warmup_factor: float
    first_momentum: float

    @classmethod
    def of(cls, config: PretrainConfig, steps_per_epoch: int) -> Schedules:
        """Return the schedules of `config` where an epoch has `steps_per_epoch` batches."""
        total = config.epochs * steps_per_epoch
        return cls(
            steps_per_epoch=steps_per_epoch,
            total=total,
            last=min(total, config.max_steps or total),
            warmup=config.warmup_epochs * steps_per_epoch,
            peak=peak_lr(config.base_lr, config.batch_size),
            lamda=lamda_of(config.batch_size, config.dim, config.eps),
            lamda_inv_warmup_factor=config.lamda_inv_warmup_factor,
            first_momentum=config.teacher_momentum,
        )

    def lr(self, step: int) -> float:
        """Return the learning rate of iteration `step`."""
        return lr_at(step, self.peak, self.warmup, self.total)

    def lamda_inv(self, step: int) -> float:
        """Return 1/lamda of iteration `step`."""
        return lamda_inv_at(step, self.lamda, self.warmup, self.lamda_inv_warmup_factor)

    def teacher_momentum(self, step: int) -> float:
        """Return the momentum with which the teacher follows after iteration `step`."""
        return teacher_momentum_at(step, self.first_momentum, self.total)


def lamda_of(batch_size: int, dim: int, eps: float) -> float:
    """Return lamda = 1 / (m * eps_d), eps_d = eps / d: 1/32 at batch 1024, dimension 2048 and eps 64.

    `eps` is already the square of the distortion bound.
    """
    return 1 / (batch_size * (eps / dim))


def peak_lr(base_lr: float, batch_size: int) -> float:
    """Return the learning rate at the end of the warm-up: `base_lr` per 256 images of the total batch."""
    return base_lr * batch_size / 256


def lr_at(step: int, peak: float, warmup: int, total: int) -> float:
    """Return the learning rate: linear from 0 to `peak` over `warmup` iterations, then a half cosine towards 0."""
    if step < warmup:
        return _linear(step, 0.0, peak, warmup)
    return _cosine(step - warmup, peak, 0.0, total - warmup)


def teacher_momentum_at(step: int, start: float, total: int) -> float:
    """Return the teacher's momentum: a half cosine from `start` towards 1, without warm-up."""
    return _cosine(step, start, 1.0, total)


def lamda_inv_at(step: int, lamda: float, warmup: int, warmup_factor: float = 8.0) -> float:
    """Return 1/lamda, falling linearly from `warmup_factor`/lamda over `warmup` iterations, then constant.

    The large values at the start keep C's spectral norm below 1 while all embeddings are still alike.
    """
    if step < warmup:
        return _linear(step, warmup_factor / lamda, 1 / lamda, warmup)
    return 1 / lamda


def _linear(step: int, first: float, last: float, count: int) -> float:
    return first if count == 1 else first + (last - first) * step / (count - 1)


def _cosine(step: int, first: float, last: float, count: int) -> float:
    return last + 0.5 * (first - last) * (1 + math.cos(math.pi * step / count))
