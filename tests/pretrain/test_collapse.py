"""The effective rank of embeddings whose spectrum is known, and when a collapse is told."""

import pytest
import torch

from pretrain.collapse import CollapseWatch, effective_rank


@pytest.mark.parametrize(("m", "d"), [(40, 12), (12, 40), (200, 64)])
def test_effective_rank_counts_equal_directions(m, d):
    basis = torch.linalg.qr(torch.randn(m, 6, generator=torch.Generator().manual_seed(0)).double()).Q
    basis = basis - basis.mean(dim=0)
    basis = torch.linalg.qr(basis).Q  # five orthogonal columns of mean 0 and equal length
    directions = torch.linalg.qr(torch.randn(d, 6, generator=torch.Generator().manual_seed(1)).double()).Q
    assert effective_rank(basis[:, :5] @ directions[:, :5].T + 3.0) == pytest.approx(5, rel=1e-6)


def test_effective_rank_of_an_uneven_spectrum():
    """Two directions with shares 3/4 and 1/4 of the variance: the exponential of their entropy, 4 / 3^(3/4)."""
    one, root = torch.tensor([1.0, -1, 0, 0]), torch.tensor([0, 0, 1.0, -1])
    rows = torch.stack([3**0.5 * one, root], dim=1)
    assert effective_rank(rows) == pytest.approx(4 / 3**0.75, rel=1e-6)


def test_a_point_has_rank_zero():
    assert effective_rank(torch.ones(8, 5)) == 0


def test_a_collapse_is_told_once_an_episode_and_not_in_the_warm_up():
    watch = CollapseWatch(warmup=10)
    assert watch.check(10, 1.0, 0.0) is None
    assert watch.check(11, 30.0, 0.9) is None
    assert "step 12" in watch.check(12, 1.2, 0.5)
    assert watch.check(13, 1.1, 0.01) is None
    assert watch.check(14, 9.0, 0.5) is None
    assert "spread 0.010" in watch.check(15, 9.0, 0.01)
