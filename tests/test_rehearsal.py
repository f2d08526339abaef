"""The played GPU refuses what CUDA refuses, and lets pass what CUDA lets pass."""

from __future__ import annotations

import os
import subprocess
import sys

from tests import warm

PROGRAM = """
import copy, io, torch
from tests.rehearsal import play
play()
there = torch.device("played", 0)
x, y, cpu, number = torch.randn(3, 4, device=there), torch.ones(4, device=there), torch.ones(4), torch.tensor(2.0)
rows = torch.tensor([0, 2])
network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
weight = network[0].weight

def refused(work, kind=RuntimeError):
    for inference in (False, True):
        with torch.inference_mode(inference):
            try:
                work()
            except kind:
                continue
        raise AssertionError("not refused")

assert network.to(there)[0].weight is weight and weight.device == there
refused(lambda: x + cpu)
refused(lambda: x @ torch.ones(4, 2))
refused(lambda: torch.cat([x, torch.ones(1, 4)]))
refused(lambda: torch.stack([x.sum(), number]))
refused(lambda: torch.mul(x, 2, out=torch.empty(3, 4)))
refused(lambda: torch.tensor(1.0).add_(x.sum()))
refused(lambda: torch.ones(3)[rows.to(there)])
refused(lambda: x.index_select(0, rows))
refused(lambda: x.__setitem__(rows, torch.ones(2, 4)))
refused(lambda: network(torch.ones(1, 3, 8, 8)))
refused(lambda: torch.nn.functional.cross_entropy(x, torch.zeros(3, dtype=torch.int64)))
refused(lambda: x.numpy(), (RuntimeError, TypeError))
refused(lambda: x.pin_memory())
for result in (x + number, x[rows], x.mul_(number), torch.where(x > 0, x, 0.0), x.new_ones(2), torch.zeros_like(x)):
    assert result.device == there
x[rows] = 3.0
x[:2] = torch.ones(2, 4)  # a copy
assert x.tolist() == x.cpu().tolist() and x.cpu().numpy()[0, 0] == 1 and x.sum().item() == float(x.sum())
assert x.to("cpu").device.type == "cpu" and cpu.to(there).device == there and cpu.pin_memory().device.type == "cpu"
shape = torch.ones(2, 3, device=there).unsqueeze_(0)
assert shape.shape == (1, 2, 3) == copy.deepcopy(shape).shape and shape[0, 1].device == there

pixels = torch.randn(2, 3, 8, 8, device=there)
with torch.autocast("played", torch.bfloat16):
    out = network(pixels)
    assert (out.dtype, out.softmax(1).dtype, out.exp().dtype, out.sum().dtype) == (torch.bfloat16, *[torch.float32] * 3)
    assert (x @ x.T).dtype == torch.bfloat16 and (x + x).dtype == torch.float32
    assert (x.double() @ x.T.double()).dtype == torch.float64
assert network(pixels).dtype == torch.float32
optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
before = weight.cpu()
out.float().square().mean().backward()
assert weight.grad.device == there and weight.grad.dtype == torch.float32
optimizer.step()
assert not torch.equal(weight.cpu(), before)
file = io.BytesIO()
torch.save(network.state_dict(), file)
file.seek(0)
assert torch.equal(torch.load(file, weights_only=True)["0.weight"], weight.detach().cpu())
"""


def test_what_is_refused_and_what_is_not() -> None:
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with warm.Popen([sys.executable, "-c", PROGRAM], env=dict(os.environ), **streams) as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
