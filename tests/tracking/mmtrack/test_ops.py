"""The stand-in for mmcv's compiled operations, against the operations written out; mmcv itself is not needed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from mec_transfer.tracking.mmtrack import ops, reference_ops


@pytest.mark.parametrize("offset", [0, 1])
def test_nms_keeps_what_the_rule_keeps(offset: int) -> None:
    boxes, scores = reference_ops.random_boxes(200)
    before = boxes.clone()
    expected = reference_ops.nms(boxes.numpy(), scores.numpy(), 0.4001, offset)
    assert ops.nms(boxes, scores, iou_threshold=0.4001, offset=offset).tolist() == expected
    assert 0 < len(expected) < 200 and torch.equal(boxes, before)
    assert ops.nms(boxes[:0], scores[:0], 0.4, offset).tolist() == []


@pytest.mark.parametrize(("samples", "aligned"), [(2, True), (0, True), (0, False)])
def test_roi_align_fills_what_the_formula_gives(samples: int, aligned: bool) -> None:
    image, rois = reference_ops.random_regions()
    found, gradient, nothing = torch.full((12, 5, 2, 3), 9.0), torch.full_like(image, 9.0), torch.empty(0)
    ops.roi_align_forward(image, rois, found, nothing, nothing, 2, 3, 0.5, samples, 1, aligned)
    expected = reference_ops.roi_align(image.double().numpy(), rois.double().numpy(), (2, 3), 0.5, samples, aligned)
    torch.testing.assert_close(found, torch.from_numpy(expected).float())
    weight = torch.rand(found.shape, generator=torch.Generator().manual_seed(0))
    ops.roi_align_backward(weight, rois, nothing, nothing, gradient, 2, 3, 0.5, samples, 1, aligned)
    torch.testing.assert_close((gradient * image).sum(), (weight * found).sum())


def test_a_whole_box_of_a_ramp_averages_to_its_middle() -> None:
    """By hand: pixel x holds x; the region from 2 to 6 has its bins' centres at 3 and 5, half a pixel to the left."""
    ramp = torch.arange(9.0).expand(1, 1, 9, 9).contiguous()
    found, nothing = torch.zeros(1, 1, 1, 2), torch.empty(0)
    region = torch.tensor([[0.0, 2, 2, 6, 6]])
    ops.roi_align_forward(ramp, region, found, nothing, nothing, 1, 2, 1.0, 2, 1, True)
    assert found.flatten().tolist() == [2.5, 4.5]


def test_an_operation_that_is_not_there_says_so_when_it_is_called() -> None:
    module = ops.StandIn()
    assert module.nms is ops.nms and not hasattr(module, "__path__")
    with pytest.raises(
        NotImplementedError, match="mmcv's operation 'deform_conv_forward' needs the compiled mmcv-full"
    ):
        module.deform_conv_forward(1, stride=2)
    nothing = torch.empty(0)
    with pytest.raises(NotImplementedError, match="pool_mode='max' needs the compiled"):
        ops.roi_align_forward(nothing, nothing, nothing, nothing, nothing, 1, 1, 1.0, 2, 0, True)


@pytest.mark.parametrize("compiled", [True, False])
def test_real_operations_are_used_where_there_are_any(
    compiled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mmcv").mkdir()
    (tmp_path / "mmcv/__init__.py").touch()
    if compiled:
        (tmp_path / "mmcv/_ext.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "mmcv"]:
        monkeypatch.delitem(sys.modules, name)
    try:
        assert ops.provide() is not compiled and (ops.NAME in sys.modules) is not compiled
        assert ops.provide() is not compiled
    finally:
        for name in ("mmcv", ops.NAME):
            sys.modules.pop(name, None)
