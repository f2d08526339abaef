"""The coding length of a batch as one differentiable function of both views' embeddings, derived by hand.

Rows are normalised, C = P Z^T / lamda_inv (M x M), and L is log det(I + C) or its series. The D x D matrix
Z^T P / lamda_inv has the same traces of powers, the same det(I + .) and the same spectral radius: the smaller of the
two, K x K, serves. With `logdet`'s G, dL = tr(G dC): the gradient to the normalised Z is G P / lamda_inv (in the D x D
form P G / lamda_inv), and to P the same with G^T and Z. Gradients are computed together with the value: between the
passes only they are held, (n, D) a side, and only of the sides and rows that need one.

No normalised copy of the embeddings is made: 1 / |row| is multiplied into the K x K matrices or into the results.

Axes: M rows of the whole batch, n of this process, D embedding dimensions, K = min(M, D).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from pretrain import logdet

Order = int | Literal["exact"]
"""Terms of the series, or none cut off."""


class Batch(NamedTuple):
    """Both views' embeddings of the whole batch, (M, D) each of one dtype, with 1 / |row|, (M,)."""

    p: torch.Tensor
    z: torch.Tensor
    p_scale: torch.Tensor
    z_scale: torch.Tensor

    @classmethod
    def of(cls, p: torch.Tensor, z: torch.Tensor) -> Batch:
        """In float64 if one of both is, else float32; a row of zeros stays one, as with `normalize`."""
        dtype = torch.float64 if torch.float64 in (p.dtype, z.dtype) else torch.float32
        p, z = p.to(dtype), z.to(dtype)
        scales = (torch.linalg.vector_norm(side, dim=1).clamp_min_(1e-12).reciprocal_() for side in (p, z))
        return cls(p, z, *scales)

    @property
    def by_rows(self) -> bool:
        """Whether K = M: the form is M x M."""
        return self.p.shape[0] <= self.p.shape[1]

    def minus_c(self, lamda_inv: float) -> torch.Tensor:
        """-C in its smaller form, (K, K)."""
        if self.by_rows:
            return (self.p @ self.z.T).mul_(self.p_scale[:, None]).mul_(self.z_scale / -lamda_inv)
        return (self.z * (self.p_scale * self.z_scale / -lamda_inv)[:, None]).T @ self.p

    def gradients(
        self, g: torch.Tensor, lamda_inv: float, wanted: tuple[bool, bool], rows: slice
    ) -> list[torch.Tensor | None]:
        """The `rows` of dL/dp and dL/dz, (n, D) each, None where not wanted. Overwrites g, (K, K)."""
        weight = None
        if self.by_rows:
            g.mul_(self.z_scale[:, None]).mul_(self.p_scale / lamda_inv)
        else:
            weight = (self.p_scale * self.z_scale / lamda_inv)[rows, None]
        sides = ((g.T, self.p, self.p_scale, self.z), (g, self.z, self.z_scale, self.p))
        gradients: list[torch.Tensor | None] = []
        for want, (matrix, own, scale, other) in zip(wanted, sides, strict=True):
            if not want:
                gradients.append(None)
                continue
            result = matrix[rows] @ other if weight is None else (other[rows] @ matrix).mul_(weight)
            gradients.append(_through_normalisation(result, own[rows], scale[rows]))
        return gradients


def _through_normalisation(scaled: torch.Tensor, own: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Take from a gradient / |row|, in place, its part along the row: a row's length changes nothing. (n, D) each."""
    along = torch.einsum("nd,nd->n", own, scaled)
    return scaled.addcmul_(own, (along * scale.square())[:, None], value=-1)


class Result(NamedTuple):
    """Scalars; only the first has gradients."""

    value: torch.Tensor
    """L."""
    sign: torch.Tensor
    """The sign of det(I + C); 1 for a series."""
    norm: torch.Tensor
    """`logdet.largest_singular_value` of C's smaller form where it is watched, else not a number."""


class _Settings(NamedTuple):
    lamda_inv: float
    order: Order
    rows: slice
    wanted: tuple[bool, bool]
    watch: bool


def coding_length(
    own: tuple[torch.Tensor, torch.Tensor],
    whole: tuple[torch.Tensor, torch.Tensor],
    rows: slice,
    lamda_inv: float,
    order: Order,
    watch: bool,
) -> Result:
    """Return L of the batch `whole`, (M, D) a side, with gradients to `own`, its `rows`: (n, D) a side.

    The gradients are multiplied by M / n, which a mean over M / n processes cancels. They are computed at once if grad
    mode is on and the side requires one, in full precision, and given in the side's own dtype.
    """
    wanted = (torch.is_grad_enabled() and own[0].requires_grad, torch.is_grad_enabled() and own[1].requires_grad)
    settings = _Settings(lamda_inv, order, rows, wanted, watch)
    return Result(*_CodingLength.apply(*own, *(side.detach() for side in whole), settings))


class _CodingLength(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        own_p: torch.Tensor,
        own_z: torch.Tensor,
        p: torch.Tensor,
        z: torch.Tensor,
        settings: _Settings,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        lamda_inv, order, rows, wanted, watch = settings
        with full_precision(p.device):
            batch = Batch.of(p, z)
            minus_c = batch.minus_c(lamda_inv)
            norm = logdet.largest_singular_value(minus_c) if watch else minus_c.new_tensor(torch.nan)
            if order == "exact":
                value, sign, g = logdet.exact(minus_c, any(wanted))
            else:
                value, sign, g = logdet.truncated(minus_c, order, any(wanted))
            del minus_c  # its memory serves the gradients
            gradients = [None, None] if g is None else batch.gradients(g, lamda_inv, wanted, rows)
        ctx.save_for_backward(*gradients)
        ctx.factor, ctx.dtypes = len(p) / len(own_p), (own_p.dtype, own_z.dtype)
        ctx.mark_non_differentiable(sign, norm)
        return value, sign, norm

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        factor = grad * ctx.factor
        sides = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        return (*(None if side is None else (side * factor).to(dtype) for side, dtype in sides), None, None, None)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Within: no autocast, and products of float32 are of float32, whatever the program allows elsewhere.

    `torch.backends.*.matmul.fp32_precision` is set to "ieee" (no TensorFloat-32 on GPUs, no bfloat16 in CPU kernels),
    and set back at the end. Nothing of the objective runs in the backward pass that this would have to reach.
    """
    backends: list[Any] = [torch.backends.cuda.matmul, torch.backends.mkldnn.matmul]  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
