"""How alike objects are by whether each can be reconstructed from the other's features (UniTrack's RSM).

Every cell of every object attends to the cells of *all* objects of the other side at once: one softmax, which is not
renormalised for a pair. What one object contributes to it is the reconstruction, and its cosine with the own features,
flattened over cells, is the similarity; both directions are averaged. To rounding as in Zhongdao/UniTrack
core/association/matching.py (`reconsdot_distance`).

The reconstructions themselves, T x D x cells x channels numbers, are never formed. With W the weights of a pair, A its
affinities and G the Gram matrix of the object that is attended to, <own, reconstructed> = sum(W A) and
|reconstructed|^2 = sum(W G . W): work without the factor of channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from mec_transfer.common.device import prefers_large_operations

# T tracks, D detections, n and m cells of each, C channels.

TEMPERATURE = 100.0
_EPSILON = 1e-12
"""Added to a reconstruction's norm; it decides how alike objects are that hardly attend to each other."""
_NEGLECTED = 60.0
"""Logits farther below a row's largest are taken for this far: 1e-26 of a weight cannot move a norm of 1e-12."""
_RAISED = 28.0
"""The largest logit of a row, so that the squares of the smallest weights stay in float32's normal range."""
_HELD = 1 << 26
"""Affinities kept for both directions (256 MiB); beyond that they are computed twice."""
_CHUNK = 1 << 18
"""Affinities looked at in one go, which a core's cache holds."""
_LARGE_CHUNK = 1 << 24


def object_cells(features: torch.Tensor) -> torch.Tensor:
    """Return the (n, C) L2-normalised cells of an object's features, (C, ...)."""
    return F.normalize(features.flatten(1), dim=0).T.contiguous()


@torch.inference_mode()
def reconstruction_cost(tracks: Sequence[torch.Tensor], detections: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the (T, D) float32 costs, 1 - similarity, of objects given as their `object_cells`.

    Objects of one side may differ in cells; the smaller ones are padded with zeros, which take part in the softmax and
    in the norm of what is reconstructed, as in the published code.
    """
    if not tracks or not detections:
        return torch.zeros(len(tracks), len(detections))
    own, other = _pad(tracks), _pad(detections)
    grams = own @ own.mT, other @ other.mT
    logits = None
    if own[..., 0].numel() * other[..., 0].numel() <= _HELD:
        logits = _logits(own, other)
    there = _cosines(own, other, *grams, logits)
    back = _cosines(other, own, *grams[::-1], None if logits is None else logits.T)
    return 1 - (there + back.T) / 2


def _pad(objects: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return (objects, cells of the largest, C)."""
    most = max(1, *(len(cells) for cells in objects))
    if all(len(cells) == most for cells in objects):
        return torch.stack(list(objects))
    padded = objects[0].new_zeros(len(objects), most, objects[0].shape[1])
    for row, cells in zip(padded, objects):
        row[: len(cells)] = cells
    return padded


def _logits(own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the affinities of all cells with all, (T n, D m), times `TEMPERATURE`."""
    queries, keys = own.flatten(0, 1), other.flatten(0, 1)
    return torch.addmm(queries.new_zeros(()), queries, keys.T, beta=0, alpha=TEMPERATURE)


def _cosines(
    own: torch.Tensor, other: torch.Tensor, own_gram: torch.Tensor, gram: torch.Tensor, logits: torch.Tensor | None
) -> torch.Tensor:
    """Return the (T, D) cosines of `own` (T, n, C) with their reconstructions from each of `other` (D, m, C)."""
    (size, n, _), (count, m, _) = own.shape, other.shape
    dots, squares = own.new_empty(size, count), own.new_empty(size, count)
    step = max(1, (_LARGE_CHUNK if prefers_large_operations(own.device) else _CHUNK) // (n * count * m))
    for start in range(0, size, step):
        stop = min(start + step, size)
        part = _logits(own[start:stop], other) if logits is None else logits[start * n : stop * n].contiguous()
        weights = part - (part.amax(dim=1, keepdim=True) - _RAISED)
        weights.clamp_min_(_RAISED - _NEGLECTED).exp_()
        share = 1 / weights.sum(dim=1)
        dot = (part * weights).view(-1, count, m).sum(2)
        dots[start:stop] = (dot * share[:, None]).view(-1, n, count).sum(1)
        by_object = weights.view(-1, count, m).transpose(0, 1)
        square = torch.bmm(by_object, gram).mul_(by_object).sum(2)
        squares[start:stop] = (square * share.square()).view(count, -1, n).sum(2).T
    norms = squares.clamp_min_(0).sqrt_().clamp_min_(_EPSILON)
    lengths = own_gram.diagonal(dim1=1, dim2=2).sum(1).sqrt_().clamp_min_(_EPSILON)
    return dots / (norms * lengths[:, None] * TEMPERATURE)
