"""Many linear heads on the same features, trained side by side: one pass over the data for a whole grid.

N images, D features, B images a batch, L heads, C classes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import torch

from mec_transfer.classification.feature_rows import Rows
from mec_transfer.common.runtime import derive_seed

_MOMENT_ROWS = 1 << 16
"""Rows whose mean and variance are taken at once: 512 MiB of 2048 features."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadSettings:
    """What all heads have in common."""

    epochs: int
    batch: int
    momentum: float
    weight_decay: float
    norm_eps: float
    head_std: float


class Heads:
    """L classifiers (x - mean) / sqrt(var + eps) @ W + b; mean and var are those of the images trained on.

    That is BatchNorm1d(affine=False) with exact statistics, followed by a linear layer.
    """

    def __init__(
        self, train: Rows, heads: int, classes: int, settings: HeadSettings, seed: int, device: torch.device
    ) -> None:
        """All heads start from the same draw, N(0, head_std) with bias 0, so that only their rates differ."""
        variance, self.mean = _moments(train, device)
        self.scale = (variance + settings.norm_eps).rsqrt()
        generator = torch.Generator().manual_seed(derive_seed(seed, "weights"))
        start = torch.randn(classes, train.shape[1], generator=generator).mul_(settings.head_std)
        self.weight = start.T.repeat(1, heads).to(device)  # (D, L * C): every head in one product
        self.bias = torch.zeros(heads * classes, device=device)
        self.heads, self.classes = heads, classes

    def normalise(self, features: torch.Tensor) -> torch.Tensor:
        """(B, D) -> (B, D)."""
        return (features - self.mean) * self.scale

    def logits(self, normalised: torch.Tensor) -> torch.Tensor:
        """(B, D), normalised -> (B, L, C)."""
        return torch.addmm(self.bias, normalised, self.weight).view(-1, self.heads, self.classes)

    def scores(self, features: Rows, chunk: int = 1024) -> Iterator[torch.Tensor]:
        """(N, D), as extracted -> (n, L, C) on the CPU for each chunk of them."""
        for start in range(0, len(features), chunk):
            part = features[start : start + chunk].to(self.bias.device)
            yield self.logits(self.normalise(part)).cpu()


@torch.no_grad()
def train_heads(
    features: Rows,
    labels: torch.Tensor,
    classes: int,
    rates: Sequence[float],
    settings: HeadSettings,
    seed: int,
    advance: Callable[[], None] = lambda: None,
) -> Heads:
    """Train one head for each of `rates` by SGD with momentum, its rate falling to 0 by a cosine over all steps.

    The gradient of the mean cross-entropy is written out, (softmax - one-hot) / B: it is that of each head alone,
    and one product with the features serves all heads. Every normalised feature is finite and every gradient
    bounded, so that no rate can make a head diverge to NaN.

    Args:
        features: (N, D) float32, as extracted.
        labels: (N,) int64 on the device to train on; the features of a batch are brought there.
        classes: C.
        rates: (L,) at the first step.
        settings: of all heads.
        seed: of the start and of the order of images, which is the same for all heads.
        advance: called after each epoch.
    """
    device = labels.device
    heads = Heads(features, len(rates), classes, settings, seed, device)
    rate = torch.tensor(rates, device=device).repeat_interleave(classes)  # (L * C,)
    parameters = (heads.weight, heads.bias)
    momenta = tuple(torch.zeros_like(parameter) for parameter in parameters)
    batches = -(-len(features) // settings.batch)
    steps = settings.epochs * batches
    for epoch in range(settings.epochs):
        generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
        order = torch.randperm(len(features), generator=generator).to(features.device)
        for number, rows in enumerate(order.split(settings.batch)):
            x = heads.normalise(features[rows].to(device))
            slope = heads.logits(x).softmax(dim=2)
            slope[torch.arange(len(rows), device=device), :, labels[rows.to(device)]] -= 1
            slope = slope.view(len(rows), -1).div_(len(rows))
            now = rate * 0.5 * (1 + math.cos(math.pi * (epoch * batches + number) / steps))
            for parameter, momentum, gradient in zip(parameters, momenta, (x.T @ slope, slope.sum(0)), strict=True):
                momentum.mul_(settings.momentum).add_(gradient.add_(parameter, alpha=settings.weight_decay))
                parameter.sub_(momentum * now)
        advance()
    return heads


def _moments(rows: Rows, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the variance and the mean of each column, (D,) both; those of many rows are put together in float64."""
    if len(rows) <= _MOMENT_ROWS:
        variance, mean = torch.var_mean(rows[:].to(device), dim=0, correction=0)
        return variance, mean
    count = 0
    mean, squares = torch.zeros(2, rows.shape[1], dtype=torch.float64, device=device)
    for start in range(0, len(rows), _MOMENT_ROWS):
        part = rows[start : start + _MOMENT_ROWS].to(device)
        variance, part_mean = torch.var_mean(part, dim=0, correction=0)
        away, total = part_mean.double() - mean, count + len(part)
        mean = mean + away * (len(part) / total)
        squares = squares + variance.double() * len(part) + away.square() * (count * len(part) / total)
        count = total
    return (squares / count).float(), mean.float()
