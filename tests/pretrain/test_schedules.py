"""Schedules against the published numbers and closed forms."""

import math

import pytest

from pretrain.config import PretrainConfig
from pretrain.schedules import Schedules, lamda_inv_at, lamda_of, lr_at, peak_lr, teacher_momentum_at


def test_published_numbers():
    assert lamda_of(1024, 2048, 64) == 1 / 32
    assert peak_lr(0.5, 1024) == 2.0
    per_epoch = 1251  # 1,281,167 images, batch 1024, last one dropped
    published = Schedules.of(PretrainConfig(), per_epoch)
    assert (published.total, published.warmup) == (125_100, 12_510)
    assert (published.lr(0), published.lamda_inv(0), published.teacher_momentum(0)) == (0, 256, 0.996)
    assert (published.lr(12_509), published.lamda_inv(12_509)) == (2.0, 32)
    assert (published.lr(12_510), published.lamda_inv(12_510)) == (2.0, 32)
    assert published.lamda_inv(125_099) == 32
    middle = 12_510 + (125_100 - 12_510) // 2
    assert published.lr(middle) == pytest.approx(1.0)
    assert published.teacher_momentum(125_100 // 2) == pytest.approx(0.998)
    assert 0 < published.lr(125_099) < 1e-8
    assert 1 - 1e-9 < published.teacher_momentum(125_099) < 1


@pytest.mark.parametrize("step", range(10))
def test_closed_forms(step):
    peak, warmup, total = 3.0, 4, 10
    lr = peak * step / 3 if step < 4 else peak * math.cos(math.pi * (step - 4) / 12) ** 2
    assert lr_at(step, peak, warmup, total) == pytest.approx(lr)
    lamda_inv = 10 * (8 - 7 * min(step, 3) / 3)
    assert lamda_inv_at(step, 0.1, warmup) == pytest.approx(lamda_inv)
    momentum = 1 - 0.1 * math.cos(math.pi * step / 20) ** 2
    assert teacher_momentum_at(step, 0.9, total) == pytest.approx(momentum)


def test_without_warmup_and_with_one_step_of_it():
    assert lr_at(0, 2.0, 0, 5) == 2.0
    assert lamda_inv_at(0, 0.5, 0) == 2.0
    assert lr_at(0, 2.0, 1, 5) == 0.0
    assert lamda_inv_at(0, 0.5, 1) == 16.0
    assert lamda_inv_at(1, 0.5, 1) == 2.0


def test_max_steps_stops_early_on_the_same_schedule():
    whole, short = (Schedules.of(PretrainConfig(max_steps=steps), 50) for steps in (None, 7))
    assert (whole.last, short.last) == (5000, 7)
    assert [short.lr(step) for step in range(7)] == [whole.lr(step) for step in range(7)]
