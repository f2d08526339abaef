"""The ResNets that this project reads: every name and shape of each, and which one a set of tensors is."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from mec_transfer.backbone.backbone import Stem

Shape = tuple[int, ...]

_BLOCKS: dict[tuple[str, tuple[int, ...]], str] = {
    ("basic", (2, 2, 2, 2)): "resnet18",
    ("basic", (3, 4, 6, 3)): "resnet34",
    ("bottleneck", (3, 4, 6, 3)): "resnet50",
    ("bottleneck", (3, 4, 23, 3)): "resnet101",
    ("bottleneck", (3, 8, 36, 3)): "resnet152",
}
_BLOCK_NAME = re.compile(r"layer(\d+)\.(\d+)\.")
COUNTER = "num_batches_tracked"


@functools.cache
def expected_tensors(arch: str, stem: Stem = "imagenet") -> dict[str, Shape]:
    """Return torchvision's names with their shapes, without the classifier and the BN counters.

    ResNet-50 has 265: 53 convolutions, and 4 tensors for each of 53 batch normalisations.
    """
    kind, blocks = next(key for key, name in _BLOCKS.items() if name == arch)
    expansion = 4 if kind == "bottleneck" else 1
    tensors: dict[str, Shape] = {}

    def convolution(name: str, out: int, into: int, kernel: int, norm: str) -> None:
        tensors[f"{name}.weight"] = (out, into, kernel, kernel)
        for part in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"{norm}.{part}"] = (out,)

    convolution("conv1", 64, 3, 7 if stem == "imagenet" else 3, "bn1")
    into = 64
    for stage, count in enumerate(blocks, start=1):
        width = 64 * 2 ** (stage - 1)
        for block in range(count):
            at = f"layer{stage}.{block}"
            kernels = (1, 3, 1) if kind == "bottleneck" else (3, 3)
            channels = (into, width, width, width * expansion) if kind == "bottleneck" else (into, width, width)
            for i, kernel in enumerate(kernels, start=1):
                convolution(f"{at}.conv{i}", channels[i], channels[i - 1], kernel, f"{at}.bn{i}")
            if block == 0 and into != width * expansion:
                convolution(f"{at}.downsample.0", width * expansion, into, 1, f"{at}.downsample.1")
            into = width * expansion
    return tensors


def identify(shapes: Mapping[str, Shape]) -> tuple[str, Stem] | str:
    """Return (arch, stem) that the tensors (torchvision's names to shapes) fully match, or what stands in the way.

    BN counters are optional. Any further tensor whose name belongs to a ResNet's body is in the way too, since a
    network with more in it computes something else.
    """
    stages: dict[int, set[int]] = {}
    for name in shapes:
        if found := _BLOCK_NAME.match(name):
            stages.setdefault(int(found[1]), set()).add(int(found[2]))
    blocks = tuple(len(stages[stage]) for stage in sorted(stages))
    kind = "bottleneck" if any(".conv3." in name for name in shapes) else "basic"
    named = _special(shapes)
    arch = _BLOCKS.get((kind, blocks))
    if named or arch is None:
        counts = "-".join(map(str, blocks)) or "no"
        return named or f"{counts} {kind} blocks, which no ResNet-18, 34, 50, 101 or 152 has"
    stem: Stem = "cifar" if shapes.get("conv1.weight", ())[2:] == (3, 3) else "imagenet"
    return _difference(shapes, arch, stem) or (arch, stem)


def _special(shapes: Mapping[str, Shape]) -> str:
    """Name a well-known relative of ResNet that is not one of the five, or return ''."""
    conv1 = shapes.get("conv1.weight")
    if any(re.match(r"conv1\.\d|conv[23]\.|stem\.", name) for name in shapes):
        return "a ResNet with a deep stem (ResNet-C/D or CLIP), which is not torchvision's"
    if any(re.search(r"\.(se|attn|gc|eca)\d?\.", name) for name in shapes):
        return "a ResNet with attention or squeeze-excitation blocks, which is not torchvision's"
    if conv1 and len(conv1) == 4 and conv1[1] != 3:
        return f"a ResNet for {conv1[1]} input channels, not 3"
    second = shapes.get("layer1.0.conv2.weight")
    if conv1 and conv1[0] != 64:
        return f"a ResNet of {conv1[0] / 64:g}x width (conv1 has {conv1[0]} channels, not 64)"
    if second and len(second) == 4 and "layer1.0.conv3.weight" in shapes:
        if second[0] != second[1]:
            return f"a ResNeXt ({second[0] // second[1]} groups), not a ResNet"
        if second[0] != 64:
            return f"a wide ResNet (inner width {second[0]} where ResNet has 64)"
    return ""


def _difference(shapes: Mapping[str, Shape], arch: str, stem: Stem) -> str:
    """Say how the tensors differ from the architecture, or return ''."""
    expected = expected_tensors(arch, stem)
    missing = [name for name in expected if name not in shapes]
    extra = [name for name in shapes if name not in expected and not _is_counter(name, expected)]
    wrong = [name for name, shape in expected.items() if name in shapes and shapes[name] != shape]
    statistics = [name for name in missing if name.endswith(("running_mean", "running_var"))]
    if statistics and len(statistics) == len(missing):
        return f"{arch} without {_some(statistics)} (BN statistics): saved without its buffers"
    parts = []
    if missing:
        parts.append(f"lacks {_some(missing)}")
    if extra:
        parts.append(f"has {_some(extra)} besides")
    if wrong:
        name = wrong[0]
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        parts.append(f"has {name} of shape {_shape(shapes[name])} where {_shape(expected[name])} belongs{more}")
    return f"{arch} but " + ", ".join(parts) if parts else ""


def _is_counter(name: str, expected: Mapping[str, Shape]) -> bool:
    return name.endswith(f".{COUNTER}") and name.replace(COUNTER, "running_mean") in expected


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{len(names)} tensors ({shown}, ...)"


def _shape(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "scalar"
