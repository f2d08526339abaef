from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from mec_transfer.classification.config import ScheduleConfig
from mec_transfer.classification.optim import LarcSGD, make_linear


def _rates_of_torch(scheduler_class, epochs: int, **options) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = scheduler_class(optimizer, **options)
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_cosine_is_the_published_closed_form_and_torchs_scheduler() -> None:
    schedule = ScheduleConfig(kind="cosine")
    ours = [schedule.scale(epoch, 20) for epoch in range(20)]
    assert ours == pytest.approx([0.5 * (1 + math.cos(math.pi * epoch / 20)) for epoch in range(20)], abs=1e-15)
    expected = _rates_of_torch(torch.optim.lr_scheduler.CosineAnnealingLR, 20, T_max=20)
    assert ours == pytest.approx(expected, abs=1e-12)
    assert ours[0] == 1.0


def test_multistep_is_torchs_scheduler() -> None:
    schedule = ScheduleConfig(kind="multistep", milestones=(12, 16), factor=0.2)
    ours = [schedule.scale(epoch, 20) for epoch in range(20)]
    expected = _rates_of_torch(torch.optim.lr_scheduler.MultiStepLR, 20, milestones=[12, 16], gamma=0.2)
    assert ours == pytest.approx(expected)
    assert (ours[11], ours[12], ours[16]) == pytest.approx((1.0, 0.2, 0.04))


@pytest.mark.parametrize(
    "keys",
    [
        {"kind": "cosine", "milestones": (12,)},
        {"kind": "cosine", "factor": 0.2},
        {"kind": "multistep", "factor": 0.2},
        {"kind": "multistep", "milestones": (16, 12), "factor": 0.2},
        {"kind": "linear"},
    ],
)
def test_a_schedule_that_contradicts_itself_is_refused(keys: dict) -> None:
    with pytest.raises(ValidationError):
        ScheduleConfig(**keys)


def test_a_head_starts_as_asked_from_its_seed_alone() -> None:
    torch.manual_seed(1)
    head = make_linear(2048, 1000, 0.01, seed=3)
    torch.manual_seed(2)
    again = make_linear(2048, 1000, 0.01, seed=3)
    assert torch.equal(head.weight, again.weight)
    assert head.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert head.weight.mean().item() == pytest.approx(0.0, abs=1e-4)
    assert torch.count_nonzero(head.bias) == 0
    assert not torch.equal(head.weight, make_linear(2048, 1000, 0.01, seed=4).weight)


def test_a_head_without_std_starts_as_torchs_linear() -> None:
    head, reference = make_linear(2048, 1000, None, seed=0), torch.nn.Linear(2048, 1000)
    for ours, theirs in ((head.weight, reference.weight), (head.bias, reference.bias)):
        assert ours.abs().max().item() <= 1 / math.sqrt(2048)
        assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.1)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_larc_is_the_formula(decay: float) -> None:
    """Against a float64 loop of the formula, with a bias that starts at zero and a gradient that is zero once."""
    rng = np.random.default_rng(0)
    start = [rng.normal(size=(3, 4)), np.zeros(3)]
    gradients = [[rng.normal(size=(3, 4)), rng.normal(size=3)] for _ in range(5)]
    gradients[2][0][:] = 0.0
    rates = [0.48, 0.48, 0.3, 0.2, 0.1]

    params = [torch.nn.Parameter(torch.tensor(p)) for p in start]
    optimizer = LarcSGD(params, lr=1.0, momentum=0.9, weight_decay=decay, trust_coefficient=0.001, eps=1e-8)
    for rate, step in zip(rates, gradients, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        for p, gradient in zip(params, step, strict=True):
            p.grad = torch.tensor(gradient)
        optimizer.step()

    for index, expected in enumerate(start):
        expected, momentum = expected.copy(), np.zeros_like(expected)
        for rate, step in zip(rates, gradients, strict=True):
            g = step[index]
            p_norm, g_norm = math.sqrt((expected**2).sum()), math.sqrt((g**2).sum())
            if p_norm != 0 and g_norm != 0:
                local = 0.001 * p_norm / (g_norm + decay * p_norm + 1e-8)
                g = local * (g + decay * expected)
            momentum = 0.9 * momentum + g
            expected -= rate * momentum
        np.testing.assert_allclose(params[index].detach().numpy(), expected, rtol=1e-12)


def test_larc_leaves_a_tensor_without_gradient_alone() -> None:
    p = torch.nn.Parameter(torch.ones(2))
    LarcSGD([p], lr=1.0, momentum=0.9, weight_decay=0.1, trust_coefficient=0.001, eps=1e-8).step()
    assert p.tolist() == [1.0, 1.0]
