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


@pytest.mark.parametrize("name", ["mec_r50_demo", "mec_r18_cifar10"])
def test_small_configs_keep_the_published_method(name):
    published, small = (load_config(PretrainConfig, FOLDER / f"{file}.yaml") for file in ("mec_r50_100ep", name))
    for key in ("order", "lamda_inv_warmup_factor", "momentum", "weight_decay", "precision"):
        assert getattr(small, key) == getattr(published, key)
