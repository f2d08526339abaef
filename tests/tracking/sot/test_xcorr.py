"""Cross-correlation against its sum written out, the published mistakes and the corrected variant."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mec_transfer.tracking.sot.config import target_cells
from mec_transfer.tracking.sot.xcorr import Xcorr


def make(crop_size: int = 88, **changes) -> Xcorr:
    return Xcorr(**{"crop_size": crop_size, "padding": 1.2, "update": 0.0, "corrected": False, **changes})


def slow_response(template: np.ndarray, search: np.ndarray) -> np.ndarray:
    """(C, t, t) slid over (C, n, n) under a Hann window, times 0.1."""
    n, t = search.shape[-1], template.shape[-1]
    hann = np.array([0.5 - 0.5 * np.cos(2 * np.pi * i / (n - 1)) for i in range(n)])
    weighted = search * hann[:, None] * hann
    response = np.zeros((n - t + 1, n - t + 1))
    for row in range(n - t + 1):
        for column in range(n - t + 1):
            response[row, column] = 0.1 * (weighted[:, row : row + t, column : column + t] * template).sum()
    return response


def test_the_published_target_cells() -> None:
    assert target_cells(520, 3.5) == slice(25, 39)
    assert target_cells(88, 1.2) == slice(3, 7)


def test_response_is_the_written_out_sum_for_each_of_three_scales() -> None:
    rng = np.random.default_rng(1)
    first, search = rng.normal(size=(1, 6, 11, 11)), rng.normal(size=(3, 6, 11, 11))
    xcorr = make()
    xcorr.learn(torch.from_numpy(first[:, :, 3:7, 3:7]).float())
    response = xcorr.respond(torch.from_numpy(search).float()).numpy()
    assert response.shape == (3, 8, 8)
    for found, features in zip(response, search, strict=True):
        np.testing.assert_allclose(found, slow_response(first[0, :, 3:7, 3:7], features), atol=1e-5)


def test_update_blends_templates() -> None:
    rng = np.random.default_rng(2)
    first, second = (torch.from_numpy(rng.normal(size=(1, 6, 4, 4))).float() for _ in range(2))
    xcorr = make(update=0.25)
    xcorr.learn(first)
    xcorr.learn(second)
    torch.testing.assert_close(xcorr.template, 0.75 * first + 0.25 * second)


def test_published_middle_is_one_off_and_its_step_too_wide() -> None:
    published, corrected = make(520, padding=3.5), make(520, padding=3.5, corrected=True)
    assert published.side == 52
    np.testing.assert_allclose(published.shift(25, 25), [-1 / 52, -1 / 52])
    np.testing.assert_allclose(published.shift(26, 30), [4 / 52, 0])
    np.testing.assert_allclose(corrected.shift(25, 25), [0, 0])
    np.testing.assert_allclose(corrected.shift(24, 30), [5 * 8 / 519, -8 / 519])


@pytest.mark.parametrize(("down", "right"), [(0, 0), (-1, 0), (1, 2)])
def test_corrected_shift_is_where_the_target_went(down: int, right: int) -> None:
    rng = np.random.default_rng(3)
    features = torch.zeros(1, 32, 11, 11)
    features[:, :, 3:7, 3:7] = torch.from_numpy(rng.normal(size=(1, 32, 4, 4))).float()
    xcorr = make(corrected=True)
    xcorr.learn(features[:, :, 3:7, 3:7])
    response = xcorr.respond(torch.roll(features, (down, right), dims=(2, 3)))[0]
    row, column = divmod(int(response.argmax()), response.shape[1])
    np.testing.assert_allclose(xcorr.shift(row, column), np.array([right, down]) * 8 / 87)
