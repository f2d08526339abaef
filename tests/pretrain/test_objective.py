"""The objective against independent formulas in float64, and against one big batch when spread over processes."""

import os
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from mec_transfer.common.errors import RunError
from pretrain.objective import exact_logdet, mec_loss, spectral_norm, taylor_trace
from tests import warm

SHAPES = [(1, 1), (1, 5), (5, 1), (6, 4), (4, 6), (7, 7), (24, 96), (96, 24)]


def embeddings(m, d, seed=0, count=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(m, d, generator=generator, dtype=dtype) for _ in range(count)]


def published_matrix(p, z, lamda_inv):
    p = p / p.pow(2).sum(1, keepdim=True).sqrt()
    z = z / z.pow(2).sum(1, keepdim=True).sqrt()
    return torch.einsum("md,nd->mn", p, z) / lamda_inv


def series_by_eigenvalues(p, z, lamda_inv, order):
    eigenvalues = torch.linalg.eigvals(published_matrix(p, z, lamda_inv))
    return sum(((-1) ** (k + 1) / k * eigenvalues**k).sum().real for k in range(1, order + 1))


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 6, 9])
@pytest.mark.parametrize(("m", "d"), SHAPES)
def test_series_equals_eigenvalue_formula(m, d, order):
    p, z = embeddings(m, d, seed=m + d)
    for lamda_inv in (0.3, 1.0, 40.0):
        expected = series_by_eigenvalues(p, z, lamda_inv, order)
        assert_close(taylor_trace(p, z, lamda_inv, order), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("m", "d"), [(5, 3), (3, 5)])
@pytest.mark.parametrize("order", [1, 4, 5])
def test_gradients(m, d, order):
    p, z = (tensor.requires_grad_() for tensor in embeddings(m, d))
    assert torch.autograd.gradcheck(lambda a, b: taylor_trace(a, b, 1.7, order), (p, z))
    assert torch.autograd.gradcheck(lambda a, b: exact_logdet(a, b, 4.0), (p, z))


@pytest.mark.parametrize(("m", "d"), [(12, 5), (5, 12)])
def test_series_tends_to_exact_logdet(m, d):
    p, z = embeddings(m, d)
    matrix = published_matrix(p, z, 1.0)
    lamda_inv = 1.5 * torch.linalg.eigvals(matrix).abs().max().item()
    exact = exact_logdet(p, z, lamda_inv)
    expected = torch.log1p(torch.linalg.eigvals(matrix / lamda_inv)).sum().real
    assert_close(exact, expected, rtol=1e-10, atol=1e-12)
    errors = [(taylor_trace(p, z, lamda_inv, order) - exact).abs().item() for order in (4, 16, 80)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-10


@pytest.mark.parametrize(("m", "d"), [(9, 4), (4, 9)])
def test_symmetries(m, d):
    p, z = embeddings(m, d)
    value = taylor_trace(p, z, 2.0)
    order = torch.randperm(m, generator=torch.Generator().manual_seed(1))
    rotation = torch.linalg.qr(embeddings(d, d)[0]).Q
    assert_close(taylor_trace(z, p, 2.0), value)
    assert_close(taylor_trace(p[order], z[order], 2.0), value)
    assert_close(taylor_trace(3 * p, 0.2 * z, 2.0), value)
    assert_close(taylor_trace(p @ rotation, z @ rotation, 2.0), value)


def test_known_value():
    """Orthonormal embeddings, both views alike, lamda_inv 2: C = I / 2, so each of m eigenvalues adds one series."""
    m, d = 3, 5
    eye = torch.eye(m, d, dtype=torch.float64)
    assert_close(taylor_trace(eye, eye, 2.0).item(), m * (1 / 2 - 1 / 8 + 1 / 24 - 1 / 64))
    report = mec_loss(eye, eye, eye, eye, 2.0)
    assert_close(report.loss.item(), -2 * (1 / 2 - 1 / 8 + 1 / 24 - 1 / 64))
    assert_close(report.coding_length.item(), (m + d) / 2 * (1 / 2 - 1 / 8 + 1 / 24 - 1 / 64))
    assert_close(report.spectral_norm.item(), 0.5)


def test_full_precision_under_autocast():
    p, z = (tensor.bfloat16() for tensor in embeddings(16, 8, dtype=torch.float32))
    expected = series_by_eigenvalues(p.double(), z.double(), 3.0, 4).float()
    with torch.autocast("cpu", torch.bfloat16):
        value = taylor_trace(p, z, 3.0)
        logdet = exact_logdet(p, z, 30.0)
    assert value.dtype == logdet.dtype == torch.float32
    assert_close(value, expected, rtol=1e-5, atol=1e-5)


def test_logdet_refuses_a_determinant_that_is_not_positive():
    z = torch.tensor([[1.0, 0.0]])
    with pytest.raises(RunError, match='lamda_inv 0.5.*order "exact"'):
        mec_loss(-z, z, -z, z, 0.5, "exact")
    with pytest.raises(ValueError, match="not positive"):
        exact_logdet(-z, z, 0.5)  # 1 - 1/0.5 = -1
    with pytest.raises(ValueError, match="not positive"):
        exact_logdet(-z, z, 1.0)


@pytest.mark.parametrize(("p", "z", "lamda_inv"), [((3, 2), (2, 3), 1.0), ((3,), (3,), 1.0), ((3, 2), (3, 2), 0.0)])
def test_wrong_arguments(p, z, lamda_inv):
    with pytest.raises(ValueError, match="must be"):
        taylor_trace(torch.ones(p), torch.ones(z), lamda_inv)


@pytest.mark.parametrize(("m", "d"), [(20, 6), (6, 20), (64, 64)])
def test_spectral_norm_bounds_the_spectral_radius(m, d):
    p, z = embeddings(m, d, seed=3)
    z = z + p  # views agree, as in training
    rows_p, rows_z = (side / side.norm(dim=1, keepdim=True) for side in (p, z))
    smaller = (rows_p @ rows_z.T if m <= d else rows_z.T @ rows_p) / 2.0
    exact = torch.linalg.matrix_norm(smaller, ord=2).item()
    norm = spectral_norm(p, z, 2.0).item()
    assert 0.9 * exact < norm <= exact * (1 + 1e-12)
    assert norm > torch.linalg.eigvals(published_matrix(p, z, 2.0)).abs().max().item()


@pytest.mark.parametrize(("m", "d"), [(6, 4), (4, 6)])
@pytest.mark.parametrize("order", [1, 2, 3, 4, 7, "exact"])
def test_gradients_go_to_the_sides_that_want_one(m, d, order):
    """Against autograd through the formula written plainly, as a training step has it: p is the teacher's."""
    p1, z1, p2, z2 = embeddings(m, d, count=4)

    def plain(p, z):
        c = published_matrix(p, z, 3.0)
        if order == "exact":
            return torch.logdet(torch.eye(m) + c)
        return sum((-1) ** (k + 1) / k * torch.linalg.matrix_power(c, k).trace() for k in range(1, order + 1))

    for sides in ((z1, z2), (p1, z1, p2, z2)):
        for side in (p1, z1, p2, z2):
            side.requires_grad_(any(side is wanted for wanted in sides)).grad = None
        expected = torch.autograd.grad(-(plain(p1, z2) + plain(p2, z1)) * 3.0 / (2 * m), sides)
        mec_loss(p1, z1, p2, z2, 3.0, order).loss.backward()
        assert_close([side.grad for side in sides], list(expected), rtol=1e-10, atol=1e-13)


def test_gradients_have_the_inputs_dtype_and_need_grad_mode():
    p, z = embeddings(8, 12, dtype=torch.float32)
    z = z.bfloat16().requires_grad_()
    taylor_trace(p, z, 3.0).backward()
    assert z.grad.dtype == torch.bfloat16
    with torch.no_grad():
        assert not taylor_trace(p, z, 3.0).requires_grad


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_products_stay_full_whatever_the_program_allows(precision):
    backend = torch.backends.mkldnn.matmul
    p, z = embeddings(300, 200, dtype=torch.float32)
    expected = taylor_trace(p, z, 3.0)
    before, backend.fp32_precision = backend.fp32_precision, precision
    try:
        assert torch.equal(taylor_trace(p, z, 3.0), expected)
        assert backend.fp32_precision == precision
    finally:
        backend.fp32_precision = before


def test_loss_is_the_mean_of_both_directions():
    p1, z1, p2, z2 = embeddings(10, 6, count=4)
    report = mec_loss(p1, z1, p2, z2, 3.0, order=5)
    mec = (series_by_eigenvalues(p1, z2, 3.0, 5) + series_by_eigenvalues(p2, z1, 3.0, 5)) / 20
    assert_close(report.loss, -mec * 3.0)
    assert_close(report.coding_length, mec * 8)


def test_embedding_spread():
    d = 64
    spread, point = embeddings(512, d, count=1)[0], torch.ones(512, d)
    assert mec_loss(spread, spread, spread, spread, 20.0).embedding_std.item() == pytest.approx(1, abs=0.01)
    assert mec_loss(point, point, point, point, 600.0).embedding_std.item() == pytest.approx(0, abs=1e-6)


TWO_PROCESSES = """
import sys, torch, torch.distributed as dist
from pretrain.objective import mec_loss

store, rank, world, out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
torch.set_num_threads(1)
torch.manual_seed(0)
model = torch.nn.Linear(6, 4).double()
x1, x2, p1, p2 = torch.randn(4, 12, 6).double().unbind()
p1, p2 = p1[:, :4], p2[:, :4]
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    network = torch.nn.parallel.DistributedDataParallel(model)
else:
    network = model
mine = slice(rank * 12 // world, (rank + 1) * 12 // world)
z1, z2 = network(torch.cat([x1[mine], x2[mine]])).chunk(2)
order = sys.argv[5] if sys.argv[5] == "exact" else int(sys.argv[5])
report = mec_loss(p1[mine], z1, p2[mine], z2, 8.0, order)
report.loss.backward()
torch.save({"loss": report.loss.detach(), "length": report.coding_length, "norm": report.spectral_norm,
            "embeddings": report.embeddings,
            "weight": model.weight.grad, "bias": model.bias.grad}, f"{out}/{world}-{rank}.pt")
if world > 1:
    dist.destroy_process_group()
"""


@pytest.mark.parametrize(("world", "order"), [(2, 4), (4, 3), (2, "exact")])
def test_processes_equal_one_big_batch(tmp_path, world, order):
    def start(rank, world):
        arguments = [str(tmp_path / "store"), str(rank), str(world), str(tmp_path), str(order)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
        return warm.Popen([sys.executable, "-c", TWO_PROCESSES, *arguments], env=environment)

    processes = [start(0, 1), *(start(rank, world) for rank in range(world))]
    assert [process.wait(timeout=120) for process in processes] == [0] * (world + 1)
    single = torch.load(tmp_path / "1-0.pt")
    for rank in range(world):
        assert_close(torch.load(tmp_path / f"{world}-{rank}.pt"), single, rtol=1e-12, atol=1e-14)
