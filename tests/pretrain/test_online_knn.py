"""The k-NN during training: its number against a slow one, on one process and two; and that it leaves no trace."""

import collections
import copy
import hashlib
import os
import random
import shutil
import signal

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets, transforms

from mec_transfer.common.errors import ConfigError, DataError, UserError
from mec_transfer.common.interrupt import StopRequest
from mec_transfer.datasets.images.folders import open_split
from pretrain import online_knn
from pretrain.config import PretrainConfig
from pretrain.model import MecModel
from pretrain.online_knn import OnlineKnn, balanced_indices

CPU = torch.device("cpu")
COUNTS = {"train": {"ant": 9, "bee": 14, "cat": 4}, "val": {"ant": 7, "bee": 5, "cat": 6}}


def make_config(**keys):
    knn = {"k": 5, "max_train": 18, "max_val": 15}
    return PretrainConfig.model_validate(
        {"arch": "resnet18", "dim": 16, "pred_dim": 8, "views": {"size": 32}, "online_knn": knn} | keys
    )


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Three classes of noise around a colour, hard enough to be mistaken at times."""
    root, draws = tmp_path_factory.mktemp("labelled"), np.random.default_rng(0)
    for split, classes in COUNTS.items():
        for number, (name, count) in enumerate(classes.items()):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                colour = 100 + 16 * np.eye(3)[number] + draws.normal(0, 12, 3)
                pixels = (colour + draws.normal(0, 30, (40, 52, 3))).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i:02d}.png")
    return root


@pytest.fixture(scope="module")
def model():
    """A network whose BN statistics are not those it began with."""
    torch.manual_seed(0)
    model = MecModel("resnet18", "imagenet", 16, 8)
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(8, 3, 32, 32), torch.randn(8, 3, 32, 32))
    return model


def slow_top1(config, root, encoder):
    """DINO's k-NN from torchvision's own pieces, one image at a time, votes in float64."""
    size, knn = config.views.size, config.online_knn
    resize = size if config.stem == "cifar" else round(size * 256 / 224)
    bicubic = transforms.InterpolationMode.BICUBIC
    steps = [transforms.Resize(resize, bicubic), transforms.CenterCrop(size), transforms.ToTensor()]
    transform = transforms.Compose([*steps, transforms.Normalize(config.mean, config.std)])
    network = copy.deepcopy(encoder).eval()
    network.fc = torch.nn.Identity()
    features, labels = {}, {}
    for split, most in (("train", knn.max_train), ("val", knn.max_val)):
        folder = datasets.ImageFolder(root / split, transform)
        chosen = balanced_indices(open_split(root, split), most)
        with torch.no_grad():
            rows = torch.cat([network(folder[i][0][None]) for i in chosen]).double()
        features[split] = (rows / rows.norm(dim=1, keepdim=True)).numpy()
        labels[split] = [folder[i][1] for i in chosen]
    right = 0
    for row, label in zip(features["val"], labels["val"]):
        similarities = features["train"] @ row
        votes = collections.Counter()
        for neighbour in np.argsort(-similarities)[: knn.k]:
            votes[labels["train"][neighbour]] += np.exp(similarities[neighbour] / knn.temperature)
        right += votes.most_common(1)[0][0] == label
    return 100 * right / len(labels["val"])


@pytest.mark.parametrize("keys", [{}, {"views": {"size": 40}, "mean": (0.4, 0.4, 0.4)}])
@pytest.mark.parametrize("workers", [0, 2])
def test_it_is_the_k_nn_written_slowly(labelled, model, keys, workers):
    config = make_config(**keys)
    found = OnlineKnn.open(config, labelled, CPU, workers).measure(model.encoder)
    assert found == pytest.approx(slow_top1(config, labelled, model.encoder), abs=1e-3)
    assert 100 / 3 < found < 100


def test_small_images_are_taken_whole(labelled):
    torch.manual_seed(1)
    config = make_config(stem="cifar")
    model = MecModel("resnet18", "cifar", 16, 8)
    found = OnlineKnn.open(config, labelled, CPU, 0).measure(model.encoder)
    assert found == pytest.approx(slow_top1(config, labelled, model.encoder), abs=1e-3)


def test_it_follows_the_weights(labelled, model):
    knn = OnlineKnn.open(make_config(), labelled, CPU, 0)
    before = knn.measure(model.encoder)
    blind = copy.deepcopy(model.encoder)
    torch.nn.init.zeros_(blind.conv1.weight)
    assert knn.measure(blind) < before
    assert knn.measure(model.encoder) == before


def test_the_subset_is_balanced_and_the_same_on_every_machine(labelled):
    train = open_split(labelled, "train")
    for count, expected in ((12, [4, 4, 4]), (18, [7, 7, 4]), (26, [9, 13, 4]), (99, [9, 14, 4])):
        chosen = balanced_indices(train, count)
        assert np.bincount(train.labels[chosen]).tolist() == expected
        assert (np.diff(chosen) > 0).all()
    assert set(balanced_indices(train, 12)) < set(balanced_indices(train, 18))
    names = [train.paths[i] for i in balanced_indices(train, 3)]
    lowest = {}
    for name, count in COUNTS["train"].items():
        paths = [f"{name}/{i:02d}.png" for i in range(count)]
        lowest[name] = min(paths, key=lambda path: hashlib.sha256(path.encode()).hexdigest())
    assert names == list(lowest.values())


def traces(model):
    """All that training could notice: weights and statistics, modes, gradients wanted, random streams, switches."""
    yield {name: tensor.clone() for name, tensor in model.state_dict().items()}
    yield {name: module.training for name, module in model.named_modules()}
    yield {name: (one.requires_grad, one.stride(), one.data_ptr()) for name, one in model.named_parameters()}
    yield {"torch": torch.get_rng_state(), "numpy": torch.from_numpy(np.random.get_state()[1].copy())}
    yield random.getstate(), torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.get_num_threads()


def same(first, second):
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cached", [True, False])
def test_it_leaves_no_trace(labelled, model, monkeypatch, cached, workers):
    if not cached:
        monkeypatch.setattr(online_knn, "CACHE_BYTES", 0)
    model.predictor.eval()  # a mode that a careless `encoder.train()` or `model.train()` would lose
    before = list(traces(model))
    assert OnlineKnn.open(make_config(precision="bf16"), labelled, CPU, workers).measure(model.encoder) is not None
    assert all(map(same, before, traces(model)))


def test_pixels_are_decoded_once_where_they_fit(labelled, model, tmp_path, monkeypatch, capsys):
    root = shutil.copytree(labelled, tmp_path / "data")
    cached = OnlineKnn.open(make_config(), root, CPU, 0)
    monkeypatch.setattr(online_knn, "CACHE_BYTES", 33 * 3 * 32 * 32 - 1)  # one byte less than the subset takes
    read_anew = OnlineKnn.open(make_config(), root, CPU, 0)
    expected = cached.measure(model.encoder)
    assert read_anew.measure(model.encoder) == expected
    shutil.rmtree(root)
    assert cached.measure(model.encoder) == expected
    assert read_anew.measure(model.encoder) is None  # looking on ends no run
    message = capsys.readouterr().err
    assert "warning: no k-NN this time: " in message and str(root) in message and message.count("warning") == 1


def test_a_signal_gives_a_measurement_up(labelled, model, capsys):
    stop = StopRequest()
    stop.number = signal.SIGUSR1
    assert OnlineKnn.open(make_config(), labelled, CPU, 0).measure(model.encoder, stop) is None
    assert "warning: no k-NN this time: SIGUSR1 asks to stop" in capsys.readouterr().err


def test_broken_weights_are_a_warning(labelled, model, capsys):
    broken = copy.deepcopy(model.encoder)
    torch.nn.init.constant_(broken.conv1.weight, float("nan"))
    assert OnlineKnn.open(make_config(), labelled, CPU, 0).measure(broken) is None
    assert "the features are not finite" in capsys.readouterr().err


def without_val(root):
    shutil.rmtree(root / "val")


def with_broken_images(root):
    for path in (root / "train" / "cat").iterdir():
        path.write_bytes(b"not an image")


def with_one_class(root):
    for split in COUNTS:
        for name in ("bee", "cat"):
            shutil.rmtree(root / split / name)


def with_other_classes(root):
    (root / "val" / "cat").rename(root / "val" / "dog")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (without_val, "no folder 'val' in it"),
        (with_broken_images, "png: not a readable image"),
        (with_one_class, "only one class"),
        (with_other_classes, "only in val: dog"),
        (shutil.rmtree, "no such folder"),
    ],
)
@pytest.mark.parametrize("cached", [True, False])
def test_an_unusable_data_set_is_found_at_once(labelled, tmp_path, monkeypatch, damage, named, cached):
    if not cached:
        monkeypatch.setattr(online_knn, "CACHE_BYTES", 0)
    root = shutil.copytree(labelled, tmp_path / "data")
    damage(root)
    with pytest.raises(DataError, match=named) as caught:
        OnlineKnn.open(make_config(), root, CPU, 0)
    assert str(root) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("knn", "named"),
    [({"k": 19, "max_train": 18}, "online_knn.k = 19"), ({"max_val": 2, "k": 1}, "online_knn.max_val = 2")],
)
def test_a_config_that_does_not_fit_the_data_set(labelled, knn, named):
    with pytest.raises(ConfigError, match=named):
        OnlineKnn.open(make_config(online_knn=knn), labelled, CPU, 0)
    assert issubclass(ConfigError, UserError)


def _measure(rank, world, store, config, root, state, found):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world)}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    model = MecModel("resnet18", "imagenet", 16, 8)
    model.load_state_dict(state)
    knn = OnlineKnn.open(config, root, CPU, 0)
    first = knn.measure(model.encoder)
    if rank == 1:
        torch.nn.init.constant_(model.encoder.conv1.weight, float("nan"))  # fails on one process: none may hang
    found.put((rank, sum(map(len, knn._batches("train"))), first, knn.measure(model.encoder)))
    torch.distributed.destroy_process_group()


def test_two_processes_share_the_work_and_agree(labelled, model, tmp_path):
    config = make_config()
    context = torch.multiprocessing.get_context("spawn")
    found = context.SimpleQueue()
    arguments = (2, tmp_path / "store", config, labelled, model.state_dict(), found)
    torch.multiprocessing.spawn(_measure, arguments, nprocs=2)
    expected = OnlineKnn.open(config, labelled, CPU, 0).measure(model.encoder)
    assert sorted(found.get() for _ in range(2)) == [(0, 9, expected, None), (1, 9, expected, None)]
