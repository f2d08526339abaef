"""Steps of training against a plain re-statement of the published step."""

import copy
import math

import pytest
import torch
from torch.testing import assert_close

from mec_transfer.backbone.backbone import IMAGENET_MEAN, IMAGENET_STD
from pretrain.config import PretrainConfig
from pretrain.trainer import Trainer

STEPS_PER_EPOCH, STEPS = 4, 20
CONFIG = PretrainConfig(
    arch="resnet18", dim=24, pred_dim=8, batch_size=8, epochs=5, warmup_epochs=1, base_lr=0.5, weight_decay=1e-3,
    teacher_momentum=0.9, eps=6.0,
)  # fmt: skip


def batches():
    generator = torch.Generator().manual_seed(7)
    size = (STEPS, 2, CONFIG.batch_size, 3, 32, 32)
    return torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)


def normalised(view, dtype):
    mean, std = (torch.tensor(values, dtype=dtype).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (view.to(dtype) / 255 - mean) / std


def published_loss(p, z, lamda_inv):
    p, z = (tensor / tensor.norm(dim=1, keepdim=True) for tensor in (p, z))
    c = p @ z.T / lamda_inv
    series = c - c @ c / 2 + c @ c @ c / 3 - c @ c @ c @ c / 4
    return torch.trace(series)


def published_training(model, views):
    """Yield loss and coding length after each step; `model` is trained in place."""
    m, d, total, warmup = CONFIG.batch_size, CONFIG.dim, CONFIG.epochs * STEPS_PER_EPOCH, STEPS_PER_EPOCH
    peak, lamda = CONFIG.base_lr * m / 256, 1 / (m * CONFIG.eps / d)
    velocity = {}
    for step, pair in enumerate(views):
        x1, x2 = (normalised(view, next(model.parameters()).dtype) for view in pair)
        lr = peak * step / (warmup - 1)
        lamda_inv = 8 / lamda + (1 / lamda - 8 / lamda) * step / (warmup - 1)
        if step >= warmup:
            lr = 0.5 * peak * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
            lamda_inv = 1 / lamda
        z1, z2 = model.predictor(model.encoder(x1)), model.predictor(model.encoder(x2))
        with torch.no_grad():
            p1, p2 = model.teacher(x1), model.teacher(x2)
        mec = (published_loss(p1, z2, lamda_inv) + published_loss(p2, z1, lamda_inv)) * 0.5 / m
        model.zero_grad()
        (-mec * lamda_inv).backward()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.grad is not None:
                    gradient = parameter.grad + CONFIG.weight_decay * parameter
                    velocity[name] = CONFIG.momentum * velocity[name] + gradient if name in velocity else gradient
                    parameter -= lr * velocity[name]
            momentum = 1 - 0.5 * (1 - CONFIG.teacher_momentum) * (1 + math.cos(math.pi * step / total))
            for teacher, online in zip(model.teacher.parameters(), model.encoder.parameters(), strict=True):
                teacher.copy_(momentum * teacher + (1 - momentum) * online)
        yield -mec.item() * lamda_inv, mec.item() * (m + d) / 2


@pytest.mark.parametrize(("dtype", "steps", "tolerance"), [(torch.float32, STEPS, 1e-3), (torch.float64, 8, 1e-8)])
def test_steps_equal_the_published_ones(monkeypatch, dtype, steps, tolerance):
    """In float64 on ways of their own. In float32 a rounding now and then decides for a ReLU, and batch norm over eight
    images lets that grow: each step begins at the same weights."""
    trainer = Trainer(CONFIG, STEPS_PER_EPOCH, torch.device("cpu"), seed=3)
    if dtype == torch.float64:
        trainer.model.double()
        monkeypatch.setattr("pretrain.trainer.to_input", lambda view, *_: normalised(view, dtype))
    reference = copy.deepcopy(trainer.model)
    frozen = reference.encoder.fc[6].bias.clone()
    views, losses = batches()[:steps], []
    for pair, expected in zip(views, published_training(reference, views), strict=True):
        report = trainer.step(*pair)
        losses.append(report.loss.item())
        found = (losses[-1], report.coding_length.item())
        assert_close(found, expected, rtol=tolerance / 10, atol=tolerance / 100)
        if len(losses) % 4 == 0:
            assert_close(trainer.model.state_dict(), reference.state_dict(), rtol=tolerance, atol=tolerance / 10)
        if dtype == torch.float32:
            reference.load_state_dict(trainer.model.state_dict())
    assert len(losses) == steps and max(losses) - min(losses) > 0.05  # there was something to follow
    assert torch.equal(trainer.model.encoder.fc[6].bias, frozen)
    assert_close(trainer.model.teacher.fc[6].bias, frozen)


@pytest.mark.parametrize("change", [{"precision": "bf16"}, {"channels_last": True}])
def test_precision_and_memory_order_move_the_loss_little(change):
    losses = []
    for config in (CONFIG, CONFIG.model_copy(update=change)):
        trainer = Trainer(config, STEPS_PER_EPOCH, torch.device("cpu"), seed=3)
        losses.append([trainer.step(*pair).loss for pair in batches()[:3]])
        assert all(loss.dtype == torch.float32 for loss in losses[-1])
        assert all(parameter.dtype == torch.float32 for parameter in trainer.model.parameters())
    assert_close(losses[0], losses[1], rtol=0, atol=0.05)


def test_seed_decides_the_initial_weights():
    first, again, other = (
        Trainer(CONFIG, STEPS_PER_EPOCH, torch.device("cpu"), seed).model.encoder.conv1.weight for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
