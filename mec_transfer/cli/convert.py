"""Write a checkpoint's ResNet as another engine's file, prove that it computes the same there, and say
what the engine's config needs. The file comes with FILE.manifest.json; a file that fails its proof is not left.

Layouts, and the endings FILE may have:
  detectron2     .pkl                 also what MoCo's convert-pretrain-to-detectron2.py writes
  openmmlab      .pth .pt             ResNet of mmdet, mmcls and mmtrack (ReID)
  openmmlab-sot  .pth .pt             SOTResNet of mmtrack (SiamRPN): ResNet-50, fed raw 0-255 BGR
  timm           .safetensors .pth .pt
  torchvision    .pth .pt

  mec-transfer convert mec_r50.pth --to detectron2 --out mec_r50.pkl
  mec-transfer convert mec_r50.pth --encoder teacher --to timm --out mec_r50.safetensors
  mec-transfer convert random:resnet50:1 --to openmmlab --out random.pth

In random:ARCH[:SEED][:cifar], cifar asks for the 3x3 stem of small images (layout torchvision only); a name of
torchvision's weights may follow torchvision:ARCH, as in torchvision:resnet50:IMAGENET1K_V1.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mec_transfer.cli.options import add_checkpoint

if TYPE_CHECKING:
    from mec_transfer.backbone.convert import Manifest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add CKPT, --encoder, --to, --out and --overwrite."""
    add_checkpoint(parser)
    parser.add_argument("--to", required=True, metavar="LAYOUT", help="the engine's layout, see above")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists and is something else")


def run(args: argparse.Namespace) -> int:
    """Convert and print what was taken, how far the proof was apart, and the engine's settings."""
    import torch

    from mec_transfer.backbone.convert import check_out, convert
    from mec_transfer.backbone.source import resolve_backbone

    check_out(args.to, args.out)  # before a large file is read for nothing
    torch.set_num_threads(1)  # on one small image several threads mostly wait for each other
    backbone = resolve_backbone(args.checkpoint, args.encoder)
    print(_table(convert(backbone, args.to, args.out, args.overwrite), args.out))
    return 0


def _table(manifest: Manifest, out: Path) -> str:
    source, proof = manifest.source, manifest.proof
    taken = f"prefix '{source['prefix']}'" if source["prefix"] else "no prefix"
    left = ", ".join(f"{name} {count}" for name, count in source["left_out"].items())
    rows = {
        "source": f"{source['source']} ({source['format']})",
        "taken": f"{manifest.arch}, {taken}, encoder: {source['encoder']}, {manifest.tensors} tensors",
        "left out": left or "nothing",
        "written": f"{out} ({manifest.layout}, sha256 {manifest.file_sha256[:12]})",
        "proof": f"{proof.steps} steps on a seeded input: {_verdict(manifest)}",
        "differences": "  ".join(f"{stage} {value:.1e}" for stage, value in proof.max_abs_difference.items()),
    }
    width = max(map(len, rows))
    lines = [f"{name:<{width}}  {value}" for name, value in rows.items()]
    settings = [f"  {key} = {value!r}" for key, value in manifest.settings.items()]
    notes = [f"note: {note}" for note in source["notes"]]
    return "\n".join([*lines, *notes, "to be set in the engine:", *settings])


def _verdict(manifest: Manifest) -> str:
    proof = manifest.proof
    if proof.tolerance == 0:
        return "equal to the source, bit for bit"
    return (
        f"within {proof.max_relative_difference:.1e} of the source (allowed {proof.tolerance:g}), relative to each step"
    )
