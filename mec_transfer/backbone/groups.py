"""What a loaded checkpoint holds: its tensors by one flat name each, and the ResNets among them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import torch

from mec_transfer.backbone.architectures import Shape, identify
from mec_transfer.backbone.backbone import Stem
from mec_transfer.common.pickles import Placeholder

Scheme = Literal["torchvision", "sequential", "detectron2", "transformers"]

WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Parts of a name that DataParallel, torch.compile, FSDP and activation checkpointing put in."""

OUTER = ("state_dict", "model", "model_state_dict")
"""Top-level keys under which a file keeps its only state dict: not part of a prefix."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Content:
    """The leaves of a loaded checkpoint. A name is the path of keys joined by dots."""

    tensors: Mapping[str, torch.Tensor]
    opaque: Mapping[str, Placeholder]
    """Objects that are not read, by name."""
    outer: str = ""
    """The top-level key of the state dict with its dot, where it is one of `OUTER`."""
    repeated: frozenset[str] = frozenset()
    """Names that two different paths spell alike."""

    def shown(self, name: str) -> str:
        """The name without `outer`."""
        return name.removeprefix(self.outer)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """Tensors that look like one ResNet's body: everything with one prefix, in one scheme of names."""

    prefix: str
    """What stands before them in the file, without the outer key, such as `module.encoder.`."""
    name: str
    """The same without wrappers and without the last dot, such as `encoder`: what formats are told apart by."""
    scheme: Scheme
    names: Mapping[str, str]
    """torchvision's name to the name in the file."""
    verdict: tuple[str, Stem] | str
    """Architecture and stem of a full match, or what stands in its way."""

    @property
    def option(self) -> str:
        """What --encoder takes for this group."""
        return self.prefix.rstrip(".") or "."

    @property
    def what(self) -> str:
        """The verdict in words."""
        if isinstance(self.verdict, str):
            return self.verdict
        arch, stem = self.verdict
        return f"{arch}, {stem} stem"


def flatten(loaded: Any) -> Content:
    """Collect every tensor and array of a loaded checkpoint, wherever it lies."""
    tensors: dict[str, torch.Tensor] = {}
    opaque: dict[str, Placeholder] = {}
    repeated: set[str] = set()
    for name, value in _leaves(loaded, "", set()):
        if isinstance(value, Placeholder):
            opaque[name] = value
            continue
        if name in tensors:
            repeated.add(name)
        tensors[name] = value if isinstance(value, torch.Tensor) else _from_array(value)
    outer = next((f"{key}." for key in OUTER if isinstance(_items(loaded).get(key), Mapping | Placeholder)), "")
    return Content(tensors=tensors, opaque=opaque, outer=outer, repeated=frozenset(repeated))


def _items(value: Any) -> Mapping[Any, Any]:
    if isinstance(value, Placeholder):
        return value.items
    return value if isinstance(value, Mapping) else {}


def _leaves(value: Any, name: str, above: set[int]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, torch.Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind in "fiub"):
        yield name, value
        return
    if isinstance(value, Placeholder) and not value.items:
        yield name, value
        return
    if id(value) in above or not isinstance(value, Mapping | Placeholder | list | tuple):
        return
    deeper = above | {id(value)}
    pairs = enumerate(value) if isinstance(value, list | tuple) else _items(value).items()
    for key, inner in pairs:
        if isinstance(key, str | int):
            yield from _leaves(inner, f"{name}.{key}" if name else str(key), deeper)


def _from_array(array: np.ndarray) -> torch.Tensor:
    # brings a foreign byte order home; ascontiguousarray would turn a scalar into a vector
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C", copy=False))


_STAGE: dict[Scheme, re.Pattern[str]] = {
    "torchvision": re.compile(r"(?:^|\.)(layer\d\.\d+\.)"),
    "sequential": re.compile(r"(?:^|\.)(\d\.\d+\.(?:conv|bn|downsample\.|shortcut\.)\d\.)"),
    "detectron2": re.compile(r"(?:^|\.)(res[2-5]\.\d+\.)"),
    "transformers": re.compile(
        r"(?:^|\.)(encoder\.stages\.\d\.layers\.\d+\.(?:layer\.\d|shortcut)\.(?:convolution|normalization)\.)"
    ),
}
"""Where in a name, freed of wrappers, a block of a stage begins: what stands before is the prefix."""

_BODY = re.compile(r"(layer\d|conv\d|bn\d|norm\d|stem|attnpool)\.")
"""Names that belong to a ResNet's body, not to a head, by torchvision's scheme."""


def find_groups(content: Content) -> list[Group]:
    """Return every set of tensors that looks like a ResNet's body, in the order of the file."""
    plain: dict[str, list[str]] = {}
    for name in content.tensors:
        plain.setdefault(without_wrappers(name), []).append(name)
    found: dict[tuple[str, Scheme], None] = {}
    for name in plain:
        for scheme, pattern in _STAGE.items():
            if match := pattern.search(name):
                found[name[: match.start(1)], scheme] = None
    groups = [_group(content, plain, prefix, scheme) for prefix, scheme in found]
    sources = [set(group.names.values()) for group in groups]
    # under a prefix such as `0.0.`, a stem's conv1 looks like a block's by another scheme: it is the whole's part
    return [group for group, own in zip(groups, sources, strict=True) if not any(own < other for other in sources)]


def _group(content: Content, plain: Mapping[str, list[str]], prefix: str, scheme: Scheme) -> Group:
    local = {name[len(prefix) :]: sources for name, sources in plain.items() if name.startswith(prefix)}
    rename = _SCHEMES[scheme](list(local))
    if isinstance(rename, str):
        problem, rename = rename, lambda name: name if _STAGE[scheme].match(name) else None
    else:
        problem = ""
    names: dict[str, str] = {}
    for name, sources in local.items():
        target = rename(name)
        if target is None:
            continue
        if target in names or len(sources) > 1 or sources[0] in content.repeated:
            problem = problem or f"{target} is stored twice"
        names[target] = sources[0]
    shapes: dict[str, Shape] = {target: tuple(content.tensors[source].shape) for target, source in names.items()}
    shown = content.shown(_raw_prefix(next(iter(names.values())), prefix))
    outer = prefix.removeprefix(content.outer).rstrip(".")
    return Group(prefix=shown, name=outer, scheme=scheme, names=names, verdict=problem or identify(shapes))


def without_wrappers(name: str) -> str:
    """Return a dotted name without the parts that DataParallel and the like put in."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _raw_prefix(name: str, prefix: str) -> str:
    """Return the start of `name` that `prefix` is without its wrappers, with the wrappers that follow it."""
    wanted = prefix.count(".")
    taken = []
    for part in name.split("."):
        if part not in WRAPPERS:
            if wanted == 0:
                break
            wanted -= 1
        taken.append(part)
    return "".join(f"{part}." for part in taken)


Rename = Callable[[str], str | None]


def _torchvision(_names: list[str]) -> Rename:
    return lambda name: name.replace(".shortcut.", ".downsample.") if _BODY.match(name) else None


def _sequential(names: list[str]) -> Rename | str:
    """nn.Sequential(*resnet.children()): conv1, bn1, relu and perhaps maxpool, then the four stages."""
    first = min(int(name[0]) for name in names if _STAGE["sequential"].match(name))
    if first not in (3, 4):
        # lightly's ResNetGenerator, whose ReLU is not a child: its Sequential computes conv1, bn1, layer1
        return f"an nn.Sequential with its first stage at {first}, so without the stem's ReLU"
    parts = {"0": "conv1", "1": "bn1", **{str(first + i): f"layer{i + 1}" for i in range(4)}}

    def rename(name: str) -> str | None:
        head, _, rest = name.partition(".")
        if head not in parts or not rest:
            return None
        return f"{parts[head]}.{rest}".replace(".shortcut.", ".downsample.")

    return rename


def _detectron2(_names: list[str]) -> Rename:
    def rename(name: str) -> str | None:
        if not re.match(r"(stem|res[2-5])\.", name) or name.startswith("stem.fc."):
            return None  # MoCo's converter leaves the projector as stem.fc
        name = re.sub(r"conv(\d)\.norm\.", r"bn\1.", name.removeprefix("stem."))
        name = name.replace("shortcut.norm.", "downsample.1.").replace("shortcut.", "downsample.0.")
        return re.sub(r"^res([2-5])", lambda match: f"layer{int(match[1]) - 1}", name)

    return rename


_TRANSFORMERS_BLOCK = re.compile(r"encoder\.stages\.(\d)\.layers\.(\d+)\.(?:layer\.(\d)|shortcut)\.(\w+)\.(\w+)")
_TRANSFORMERS_STEM = re.compile(r"embedder\.embedder\.(\w+)\.(\w+)")


def _transformers(_names: list[str]) -> Rename:
    """Hugging Face's ResNet: an embedder, then stages of layers, each a shortcut and a row of convolutions."""

    def rename(name: str) -> str | None:
        kinds = {"convolution": "conv", "normalization": "bn"}
        if stem := _TRANSFORMERS_STEM.fullmatch(name):
            return f"{kinds.get(stem[1], stem[1])}1.{stem[2]}"
        if not name.startswith("encoder.stages."):
            return None
        block = _TRANSFORMERS_BLOCK.fullmatch(name)
        if block is None or block[4] not in kinds:
            return name  # of the body, and nothing that a ResNet has: in the way
        stage, layer, number, kind, leaf = block.groups()
        part = f"{kinds[kind]}{int(number) + 1}" if number else f"downsample.{list(kinds).index(kind)}"
        return f"layer{int(stage) + 1}.{layer}.{part}.{leaf}"

    return rename


_SCHEMES: dict[Scheme, Callable[[list[str]], Rename | str]] = {
    "torchvision": _torchvision,
    "sequential": _sequential,
    "detectron2": _detectron2,
    "transformers": _transformers,
}
