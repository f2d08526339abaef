"""The stand-in for mmcv's compiled operations (`mmcv._ext`), made of torchvision's kernels, on a CPU and on a GPU.

mmcv 1.x without its C++ part has no `mmcv._ext`, and everything above it imports the operations all the same.
Single-object tracking and ReID run none of them; the detectors of SORT and DeepSORT run `nms` and `roi_align`. These
two are here, with the arguments and in-place results of the compiled ones; any other says that it is missing. A real
`mmcv._ext` that is installed is used instead of this.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch
import torchvision  # noqa: F401  registers its operations with torch
from torch import Tensor

NAME = "mmcv._ext"

_AVERAGE = 1


def nms(bboxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Return the indices of the boxes (N, 4) that stay, best score first; `offset` is added to widths and heights."""
    if offset:
        bboxes = torch.cat((bboxes[:, :2], bboxes[:, 2:] + offset), dim=1)
    return torch.ops.torchvision.nms(bboxes, scores, float(iou_threshold))


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill `output` (K, C, height, width) with what `rois` (K, 5) average of `input` (N, C, H, W)."""
    _only_average(pool_mode)
    size = (aligned_height, aligned_width)
    output.copy_(
        torch.ops.torchvision.roi_align(input, rois, float(spatial_scale), *size, int(sampling_ratio), bool(aligned))
    )


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill `grad_input` (N, C, H, W) with the gradient that `grad_output` (K, C, height, width) has there."""
    _only_average(pool_mode)
    backward = torch.ops.torchvision._roi_align_backward
    size, shape = (aligned_height, aligned_width), grad_input.shape
    grad_input.copy_(
        backward(grad_output, rois, float(spatial_scale), *size, *shape, int(sampling_ratio), bool(aligned))
    )


def _only_average(pool_mode: int) -> None:
    if pool_mode != _AVERAGE:
        raise NotImplementedError("mmcv's roi_align with pool_mode='max' needs the compiled mmcv-full")


def get_compiler_version() -> str:
    """Say what mmcv's report on its environment asks for."""
    return "none: torchvision's operations"


def get_compiling_cuda_version() -> str:
    """Say what mmcv's report on its environment asks for."""
    return "none: torchvision's operations"


OPERATIONS: tuple[Callable[..., Any], ...] = (
    nms,
    roi_align_forward,
    roi_align_backward,
    get_compiler_version,
    get_compiling_cuda_version,
)


class StandIn(ModuleType):
    """A module that has every operation: those of OPERATIONS, and for each other name one that raises."""

    def __init__(self) -> None:
        super().__init__(NAME, __doc__)
        self.__spec__ = ModuleSpec(NAME, loader=None)
        for operation in OPERATIONS:
            setattr(self, operation.__name__, operation)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return an operation that says it is missing; mmcv only asks at first whether it is there."""
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*args: object, **kwargs: object) -> None:
            raise NotImplementedError(f"mmcv's operation {name!r} needs the compiled mmcv-full")

        return missing


def provide() -> bool:
    """Put the stand-in where mmcv looks for its compiled operations, unless these are installed. Returns whether."""
    if NAME in sys.modules:
        return isinstance(sys.modules[NAME], StandIn)
    if importlib.util.find_spec(NAME) is not None:
        return False
    sys.modules[NAME] = StandIn()
    return True
