from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mec_transfer.benchmark import Job
from mec_transfer.classification import knn, neighbours
from mec_transfer.classification.config import KnnConfig
from mec_transfer.classification.feature_rows import FeatureRows
from mec_transfer.classification.knn import Knn, knn_predict
from mec_transfer.common.config import load_config, load_yaml, merge, parse_config
from mec_transfer.common.errors import ConfigError
from mec_transfer.common.paths import CONFIGS

MakeJob = Callable[..., Job]
FOLDER = CONFIGS / "classification"


def tiny(**recipe: Any) -> Knn:
    data = load_yaml(FOLDER / "knn_dino.yaml")
    small = {"view": {"resize": None, "crop": 32}, "ks": [1, 5, 48], "k": 5}
    over = {"dataset": {"name": "tiny", "folder": "tiny"}, "recipe": {**small, **recipe}}
    return Knn(parse_config(KnnConfig, merge(data, over), "test"))


def brute_force(
    train: torch.Tensor, labels: torch.Tensor, test: torch.Tensor, k: int, temperature: float, classes: int
) -> list[list[float]]:
    """Votes by the published formula, in float64 and loops: sum over the k nearest of exp(cos / T)."""
    rows = []
    for x in test.double().tolist():
        cosines = []
        for index, y in enumerate(train.double().tolist()):
            dot = math.fsum(a * b for a, b in zip(x, y, strict=True))
            cosines.append((dot / (math.hypot(*x) * math.hypot(*y)), -index))
        votes = [0.0] * classes
        for cosine, minus_index in sorted(cosines, reverse=True)[:k]:
            votes[int(labels[-minus_index])] += math.exp(cosine / temperature)
        rows.append(votes)
    return rows


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (60, 0.1)])
def test_votes_and_classes_are_those_of_a_loop_in_float64(k: int, temperature: float) -> None:
    generator = torch.Generator().manual_seed(k)
    train, test = torch.randn(60, 16, generator=generator), torch.randn(25, 16, generator=generator) * 3
    labels = torch.randint(0, 7, (60,), generator=generator)
    expected = torch.tensor(brute_force(train, labels, test, k, temperature, 7), dtype=torch.float64)
    unit = torch.nn.functional.normalize
    similarities, indices = neighbours.nearest(unit(train), unit(test), k)
    votes = neighbours.vote(similarities, indices, labels, temperature, 7) * math.exp(1 / temperature)
    torch.testing.assert_close(votes, expected, rtol=1e-5, atol=0)
    assert torch.equal(knn_predict(train, labels, test, k, temperature, 7), expected.argmax(dim=1))


def test_one_search_serves_every_smaller_k() -> None:
    train, test = (torch.nn.functional.normalize(torch.randn(n, 8)) for n in (90, 10))
    most = neighbours.nearest(train, test, 50)
    for k in (1, 7, 49):
        fewer = neighbours.nearest(train, test, k)
        assert torch.equal(most[0][:, :k], fewer[0]) and torch.equal(most[1][:, :k], fewer[1])


@pytest.mark.parametrize("k", [1, 3, 4, 6, 12])
def test_of_equally_similar_images_the_earlier_one_counts(k: int) -> None:
    """Rows of halves, whose products are exact in any order of summing."""
    kinds = torch.tensor([[0.5, 0.5, 0.5, 0.5], [1.0, 0, 0, 0], [0.5, 0.5, -0.5, -0.5]])
    train = kinds[[2, 1, 0, 1, 2, 0, 1, 1, 0, 2, 0, 1]]
    test = kinds[[0, 1]]
    _, indices = neighbours.nearest(train, test, k)
    by_hand = [[2, 5, 8, 10, 1, 3, 6, 7, 11, 0, 4, 9], [1, 3, 6, 7, 11, 0, 2, 4, 5, 8, 9, 10]]
    assert indices.tolist() == [row[:k] for row in by_hand]


def test_a_collapsed_network_has_the_first_images_as_neighbours() -> None:
    same = torch.nn.functional.normalize(torch.ones(300, 4))
    assert neighbours.nearest(same, same[:3], 20)[1].tolist() == [list(range(20))] * 3


def test_blocks_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = (torch.nn.functional.normalize(torch.randn(n, 12)) for n in (333, 700))
    whole = neighbours.nearest(train, test, 9)
    monkeypatch.setattr(neighbours, "_BLOCK", 100)
    monkeypatch.setattr(neighbours, "_CHUNK_ELEMENTS", 1)
    cut = neighbours.nearest(train, test, 9)
    torch.testing.assert_close(whole[0], cut[0], rtol=0, atol=1e-6)
    assert torch.equal(whole[1], cut[1])


@pytest.mark.parametrize("order", ["mixed", "rising", "falling"])
@pytest.mark.parametrize("k", [1, 4, 30, 100])
def test_ties_are_broken_over_blocks_as_by_one_stable_sort(monkeypatch: pytest.MonkeyPatch, order: str, k: int) -> None:
    """Rows of halves again: of 100 a block many are equal, and where they rise every block beats the one before."""
    monkeypatch.setattr(neighbours, "_BLOCK", 100)
    signs = torch.randint(0, 2, (730, 4), generator=torch.Generator().manual_seed(k)) - 0.5
    test = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.5, -0.5, 0.5, -0.5]])
    if order != "mixed":
        signs = signs[(signs @ test[0]).argsort(descending=order == "falling", stable=True)]
    expected = (test @ signs.T).sort(dim=1, descending=True, stable=True)
    similarities, indices = neighbours.nearest(FeatureRows(signs.split(64)), test, k)
    assert torch.equal(similarities, expected.values[:, :k]) and torch.equal(indices, expected.indices[:, :k])


class Largest(TorchDispatchMode):
    """Notes the size of the largest storage that an operation gives."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for item in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(item, torch.Tensor):
                self.bytes = max(self.bytes, item.untyped_storage().nbytes())
        return result


def test_no_copy_of_the_training_features_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a table of their similarities: what is held does not grow with them."""
    monkeypatch.setattr(neighbours, "_BLOCK", 128)
    train = FeatureRows([torch.randn(100, 64) for _ in range(40)])
    with Largest() as largest:
        neighbours.nearest(train, torch.randn(300, 64), 20)
    assert 0 < largest.bytes <= 4 * 300 * 128 * 2  # a block's similarities, or as many int64


def test_no_test_images_have_no_neighbours() -> None:
    """With more processes than images a share is empty."""
    similarities, indices = neighbours.nearest(torch.randn(20, 4), torch.randn(0, 4), 5)
    assert similarities.shape == indices.shape == (0, 5)


def test_a_vote_is_the_sum_of_exponentials() -> None:
    """Two far neighbours of class 1 against one near of class 0: exp(10) < 2 exp(9.5)."""
    similarities, indices = torch.tensor([[1.0, 0.95, 0.95]]), torch.tensor([[0, 1, 2]])
    votes = neighbours.vote(similarities, indices, torch.tensor([0, 1, 1]), 0.1, 3)[0] * math.exp(10)
    assert votes.tolist() == pytest.approx([math.exp(10), 2 * math.exp(9.5), 0.0], rel=1e-6)


def test_the_published_conventions() -> None:
    dino = load_config(KnnConfig, FOLDER / "knn_dino.yaml")
    instdisc = load_config(KnnConfig, FOLDER / "knn_instdisc.yaml")
    assert dino.recipe.view.model_dump() == {"resize": 256, "crop": 224, "interpolation": "bicubic"}
    assert (dino.recipe.ks, dino.recipe.k, dino.recipe.temperature) == ((10, 20, 100, 200), 20, 0.07)
    assert instdisc.recipe.view.model_dump() == {"resize": 256, "crop": 224, "interpolation": "bilinear"}
    assert (instdisc.recipe.ks, instdisc.recipe.k, instdisc.recipe.temperature) == ((200,), 200, 0.1)
    assert dino.protocol != instdisc.protocol


@pytest.mark.parametrize("name", ["knn_dino", "knn_instdisc", "demo_knn", "cifar10_knn"])
def test_shipped_configs_are_named_after_their_files(name: str) -> None:
    config = load_config(KnnConfig, FOLDER / f"{name}.yaml")
    assert (config.id, config.kind) == (name, "knn")


@pytest.mark.parametrize(("recipe", "words"), [({"k": 3}, "one of 'ks'"), ({"ks": [5, 5]}, "different")])
def test_a_wrong_recipe_is_refused(recipe: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        tiny(**recipe)


def test_a_run_from_images_to_a_record(make_job: MakeJob) -> None:
    job = make_job()
    benchmark = tiny()
    assert benchmark.check(job) == []
    record = benchmark.run(job)
    assert record.status == "ok" and record.selection is not None and record.selection.by == "protocol"
    assert set(record.metrics) == {f"top{n}{tag}" for n in (1, 5) for tag in ("", "_k1", "_k5", "_k48")}
    assert record.metrics["top1"] == record.metrics["top1_k5"] > 50  # six colours
    assert record.details["features_computed"] == 60 and record.details["precision"] == "float32"
    assert benchmark.recompute(job.workdir, record) == record.metrics
    assert {path.name for path in job.workdir.iterdir()} == {"predictions.npz"}  # no cache: no features stay


def test_more_neighbours_than_images_is_a_problem(make_job: MakeJob) -> None:
    problems = tiny(ks=[5, 49]).check(make_job())
    assert [problem.message for problem in problems] == [
        "recipe.ks: 49 neighbours of 48 training images; lower it, for instance --set recipe.k=5 --set 'recipe.ks=[5]'",
    ]


def test_predictions_come_from_the_val_images(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours are looked for among the training images alone: the search never sees val as train."""
    seen = []
    real = neighbours.nearest
    monkeypatch.setattr(knn, "nearest", lambda a, b, k, on: seen.append((len(a), len(b), k)) or real(a, b, k, on))
    tiny().run(make_job())
    assert seen == [(48, 12, 48)]
