from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mec_transfer.backbone import syncbn
from tests import warm

# Every process normalises its own rows of x in two training steps and one evaluation.
PROGRAM = """
import sys
import torch, torch.distributed as dist
from torch import nn
from mec_transfer.backbone.syncbn import convert

def run(kind, affine, momentum, dtype, layout, shares, store="", rank=0):
    world = 1 if rank is None else len(shares)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dimensions = {"1d": (), "2d": (4, 5), "3d": (2, 3, 4)}[kind]
    norm = {"1d": nn.BatchNorm1d, "2d": nn.BatchNorm2d, "3d": nn.BatchNorm3d}[kind](3, affine=affine, momentum=momentum)
    network = nn.Sequential(norm).double()
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    x = 50 + torch.randn(2, sum(shares), 3, *dimensions, dtype=torch.float64)
    pull = torch.randn_like(x)
    mine = slice(None)
    if rank is not None:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
        network = convert(network, torch.device("cpu"))
        assert type(network[0]) is not type(norm)
        mine = slice(sum(shares[:rank]), sum(shares[:rank + 1]))
    network.to(dtype=dtype)
    found = {"y": [], "x": []}
    for step in range(2):
        own = x[step, mine].to(dtype)
        if layout == "channels_last":
            own = own.contiguous(memory_format=torch.channels_last)
        own.requires_grad_()
        y = network(own)
        (y * pull[step, mine]).sum().backward()
        found["y"].append(y.detach())
        found["x"].append(own.grad)
    network.eval()
    found["y"].append(network(x[0, mine].to(dtype)).detach())
    found["parameters"] = [parameter.grad for parameter in network.parameters()]
    found["state"] = network.state_dict()
    if rank is not None:
        dist.destroy_process_group()
    return found

if __name__ == "__main__":
    *call, rank = torch.load(sys.argv[1] + "/call"), int(sys.argv[2])
    torch.save(run(*call[0], sys.argv[1] + "/store", rank), f"{sys.argv[1]}/{rank}.pt")
"""


@pytest.mark.parametrize(
    ("kind", "affine", "momentum", "dtype", "layout", "shares"),
    [
        ("1d", True, 0.1, torch.float64, "", [3, 3]),
        ("1d", False, None, torch.float64, "", [1, 4, 2]),
        ("2d", True, None, torch.float64, "", [5, 2, 1]),
        ("2d", False, 0.3, torch.float64, "channels_last", [2, 4]),
        ("2d", True, 0.1, torch.float32, "channels_last", [2, 3]),
        ("3d", True, 0.1, torch.float64, "", [1, 2]),
    ],
)
def test_processes_equal_one_batch_norm_of_the_whole_batch(tmp_path, kind, affine, momentum, dtype, layout, shares):
    call = (kind, affine, momentum, dtype, layout, shares)
    torch.save(call, tmp_path / "call")
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd()), "WORLD_SIZE": str(len(shares))}
    processes = [
        warm.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path), str(rank)],
            env={**os.environ, **environment, "RANK": str(rank)},
        )
        for rank in range(len(shares))
    ]
    namespace = {"__name__": "program"}
    exec(PROGRAM, namespace)
    expected = namespace["run"](kind, affine, momentum, torch.float64, layout, shares, rank=None)
    assert [process.wait(timeout=120) for process in processes] == [0] * len(shares)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(len(shares))]

    tolerance = 1e-12 if dtype == torch.float64 else 1e-4
    near = {"rtol": tolerance, "atol": tolerance, "check_dtype": False}
    for what in ("y", "x"):
        for step, whole in enumerate(expected[what]):
            assert_close(torch.cat([process[what][step] for process in found]), whole, **near)
    for i, whole in enumerate(expected["parameters"]):
        assert_close(sum(process["parameters"][i] for process in found), whole, **near)
    for process in found:
        assert list(process["state"]) == list(expected["state"])
        assert_close(process["state"], expected["state"], **near)


def test_one_process_has_nothing_to_do():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    assert syncbn.convert(network, torch.device("cpu")) is network
    assert type(network[1]) is nn.BatchNorm2d


def test_parameters_and_names_stay(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False)))
    network[1][1].eval()
    before = network.state_dict(keep_vars=True)
    converted = syncbn.convert(network, torch.device("cpu"))
    after = converted.state_dict(keep_vars=True)
    assert list(before) == list(after) and all(after[name] is before[name] for name in before)
    assert (converted[1][0].training, converted[1][1].training) == (True, False)
    on_gpu = syncbn.convert(nn.Sequential(nn.BatchNorm2d(4)), torch.device("cuda"))
    assert isinstance(on_gpu[0], nn.SyncBatchNorm)
