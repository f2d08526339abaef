"""What a plan says of hours and disk: measured rates and exact sizes, and `unknown` for all else."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from mec_transfer.benchmark import Work
from mec_transfer.classification.feature_store import FeatureStore
from mec_transfer.classification.resources import head_bytes
from mec_transfer.cli.main import main
from mec_transfer.results.record import DatasetInfo, ModelInfo
from mec_transfer.suite import costs
from mec_transfer.suite.costs import Rates, as_json, cost_of, describe_cost, describe_costs, load_rates, peak_memory_of
from mec_transfer.suite.plan import PlannedJob, RunOptions
from mec_transfer.suite.registry import benchmark_config, benchmark_files, find_benchmark
from mec_transfer.suite.spec import JobSpec

IMAGENET = {"train": 1_281_167, "val": 50_000}
CPU, GPUS = RunOptions(out=Path("out"), device="cpu"), RunOptions(out=Path("out"), gpus=4)
REPOSITORY = Path(__file__).parents[2]


def planned(
    name: str, splits: dict[str, int], classes: int = 1000, arch: str = "resnet50", data: str = ""
) -> PlannedJob:
    config = benchmark_config(find_benchmark(name, Path()))
    spec = JobSpec(
        model=ModelInfo(name="m", sha256=arch, arch=arch),
        benchmark=config.info(),
        dataset=DatasetInfo(
            name=data or config.dataset.name, fingerprint="f", num_images=1, classes=classes, splits=splits
        ),
        trial=0,
        seed=0,
        config=config,
        checkpoint=f"random:{arch}",
        encoder="auto",
        data=Path("data"),
        workdir=Path("out/job"),
        cache=Path("out/cache"),
        device="cpu",
        workers=0,
    )
    return PlannedJob(spec=spec, column=0, trials=1)


def test_hours_are_work_by_measured_rates() -> None:
    cost = cost_of(planned("cifar10_knn", {"train": 50_000, "val": 10_000}, 10), "cpu")
    assert cost.hours == pytest.approx((60_000 / 1171 + 50_000 * 10_000 / 7.56e6) / 3600)
    assert cost.machines == {"AMD EPYC, 2 cores"}
    assert cost_of(planned("sot_xcorr", {"OTB2015": 920}, arch="resnet50"), "cpu").hours == pytest.approx(1000 / 3600)


def rate(work: str, arch: str, setting: str) -> float:
    found = load_rates().find(Work(kind=work, setting=setting, units=1), arch, "cpu")
    assert found is not None
    return found.per_second


def test_hours_of_fits_are_those_of_every_iteration_and_every_image() -> None:
    passes, products = (rate(f"logistic {what}", "resnet50", "float64") for what in ("passes", "products"))
    features = rate("features", "resnet50", "224 px")
    cars = cost_of(planned("transfer_cars", {"train": 8144, "val": 8041}, 196), "cpu").hours
    numbers = 2048 * 100 * 8144 * (45 * 0.8 + 1)
    assert cars == pytest.approx((16185 / features + numbers / passes + 196 * numbers / products) / 3600)
    voc = cost_of(planned("transfer_voc2007", {"train": 5011, "val": 4952}, 20), "cpu").hours
    numbers = 20 * 2048 * 100 * 5011 * (45 * 0.8 + 1)
    assert voc == pytest.approx((9963 / features + numbers / passes + 2 * numbers / products) / 3600)
    machines = rate("svm images", "resnet50", "2048 numbers, 11 costs to 1000")
    svm = cost_of(planned("voc07_svm", {"train": 5011, "test": 4952}, 20), "cpu").hours
    assert svm == pytest.approx((9963 / features + 20 * 5011 * (11 * 2 + 1) / machines) / 3600)
    few = cost_of(planned("voc07_svm_low_shot", {"train": 5011, "test": 4952}, 20), "cpu").hours
    drawn = 20 * 20 * (1 + 2 + 4 + 8 + 16 + 32 + 64 + 96) * 5
    assert few == pytest.approx((9963 / features + drawn * 12 / machines) / 3600)
    own = cost_of(planned("demo_voc_svm", {"train": 80, "test": 24}, 10), "cpu")
    assert own.hours is None  # with other costs, a fit takes another time


@pytest.mark.parametrize(
    ("name", "trained", "tested"),
    [
        ("voc12aug_fcn_moco", 30_000 * 16 / 0.322, 1449 / 0.880),
        ("voc12aug_fcn_mmseg", 20_000 * 16 / 0.0662, 1449 / 0.187),
        ("cityscapes_fcn_moco", 90_000 * 16 / 0.140, 1449 / 0.0609),
        ("cityscapes_fcn_mmseg", 40_000 * 8 / 0.0261, 1449 / 0.0112),
    ],
)
def test_hours_of_segmentation_are_those_of_every_image_of_every_batch(
    name: str, trained: float, tested: float
) -> None:
    splits = {"train_aug": 10_582, "val": 1449}
    assert cost_of(planned(name, splits, 21), "cpu").hours == pytest.approx((trained + tested) / 3600)
    assert cost_of(planned(name, splits, 21, data="mine"), "cpu").hours is None  # test images of any size


@pytest.mark.parametrize(
    "job",
    [
        planned("knn_dino", IMAGENET, arch="resnet101"),
        planned("cifar10_knn", IMAGENET, arch="resnet18"),
        planned("linear_mec", IMAGENET),
        planned("coco_c4_1x", {"train2017": 1, "val2017": 1}),
        planned("vos_unitrack", {"2017/val": 1999}, data="mine"),  # frames of any size
        planned("mot_unitrack", {"train": 1}),
    ],
    ids=lambda job: job.spec.benchmark.id,
)
def test_what_nobody_has_measured_is_unknown(job: PlannedJob) -> None:
    assert cost_of(job, "cpu").hours is None and "CPU hours unknown" in describe_cost(job, CPU)


def test_hours_of_a_gpu_are_by_rates_of_one_alone() -> None:
    tracking = planned("sot_xcorr", {"OTB2015": 920}, arch="resnet50")
    assert as_json(tracking, GPUS)["gpu_hours"] == pytest.approx(920 / 51.8 / 3600)
    job = planned("cifar10_knn", {"train": 50_000, "val": 10_000}, 10)
    assert as_json(job, GPUS)["gpu_hours"] is None and as_json(job, CPU)["cpu_hours"] > 0
    assert "gpus" not in as_json(job, CPU)


def test_every_rate_names_a_table_that_is_there() -> None:
    for rate in load_rates().rates:
        assert (REPOSITORY / rate.source.partition(":")[0]).is_file(), rate


def test_two_rates_of_one_thing_are_refused() -> None:
    rates = load_rates().model_dump(mode="json")
    with pytest.raises(ValidationError, match="two rates of features, resnet50, 32 px on a cpu"):
        Rates.model_validate({**rates, "rates": [*rates["rates"], rates["rates"][0]]})
    with pytest.raises(ValidationError, match="'abacus' is not one of the machines"):
        Rates.model_validate({**rates, "rates": [{**rates["rates"][0], "machine": "abacus"}]})


def test_memory_is_what_was_measured_of_a_protocol_on_a_kind_of_device(monkeypatch: pytest.MonkeyPatch) -> None:
    peak = {"protocol": "knn-dino-224", "arch": "resnet50", "gib": 1.5, "machine": "a", "measured": "2026-01-01"}
    rates = {"machines": {"a": {"device": "cpu", "name": "A"}}, "rates": [], "peaks": [peak]}
    monkeypatch.setattr(costs, "load_rates", lambda: Rates.model_validate(rates))
    job = planned("knn_dino", IMAGENET)
    job.spec.benchmark.__dict__["protocol"] = "knn-dino-224"
    assert peak_memory_of(job, CPU) == 3 * 2**29 and peak_memory_of(job, GPUS) is None
    assert describe_cost(job, CPU).endswith(", memory 1.5 GiB") and "memory" not in describe_cost(job, GPUS)
    with pytest.raises(ValidationError, match="'b' is not one of the machines a"):
        Rates.model_validate(rates | {"peaks": [peak | {"machine": "b"}]})


def test_half_precision_is_a_matter_of_gpus() -> None:
    rates = load_rates()
    work = Work(kind="sot dcf", setting="520 px, 3 scales, layer3", units=1, half=True)
    found = rates.find(work, "resnet50", "cpu")
    assert found and found.per_second == 0.69
    gpu = rates.model_copy(
        update={"machines": {n: m.model_copy(update={"device": "gpu"}) for n, m in rates.machines.items()}}
    )
    assert gpu.find(work, "resnet50", "gpu") is None
    assert gpu.find(dataclasses.replace(work, half=False), "resnet50", "gpu")


@pytest.mark.parametrize("name", ["knn_dino", "linear_fast"])
def test_features_take_what_the_store_will_write(name: str, tmp_path: Path) -> None:
    cost = cost_of(planned(name, IMAGENET), "gpu")
    stores = [FeatureStore(tmp_path, {"split": split}, images, 2048) for split, images in IMAGENET.items()]
    assert cost.cached_bytes and sorted(cost.cached_bytes.values()) == sorted(s.missing_bytes() for s in stores)
    assert cost.own_bytes and cost.own_bytes < 2**24


def test_what_jobs_share_is_counted_once() -> None:
    jobs = [planned("knn_dino", IMAGENET), planned("knn_dino", IMAGENET), planned("knn_instdisc", IMAGENET)]
    assert describe_cost(jobs[0], GPUS) == "GPU hours unknown, disk 10.2 GiB"
    assert describe_costs(jobs[:2], GPUS) == "GPU hours unknown, disk 10.2 GiB"
    assert describe_costs(jobs, GPUS) == "GPU hours unknown, disk 20.3 GiB"  # its images are resized otherwise
    jobs.append(planned("mot_unitrack", {"train": 1}))
    assert describe_costs(jobs, GPUS).endswith("disk 20.3 GiB for 3 of 4 jobs, else unknown")


def test_a_training_takes_its_state_twice() -> None:
    linear = cost_of(planned("linear_mec", IMAGENET), "gpu").disk_bytes
    whole = cost_of(planned("semisup_1pct_barlow", IMAGENET), "gpu").disk_bytes
    network = 16 * (23_508_032 + 53_120)  # weights, and running statistics
    assert linear and whole and whole - linear == network - head_bytes("resnet50", 1000)  # a probe's head stays


def test_a_plan_tells_gpus_of_a_benchmark_that_has_several() -> None:
    job = planned("coco_c4_1x", {"train2017": 1, "val2017": 1}, classes=80)
    assert describe_cost(job, GPUS) == "4 of 8 GPUs, GPU hours unknown, disk 686.7 MiB or more"
    assert as_json(job, GPUS) == {
        "gpus": 4,
        "gpu_hours": None,
        "disk_bytes": cost_of(job, "gpu").own_bytes,
        "memory_bytes": None,
    }
    assert as_json(job, RunOptions(out=Path("out")))["gpus"] == 8  # for launchers that have as many
    assert describe_cost(job, CPU) == "CPU hours unknown, disk 686.7 MiB or more"
    assert describe_costs([job, job], GPUS) == "GPU hours unknown, disk 1.3 GiB or more"
    r18 = planned("coco_fpn_1x", {"train2017": 1, "val2017": 1}, arch="resnet18")
    assert describe_cost(r18, GPUS) == "4 of 8 GPUs, GPU hours unknown, disk unknown"


def test_every_benchmark_knows_or_says_that_it_does_not() -> None:
    splits = {"train": 100, "val": 100, "test": 100}
    for file in benchmark_files():
        config = benchmark_config(file)
        resources = config.resources(
            "resnet18", DatasetInfo(name="x", fingerprint="f", num_images=1, classes=2, splits=splits)
        )
        assert resources.own_bytes is None or resources.own_bytes > 0
        assert all(work.units > 0 for work in resources.work or ())


def test_a_dry_run_prices_what_is_ahead_alone(world, fake, capsys) -> None:  # type: ignore[no-untyped-def]
    world.pretrain()
    (world.data / "second" / "broken").touch()
    command = [
        "run",
        "--suite",
        str(world.root / "suite.yaml"),
        "--data-root",
        str(world.data),
        "--out",
        str(world.out),
    ]
    assert main([*command, "--dry-run"]) == 3
    said = capsys.readouterr().err
    assert "random  one: to run (GPU hours unknown, disk unknown)\n" in said
    assert "broken; mend it\n" in said  # and no price of what cannot run
    assert said.endswith("in all: GPU hours unknown, disk unknown, without what is pretrained\n")
    assert main([*command, "--plan-json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan[0]["gpus"] == 8 and plan[1]["gpus"] == 1 and plan[1]["gpu_hours"] is plan[1]["disk_bytes"] is None
    assert "gpus" not in plan[2]
