"""Write a Backbone as an engine's file, with the proof that it computes the same there."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from mec_transfer.backbone.backbone import Backbone
from mec_transfer.backbone.engine_files import AUTHOR, decode, encode
from mec_transfer.backbone.layouts import Layout, find_layout
from mec_transfer.backbone.proof import Proof, prove
from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.files import atomic_writer, read_json, sha256_file


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """What stands in `<out>.manifest.json`: where a converted file comes from, and why to trust it."""

    tool: str = AUTHOR
    layout: str
    file: str
    file_sha256: str
    tensors: int
    source: dict[str, Any]
    """The Backbone's provenance: file, its sha256, format, prefix taken, encoder, epoch, what was left out, notes."""
    arch: str
    stem: str
    backbone_sha256: str
    settings: dict[str, Any]
    """What the engine's config must say for these weights."""
    proof: Proof


def manifest_path(out: Path) -> Path:
    """Return the path of a converted file's manifest."""
    return out.with_name(f"{out.name}.manifest.json")


def check_out(layout: str, out: Path) -> Layout:
    """Return the layout named `layout`. Raises UserError if there is none, or its engine would not read `out`."""
    target = find_layout(layout)
    if out.is_dir():
        raise UserError(f"{out}: is a folder; name the file to write")
    if out.suffix not in target.suffixes:
        raise UserError(f"{out}: layout {layout} goes into a file ending in {' or '.join(target.suffixes)}")
    return target


def convert(backbone: Backbone, layout: str, out: Path, overwrite: bool = False) -> Manifest:
    """Write `backbone` to `out` in `layout` with its manifest; read it back and prove it before it gets its name.

    Where `out` is this very conversion already, it is left as it is. Neither file is left behind by a failed proof,
    a crash or a full disk.

    Raises:
        UserError: no such layout, an `out` that the engine would not read, or that exists and is something else.
        CheckpointError: the engine has no network of the Backbone's shape, or its activations overflow.
        RunError: the proof failed, or the file cannot be written.
    """
    target = check_out(layout, out)
    target.check(backbone)
    done = _finished(backbone, layout, out)
    if done:
        return done
    _check_free(backbone, out, overwrite)
    tensors = target.to_engine(backbone)
    content = encode(layout, out.suffix, tensors)
    # The manifest gets its name first: a file that is there has one, and a kill in between is mended by running again.
    with atomic_writer(out) as handle, atomic_writer(manifest_path(out)) as sidecar:
        handle.write(content)
        _flush(handle)
        manifest = _proven(backbone, target, out, Path(handle.name))
        sidecar.write((json.dumps(dataclasses.asdict(manifest), indent=2, allow_nan=False) + "\n").encode())
        _flush(sidecar)  # a full disk shows before either has its name
    return manifest


def _proven(backbone: Backbone, layout: Layout, out: Path, written: Path) -> Manifest:
    """Read the file at `written` back and return its manifest. Raises RunError if it is not equal to its source."""
    settings, source = layout.settings(backbone), backbone.provenance
    tensors = decode(layout.name, written, out.suffix)
    try:
        proof = prove(backbone, layout, tensors, settings)
    except RunError as error:
        raise RunError(f"{out}: not written, since it failed its proof: {error}") from None
    return Manifest(
        layout=layout.name,
        file=out.name,
        file_sha256=sha256_file(written),
        tensors=len(tensors),
        source=vars(source) | {"left_out": dict(source.left_out), "notes": list(source.notes)},
        arch=backbone.arch,
        stem=backbone.stem,
        backbone_sha256=backbone.sha256,
        settings=settings,
        proof=proof,
    )


def _finished(backbone: Backbone, layout: str, out: Path) -> Manifest | None:
    """Return the manifest of `out` where it is this very conversion, whole and made by this version."""
    sidecar = manifest_path(out)
    if not (out.is_file() and sidecar.is_file()):
        return None
    try:
        found = read_json(sidecar)
        manifest = Manifest(**{**found, "proof": Proof(**found["proof"])})
    except (UserError, TypeError, KeyError):
        return None
    made = (manifest.tool, manifest.layout, manifest.backbone_sha256, manifest.source.get("file_sha256"))
    wanted = (AUTHOR, layout, backbone.sha256, backbone.provenance.file_sha256)
    return manifest if made == wanted and manifest.file_sha256 == sha256_file(out) else None


def _flush(handle: BinaryIO) -> None:
    handle.flush()
    os.fsync(handle.fileno())


def _check_free(backbone: Backbone, out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not overwrite:
        raise UserError(f"{out}: exists and is not this conversion; choose another --out, or pass --overwrite")
    source = Path(backbone.provenance.source)
    if source.exists() and source.samefile(out):
        raise UserError(f"{out}: is the checkpoint itself; choose another --out")
