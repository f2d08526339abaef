from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

from mec_transfer.common.errors import ConfigError, UserError
from mec_transfer.common.paths import CONFIGS
from mec_transfer.suite.config import load_suite
from mec_transfer.suite.memory import Memory
from mec_transfer.suite.opened import OpenedData
from mec_transfer.suite.plan import RunOptions, below_root, plan_benchmarks, plan_jobs, plan_means
from mec_transfer.suite.registry import benchmark_config, benchmark_files, find_benchmark, load_benchmark
from tests.classification.conftest import write_images


def load(tmp_path: Path, text: str, models: list[str] | None = None):  # type: ignore[no-untyped-def]
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    return load_suite(path, ["m=random:resnet18"] if models is None else models)


def test_short_and_long_forms(tmp_path: Path) -> None:
    (tmp_path / "here.pth").write_text("")
    suite = load(
        tmp_path,
        "id: s\n"
        "models:\n  a: random:resnet50:3\n  b: {checkpoint: here.pth, encoder: teacher}\n"
        "  c: {pretrain: mec_r50_100ep, data: images, overrides: [epochs=1]}\n"
        "benchmarks:\n  - one\n  - {config: two, set: [recipe.k=1], trials: 3, data: elsewhere}\n",
        ["d=x.pth", "a=other.pth"],
    )
    assert list(suite.models) == ["a", "b", "c", "d"]
    assert suite.models["a"].checkpoint == "other.pth" and suite.models["d"].checkpoint == "x.pth"
    assert suite.models["b"].checkpoint == str(tmp_path / "here.pth") and suite.models["b"].encoder == "teacher"
    assert suite.models["c"].overrides == ["epochs=1"]
    assert [entry.config for entry in suite.benchmarks] == ["one", "two"] and suite.benchmarks[1].trials == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id: s\nbenchmark: [a]\n", r"'benchmark' is not an option\. Did you mean 'benchmarks'\?"),
        ("id: s\nbenchmarks: []\n", "benchmarks"),
        ("id: s\nbenchmarks: [{confg: a}]\n", r"'benchmarks\.0\.confg' is not an option\. Did you mean 'config'\?"),
        ("id: s\nbenchmarks: [{config: a, trials: 0}]\n", r"benchmarks\.0\.trials"),
        ("id: s\nbenchmarks: [a]\nmodels: {m: {chekpoint: x}}\n", r"Did you mean 'checkpoint'\?"),
        ("id: s\nbenchmarks: [a]\nmodels: {m: {checkpoint: x, pretrain: y}}\n", "either 'checkpoint' or 'pretrain'"),
        ("id: s\nbenchmarks: [a]\nmodels: {m: {checkpoint: x, data: y}}\n", "belong to 'pretrain'"),
        ("id: s\nbenchmarks: [a]\nmodels: {m: {pretrain: x}}\n", "needs 'data'"),
        ("id: s\nbenchmarks: [a]\nmodels: {../m: x}\n", "use letters, digits"),
        ("id: s\nbenchmarks: [a]\nmodels: {'': x}\n", "use letters, digits"),
        ("benchmarks: [a]\n", "'id' is missing"),
    ],
)
def test_a_wrong_suite_is_one_line_that_names_the_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path, text)
    assert str(tmp_path / "suite.yaml") in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("entry", ["mec", "=x.pth", "mec=", "a/b=x.pth", ".hidden=x", "a b=x"])
def test_a_wrong_model_option(tmp_path: Path, entry: str) -> None:
    with pytest.raises(UserError, match="--model"):
        load(tmp_path, "id: s\nbenchmarks: [a]\n", [entry])


def test_a_suite_without_models_asks_for_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="add --model NAME=CKPT"):
        load(tmp_path, "id: s\nbenchmarks: [a]\n", [])


def test_an_unknown_benchmark_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"liner_mec: no such benchmark\. Did you mean 'linear_mec'\?"):
        find_benchmark("liner_mec", tmp_path)
    assert find_benchmark("linear_mec", tmp_path) == CONFIGS / "classification" / "linear_mec.yaml"


def test_data_below_a_root(tmp_path: Path) -> None:
    source = tmp_path / "suite.yaml"
    assert below_root("x", tmp_path, source) == tmp_path / "x"
    assert below_root("/abs", None, source) == Path("/abs")
    with pytest.raises(UserError, match="add --data-root DIR"):
        below_root("x", None, source)


def planned(world, suite):  # type: ignore[no-untyped-def]
    source = world.root / "suite.yaml"
    return plan_benchmarks(suite, source, RunOptions(out=world.out), world.data, OpenedData(world.out))


def test_plan_is_models_by_benchmarks_by_trials(world, fake) -> None:  # type: ignore[no-untyped-def]
    from mec_transfer.results.record import ModelInfo

    suite = load_suite(world.root / "suite.yaml", [])
    benchmarks = planned(world, suite)
    assert [(entry.config.id, entry.trials, entry.data.name) for entry in benchmarks] == [
        ("one", 1, "first"),
        ("two", 2, "second"),
    ]
    model = ModelInfo(name="m", sha256="a" * 64, arch="resnet18")
    jobs = plan_jobs(model, "c.pth", "auto", benchmarks, RunOptions(out=world.out, seed=7))
    assert [(job.spec.config.id, job.spec.trial, job.spec.seed) for job in jobs] == [
        ("one", 0, 7),
        ("two", 0, 7),
        ("two", 1, 8),
    ]
    assert len({job.folder for job in jobs}) == 3
    assert jobs[2].folder.parent == world.out / "jobs" / "m" and jobs[2].folder.name.startswith("two-t1-")
    assert jobs[2].folder.name.endswith(jobs[2].spec.key[:8])


def test_an_override_in_a_suite_makes_a_protocol_of_its_own(world, fake) -> None:  # type: ignore[no-untyped-def]
    world.write("suite.yaml", "id: s\nbenchmarks: [one.yaml, {config: one.yaml, set: [recipe.seconds=0.5]}]\n")
    suite = load_suite(world.root / "suite.yaml", ["m=random:x"])
    one, custom = planned(world, suite)
    assert one.config.protocol == "fake-one"
    assert custom.config.protocol.startswith("fake-one+custom-")


def test_an_edited_list_of_labels_is_another_benchmark(tmp_path: Path) -> None:
    path, labels = CONFIGS / "classification" / "semisup_1pct_barlow.yaml", tmp_path / "list.txt"
    labels.write_text("a.jpg\n")

    def read():  # type: ignore[no-untyped-def]
        return benchmark_config(path, [f"recipe.labels={labels}"])

    first, again = read(), read()
    assert first.info() == again.info() and first.protocol.startswith("imagenet-semisup-1pct-barlow+custom-")
    labels.write_text("a.jpg\nb.jpg\n")
    edited = read()
    assert edited.sha256 != first.sha256 and edited.protocol != first.protocol
    labels.unlink()
    with pytest.raises(ConfigError, match="recipe.labels: .*list.txt' is neither a share such as 10% nor a file"):
        read()


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("id: s\nbenchmarks: [one.yaml, one.yaml]\n", ConfigError, "'one' stands twice"),
        ("id: s\nbenchmarks: [{config: one.yaml, data: nowhere}]\n", UserError, "no such data; make it"),
        ("id: s\nbenchmarks: [{config: one.yaml, set: [recipe.sconds=1]}]\n", ConfigError, "Did you mean 'seconds'"),
        ("id: s\nbenchmarks: [three.yaml]\n", ConfigError, "no such benchmark"),
    ],
)
def test_a_misconfigured_suite_stops_before_anything_runs(
    world, fake, text: str, error: type[Exception], message: str
) -> None:  # type: ignore[no-untyped-def]
    world.write("suite.yaml", text)
    suite = load_suite(world.root / "suite.yaml", ["m=random:x"])
    with pytest.raises(error, match=message):
        planned(world, suite)
    assert not world.out.exists()


def test_every_suite_that_ships_names_benchmarks_that_exist() -> None:
    paths = sorted((CONFIGS / "suites").glob("*.yaml"))
    assert {"demo", "demo_trackers", "smoke", "cifar10", "paper"} <= {path.stem for path in paths}
    for path in paths:
        suite = load_suite(path, ["m=random:resnet18"])
        assert suite.id == path.stem
        for entry in suite.benchmarks:
            find_benchmark(entry.config, path.parent)


def test_memory_forgets_what_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "memory.json"
    Memory.read(path).keep("a", [1], {"x": 1})
    assert Memory.read(path).recall("a", [1]) == {"x": 1}
    assert Memory.read(path).recall("a", [2]) is None and Memory.read(path).recall("b", [1]) is None
    path.write_text("[1")
    assert Memory.read(path).recall("a", [1]) is None
    (tmp_path / "folder").mkdir()
    Memory.read(tmp_path / "folder").keep("a", [1], 1)  # where nothing can be written
    assert "it is computed again next time" in capsys.readouterr().err


def test_the_hash_is_of_what_can_move_a_number(world, fake) -> None:  # type: ignore[no-untyped-def]
    path = world.root / "one.yaml"
    published = benchmark_config(path)
    words = ["title=Other", "published=elsewhere", "deviations=[One.]", "trials=5", "dataset.folder=moved"]
    reworded = benchmark_config(path, words)
    assert reworded.title == "Other"
    assert (reworded.sha256, reworded.protocol) == (published.sha256, published.protocol)
    for change in ("recipe.seconds=0.5", "dataset.name=other", "version=2", "metrics.higher_is_better=false"):
        changed = benchmark_config(path, [change])
        assert changed.sha256 != published.sha256
        assert changed.protocol.startswith(f"{published.protocol}+custom-")


def test_an_edited_stock_yaml_is_another_benchmark(tmp_path: Path) -> None:
    stock = tmp_path / "mine_d2.yaml"
    stock.write_text("MODEL: {MASK_ON: false}\n")
    path, overrides = CONFIGS / "detection" / "coco_fpn_1x.yaml", [f"recipe.config={stock}"]
    first = benchmark_config(path, overrides)
    stock.write_text("MODEL: {MASK_ON: true}\n")
    assert benchmark_config(path, overrides).sha256 != first.sha256


ONE_OF_A_KIND = (
    *("demo_knn", "linear_mec", "demo_linear_fast", "demo_voc_svm", "semisup_1pct_barlow", "coco_fpn_1x"),
    *("sot_dcf", "vos_dino", "mot_unitrack", "mots_unitrack", "posetrack_unitrack"),
    *("demo_siamrpn", "reid_mot17", "deepsort_mot17", "voc07_svm_low_shot"),
    *("places205_linear_vissl", "demo_logistic", "demo_few_shot", "demo_robust", "voc12aug_fcn_moco"),
)


def test_configs_are_read_without_torch() -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from mec_transfer.suite.registry import BENCHMARKS, benchmark_config, find_benchmark\n"
        f"configs = [benchmark_config(find_benchmark(name, Path()), ['version=99']) for name in {ONE_OF_A_KIND}]\n"
        "assert {f'{config.family}/{config.kind}' for config in configs} == set(BENCHMARKS)\n"
        "heavy = {'torch', 'torchvision', 'cv2', 'detectron2', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_a_config_is_of_the_class_that_its_benchmark_works_with(name: str) -> None:
    benchmark = load_benchmark(find_benchmark(name, Path()))
    assert type(benchmark.config) is get_type_hints(type(benchmark))["config"]


def test_planning_a_suite_whose_models_are_known_needs_no_torch(tmp_path: Path) -> None:
    write_images(tmp_path / "data" / "imagenet")
    suite = tmp_path / "suite.yaml"
    suite.write_text("id: s\nmodels: {r: random:resnet18}\nbenchmarks: [knn_dino, linear_mec, semisup_10pct_barlow]\n")
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from mec_transfer.results.record import Record\n"
        "from mec_transfer.suite.config import load_suite\n"
        "from mec_transfer.suite.plan import PlannedJob, RunOptions\n"
        "from mec_transfer.suite.run import show_plan\n"
        "PlannedJob.state = lambda job: 'done'\n"  # what is still to run is checked, which needs its family
        f"source, options = Path({str(suite)!r}), RunOptions(out=Path({str(tmp_path / 'out')!r}), "
        f"data_root=Path({str(tmp_path / 'data')!r}))\n"
        "show_plan(load_suite(source, []), source, options)\n"
        "print('torch' in sys.modules)"
    )
    printed = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0 and "plan: 3 jobs: 3 done" in done.stderr, done.stderr
        printed.append(done.stdout.split())
    assert printed == [["True"], ["False"]]  # the first time the weights are read


@pytest.mark.parametrize("path", benchmark_files(), ids=lambda path: path.stem)
def test_a_column_beside_the_ranked_one_is_of_a_metric_that_the_kind_measures(path: Path) -> None:
    """A failure has every column that its config names, so that one of another kind's would hold failures alone."""
    measured = {
        "detectron2": ("AP", "AP50", "mask_AP", "mask_AP50"),
        "few_shot": ("top1_20shot", "top1_50shot"),
        "mmtrack_reid": ("rank1",),
        "siamrpn": ("norm_precision", "precision"),
        "vos": ("J&F",),
    }
    config = benchmark_config(path)
    assert set(config.metrics.also) <= set(measured.get(config.kind, ()))


def test_null_takes_away_the_columns_of_a_base(world, fake) -> None:  # type: ignore[no-untyped-def]
    world.write("with.yaml", "base: one.yaml\nmetrics: {also: {top5: Five}}\n")
    world.write("without.yaml", "base: with.yaml\nmetrics: {also: null}\n")
    assert benchmark_config(world.root / "with.yaml").metrics.also == {"top5": "Five"}
    assert benchmark_config(world.root / "without.yaml").metrics.also == {}


def test_no_two_columns_have_one_head() -> None:
    configs = [benchmark_config(path) for path in benchmark_files()]
    heads = [head for config in configs for head in (config.title, *config.metrics.also.values())]
    assert sorted(heads) == sorted(set(heads))


def test_means_are_over_the_suites_own_benchmarks(tmp_path: Path) -> None:
    suite, models = tmp_path / "suite.yaml", "models: {r: random:resnet18}\n"
    for of, said in (
        ("[knn_dino, linear_mex]", "no benchmark 'linear_mex'. Did you mean 'linear_mec'?"),
        ("[knn_dino, knn_dino]", "names 'knn_dino' twice"),
        ("[knn_dino]", "means.0.of"),
    ):
        means = f"means: [{{title: Both, of: {of}}}]\n"
        suite.write_text(f"id: s\n{models}benchmarks: [knn_dino, linear_mec]\n{means}")
        with pytest.raises(ConfigError) as caught:
            load_suite(suite, [])
        assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_suites_means_are_over_published_protocols_and_primary_metrics() -> None:
    source = CONFIGS / "suites" / "linear_transfer.yaml"
    (mean,) = plan_means(load_suite(source, ["m=random:resnet18"]), source)
    assert len(mean.of) == 11 and mean.higher_is_better
    assert {part.protocol: part.metric for part in mean.of}["transfer-aircraft"] == "mean_class_top1"
