"""The networks of MEC: an online encoder with its predictor, and a momentum teacher.

Source: MEC mec/builder.py. State names: `encoder.*` (a torchvision ResNet whose `fc` is the projector),
`teacher.*` (the same), `predictor.*`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import nn

from mec_transfer.backbone.backbone import Stem, build_resnet


class MecModel(nn.Module):
    """Online encoder and predictor (trained), and the teacher: a moving average of the encoder's parameters.

    The teacher stays in train mode: its batch norms use the statistics of its own batch and keep running statistics
    of their own; `update_teacher` moves parameters only.
    """

    def __init__(self, arch: str, stem: Stem = "imagenet", dim: int = 2048, pred_dim: int = 512) -> None:
        super().__init__()
        self.encoder = build_resnet(arch, stem, zero_init_residual=True)
        self.encoder.fc = _projector(int(self.encoder.inplanes), dim)  # type: ignore[arg-type]
        self.predictor = nn.Sequential(
            nn.Linear(dim, pred_dim, bias=False),
            nn.BatchNorm1d(pred_dim),
            nn.ReLU(inplace=True),
            nn.Linear(pred_dim, dim),
        )
        self.teacher = copy.deepcopy(self.encoder).requires_grad_(False)

    def forward(self, x1: torch.Tensor, x2: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed two views, (N, 3, H, W) each, with the online network: z1 and z2, (N, dim) each.

        In separate passes, so that batch norm sees one view at a time.
        """
        return self.predictor(self.encoder(x1)), self.predictor(self.encoder(x2))

    @torch.no_grad()
    def targets(self, x1: torch.Tensor, x2: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed two views with the teacher, likewise: p1 and p2, (N, dim) each."""
        return self.teacher(x1), self.teacher(x2)

    def trained_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that the optimiser moves: encoder and predictor, without the frozen bias."""
        return (parameter for parameter in self.parameters() if parameter.requires_grad)

    @torch.no_grad()
    def update_teacher(self, momentum: float, fused: bool = False) -> None:
        """teacher = momentum * teacher + (1 - momentum) * encoder, parameters only; after the optimiser's step.

        `fused` takes one pass over the memory in place of two, and rounds otherwise.
        """
        teacher: list[torch.Tensor] = list(self.teacher.parameters())
        online: list[torch.Tensor] = list(self.encoder.parameters())
        if fused:
            torch._foreach_lerp_(teacher, online, weight=1 - momentum)
            return
        torch._foreach_mul_(teacher, momentum)
        torch._foreach_add_(teacher, online, alpha=1 - momentum)


def _projector(width: int, dim: int) -> nn.Sequential:
    last = nn.Linear(width, dim)
    last.bias.requires_grad = False  # a batch norm follows, which would take any bias away again
    return nn.Sequential(
        nn.Linear(width, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(inplace=True),
        nn.Linear(width, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(inplace=True),
        last,
        nn.BatchNorm1d(dim, affine=False),
    )
