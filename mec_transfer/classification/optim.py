"""How a head or a network is trained: learning rates over the epochs, the head's start, and LARC."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch


def make_linear(width: int, classes: int, std: float | None, seed: int) -> torch.nn.Linear:
    """Return a linear classifier with weights N(0, std) and bias 0, drawn from `seed` alone.

    Without a `std` it starts as `torch.nn.Linear` does: weights and bias uniform within 1 / sqrt(width).
    """
    generator = torch.Generator().manual_seed(seed)
    linear = torch.nn.Linear(width, classes)
    with torch.no_grad():
        if std is None:
            bound = 1.0 / math.sqrt(width)
            linear.weight.uniform_(-bound, bound, generator=generator)
            linear.bias.uniform_(-bound, bound, generator=generator)
        else:
            linear.weight.normal_(0.0, std, generator=generator)
            linear.bias.zero_()
    return linear


class LarcSGD(torch.optim.SGD):
    """SGD with momentum, each tensor's gradient scaled by its own local rate (LARC without clipping).

    For a tensor p with gradient g: local = trust * |p| / (|g| + weight_decay * |p| + eps), and SGD then sees
    local * (g + weight_decay * p). Where |p| or |g| is zero, SGD sees g unchanged: a bias that starts at zero
    takes its first step at the full rate. As in apex's `parallel/LARC.py` with clip=False
    (You, Gitman, Ginsburg, "Large Batch Training of Convolutional Networks", 2017).
    """

    def __init__(
        self,
        params: Iterable[torch.Tensor],
        lr: float,
        momentum: float,
        weight_decay: float,
        trust_coefficient: float,
        eps: float,
    ) -> None:
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=0.0)
        self.decay = weight_decay
        self.trust_coefficient = trust_coefficient
        self.eps = eps

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Scale the gradients in place, then step as SGD does."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._scale(p, p.grad)
        return super().step(closure)

    def _scale(self, p: torch.Tensor, grad: torch.Tensor) -> None:
        p_norm, grad_norm = p.norm(), grad.norm()
        local = self.trust_coefficient * p_norm / (grad_norm + self.decay * p_norm + self.eps)
        both = (p_norm != 0) & (grad_norm != 0)
        scaled = (grad + self.decay * p) * local
        grad.copy_(torch.where(both, scaled, grad))
