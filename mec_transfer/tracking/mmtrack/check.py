"""Proofs that the installed MMTracking computes what the protocols need; `engines check mmtracking` runs them.

Each returns a line that says what it saw, or raises.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mec_transfer.backbone.convert import convert
from mec_transfer.backbone.engine_forward import STAGES, EngineForward, engine_input
from mec_transfer.backbone.layouts import find_layout
from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.common.errors import RunError
from mec_transfer.datasets.pixels import normalise
from mec_transfer.engines.guard import checkpoint_features, looking, seeded_image
from mec_transfer.tracking.mmtrack import engine, reference_ops

_SOT_TOLERANCE = 1e-5
"""Relative to the norm: MMTracking and the reference call the same convolutions in another order."""


def prove_nms() -> str:
    """mmcv's nms keeps the boxes that the rule keeps, the same twice."""
    engine.load()
    from mmcv.ops import nms

    boxes, scores = reference_ops.random_boxes(400)
    kept = 0
    for offset in (0, 1):
        for threshold in (0.3001, 0.7003):  # that no IoU of these boxes equals
            _, found = nms(boxes, scores, threshold, offset=offset)
            expected = reference_ops.nms(boxes.numpy(), scores.numpy(), threshold, offset)
            again = nms(boxes, scores, threshold, offset=offset)[1]
            if found.tolist() != expected or not torch.equal(found, again):
                raise RunError(f"nms at {threshold} with offset {offset} keeps other boxes than the rule does")
            kept += len(expected)
    return f"keeps the same boxes as the rule written out ({kept} of {4 * len(boxes)})"


def prove_roi_align() -> str:
    """mmcv's roi_align averages what the formula averages, forwards and backwards, the same twice."""
    engine.load()
    from mmcv.ops import roi_align

    image, rois = reference_ops.random_regions()
    worst = 0.0
    for samples, aligned in ((2, True), (0, True), (2, False)):
        x = image.clone().requires_grad_()
        found = roi_align(x, rois, (3, 4), 0.5, samples, "avg", aligned)
        expected = reference_ops.roi_align(image.double().numpy(), rois.double().numpy(), (3, 4), 0.5, samples, aligned)
        worst = max(worst, float((found.detach().double() - torch.from_numpy(expected)).abs().max()))
        # Linear in the image: what flows back of a weight W meets the image in <W, roi_align(image)>.
        weight = torch.rand(found.shape, generator=torch.Generator().manual_seed(3))
        (gradient,) = torch.autograd.grad(found, x, weight)
        there, back = (weight * found).sum().item(), (gradient * image).sum().item()
        worst = max(worst, abs(there - back) / abs(there))
        if not torch.equal(found, roi_align(image, rois, (3, 4), 0.5, samples, "avg", aligned)):
            raise RunError("roi_align gives something else the second time")
    if not worst <= 1e-5:
        raise RunError(f"roi_align differs from the formula by {worst:.3g}")
    return f"forwards and backwards the formula's to {worst:.1g}"


def prove_resnet() -> str:
    """A converted random ResNet-50, loaded by mmcv itself, gives torchvision's four stages in mmdet and in mmcls."""
    engine.load()
    import mmcls.models
    import mmdet.models

    backbone = resolve_backbone("random:resnet50:0")
    x = normalise(seeded_image()[None], backbone.preprocessing)
    expected = checkpoint_features(backbone, x)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "random.pth")
        convert(backbone, "openmmlab", file)
        for models in (mmdet.models, mmcls.models):
            network = models.build_backbone({"type": "ResNet", "depth": 50, "out_indices": (0, 1, 2, 3)})
            _load(network, file)
            with looking(network):
                found = network(x)
            for (stage, wanted), theirs in zip(expected.items(), found, strict=True):
                if not torch.equal(theirs, wanted):
                    difference = (theirs - wanted).abs().max()
                    raise RunError(f"{stage} of {models.__name__} differs from torchvision's by {difference:.3g}")
    return "layer1 to layer4 of a converted random ResNet-50 equal torchvision's bitwise (mmdet's and mmcls's)"


def prove_sot_resnet() -> str:
    """A ResNet-50 converted for single-object tracking gives in MMTracking's SOTResNet what its file promises."""
    engine.load()
    import mmdet.models

    backbone = resolve_backbone("random:resnet50:0")
    layout = find_layout("openmmlab-sot")
    settings = layout.settings(backbone)
    x = engine_input(layout.name, settings, seeded_image()[None].float())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "random.pth")
        convert(backbone, layout.name, file)  # which proves against torchvision what EngineForward computes
        network = mmdet.models.build_backbone(
            {"type": "SOTResNet", "depth": 50, "out_indices": (0, 1, 2, 3)}
            | {"strides": (1, 2, 1, 1), "dilations": (1, 1, 2, 4)}
        )
        _load(network, file)
    with looking(network):
        found = network(x)
        expected = dict(EngineForward(layout.name, 50, network.state_dict(), settings).run(x))
    worst = 0.0
    for stage, theirs in zip(STAGES[1:], found, strict=True):
        difference = float((theirs - expected[stage]).norm() / expected[stage].norm())
        if not difference <= _SOT_TOLERANCE:
            raise RunError(f"{stage} of SOTResNet differs from the converted file's by {difference:.3g}")
        worst = max(worst, difference)
    return f"four stages of a random ResNet-50, converted with folded input and 3x3 shortcuts, differ by {worst:.1g}"


def prove_siamese_step() -> str:
    """One SGD step of the stock SiamRPN++ on random tensors has a finite loss, moves the head and not the backbone."""
    engine.load()
    from mmtrack.models import build_model

    config = _stock("sot/siamese_rpn/siamese_rpn_r50_20e_lasot.py")
    config.model.backbone.init_cfg = None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_model(config.model).train()
        network.init_weights()
        loss = _step(
            network,
            moving=("neck.", "head."),
            img=torch.rand(1, 3, 127, 127) * 255,
            img_metas=[{}],
            gt_bboxes=[torch.tensor([[40.0, 40, 90, 90]])],
            search_img=torch.rand(1, 1, 3, 255, 255) * 255,
            search_img_metas=[[{}]],
            search_gt_bboxes=[torch.tensor([[0.0, 100, 100, 160, 150]])],
            is_positive_pairs=[torch.tensor(True)],
        )
    return f"loss {loss:.3f}; neck and head moved, the frozen backbone did not"


def prove_reid_step() -> str:
    """One SGD step of the stock ReID ResNet-50 on random tensors has a finite loss and moves backbone and head."""
    engine.load()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = _reid().train()
        images = torch.rand(4, 3, 256, 128)
        loss = _step(network, moving=("backbone.", "head."), img=images, gt_label=torch.tensor([0, 0, 1, 1]))
    return f"loss {loss:.3f} (cross-entropy and triplets); backbone and head moved"


def prove_deepsort() -> str:
    """The stock DeepSORT on given boxes keeps three objects apart, one of which is away for a frame."""
    engine.load()
    from mmtrack.models import build_model

    config = _stock("mot/deepsort/deepsort_faster-rcnn_fpn_4e_mot17-private-half.py")
    config.model.update(detector=None, reid=None)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = build_model(config.model)
        model.reid = _reid()
        model.eval()
        colours = torch.randn(3, 3, 1, 1)
        seen: dict[int, list[int]] = {0: [], 1: [], 2: []}
        for frame in range(5):
            there = [index for index in seen if not (index == 1 and frame == 3)]
            image, boxes = torch.zeros(1, 3, 160, 320), []
            for index in there:
                left, top = 20 + 100 * index + 3 * frame, 30 + 10 * index
                image[0, :, top : top + 80, left : left + 40] = colours[index]
                boxes.append([left, top, left + 40, top + 80, 0.9])
            meta = {"img_shape": (160, 320, 3), "scale_factor": 1.0}
            _, _, ids = model.tracker.track(
                img=image,
                img_metas=[meta],
                model=model,
                bboxes=torch.tensor(boxes),
                labels=torch.zeros(len(boxes), dtype=torch.long),
                frame_id=frame,
            )
            for index, identity in zip(there, ids.tolist(), strict=True):
                seen[index].append(identity)
    identities = [set(one) for one in seen.values()]
    if any(len(one) != 1 for one in identities) or len(set.union(*identities)) != 3:
        raise RunError(f"DeepSORT gives three objects the identities {list(seen.values())}")
    return "five frames, three objects, one away for a frame: three identities"


def _stock(name: str) -> Any:
    """Return a config that MMTracking ships; no weights of it are to be fetched."""
    import mmcv
    import mmtrack

    return mmcv.Config.fromfile(str(Path(mmtrack.__file__).parent / ".mim" / "configs" / name))


def _reid() -> nn.Module:
    from mmtrack.models import build_reid

    config = _stock("reid/resnet50_b32x8_MOT17.py").model.reid
    config.init_cfg = None
    network: nn.Module = build_reid(config)
    network.init_weights()  # type: ignore[operator]
    return network


def _load(network: nn.Module, file: Path) -> None:
    from mmcv.runner import load_checkpoint

    load_checkpoint(network, str(file), map_location="cpu", strict=True, logger="silent")


def _step(network: nn.Module, moving: tuple[str, ...], **batch: Any) -> float:
    """Train one step; return the loss. Raises RunError unless what begins with `moving` moved, and nothing else."""
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    loss: Tensor = network.train_step(batch, optimizer)["loss"]  # type: ignore[operator]
    if not torch.isfinite(loss):
        raise RunError(f"the loss of the first step is {loss.item()}")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    moved = {
        name.partition(".")[0] + "." for name, value in network.named_parameters() if not value.equal(before[name])
    }
    if moved != set(moving):
        raise RunError(f"a step moves {', '.join(sorted(moved)) or 'nothing'} where {', '.join(moving)} are to move")
    return loss.item()


def _alone(prove: Callable[[], str]) -> Callable[[], str]:
    """Have a proof compute in one thread: so small are its tensors that several only wait for each other."""

    @functools.wraps(prove)
    def proven() -> str:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return prove()
        finally:
            torch.set_num_threads(threads)

    return proven


PROOFS: dict[str, Callable[[], str]] = {
    "nms": _alone(prove_nms),
    "roi_align": _alone(prove_roi_align),
    "ResNet": _alone(prove_resnet),
    "SOTResNet": _alone(prove_sot_resnet),
    "SiamRPN++": _alone(prove_siamese_step),
    "ReID": _alone(prove_reid_step),
    "DeepSORT": _alone(prove_deepsort),
}
"""Name -> proof."""
