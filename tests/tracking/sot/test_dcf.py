"""The correlation filter against discrete Fourier sums written out in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mec_transfer.tracking.sot.dcf import Dcf

N = 11
SETTINGS = {"crop_size": 88, "padding": 1.2, "update": 0.3, "regularisation": 1e-2, "sigma": 0.2}


def transform(values: np.ndarray, sign: int = -1) -> np.ndarray:
    """The two-dimensional Fourier sum over the last axes."""
    places = np.arange(values.shape[-1])
    waves = np.exp(sign * 2j * np.pi * np.outer(places, places) / len(places))
    return waves @ values @ waves


def wanted() -> np.ndarray:
    """A Gaussian around the origin, its far side wrapped around."""
    away = [min(place, N - place) for place in range(N)]
    sigma = N / 2.2 * 0.2
    return np.array([[np.exp(-(a * a + b * b) / (2 * sigma**2)) for b in away] for a in away])


def inner(features: np.ndarray) -> np.ndarray:
    mask = np.zeros((N, N))
    mask[3:7, 3:7] = 1
    return features * mask


def slow(firsts: list[np.ndarray], search: np.ndarray) -> np.ndarray:
    """The response's spectrum, (N, N) complex, of a filter that has learnt each of `firsts`."""
    template = coefficients = None
    for features in firsts:
        spectrum = transform(inner(features))
        fitted = transform(wanted()) / ((np.abs(spectrum) ** 2).sum(axis=0) + 1e-2)
        template = spectrum if template is None else 0.7 * template + 0.3 * spectrum
        coefficients = fitted if coefficients is None else 0.7 * coefficients + 0.3 * fitted
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N) / (N - 1))
    return (transform(search * hann[:, None] * hann) * template.conj()).sum(axis=0) * coefficients


def narrow_inverse(product: np.ndarray) -> np.ndarray:
    """Columns 0 to 5 of the spectrum read as those of ten real values, as the published call does."""
    places = np.arange(N)
    rows = np.exp(2j * np.pi * np.outer(places, places) / N) @ product[:, : N // 2 + 1] / N
    response = np.zeros((N, N - 1))
    for column in range(N - 1):
        response[:, column] = rows[:, 0].real + rows[:, 5].real * (-1) ** column
        for k in range(1, 5):
            response[:, column] += 2 * (rows[:, k] * np.exp(2j * np.pi * k * column / (N - 1))).real
    return response / (N - 1)


@pytest.mark.parametrize("corrected", [False, True])
def test_response_is_the_written_out_one(corrected: bool) -> None:
    rng = np.random.default_rng(1)
    firsts, search = [rng.normal(size=(6, N, N)) for _ in range(2)], rng.normal(size=(3, 6, N, N))
    dcf = Dcf(**SETTINGS, corrected=corrected)
    for features in firsts:
        dcf.learn(torch.from_numpy(features[None, :, 3:7, 3:7]).float())
    response = dcf.respond(torch.from_numpy(search).float()).numpy()
    assert response.shape == (3, N, N if corrected else N - 1)
    for found, features in zip(response, search, strict=True):
        product = slow(firsts, features)
        expected = transform(product, +1).real / N**2 if corrected else narrow_inverse(product)
        np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_published_response_is_read_with_the_wrong_width() -> None:
    published = Dcf(**{**SETTINGS, "crop_size": 520, "padding": 3.5}, corrected=False)
    # Row 2, column 3 of 64 columns is place 131, which the published code reads as row 2, column 1 of 65.
    np.testing.assert_allclose(published.shift(2, 3), [1 / 65, 2 / 65])
    # Row 40, column 10 is place 2570: row 39, column 35, and both lie beyond the middle.
    np.testing.assert_allclose(published.shift(40, 10), [(35 - 65) / 65, (39 - 65) / 65])


def test_an_even_width_has_no_such_mistake() -> None:
    dcf = Dcf(**{**SETTINGS, "crop_size": 80}, corrected=False)
    dcf.learn(torch.randn(1, 6, 4, 4, generator=torch.Generator().manual_seed(0)))
    assert dcf.respond(torch.ones(1, 6, 10, 10)).shape == (1, 10, 10)
    np.testing.assert_allclose(dcf.shift(2, 7), [-3 / 10, 2 / 10])


@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, 0), (-1, 1), (-2, -2)])
def test_corrected_shift_is_where_the_target_went(down: int, right: int) -> None:
    features = torch.zeros(1, 32, N, N)
    features[:, :, 3:7, 3:7] = torch.randn(1, 32, 4, 4, generator=torch.Generator().manual_seed(1))
    dcf = Dcf(**SETTINGS, corrected=True)
    dcf.learn(features[:, :, 3:7, 3:7])
    response = dcf.respond(torch.roll(features, (down, right), dims=(2, 3)))[0]
    row, column = divmod(int(response.argmax()), response.shape[1])
    np.testing.assert_allclose(dcf.shift(row, column), np.array([right, down]) * 8 / 87)
