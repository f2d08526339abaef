"""What a checkpoint says beside its weights: epoch, preprocessing, conventions; and what it is when it is no ResNet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mec_transfer.backbone.backbone import Preprocessing, Stem
from mec_transfer.backbone.formats import Format, is_own
from mec_transfer.backbone.groups import Content, Group
from mec_transfer.common.errors import CheckpointError, UserError
from mec_transfer.common.files import read_json
from mec_transfer.common.pickles import Placeholder

# by the first that any name in the file fits
_FOREIGN = {
    r"cls_token|class_token|pos_embed|patch_embed\.|conv_proj\.|\.attn\.": "a Vision Transformer",
    r"^res\d_\d+_branch|res_conv1_bn": "Caffe2's ResNet (MSRA), with its BN statistics folded away",
    r"downsample_layers\.|stages\.\d+\.blocks|stages\.\d+\.\d+\.(conv_dw|dwconv)": "a ConvNeXt or RegNet",
    r"encoder\.stages\.\d+\.layers\.": "a network of Hugging Face transformers that is no ResNet",
    r"(^|\.)features\.": "a VGG, DenseNet, MobileNet or EfficientNet",
    r"blocks\.\d+\.": "a network of another family",
}

_OBJECT = "a pickled {} object, which is never run; save its state_dict() instead"


def describe_foreign(content: Content, loaded: Any) -> str:
    """Say what a file without any ResNet holds, and what to do."""
    if isinstance(loaded, Placeholder) and not content.tensors:
        return _OBJECT.format(loaded.qualified)
    opaque = {placeholder.qualified for placeholder in content.opaque.values()}
    if any("_load_from_bytes" in name for name in opaque):
        return (
            "its tensors are nested pickles (torch.storage._load_from_bytes), which are never run; "
            "save the file again with torch.save"
        )
    for name, placeholder in content.opaque.items():
        if isinstance(placeholder.state, Mapping) and "_modules" in placeholder.state:
            return f"'{name}' is {_OBJECT.format(placeholder.qualified)}"
    if not content.tensors:
        keys = ", ".join(str(key) for key in list(loaded)[:6]) if isinstance(loaded, Mapping) else type(loaded).__name__
        return f"holds no tensors (only {keys or 'nothing'}); name a checkpoint with weights"
    names = [content.shown(name) for name in content.tensors]
    shown = ", ".join(names[:3])
    for pattern, family in _FOREIGN.items():
        if any(re.search(pattern, name) for name in names):
            return f"holds {family} ({shown}, ...), and only ResNet-18 to 152 can be read"
    return f"no ResNet among its {len(names)} tensors ({shown}, ...); name a checkpoint of a ResNet"


def find_epoch(root: Mapping[Any, Any]) -> int | None:
    """Return the epoch that the file states, or None."""
    meta = root.get("meta")
    for holder in (root, meta if isinstance(meta, Mapping) else {}):
        epoch = holder.get("epoch")
        if isinstance(epoch, int | float) and not isinstance(epoch, bool) and float(epoch).is_integer():
            return int(epoch)
    return None


def find_preprocessing(root: Mapping[Any, Any], arch: str, stem: Stem) -> tuple[Preprocessing, str]:
    """Return the preprocessing and where it is from.

    Raises:
        CheckpointError: this project's own file states one, or an arch or stem, that cannot be.
    """
    if not is_own(root):
        return Preprocessing(), "assumed: the file does not say"
    for key, found in (("arch", arch), ("stem", stem)):
        if root.get(key, found) != found:
            raise CheckpointError(f"says {key} {root[key]!r:.40}, but its weights are a {found}; pretrain again")
    stated: Any = root.get("preprocessing")
    try:
        order = {"RGB": "RGB", "BGR": "BGR"}[stated["channel_order"]]
        mean, std = (tuple(float(value) for value in stated[key]) for key in ("mean", "std"))
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError
    except (TypeError, KeyError, ValueError):
        raise CheckpointError(
            f"its 'preprocessing' is {stated!r:.80}, not three means, three stds and a channel_order"
        ) from None
    return Preprocessing(mean=mean, std=std, channel_order=order), "the file"  # type: ignore[arg-type]


def check_conventions(
    path: Path, root: Mapping[Any, Any], group: Group, known: Format | None, *, explicit: bool
) -> list[str]:
    """Return notes on what weights cannot show: channel order, the stride's place, the stem's padding.

    A file by Hugging Face's names says it in the config.json beside it.

    Raises:
        CheckpointError: the file says that its network is not torchvision's in one of these.
    """
    notes = []
    if group.scheme == "detectron2":
        notes.append(_detectron2(root, group, explicit))
    if group.scheme == "transformers":
        notes += _transformers(path.with_name("config.json"))
    meta = root.get("meta")
    if isinstance(meta, Mapping) and any(
        isinstance(text, str) and re.search(r"style\s*=\s*['\"]caffe", text) for text in meta.values()
    ):
        raise CheckpointError(
            "its config says style='caffe' (stride in the 1x1, BGR), which is not torchvision's ResNet"
        )
    if not isinstance(group.verdict, str) and group.verdict[1] == "cifar":
        notes.append("conv1 is 3x3: read as the small-image stem (stride 1, no max pooling)")
        if known and known.name == "solo-learn":
            notes.append(
                "solo-learn pads this stem's conv1 by 2, and here it is padded by 1: features differ at the border"
            )
    return notes


def _transformers(config: Path) -> list[str]:
    """Hugging Face's ResNets stride in the 3x3 convolution, unless their config says otherwise."""
    try:
        stated = read_json(config)
    except UserError:
        return [f"no {config.name} beside it: the stride is taken to be in the 3x3 convolution, the default"]
    if isinstance(stated, dict) and stated.get("downsample_in_bottleneck"):
        raise CheckpointError(
            f"{config.name} beside it says downsample_in_bottleneck (stride in the 1x1), "
            "which is not torchvision's ResNet"
        )
    return []


def _detectron2(root: Mapping[Any, Any], group: Group, explicit: bool) -> str:
    """Detectron2's own networks (MSRA) take BGR and stride in the 1x1; those converted from torchvision do not."""
    author = str(root.get("__author__", ""))
    if re.search("caffe2|detectron2", author, re.IGNORECASE):
        raise CheckpointError(
            f"of '{author}', whose networks take BGR and stride in the 1x1 convolution; convert the original instead"
        )
    if root.get("matching_heuristics"):
        return f"converted to Detectron2's names by '{author or 'unknown'}': RGB, stride in the 3x3 convolution"
    if explicit:
        return "Detectron2's names without a converter's mark: RGB and stride in the 3x3 convolution are assumed"
    raise CheckpointError(
        "a network by Detectron2's names that does not say its channel order or where it strides; if it takes RGB "
        f"and strides in the 3x3 convolution (STRIDE_IN_1X1 False), say --encoder {group.option}"
    )
