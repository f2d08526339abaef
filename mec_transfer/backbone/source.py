"""What a user may write for CKPT: a file's path, or a scheme that names a network elsewhere.

    random:ARCH[:SEED][:cifar]    torchvision's default initialisation under SEED (default 0)
    torchvision:ARCH[:WEIGHTS]    torchvision's own weights, for instance torchvision:resnet50:IMAGENET1K_V1
    timm:NAME                     timm's weights, for instance timm:resnet50.a1_in1k
    hf:OWNER/REPO/FILE            a file on the Hugging Face hub
    FAMILY:NAME                   a public checkpoint that `mec-transfer models` lists, for instance moco:v2-800ep

Files from torchvision, timm and the hub are kept in their own caches; a public checkpoint must have been fetched with
`mec-transfer models fetch`. All are read like any other file, by `read_backbone`.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from mec_transfer.backbone.backbone import ARCHS, Backbone, Preprocessing, Provenance, Stem, build_resnet
from mec_transfer.backbone.inspection import Inspection, Network
from mec_transfer.common.errors import CheckpointError, UserError, did_you_mean
from mec_transfer.models.zoo import Entry, families, fetched_file, find_entry, models_dir

_PROBE_SECONDS = 5.0


def resolve_backbone(ckpt: str, encoder: str = "auto") -> Backbone:
    """Return the Backbone that `ckpt` names (see the top of this file).

    Raises:
        UserError: the scheme, name, library or network is wrong or missing.
        CheckpointError: the file does not hold exactly one usable ResNet (`read_backbone`).
    """
    if not names_a_source(ckpt):
        from mec_transfer.backbone.reader import read_backbone

        return read_backbone(ckpt, encoder)
    scheme, _, name = ckpt.partition(":")
    if is_public(ckpt):
        return _public(ckpt, encoder)
    if scheme not in _SCHEMES:
        raise UserError(
            f"{ckpt}: no such file, and '{scheme}:' is not a source.{did_you_mean(scheme, [*_SCHEMES, *families()])} "
            f"Give a file, one of {', '.join(f'{known}:' for known in _SCHEMES)}, or a name that mec-transfer models "
            "lists"
        )
    return _SCHEMES[scheme](ckpt, name, encoder)


def names_a_source(ckpt: str) -> bool:
    """Whether `ckpt` names a source, rather than the path of a file."""
    scheme, colon, _ = ckpt.partition(":")
    return bool(colon) and "/" not in scheme and not Path(ckpt).exists()


def is_public(ckpt: str) -> bool:
    """Whether `ckpt` names a public checkpoint, perhaps misspelt."""
    return names_a_source(ckpt) and ckpt.partition(":")[0] in families()


def weights_file(ckpt: str) -> Path:
    """Return the file that `ckpt` stands for, whether it exists or not; for other libraries' sources, `ckpt` itself."""
    return find_entry(ckpt).path(models_dir()) if is_public(ckpt) else Path(ckpt)


def inspect_source(ckpt: str, encoder: str = "auto") -> Inspection:
    """Say what `resolve_backbone` makes of a `ckpt` that names a source. Raises as it does."""
    if is_public(ckpt):
        from mec_transfer.backbone.reader import inspect_checkpoint

        entry = find_entry(ckpt)
        inspection = inspect_checkpoint(fetched_file(entry), _encoder(entry, encoder))
        return dataclasses.replace(inspection, file=f"{ckpt} ({inspection.file})")
    backbone = resolve_backbone(ckpt, encoder)
    found, count = backbone.provenance, len(backbone.state_dict)
    what = f"{backbone.arch}, {backbone.stem} stem"
    return Inspection(
        file=ckpt,
        sha256=found.file_sha256 or "",
        format=found.format,
        networks=(Network(prefix=found.prefix, tensors=count, what=what, role=found.encoder, taken=True),),
        epoch=found.epoch,
        arch=backbone.arch,
        stem=backbone.stem,
        tensors=count,
        left_out=found.left_out,
        preprocessing=backbone.preprocessing,
        preprocessing_from=f"what {ckpt.partition(':')[0]}: states" if found.file_sha256 else "the default",
        notes=found.notes,
    )


def _random(ckpt: str, name: str, encoder: str) -> Backbone:
    import torch

    arch, *options = name.split(":")
    _check_arch(ckpt, arch)
    if encoder != "auto":
        raise UserError(f"{ckpt}: a random network has one encoder; leave --encoder {encoder} out")
    stem: Stem = "imagenet"
    if options and options[-1] == "cifar":
        stem = "cifar"
        options.pop()
    seed = options[0] if options else "0"
    if len(options) > 1 or not (seed.isascii() and seed.isdigit() and int(seed) < 2**63):
        raise UserError(f"{ckpt}: must be random:ARCH[:SEED][:cifar] with a whole number for SEED")
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also reseed every GPU, which fork_rng(devices=[]) does not put back.
        torch.default_generator.manual_seed(int(seed))
        state_dict = build_resnet(arch, stem).state_dict()
    source = f"random:{arch}:{int(seed)}" + (":cifar" if stem == "cifar" else "")
    provenance = Provenance(source=source, format="random")
    return Backbone(arch=arch, state_dict=state_dict, stem=stem, provenance=provenance)


def _torchvision(ckpt: str, name: str, encoder: str) -> Backbone:
    import torch
    import torchvision

    arch, _, tag = name.partition(":")
    _check_arch(ckpt, arch)
    choices = torchvision.models.get_model_weights(arch).__members__
    if tag and tag not in choices:
        raise UserError(f"{ckpt}: no weights '{tag}'.{did_you_mean(tag, choices)} There are: {', '.join(choices)}")
    weights = choices[tag or "DEFAULT"]
    path = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    if not path.exists():
        _need_network(ckpt, weights.url, f"put the file at {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = path.stem.rpartition("-")[2]  # torchvision's file names carry the start of their sha256
        _fetching(ckpt, lambda: torch.hub.download_url_to_file(weights.url, str(path), digest, progress=False))
    view = weights.transforms()
    return _read(ckpt, path, encoder, Preprocessing(mean=_triple(view.mean), std=_triple(view.std)), arch)


def _timm(ckpt: str, name: str, encoder: str) -> Backbone:
    timm = _library(ckpt, "timm")
    arch = name.partition(".")[0]
    if not timm.is_model(arch):
        raise UserError(f"{ckpt}: timm has no model '{arch}'.{did_you_mean(arch, timm.list_models('*resnet*'))}")
    if arch not in ARCHS:
        raise UserError(f"{ckpt}: not a plain ResNet; this program takes {', '.join(ARCHS)}")
    known = timm.list_pretrained(f"{arch}.*")
    if name not in (arch, *known):
        raise UserError(f"{ckpt}: timm has no such weights.{did_you_mean(name, known)} There are: {', '.join(known)}")
    config = timm.models.get_pretrained_cfg(name)
    path = _hub_file(ckpt, config.hf_hub_id, config.hf_hub_filename or "model.safetensors")
    return _read(ckpt, path, encoder, Preprocessing(mean=_triple(config.mean), std=_triple(config.std)), arch)


def _hub(ckpt: str, name: str, encoder: str) -> Backbone:
    owner, _, rest = name.partition("/")
    repo, _, file = rest.partition("/")
    if not (owner and repo and file):
        raise UserError(f"{ckpt}: must be hf:OWNER/REPO/FILE")
    return _read(ckpt, _hub_file(ckpt, f"{owner}/{repo}", file), encoder)


def _public(ckpt: str, encoder: str) -> Backbone:
    entry = find_entry(ckpt)
    return _read(ckpt, fetched_file(entry), _encoder(entry, encoder), arch=entry.arch)


def _encoder(entry: Entry, encoder: str) -> str:
    return entry.encoder if encoder == "auto" else encoder


_SCHEMES: dict[str, Callable[[str, str, str], Backbone]] = {
    "random": _random,
    "torchvision": _torchvision,
    "timm": _timm,
    "hf": _hub,
}


def _read(
    ckpt: str, path: Path, encoder: str, preprocessing: Preprocessing | None = None, arch: str | None = None
) -> Backbone:
    """Read a fetched file, under the name the user gave it and the preprocessing its library states."""
    from mec_transfer.backbone.reader import read_backbone

    backbone = read_backbone(path, encoder)
    if arch and backbone.arch != arch:
        raise CheckpointError(f"{ckpt}: {path} holds a {backbone.arch}, not a {arch}; delete it and try again")
    return dataclasses.replace(
        backbone,
        preprocessing=preprocessing or backbone.preprocessing,
        provenance=dataclasses.replace(backbone.provenance, source=ckpt),
    )


def _hub_file(ckpt: str, repo: str, file: str) -> Path:
    """Return the cached path of a file on the Hugging Face hub, fetching it where it is not cached."""
    hub = _library(ckpt, "huggingface_hub")
    cached = hub.try_to_load_from_cache(repo, file)
    if isinstance(cached, str):
        return Path(cached)
    # The hub's client tries six times over 45 s before it gives up: ask once whether it is there at all.
    _need_network(ckpt, os.environ.get("HF_ENDPOINT", "https://huggingface.co"), f"give the path of {file}")
    return Path(_fetching(ckpt, lambda: hub.hf_hub_download(repo, file)))


def _check_arch(ckpt: str, arch: str) -> None:
    if arch not in ARCHS:
        raise UserError(f"{ckpt}: no ResNet '{arch}'.{did_you_mean(arch, ARCHS)} There are: {', '.join(ARCHS)}")


def _library(ckpt: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"{ckpt}: needs the package {name}, which is not installed; pip install {name}") from None


def _need_network(ckpt: str, url: str, otherwise: str) -> None:
    """Raise UserError within seconds where the server cannot be reached (any HTTP answer will do)."""
    try:
        urlopen(Request(url, method="HEAD"), timeout=_PROBE_SECONDS).close()
    except HTTPError:
        return
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"{ckpt}: {url} cannot be reached ({reason}); go online, or {otherwise}") from None


def _fetching(ckpt: str, fetch: Callable[[], Any]) -> Any:
    try:
        return fetch()
    except Exception as error:  # each library raises its own kinds; the user needs their first line only
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]  # advice follows, over many lines
        raise UserError(f"{ckpt}: cannot be fetched ({first})") from None


def _triple(values: Any) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third
