"""The networks: names, the projector's published form, and what moves the teacher."""

import pytest
import torch
from torch import nn

from pretrain.model import MecModel


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MecModel("resnet18", "cifar", dim=24, pred_dim=8).train()


def test_published_sizes_on_resnet50():
    with torch.device("meta"):
        model = MecModel("resnet50")
    fc, predictor = model.encoder.fc, model.predictor
    assert [type(layer) for layer in fc] == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2 + [nn.Linear, nn.BatchNorm1d]
    assert [tuple(fc[i].weight.shape) for i in (0, 3, 6)] == [(2048, 2048)] * 3
    assert fc[0].bias is None and fc[3].bias is None and fc[6].bias is not None
    assert fc[1].affine and fc[4].affine and not fc[7].affine
    assert [tuple(predictor[i].weight.shape) for i in (0, 3)] == [(512, 2048), (2048, 512)]
    assert predictor[0].bias is None and predictor[3].bias is not None


def test_names_and_widths(model):
    names = set(model.state_dict())
    assert {name.partition(".")[0] for name in names} == {"encoder", "teacher", "predictor"}
    assert {name[8:] for name in names if name.startswith("encoder.")} == {
        name[8:] for name in names if name.startswith("teacher.")
    }
    assert "encoder.conv1.weight" in names and "encoder.fc.6.bias" in names and "encoder.fc.7.running_mean" in names
    assert [tuple(model.encoder.fc[i].weight.shape) for i in (0, 3, 6)] == [(512, 512), (512, 512), (24, 512)]


def test_residual_branches_start_at_zero_and_the_teacher_as_a_copy(model):
    assert all(
        block.bn2.weight.eq(0).all() for stage in ("layer1", "layer4") for block in getattr(model.encoder, stage)
    )
    pairs = list(zip(model.encoder.parameters(), model.teacher.parameters(), strict=True))
    assert all(torch.equal(online, teacher) and online is not teacher for online, teacher in pairs)


def test_only_encoder_and_predictor_are_trained_without_the_frozen_bias(model):
    trained = {id(parameter) for parameter in model.trained_parameters()}
    names = {name for name, parameter in model.named_parameters() if id(parameter) not in trained}
    assert names == {name for name in names if name.startswith("teacher.")} | {"encoder.fc.6.bias"}


def test_forward_passes(model):
    x1, x2 = torch.randn(2, 6, 3, 32, 32).unbind()
    (z1, z2), (p1, p2) = model(x1, x2), model.targets(x1, x2)
    assert all(tensor.shape == (6, 24) for tensor in (z1, z2, p1, p2))
    assert z1.requires_grad and z2.requires_grad and not p1.requires_grad and not p2.requires_grad
    for p in (p1, p2):  # batch norm saw one view at a time: each view by itself is centred and of unit variance
        torch.testing.assert_close(p.mean(0), torch.zeros(24), atol=1e-5, rtol=0)
        torch.testing.assert_close(p.var(0, unbiased=False), torch.ones(24), atol=1e-2, rtol=0)


def test_teacher_follows_in_parameters_only(model):
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(torch.randn_like(parameter))
        for buffer in model.encoder.buffers():
            buffer.add_(3)
    before = {name: tensor.clone() for name, tensor in model.teacher.state_dict().items()}
    model.update_teacher(0.9)
    parameters = dict(model.encoder.named_parameters())
    for name, tensor in model.teacher.state_dict().items():
        expected = 0.9 * before[name] + 0.1 * parameters[name] if name in parameters else before[name]
        torch.testing.assert_close(tensor, expected)
    assert not any(parameter.requires_grad for parameter in model.teacher.parameters())


def test_teacher_keeps_running_statistics_of_its_own(model):
    with torch.no_grad():
        for parameter in model.teacher.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    x = torch.randn(6, 3, 32, 32)
    model(x, x)
    model.targets(x, x)
    assert model.teacher.bn1.num_batches_tracked == model.encoder.bn1.num_batches_tracked == 2
    assert not torch.allclose(model.teacher.bn1.running_mean, model.encoder.bn1.running_mean)
