"""The proof of a conversion: the written file computes what its source computes, under the settings it names.

The source runs as torchvision's own modules; the file runs as `EngineForward`, written over the engine's names.
Both get one seeded input; every convolution, norm and stage is compared, so that a wrong tensor shows even where a
zero gamma or a dead ReLU would hide it from the stages' outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mec_transfer.backbone.backbone import Backbone, build_resnet
from mec_transfer.backbone.engine_forward import EngineForward, engine_input
from mec_transfer.backbone.layouts import LAYOUTS, Layout
from mec_transfer.common.errors import CheckpointError, RunError

if TYPE_CHECKING:
    import torch

INPUT_SEED = 20240229
INPUT_SIZE = 64

PIXEL_TOLERANCE = 1e-5
"""How far the normalised input (up to 3) may differ: (x - 255 mean) / (255 std) against (x / 255 - mean) / std."""
FOLD_TOLERANCE = 1e-4
"""How far SOTResNet's activations may differ, relative to the layer's largest (at least 1): sums in another order."""

_STAGE_MODULES = ("maxpool", "layer1", "layer2", "layer3", "layer4")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Proof:
    """What was compared and how far apart it was."""

    input_seed: int = INPUT_SEED
    input_size: int = INPUT_SIZE
    steps: int
    """Convolutions, norms and stages compared."""
    max_abs_difference: dict[str, float]
    """By stage: `input` (the normalised pixels), stem, res2 to res5."""
    tolerance: float
    """How far the stages may differ. 0: not in a bit. Else relative to the step's largest activation (at least 1)."""
    max_relative_difference: float
    """How far they differ, on the same scale."""
    input_tolerance: float = PIXEL_TOLERANCE


def prove(backbone: Backbone, layout: Layout, tensors: Mapping[str, torch.Tensor], settings: dict[str, Any]) -> Proof:
    """Compare a written file's `tensors` under an engine's `settings` with the source, step by step.

    Raises:
        CheckpointError: the source's own activations are not finite.
        RunError: the file is not what the engine expects, or a step differs by more than its tolerance.
    """
    import torch

    generator = torch.Generator().manual_seed(INPUT_SEED)
    pixels = torch.randint(0, 256, (1, 3, INPUT_SIZE, INPUT_SIZE), generator=generator).float()
    depth = int(backbone.arch.removeprefix("resnet"))
    engine = EngineForward(layout.name, depth, tensors, settings, small_stem=backbone.stem == "cifar")
    tolerance = 0.0 if layout.renames else FOLD_TOLERANCE
    differences: dict[str, float] = {}
    largest = 0.0
    with torch.inference_mode():
        normalised, given = _normalised(pixels, backbone), engine_input(layout.name, settings, pixels)
        if layout.renames:
            differences["input"], _ = _compare("input", given, normalised, PIXEL_TOLERANCE)
            given = normalised  # equal up to rounding; from here on every bit counts
        found = engine.run(given)
        expected = _source_steps(backbone, normalised, sot=not layout.renames)
        if not all(bool(step.isfinite().all()) for step in expected):
            raise CheckpointError(
                f"{backbone.provenance.source}: the network's own activations overflow on a random image; "
                "its training has diverged"
            )
        if len(found) != len(expected):
            raise RunError(f"the engine computes {len(found)} steps, the source {len(expected)}")
        for number, ((stage, step), reference) in enumerate(zip(found, expected)):
            if number == 0 and not layout.renames:
                continue  # conv1 alone differs by the shift that bn1 takes back
            difference, relative = _compare(stage, step, reference, tolerance)
            differences[stage] = max(difference, differences.get(stage, 0.0))
            largest = max(largest, relative)
    return Proof(steps=len(found), max_abs_difference=differences, max_relative_difference=largest, tolerance=tolerance)


def _compare(stage: str, found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> tuple[float, float]:
    """Return the largest difference, and its ratio to the largest expected value (at least 1).

    Raises RunError where the ratio is above `tolerance`, or not a number.
    """
    if found.shape != expected.shape:
        raise RunError(f"{stage} has shape {tuple(found.shape)}, the source's {tuple(expected.shape)}")
    difference = float((found - expected).abs().max())
    relative = difference / max(1.0, float(expected.abs().max()))
    if not relative <= tolerance:
        raise RunError(f"{stage} differs from the source by {difference:.3g} (relative {relative:.3g} > {tolerance:g})")
    return difference, relative


def _normalised(pixels: torch.Tensor, backbone: Backbone) -> torch.Tensor:
    """What the source's pretraining fed it, for RGB pixels 0-255, (N, 3, H, W)."""
    import torch

    preprocessing = backbone.preprocessing
    x = pixels.flip(1) if preprocessing.channel_order == "BGR" else pixels
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    return (x / 255 - mean) / std


def _source_steps(backbone: Backbone, x: torch.Tensor, sot: bool) -> list[torch.Tensor]:
    """Run torchvision's modules; return the outputs of convolutions, norms and stages in the order of computing."""
    import torch

    network = _source_network(backbone, sot)
    steps: list[torch.Tensor] = []
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.BatchNorm2d) or name in _STAGE_MODULES:
            # torchvision adds and rectifies in place: keep a copy of what this module returned
            module.register_forward_hook(lambda _module, _inputs, output: steps.append(output.clone()))
    network(x)
    return steps


def _source_network(backbone: Backbone, sot: bool) -> Any:
    import torch

    with torch.device("meta"):  # nothing is drawn and copied that the weights would only replace
        network = build_resnet(backbone.arch, backbone.stem).eval()
    network.load_state_dict(LAYOUTS["torchvision"].to_engine(backbone), strict=False, assign=True)
    if sot:
        _repad(network)
    return network


def source_stages(backbone: Backbone, x: torch.Tensor, sot: bool = False) -> dict[str, torch.Tensor]:
    """Return what torchvision's own network makes of its input, layer1 to layer4 by name.

    Args:
        backbone: the weights.
        x: (N, 3, H, W) float32, normalised as the backbone's preprocessing says, on the CPU.
        sot: whether with the geometry of mmtrack's SOTResNet.
    """
    import torch

    network = _source_network(backbone, sot)
    stages: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
        for name in _STAGE_MODULES[1:]:
            stages[name] = x = getattr(network, name)(x)
    return stages


def _repad(network: Any) -> None:
    """Give torchvision's ResNet-50 the geometry of mmtrack's SOTResNet, leaving its weights alone.

    The stem is not padded; layer2's first block is not padded, its shortcut starts one pixel in; layers 3 and 4
    keep layer2's stride and are dilated by 2 and 4, their first blocks by half of that.
    """
    import torch

    network.conv1.padding = (0, 0)
    network.layer2[0].conv2.padding = (0, 0)
    network.layer2[0].downsample.insert(0, torch.nn.ZeroPad2d(-1))
    for layer, dilation in ((network.layer3, 2), (network.layer4, 4)):
        layer[0].downsample[0].stride = (1, 1)
        for number, block in enumerate(layer):
            block.conv2.stride = (1, 1)
            block.conv2.dilation = block.conv2.padding = (dilation // 2,) * 2 if number == 0 else (dilation,) * 2
