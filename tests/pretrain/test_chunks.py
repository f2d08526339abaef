"""The chunked batch has the whole batch's gradients: exactly without batch norm, and as stated with it."""

import copy

import pytest
import torch
from torch.testing import assert_close

from pretrain.chunks import backward_chunks, embed_chunks
from pretrain.config import PretrainConfig
from pretrain.model import MecModel
from pretrain.objective import mec_loss
from pretrain.trainer import Trainer

CONFIG = PretrainConfig(arch="resnet18", dim=24, pred_dim=8, batch_size=8, epochs=5, warmup_epochs=0, eps=6.0)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = MecModel("resnet18", "imagenet", dim=24, pred_dim=8).double()
    with torch.no_grad():
        for parameter in model.teacher.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def views():
    return torch.randn(2, 8, 3, 32, 32, generator=torch.Generator().manual_seed(1)).double().unbind()


def chunked_gradients(model, size):
    x1, x2 = views()
    chunks = [lambda i=i: (x1[i : i + size], x2[i : i + size]) for i in range(0, 8, size)]
    z1, z2, p1, p2 = embed_chunks(model, chunks)
    report = mec_loss(p1, z1, p2, z2, 4.0, 4)
    report.loss.backward()
    backward_chunks(model, model, chunks, z1, z2)
    return report.loss.item(), gradients(model)


def gradients(model):
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("size", [2, 4, 8])
def test_without_batch_statistics_chunks_are_the_whole_batch(model, size):
    model.eval()
    whole = copy.deepcopy(model)
    x1, x2 = views()
    loss = mec_loss(
        *whole.targets(x1, x2)[:1], whole(x1, x2)[0], whole.targets(x1, x2)[1], whole(x1, x2)[1], 4.0, 4
    ).loss
    loss.backward()
    found, grads = chunked_gradients(model, size)
    assert found == pytest.approx(loss.item(), abs=1e-12)
    assert_close(grads, gradients(whole), rtol=1e-8, atol=1e-11)


def test_each_chunk_has_batch_statistics_of_its_own_and_moves_the_running_ones_once(model):
    """Against one graph over all chunks at once, each passed through the networks by itself."""
    model.train()
    plain = copy.deepcopy(model)
    x1, x2 = views()
    z1, z2, p1, p2 = ([] for _ in range(4))
    for i in (0, 4):
        for whole, part in zip(
            (z1, z2, p1, p2), (*plain(x1[i : i + 4], x2[i : i + 4]), *plain.targets(x1[i : i + 4], x2[i : i + 4]))
        ):
            whole.append(part)
    loss = mec_loss(torch.cat(p1), torch.cat(z1), torch.cat(p2), torch.cat(z2), 4.0, 4).loss
    loss.backward()
    found, grads = chunked_gradients(model, 4)
    assert found == pytest.approx(loss.item(), abs=1e-12)
    assert_close(grads, gradients(plain), rtol=1e-8, atol=1e-11)
    assert_close(model.state_dict(), plain.state_dict(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("change", [{"chunk_size": 8}, {"fused": True}])
def test_one_chunk_and_the_fused_step_are_the_plain_step_to_rounding(change):
    trainers = [
        Trainer(config, 4, torch.device("cpu"), seed=3) for config in (CONFIG, CONFIG.model_copy(update=change))
    ]
    batches = torch.randint(0, 256, (3, 2, 8, 3, 32, 32), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    losses = [[trainer.step(*pair).loss for pair in batches] for trainer in trainers]
    assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-5)
    states = [trainer.model.state_dict() for trainer in trainers]
    assert states[0].keys() == states[1].keys()
    assert_close(states[0], states[1], rtol=1e-3, atol=1e-4)


def test_compiling_without_a_compiler_is_one_line(monkeypatch):
    monkeypatch.setattr("pretrain.trainer.shutil.which", lambda name: None)
    with pytest.raises(Exception, match="compile: torch.compile needs a C compiler"):
        Trainer(CONFIG.model_copy(update={"compile": True}), 4, torch.device("cpu"), seed=0)
