"""The configs that ship."""

import pytest

from mec_transfer.common.config import load_config
from mec_transfer.common.paths import CONFIGS
from pretrain.config import PretrainConfig

FOLDER = CONFIGS / "pretrain"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_is_valid(path):
    load_config(PretrainConfig, path)


def test_the_published_config_is_the_defaults_and_the_paper():
    published = load_config(PretrainConfig, FOLDER / "mec_r50_100ep.yaml")
    assert published == PretrainConfig(log_every=published.log_every)
    assert (published.arch, published.dim, published.pred_dim, published.views.size) == ("resnet50", 2048, 512, 224)
    assert (published.batch_size, published.epochs, published.warmup_epochs, published.base_lr) == (1024, 100, 10, 0.5)
    assert (published.momentum, published.weight_decay, published.teacher_momentum) == (0.9, 1e-5, 0.996)
    assert (published.eps, published.order, published.lamda_inv_warmup_factor) == (64, 4, 8)
    assert published.views.blur_probability == (1.0, 0.1) and published.views.solarize_probability == (0.0, 0.2)
    assert published.precision == "fp32"


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("mec_r18_demo", {"order", "precision"}),
        ("mec_r18_cifar10", {"order", "precision"}),
        ("mec_r50_small_gpu", {"precision"}),
    ],
)
def test_small_configs_keep_the_published_method(name, other):
    published, small = (load_config(PretrainConfig, FOLDER / f"{file}.yaml") for file in ("mec_r50_100ep", name))
    kept = {"order", "lamda_inv_warmup_factor", "momentum", "weight_decay", "precision"}
    assert {key for key in kept if getattr(small, key) != getattr(published, key)} == other


def test_one_gpu_trains_the_published_batch():
    published, small = (
        load_config(PretrainConfig, FOLDER / f"{n}.yaml") for n in ("mec_r50_100ep", "mec_r50_small_gpu")
    )
    how = {"chunk_size", "precision", "channels_last", "fused", "save_every_steps", "keep_every_epochs", "views"}
    assert small.model_dump(exclude=how) == published.model_dump(exclude=how)
    assert small.views == published.views.model_copy(update={"pipeline": "fast"})
    assert small.batch_size % small.chunk_size == 0
