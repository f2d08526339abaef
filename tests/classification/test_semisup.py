from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mec_transfer.backbone.backbone import Backbone
from mec_transfer.benchmark import Job
from mec_transfer.classification import training
from mec_transfer.classification.batches import BatchPlan
from mec_transfer.classification.config import SemisupConfig, ViewConfig
from mec_transfer.classification.network import Encoder, ValImages
from mec_transfer.classification.semisup import Semisup, _Finetuning, _running_statistics
from mec_transfer.classification.training_state import STATE_NAME, load_state
from mec_transfer.classification.transforms import eval_transform
from mec_transfer.cli.main import main
from mec_transfer.common.config import load_config, load_yaml, merge, parse_config
from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.files import read_json
from mec_transfer.common.paths import CONFIGS
from mec_transfer.datasets.images.folders import open_split
from mec_transfer.datasets.pixels import normalise
from mec_transfer.results.record import read_record

MakeJob = Callable[..., Job]
PUBLISHED = CONFIGS / "classification"

SMALL = {
    "id": "semisup_small",
    "protocol": "small",
    "dataset": {"name": "tiny", "layout": "imagefolder", "folder": "tiny"},
    "recipe": {
        "labels": "50%",
        "epochs": 3,
        "batch": 16,
        "replicas": 2,
        "lr_backbone": 0.01,
        "lr_head": 0.05,
        "train_crop": 32,
        "eval_view": {"resize": None, "crop": 32},
    },
}


def _benchmark(**recipe: object) -> Semisup:
    data = merge(load_yaml(PUBLISHED / "semisup_1pct_barlow.yaml"), merge(SMALL, {"recipe": recipe}))
    return Semisup(parse_config(SemisupConfig, data, "small"))


# What the README of each source says: lr of the backbone, lr of the head, at 1 % and at 10 %.
@pytest.mark.parametrize(
    ("method", "percent", "lr_backbone", "lr_head"),
    [
        ("barlow", 1, 0.005, 0.5),
        ("barlow", 10, 0.005, 0.5),
        ("vicreg", 1, 0.03, 0.08),
        ("vicreg", 10, 0.01, 0.1),
        ("swav", 1, 0.02, 5.0),
        ("swav", 10, 0.01, 0.2),
    ],
)
def test_the_published_recipes(method: str, percent: int, lr_backbone: float, lr_head: float) -> None:
    config = load_config(SemisupConfig, PUBLISHED / f"semisup_{percent}pct_{method}.yaml")
    recipe = config.recipe
    assert (config.id, config.protocol) == (
        f"semisup_{percent}pct_{method}",
        f"imagenet-semisup-{percent}pct-{method}",
    )
    assert (recipe.labels, recipe.lr_backbone, recipe.lr_head) == (f"{percent}%", lr_backbone, lr_head)
    assert (recipe.epochs, recipe.batch, recipe.replicas, recipe.weight_decay) == (20, 256, 8, 0.0)
    assert (recipe.momentum, recipe.train_crop) == (0.9, 224)
    assert recipe.eval_view == ViewConfig(resize=256, crop=224)
    if method == "swav":
        assert (recipe.sync_bn, recipe.head_std) == (True, None)
        assert [recipe.schedule.scale(e, 20) for e in (11, 12, 16)] == pytest.approx([1, 0.2, 0.04])
    else:
        assert (recipe.sync_bn, recipe.head_std, recipe.schedule.kind) == (False, 0.01, "cosine")


def test_a_run_leaves_a_full_record(make_job: MakeJob) -> None:
    job, benchmark = make_job(), _benchmark()
    assert benchmark.check(job) == []
    record = benchmark.run(job)
    assert record.status == "ok"
    assert set(record.metrics) == {f"top{k}{tag}" for k in (1, 5) for tag in ("", "_best", "_last")}
    history = record.details["epochs"]
    top1 = [entry["top1"] for entry in history]
    assert record.metrics["top1"] == record.metrics["top1_best"] == max(top1)
    assert record.metrics["top1_last"] == top1[-1]
    assert record.selection is not None
    assert record.selection.by == "test set"
    assert record.selection.chosen == f"epoch {top1.index(max(top1)) + 1} of 3"
    for entry, scale in zip(history, (1.0, 0.75, 0.25), strict=True):
        assert entry["lr"] == pytest.approx([0.01 * scale, 0.05 * scale])
    assert record.dataset is not None
    assert "class-balanced split drawn with seed 0" in record.dataset.note
    assert record.details["labels"]["images"] == 24
    assert record.benchmark.protocol == "small"
    assert benchmark.recompute(job.workdir, record) == record.metrics
    state = load_state(job.workdir, _key(benchmark, job))
    assert (state.epoch, state.optimizer, state.modules) == (3, None, {})  # small: nothing left to go on from


def _key(benchmark: Semisup, job: Job) -> str:
    return str(torch.load(job.workdir / STATE_NAME, weights_only=True)["key"])


def test_a_finished_training_is_not_repeated(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    job, benchmark = make_job(), _benchmark(epochs=1)
    first = benchmark.run(job)
    monkeypatch.setattr(training, "_train_epoch", lambda *args: pytest.fail("trained again"))
    assert benchmark.run(job).metrics == first.metrics


def test_a_changed_list_of_labels_is_another_training(make_job: MakeJob, tmp_path: Path) -> None:
    names = [f"class{label}_{number}.png" for label in range(6) for number in range(4)]
    file = tmp_path / "list.txt"
    file.write_text("\n".join(names))
    job, benchmark = make_job(), _benchmark(epochs=1, labels=str(file))
    record = benchmark.run(job)
    assert record.dataset is not None
    assert "list.txt, not a published list (24 images, sha256" in record.dataset.note
    file.write_text("\n".join(names[:-1]))
    with pytest.raises(UserError, match="left by another job"):
        benchmark.run(job)


@pytest.mark.parametrize("way", ["--labels", "--set"])
def test_a_list_of_ones_own_is_a_custom_protocol_everywhere_and_known_by_its_bytes(
    tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    """In the record, in job.json and in a failure, whichever way it is named and wherever it lies."""

    def semisup(file: Path, out: str, lr: str = "0.005") -> tuple[int, str]:
        named = [way, str(file) if way == "--labels" else f"recipe.labels={file}"]
        command = ["semisup", "random:resnet18", "--data", str(tiny_images), "--out", str(tmp_path / out), *named]
        small = [
            "dataset.name=tiny",
            "recipe.epochs=1",
            "recipe.train_crop=32",
            "recipe.eval_view={resize: null, crop: 32}",
        ]
        small += ["recipe.batch=6", "recipe.replicas=2", f"recipe.lr_backbone={lr}"]
        status = main([*command, "--device", "cpu", *(word for text in small for word in ("--set", text))])
        return status, capsys.readouterr().err

    names = [f"class{label}_{number}.png" for label in range(6) for number in range(2)]
    first, second = tmp_path / "list.txt", tmp_path / "elsewhere.txt"
    for file in (first, second):
        file.write_text("\n".join(names))
    assert semisup(first, "out")[0] == 0
    record, job = read_record(tmp_path / "out"), read_json(tmp_path / "out" / "job.json")
    assert record.benchmark.protocol.startswith("imagenet-semisup-1pct-barlow+custom-")
    assert job["benchmark"] == record.benchmark.model_dump(mode="json")
    before = (tmp_path / "out" / "record.json").read_bytes()
    assert semisup(second, "out")[0] == 0  # the same list: nothing to do again
    assert (tmp_path / "out" / "record.json").read_bytes() == before
    first.write_text("\n".join([*names[:-1], "class5_3.png"]))
    status, said = semisup(first, "out")
    assert status == 2 and "holds another job (imagenet-semisup-1pct-barlow+custom-" in said
    assert semisup(first, "failed", lr="1e30")[0] == 1
    assert read_record(tmp_path / "failed").benchmark.protocol.startswith("imagenet-semisup-1pct-barlow+custom-")
    status, said = semisup(tmp_path / "gone.txt", "gone")
    assert status == 2 and "gone.txt" in said and "a file" in said


def test_check_names_what_is_wrong(make_job: MakeJob, tmp_path: Path) -> None:
    def messages(job: Job, **recipe: object) -> list[str]:
        return [problem.message for problem in _benchmark(**recipe).check(job)]

    assert "a share above 0% and up to 100% is needed" in messages(make_job(), labels="0%")[0]
    file = tmp_path / "list.txt"
    file.write_text("\n".join(f"class{label}_0.png" for label in range(4)))
    found = messages(make_job(), labels=str(file), batch=4, replicas=1)
    assert found == [
        f"labels {file}: no image of 2 of 6 classes (class4, class5); a class without a label can never be predicted: "
        "add one"
    ]
    assert "leave a last group of one" in messages(make_job(), batch=23, replicas=1)[0]
    small = messages(make_job(), eval_view={"resize": None, "crop": 64})[0]
    assert "smaller than the crop of 64" in small and f"{make_job().data.folder}/val/" in small


def test_a_recipe_whose_shares_are_uneven_is_refused() -> None:
    with pytest.raises(UserError, match=r"'batch' \(16\) must be a multiple of 'replicas' \(3\)"):
        _benchmark(replicas=3)


def test_a_diverged_run_says_where(make_job: MakeJob) -> None:
    with pytest.raises(RunError, match=r"loss became (nan|inf) in epoch 1, step 2 \(learning rate 1e\+30, 1e\+30\)"):
        _benchmark(lr_backbone=1e30, lr_head=1e30).run(make_job())


def _trainee(resnet18: Backbone, tiny_images: Path, world: int = 1, **recipe: object) -> tuple[_Finetuning, Encoder]:
    config = _benchmark(**recipe).config.recipe
    plan = BatchPlan(images=48, batch=config.batch, replicas=config.replicas, joint=config.sync_bn, world=world, rank=0)
    encoder = Encoder(resnet18, torch.device("cpu"), mixed_precision=True)
    val = ValImages(open_split(tiny_images, "val"), eval_transform(config.eval_view), 0, encoder.device)
    return _Finetuning(config, encoder, plan, val, seed=1), encoder


def _images(count: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return images, torch.arange(count) % 6


def test_two_replicas_are_two_processes_of_the_published_run(resnet18: Backbone, tiny_images: Path) -> None:
    """By hand: two copies each see their half and normalise it by itself; the mean of their gradients is the step,
    and the running statistics are the first copy's."""
    trainee, encoder = _trainee(resnet18, tiny_images)
    trainee.train_mode()
    (images, labels) = _images()
    heads = [copy.deepcopy(trainee.head) for _ in range(2)]
    networks = [copy.deepcopy(encoder.network) for _ in range(2)]

    loss = trainee.reduce(
        trainee.backward(0, iter([(images[0::2], labels[0::2])]))
        + trainee.backward(1, iter([(images[1::2], labels[1::2])]))
    )
    trainee.optimizer.step()

    losses = []
    for replica in range(2):
        networks[replica].train()
        x = normalise(images[replica::2], resnet18.preprocessing)
        logits = heads[replica](networks[replica](x))
        losses.append(torch.nn.functional.cross_entropy(logits, labels[replica::2]))
        losses[-1].backward()
    assert loss.item() == pytest.approx(sum(each.item() for each in losses) / 2, rel=1e-6)
    for rate, ours, copies in ((0.01, encoder.network, networks), (0.05, trainee.head, heads)):
        for p, first, second in zip(ours.parameters(), copies[0].parameters(), copies[1].parameters(), strict=True):
            expected = first.detach() - rate * 0.5 * (first.grad + second.grad)
            torch.testing.assert_close(p.detach(), expected, rtol=1e-5, atol=1e-6)
    for (name, ours), theirs in zip(encoder.network.named_buffers(), networks[0].buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)


def test_sync_bn_normalises_the_whole_batch_at_once(resnet18: Backbone, tiny_images: Path) -> None:
    trainee, encoder = _trainee(resnet18, tiny_images, sync_bn=True)
    trainee.train_mode()
    images, labels = _images()
    network, head = copy.deepcopy(encoder.network), copy.deepcopy(trainee.head)
    loss = trainee.backward(0, iter([(images[:8], labels[:8]), (images[8:], labels[8:])]))
    network.train()
    expected = torch.nn.functional.cross_entropy(head(network(normalise(images, resnet18.preprocessing))), labels)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(dict(encoder.network.named_buffers()), dict(network.named_buffers()))


def test_frozen_running_statistics_still_normalise_by_the_batch() -> None:
    norm = torch.nn.BatchNorm2d(2)
    x = torch.randn(4, 2, 3, 3) * 5 + 7
    with _running_statistics(norm, update=False):
        y = norm(x)
    assert norm.running_mean.tolist() == [0.0, 0.0]
    assert int(norm.num_batches_tracked) == 0
    torch.testing.assert_close(y.mean(dim=(0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    norm(x)
    assert int(norm.num_batches_tracked) == 1


def test_trials_and_seeds_differ(make_job: MakeJob) -> None:
    benchmark = _benchmark(epochs=1)
    losses = {
        benchmark.run(dataclasses.replace(make_job(f"{trial}-{seed}"), trial=trial, seed=seed)).details["epochs"][0][
            "loss"
        ]
        for trial, seed in ((0, 0), (1, 0), (0, 1))
    }
    assert len(losses) == 3
