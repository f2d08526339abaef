"""Who is compared with whom, what is refused, and what is said of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mec_transfer.api import compare
from mec_transfer.benchmark import BenchmarkConfig
from mec_transfer.classification.config import KnnConfig
from mec_transfer.cli.main import main
from mec_transfer.common.errors import UserError
from mec_transfer.comparison.compare import Comparisons, cell_intervals
from mec_transfer.comparison.table import FORMATS, format_comparisons, verdict
from mec_transfer.results.leaderboard import build_leaderboard
from mec_transfer.results.record import Record, read_record, write_record
from mec_transfer.results.store import Store
from mec_transfer.suite.registry import saved_units
from tests.comparison.runs import IMAGES, write_job


def test_a_clear_difference_and_none(tmp_path: Path) -> None:
    for model, right in (("good", 0.8), ("fair", 0.7), ("like", 0.705)):
        write_job(tmp_path, model, right)
    found = compare([tmp_path])
    said = {one.models: verdict(one) for one in found.made}
    assert said == {
        ("fair", "good"): "good is better",
        ("fair", "like"): "not distinguishable",
        ("good", "like"): "good is better",
    }
    assert found.intervals == 3 and found.level == pytest.approx(1 - 0.05 / 3)
    one = found.made[0]
    assert (one.kind, one.units, one.trials, one.over_trials) == ("images", IMAGES, (1, 1), False)
    assert one.difference == one.means[0] - one.means[1] < 0 and one.interval is not None
    assert np.mean(one.interval) == pytest.approx(one.difference) and one.interval[1] < 0


def test_the_interval_is_the_paired_one_not_that_of_two_samples(tmp_path: Path) -> None:
    for model, right in (("good", 0.8), ("fair", 0.7)):
        write_job(tmp_path, model, right)
    (one,) = compare([tmp_path]).made
    hits = [_hits(tmp_path, model) for model in one.models]
    error = 100 * np.std(hits[0] - hits[1], ddof=1) / np.sqrt(IMAGES)
    assert one.reach == pytest.approx(1.966 * error, rel=0.06)
    unpaired = 100 * np.sqrt(sum(np.var(values) for values in hits) / IMAGES)
    assert one.reach is not None and one.reach < 0.75 * 1.966 * unpaired


def test_the_interval_of_a_number_alone_is_that_of_a_share_of_images(tmp_path: Path) -> None:
    write_job(tmp_path, "good", 0.8)
    for trial in range(3):
        write_job(tmp_path, "fair", 0.7, trial=trial)
    write_job(tmp_path, "few", 0.7, images=9, fingerprint="e" * 64)
    jobs = Store.read(tmp_path).stored
    board = build_leaderboard([job.record for job in jobs])
    rows = {model.name: row for row, model in enumerate(board.models)}
    (column,) = (at for at, one in enumerate(board.columns) if one.fingerprint == "f" * 64)
    found = cell_intervals(jobs, saved_units)
    assert found.keys() == {(rows["good"], column), (rows["fair"], column)}  # nine images are too few
    hits, (low, high) = _hits(tmp_path, "good"), found[rows["good"], column]
    assert (low + high) / 2 == pytest.approx(100 * hits.mean())
    assert (high - low) / 2 == pytest.approx(1.966 * 100 * np.std(hits, ddof=1) / np.sqrt(IMAGES), rel=0.06)
    low, high = found[rows["fair"], column]
    assert (low + high) / 2 == pytest.approx(board.cells[rows["fair"], column].mean)


def _hits(run: Path, model: str) -> np.ndarray:
    (path,) = (run / "jobs" / model).glob("*/predictions.npz")
    with np.load(path) as saved:
        return (saved["top_k20"][:, 0] == saved["targets"]).astype(float)


def test_more_comparisons_make_longer_intervals_and_agree_with_the_verdicts(tmp_path: Path) -> None:
    for model, right in (("good", 0.8), ("fair", 0.7)):
        write_job(tmp_path / "few", model, right)
        write_job(tmp_path / "many", model, right)
    for number in range(6):
        write_job(tmp_path / "many", f"other{number}", 0.7)
    (alone,) = compare([tmp_path / "few"]).made
    crowd = compare([tmp_path / "many"])
    (among,) = (one for one in crowd.made if one.models == alone.models)
    assert crowd.intervals == 28 and among.difference == alone.difference
    assert alone.reach is not None and among.reach is not None and 1.4 < among.reach / alone.reach < 1.75
    for one in crowd.made:
        assert one.interval is not None
        assert (one.better is None) == (one.interval[0] <= 0 <= one.interval[1])


def test_lower_can_be_better(tmp_path: Path) -> None:
    for model, right in (("good", 0.8), ("fair", 0.7)):
        folder = write_job(tmp_path, model, right)
        write_record(folder, read_record(folder).model_copy(update={"higher_is_better": False}))
    (one,) = compare(["good", "fair"], [tmp_path]).made
    assert one.difference > 0 and verdict(one) == "fair is better" and "↓" in format_comparisons(_only(one), "text")


def _only(one: object) -> Comparisons:
    return Comparisons(made=(one,), refused=(), confidence=0.95, resamples=1000)  # type: ignore[arg-type]


def test_trials_are_averaged_and_their_spread_is_in_the_interval(tmp_path: Path) -> None:
    for trial in range(3):
        write_job(tmp_path, "good", 0.75 + 0.04 * trial, trial=trial)
        write_job(tmp_path, "fair", 0.70, trial=trial)
    write_job(tmp_path, "fair", 0.70, trial=3, failed=True)
    write_job(tmp_path, "once", 0.70)
    found = {one.models: one for one in compare([tmp_path]).made}
    both, single = found["fair", "good"], found["good", "once"]
    assert both.trials == (3, 3) and both.over_trials
    assert single.trials == (3, 1) and not single.over_trials
    assert both.reach is not None and single.reach is not None and both.reach > 1.5 * single.reach
    text = format_comparisons(compare([tmp_path]), "text")
    assert "400 images, trials" in text and "(n=3)" in text and "Without `trials`" in text


def test_other_protocols_are_refused_in_a_line_that_names_both(tmp_path: Path) -> None:
    one = write_job(tmp_path / "a", "one", 0.8)
    two = write_job(tmp_path / "b", "two", 0.7, overrides=("recipe.temperature=0.1",))
    custom = read_record(two).benchmark.protocol
    with pytest.raises(UserError) as error:
        compare([one, two])
    assert str(error.value) == (
        "one and two: knn_dino (top1) is refused: protocol imagenet-knn-dino and protocol "
        f"{custom} are different measurements"
    )


def test_other_data_is_refused_in_a_line_that_names_both(tmp_path: Path) -> None:
    one = write_job(tmp_path / "a", "one", 0.8)
    two = write_job(tmp_path / "b", "two", 0.7, fingerprint="0" * 64)
    with pytest.raises(UserError, match="imagenet with fingerprint ffffffffffff and imagenet with fingerprint 0{12}$"):
        compare([one, two])


def test_what_is_refused_does_not_keep_the_rest_from_being_compared(tmp_path: Path) -> None:
    for model in ("one", "two"):
        write_job(tmp_path, model, 0.7, config="linear_fast")
    write_job(tmp_path, "one", 0.7)
    write_job(tmp_path, "two", 0.7, fingerprint="0" * 64)
    found = compare([tmp_path])
    assert [one.column.benchmark for one in found.made] == ["linear_fast"] and len(found.refused) == 1
    assert "Refused: one and two: knn_dino (top1)" in format_comparisons(found, "text")


def test_models_without_a_benchmark_in_common_are_refused(tmp_path: Path) -> None:
    one = write_job(tmp_path / "a", "one", 0.8)
    two = write_job(tmp_path / "b", "two", 0.7, config="linear_fast")
    with pytest.raises(UserError, match="one has imagenet-knn-dino; two has imagenet-linear-fast"):
        compare([one, two])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("few", "too few images, it takes 10"),
        ("other", "they were not measured on the same images"),
        ("changed", "its predictions say"),
        ("missing", "the job left no predictions"),
        ("config", "job.json"),
    ],
)
def test_where_there_is_no_interval_the_reason_stands(tmp_path: Path, damage: str, reason: str) -> None:
    few = 9 if damage == "few" else IMAGES
    write_job(tmp_path, "one", 0.8, images=few)
    folder = write_job(tmp_path, "two", 0.7, images=few, data_seed=damage == "other")
    if damage == "changed":
        record = read_record(folder)
        write_record(folder, record.model_copy(update={"metrics": {"top1": 99.0}}))
    elif damage in ("missing", "config"):
        (folder / {"missing": "predictions.npz", "config": "job.json"}[damage]).unlink()
    (one,) = compare([tmp_path]).made
    assert one.interval is None and one.better is None and reason in verdict(one)
    assert "No comparison has an interval." in format_comparisons(_only(one), "text")


def test_a_library_that_is_not_there_and_a_kind_without_units_are_reasons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in ("one", "two"):
        write_job(tmp_path, model, 0.7)

    def lacking(config: BenchmarkConfig, folder: Path, record: Record) -> None:
        raise ImportError("No module named 'trackeval'", name="trackeval")

    monkeypatch.setattr(KnnConfig, "units", lacking)
    (one,) = compare([tmp_path]).made
    assert "trackeval" in verdict(one).lower()
    monkeypatch.setattr(KnnConfig, "units", BenchmarkConfig.units)
    (one,) = compare([tmp_path]).made
    assert verdict(one) == "no interval: knn keeps no single results"


def test_models_are_named_as_on_the_leaderboard(tmp_path: Path) -> None:
    write_job(tmp_path / "a", "mec", 0.8, weights="first")
    write_job(tmp_path / "b", "mec", 0.7, weights="second")
    write_job(tmp_path / "b", "random", 0.2)
    labels = {word: f"mec@{word.encode().hex()[:8]}" for word in ("first", "second")}
    (one,) = compare([tmp_path / "a" / "jobs" / "mec", tmp_path / "b" / "jobs" / "mec"]).made
    assert one.models == tuple(labels.values())
    (one,) = compare(["random", labels["first"]], [tmp_path]).made
    assert one.models == ("random", "mec") and verdict(one) == "mec is better"
    with pytest.raises(UserError, match=f"several models are called 'mec': {', '.join(labels.values())}"):
        compare(["random", "mec"], [tmp_path])
    with pytest.raises(UserError, match="no model 'rendom'. Did you mean 'random'"):
        compare(["rendom", "random"], [tmp_path])
    with pytest.raises(UserError, match=r"b: holds 2 models; .* compare mec random --in "):
        compare([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(UserError, match="only mec is there"):
        compare([tmp_path / "a"])
    with pytest.raises(UserError, match="mec: named twice, with the same weights"):
        compare([tmp_path / "a", tmp_path / "a"])
    with pytest.raises(UserError, match="mec: no such folder; to name a model of a run, say --in RUN as well"):
        compare(["mec", "random"])


@pytest.mark.parametrize("fmt", FORMATS)
def test_the_same_records_give_the_same_bytes(fmt: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for model, right in (("good", 0.8), ("fair", 0.7)):
        write_job(tmp_path, model, right)
        write_job(tmp_path, model, right, config="linear_fast")
    texts = []
    for _ in range(2):
        assert main(["compare", "good", "fair", "--in", str(tmp_path), "--format", fmt]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] and texts[0].endswith("\n")
    if fmt == "json":
        found = json.loads(texts[0])
        assert found["intervals"] == 2 and found["level"] == 0.975
        assert [one["better"] for one in found["comparisons"]] == ["good", "good"]
    else:
        assert texts[0].count("good is better") == 2 and "97.5 %" in texts[0]
    if fmt == "md":
        rows = [line for line in texts[0].splitlines() if line.startswith("|")]
        assert len(rows) == 4 and len({row.count("|") for row in rows}) == 1


def test_a_confidence_that_is_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(tmp_path), "--confidence", "95"]) == 2
    assert "--confidence: 95 is not between 0.5 and 1" in capsys.readouterr().err


def test_a_damaged_record_is_told_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for model in ("one", "two"):
        write_job(tmp_path, model, 0.7)
    (write_job(tmp_path, "one", 0.7, config="linear_fast") / "record.json").write_text("{")
    assert main(["compare", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "record.json" in captured.err and "not distinguishable" in captured.out


def test_no_torch_is_imported(tmp_path: Path) -> None:
    for model in ("one", "two"):
        write_job(tmp_path, model, 0.7)
    script = (
        "import sys; from mec_transfer.cli.main import main; "
        f"assert main(['compare', {str(tmp_path)!r}]) == 0; "
        "heavy = {'torch', 'torchvision', 'scipy', 'cv2'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_what_reads_the_units_of_the_other_families_imports_no_torch() -> None:
    modules = (
        *("detection.coco_units", "detection.voc_units", "tracking.units", "tracking.mmtrack.evaluation"),
        *(f"tracking.association.{kind}_metrics" for kind in ("mot", "mots", "posetrack")),
    )
    script = "import sys, {}; sys.exit('torch' in sys.modules)".format(", ".join(f"mec_transfer.{m}" for m in modules))
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
