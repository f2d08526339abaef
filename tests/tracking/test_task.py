"""The frame of the tasks, with a task that follows the brightest pixel and needs no features."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mec_transfer.backbone.source import resolve_backbone
from mec_transfer.benchmark import Job, MetricsConfig
from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.interrupt import Interrupted
from mec_transfer.datasets.config import VideosDatasetConfig
from mec_transfer.datasets.videos import video as videos
from mec_transfer.datasets.videos.data import VideoData
from mec_transfer.datasets.videos.frames import open_frames
from mec_transfer.datasets.videos.video import Video
from mec_transfer.results.record import DatasetInfo
from mec_transfer.tracking.appearance import Features
from mec_transfer.tracking.config import FrozenConfig, FrozenRecipe
from mec_transfer.tracking.overlay import Marks
from mec_transfer.tracking.sequences import RESULTS, TRUTH, Files, Measured, Tick
from mec_transfer.tracking.task import FrozenTask
from tests.datasets.reading import open_videos

SPOTS = {"one": [(3, 4), (5, 6), (7, 8)], "two": [(1, 1), (9, 9)]}


class Brightest(FrozenTask[Video]):
    METRICS = ("hit",)
    followed: list[str]
    kill_at: str = ""

    def follow(self, video: Video, features: Features, tick: Tick) -> Files:
        self.followed.append(video.name)
        found = []
        for index in range(len(video.frames)):
            if video.name == self.kill_at:
                os.kill(os.getpid(), signal.SIGTERM)
            pixels = video.frames.read(index).sum(axis=2)
            found.append([int(value) for value in np.unravel_index(pixels.argmax(), pixels.shape)])
            tick()
        return {f"{video.name}.json": json.dumps(found).encode()}

    def truth(self, video: Video) -> Files:
        return {f"{video.name}.json": json.dumps([[y, x] for x, y in SPOTS[video.name]]).encode()}

    def measure(self, folder: Path, sequences: Sequence[str]) -> Measured:
        each = {}
        for name in sequences:
            found, true = (json.loads((folder / part / f"{name}.json").read_text()) for part in (RESULTS, TRUTH))
            each[name] = {"hit": 100 * sum(a == b for a, b in zip(found, true, strict=True)) / len(true)}
        return Measured(overall={"hit": sum(m["hit"] for m in each.values()) / len(each)}, by_sequence=each)

    def marks(self, video: Video, folder: Path) -> Callable[[int], Marks]:
        found = json.loads((folder / RESULTS / f"{video.name}.json").read_text())
        return lambda index: Marks(boxes={1: (found[index][1], found[index][0], found[index][1], found[index][0])})


DATASET = VideosDatasetConfig(name="spots", layout="otb", split="all")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name, spots in SPOTS.items():
        for number, (x, y) in enumerate(spots):
            pixels = np.zeros((12, 14, 3), dtype=np.uint8)
            pixels[y, x] = 255
            path = tmp_path / "data" / name / f"{number:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return tmp_path / "data"


@pytest.fixture
def task() -> Brightest:
    config = FrozenConfig(
        id="brightest",
        family="tracking",
        kind="brightest",
        protocol="brightest",
        title="Brightest",
        published="Nowhere.",
        dataset=DATASET,
        metrics=MetricsConfig(primary="hit"),
        recipe=FrozenRecipe(),
    )
    made = Brightest(config)
    made.followed = []
    return made


@pytest.fixture
def job(data: Path, tmp_path: Path) -> Job:
    found = tuple(Video(frames=open_frames(data / name, name), files=()) for name in SPOTS)
    return Job(
        model_name="random",
        backbone=resolve_backbone("random:resnet18"),
        data=VideoData(DATASET, data, found),
        dataset=DatasetInfo(name="spots", fingerprint="0", num_images=5),
        workdir=tmp_path / "out",
        device="cpu",
    )


def test_a_run_measures_its_written_files_and_draws_the_best_and_the_worst(task: Brightest, job: Job) -> None:
    assert task.check(job) == []
    record = task.run(job)
    assert record.metrics == {"hit": 100.0} and record.details["frames"] == 5
    assert record.details["by_sequence"] == {"one": {"hit": 100.0}, "two": {"hit": 100.0}}
    assert sorted(path.name for path in (job.workdir / "pictures").iterdir()) == ["best_one.gif", "worst_two.gif"]
    with Image.open(job.workdir / "pictures/best_one.gif") as picture:
        assert (picture.size, picture.n_frames) == ((42, 54), 3)
    (job.workdir / RESULTS / "two.json").write_text("[[0, 0], [9, 9]]")
    assert task.recompute(job.workdir, record) == {"hit": 75.0}


def test_a_record_that_names_no_sequence_has_no_numbers(task: Brightest, job: Job) -> None:
    record = task.run(job).model_copy(update={"details": {}})
    with pytest.raises(
        UserError,
        match=r"record\.json: names no sequence in 'details\.by_sequence'; delete the folder and run the job again",
    ):
        task.recompute(job.workdir, record)


def test_a_signal_keeps_the_finished_sequences_and_the_run_goes_on(task: Brightest, job: Job) -> None:
    task.kill_at = "two"
    with pytest.raises(Interrupted) as stopped:
        task.run(job)
    assert stopped.value.number == signal.SIGTERM and task.followed == ["one", "two"]
    assert sorted(path.name for path in (job.workdir / RESULTS).iterdir()) == ["one.json"]
    task.kill_at, task.followed = "", []
    assert task.run(job).metrics == {"hit": 100.0}
    assert task.followed == ["two"]


def test_a_number_is_not_lost_for_a_picture(
    task: Brightest, job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, *_: object) -> None:
        raise RunError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr("mec_transfer.tracking.sequences.write_animation", full)
    assert task.run(job).metrics == {"hit": 100.0}
    assert capsys.readouterr().err.count("not drawn") == 2


def test_check_says_what_is_wrong(task: Brightest, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    small = dataclasses.replace(job, backbone=resolve_backbone("random:resnet18:0:cifar"))
    assert "needs the 'imagenet' stem" in task.check(small)[0].message
    task.config = task.config.model_copy(update={"metrics": MetricsConfig(primary="top1")})
    assert task.check(job)[0].message == "metrics.primary: 'top1' is not one of hit"


def test_videos_have_a_fingerprint_of_frames_and_annotations(data: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("1,2")
    found = [Video(frames=open_frames(data / "one", "one"), files=(notes,))]
    first = videos.fingerprint(found)
    assert videos.fingerprint(found) == first
    notes.write_text("1,3")
    assert videos.fingerprint(found) != first


def test_wrong_places_are_named(data: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such folder"):
        open_videos(data / "nowhere", "otb", "all")
    with pytest.raises(UserError, match="has no sequence 'three'; it has one, two"):
        videos.choose_sequences(["one", "two"], ["three"], data)
