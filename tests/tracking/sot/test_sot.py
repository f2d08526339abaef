"""The task as a whole: files, records, and the command on a drawn sequence."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.benchmark import Job
from mec_transfer.cli.main import main
from mec_transfer.common.errors import UserError
from mec_transfer.common.paths import CONFIGS
from mec_transfer.datasets.registry import open_data
from mec_transfer.datasets.videos.box_video import BoxVideo
from mec_transfer.results.record import DatasetInfo
from mec_transfer.suite.registry import load_benchmark
from mec_transfer.tracking.sot.sot import Sot
from tests.datasets.videos import test_box_layouts
from tests.tracking.sot.test_search import Colours, draw, moving, true_boxes

PUBLISHED = ("sot_xcorr", "sot_xcorr_corrected", "sot_dcf", "sot_dcf_corrected")
DEMO = ("demo_sot_xcorr", "demo_sot_dcf")


def sot(name: str) -> Sot:
    benchmark = load_benchmark(CONFIGS / "tracking" / f"{name}.yaml")
    assert isinstance(benchmark, Sot)
    return benchmark


def video(folder: Path, count: int = 4) -> BoxVideo:
    frames = draw(folder / "Drawn" / "img", count, moving)
    truth = folder / "Drawn" / "groundtruth_rect.txt"
    np.savetxt(truth, true_boxes(count, moving), delimiter="\t", fmt="%g")
    return BoxVideo(frames=frames, files=(truth,), boxes=true_boxes(count, moving))


def test_configs_are_the_published_settings_each_under_its_own_protocol() -> None:
    for name in PUBLISHED:
        recipe = sot(name).config.recipe
        assert (recipe.stage, recipe.crop_size, recipe.padding, recipe.subpixels) == ("layer3", 520, 3.5, 32)
        assert (recipe.scales, recipe.scale_step, recipe.scale_penalty) == (3, 1.0275, 0.985)
        assert (recipe.smallest, recipe.largest, recipe.update) == (0.2, 5.0, 0.01 if "dcf" in name else 0.0)
        assert recipe.corrected == name.endswith("corrected") and sot(name).config.dataset.split == "OTB2015"
    assert (sot("sot_dcf").config.recipe.regularisation, sot("sot_dcf").config.recipe.sigma) == (1e-4, 0.1)
    protocols = [sot(name).config.protocol for name in (*PUBLISHED, *DEMO)]
    assert protocols[:2] == ["otb2015-sot-xcorr-unitrack", "otb2015-sot-xcorr-corrected"]
    assert protocols[4:] == ["demo-sot-xcorr", "demo-sot-dcf"] and len(set(protocols)) == 6


def test_numbers_come_from_the_written_files(tmp_path: Path) -> None:
    task, drawn = sot("demo_sot_dcf"), video(tmp_path)
    for part, files in (("results", task.follow(drawn, Colours(), lambda: None)), ("truth", task.truth(drawn))):
        for name, data in files.items():
            (tmp_path / part).mkdir()
            (tmp_path / part / name).write_bytes(data)
    written = tmp_path / "results" / "Drawn.txt"
    assert np.loadtxt(written, delimiter=",").shape == (4, 4)  # as OTB's and pysot's tools read it
    measured = task.measure(tmp_path, ["Drawn"])
    assert measured.overall == measured.by_sequence["Drawn"] and measured.overall["AUC"] > 75
    marks = task.marks(drawn, tmp_path)(2)
    assert marks.truth == ((24, 27, 48, 47),) and abs(marks.boxes[1][0] - 24) < 4
    written.write_text("3,3,5,5\n" * 4)
    assert task.measure(tmp_path, ["Drawn"]).overall["AUC"] == 0
    for text, message in (
        ("3,3,5,5\n" * 3, "3 boxes, but 4 frames"),
        ("3,3,5,5\n" * 3 + "nan,1,1,1\n", "not a number"),
        ("3,3,5\n" * 4, r"Drawn\.txt:1: 3 values"),
    ):
        written.write_text(text)
        with pytest.raises(UserError, match=message):
            task.measure(tmp_path, ["Drawn"])


def test_overall_is_the_mean_over_sequences_not_over_frames(tmp_path: Path) -> None:
    for part in ("results", "truth"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "Long.txt").write_text("3,3,5,5\n" * 9)
    (tmp_path / "truth" / "Short.txt").write_text("3,3,5,5\n")
    (tmp_path / "results" / "Short.txt").write_text("30,30,5,5\n")
    assert sot("demo_sot_xcorr").measure(tmp_path, ["Long", "Short"]).overall["AUC"] == pytest.approx(50 * 20 / 21)


@pytest.mark.integration
@pytest.mark.parametrize("name", DEMO)
def test_the_command_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    video(tmp_path / "otb", 3)
    out = tmp_path / "out"
    command = ["track", "random:resnet18:2", "--config", name, "--data", str(tmp_path / "otb"), "--out", str(out)]
    command += ["--device", "cpu", "--split", "all", "--set", "recipe.crop_size=72"]
    assert main(command) == 0
    record = json.loads((out / "record.json").read_text())
    assert record["status"] == "ok" and record["benchmark"]["protocol"].startswith(name.replace("_", "-") + "+custom-")
    assert record["metrics"].keys() == {"AUC", "precision", "norm_precision"} and record["details"]["frames"] == 3
    assert list((out / "pictures").glob("*_Drawn.gif")) and (out / "results" / "Drawn.txt").is_file()
    assert main(["verify", str(out)]) == 0
    (tmp_path / "otb" / "Drawn" / "groundtruth_rect.txt").write_text("1,2,3,4\n1,2,3\n1,2,3,4\n")
    capsys.readouterr()
    assert main([*command[:-1], "recipe.crop_size=80"]) == 2
    assert "groundtruth_rect.txt:2: 3 values where four are needed" in capsys.readouterr().err


@pytest.mark.parametrize("matcher", ["xcorr", "dcf"])
def test_crops_are_not_kept_and_the_boxes_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, matcher: str
) -> None:
    """No other task, and no second run, ever asks for a crop that follows a target: 12 MB a frame with ResNet-18."""
    name = f"demo_sot_{matcher}"
    benchmark = load_benchmark(CONFIGS / "tracking" / f"{name}.yaml", ["recipe.crop_size=72", "dataset.sequences=[]"])
    assert isinstance(benchmark, Sot)
    video(tmp_path / "otb", 3)
    job = Job(
        model_name="random",
        backbone=resolve_backbone("random:resnet18"),
        data=open_data(benchmark.config.dataset, tmp_path / "otb"),
        dataset=DatasetInfo(name="drawn", fingerprint="0", num_images=3),
        workdir=tmp_path / "out",
        cache=tmp_path / "cache",
        device="cpu",
    )
    record = benchmark.run(job)
    assert not list((tmp_path / "cache").rglob("*"))
    monkeypatch.setattr(Sot, "WHOLE_FRAMES", True)  # as it was
    kept = benchmark.run(dataclasses.replace(job, workdir=tmp_path / "kept"))
    assert len(list((tmp_path / "cache").rglob("*.npy"))) >= 3
    assert kept.metrics == record.metrics
    written = [(tmp_path / folder / "results" / "Drawn.txt").read_bytes() for folder in ("out", "kept")]
    assert written[0] == written[1]


def test_a_video_of_one_frame_is_refused_before_computing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video(tmp_path / "otb", 1)
    command = ["track", "random:resnet18:2", "--config", "demo_sot_dcf", "--data", str(tmp_path / "otb")]
    assert main([*command, "--split", "all", "--out", str(tmp_path / "out"), "--device", "cpu"]) == 2
    assert "groundtruth_rect.txt: nothing to score" in capsys.readouterr().err


def test_a_truth_that_is_not_public_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Frames without a box would all be hits of precision."""
    test_box_layouts.trackingnet(tmp_path, "TEST", "a_0", test_box_layouts.LINE)
    command = ["track", "random:resnet18:2", "--config", "demo_sot_dcf", "--data", str(tmp_path), "--split", "TEST"]
    command += ["--set", "dataset.layout=trackingnet", "--set", "dataset.sequences=[]"]
    assert main([*command, "--out", str(tmp_path / "out"), "--device", "cpu"]) == 2
    assert "holds the first frame's box alone" in capsys.readouterr().err
