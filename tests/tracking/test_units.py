"""Metrics on draws of sequences: those of a folder in which the drawn sequences really lie, as often as drawn."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mec_transfer.common.files import write_bytes
from mec_transfer.datasets.videos.box_video import box_lines
from mec_transfer.datasets.videos.index_masks import encode_index_mask
from mec_transfer.results.record import BenchmarkInfo, ModelInfo, Record
from mec_transfer.tracking.association import mot_metrics, mots_metrics, posetrack_metrics
from mec_transfer.tracking.mmtrack.evaluation import ResetBased
from mec_transfer.tracking.mmtrack.reid_metrics import METRICS as REID
from mec_transfer.tracking.mmtrack.reid_metrics import person_units, rank, save_embeddings
from mec_transfer.tracking.mmtrack.vot_metrics import STARTED
from mec_transfer.tracking.sequences import RESULTS, TRUTH, Measured
from mec_transfer.tracking.units import mean_units, object_units, pooled_units
from tests.tracking.association import test_mot_metrics as mot
from tests.tracking.association import test_mots_metrics as mots
from tests.tracking.association import test_posetrack_metrics as poses
from tests.tracking.mmtrack.test_reid_metrics import cloud
from tests.tracking.mmtrack.test_vot_metrics import SIZE, SQUARE, draw

DRAWS = np.array([[1, 1, 1], [2, 0, 1], [0, 3, 0], [1, 0, 2]], dtype=np.int32).T
"""How often each of three sequences is in each draw."""


def record_of(by_sequence: dict[str, dict[str, float]], metrics: dict[str, float] | None = None) -> Record:
    return Record(
        status="ok",
        model=ModelInfo(name="m", sha256="0", arch="resnet18"),
        benchmark=BenchmarkInfo(id="b", family="tracking", protocol="p", config_sha256="0"),
        metrics=metrics or {},
        primary="",
        details={"by_sequence": by_sequence},
    )


def names_of(draw: np.ndarray) -> Iterator[tuple[str, str]]:
    """The sequences of a draw, and a name for each that is no other's."""
    for place, times in enumerate(draw):
        for number in range(times):
            yield "ABC"[place], f"{'ABC'[place]}{number}"


def check(
    folder: Path,
    lay: Callable[[Path, str, str], None],
    measure: Callable[[Path, Sequence[str]], Measured],
    pooled: Callable[[Path, Sequence[str], str], Callable[[Sequence[int]], float]],
    metrics: Sequence[str],
) -> None:
    """Lay every draw out in a folder of its own by `lay`, and compare."""
    for name in "CAB":  # units are in the order of their names
        lay(folder, name, name)
    units = pooled_units(folder, record_of({name: {} for name in "CAB"}), pooled)
    assert (units.kind, units.count) == ("sequences", 3)
    found = {metric: units.measure(metric, DRAWS) for metric in metrics}
    for number, draw_ in enumerate(DRAWS.T):
        other = folder.parent / f"draw{number}"
        drawn = list(names_of(draw_))
        for name, new in drawn:
            lay(other, name, new)
        wanted = measure(other, [new for _, new in drawn]).overall
        for metric in metrics:
            assert found[metric][number] == pytest.approx(wanted[metric], abs=1e-9), metric
    assert all(len(set(found[metric].tolist())) > 1 for metric in metrics[:2])
    with pytest.raises(KeyError):
        units.measure("nothing", DRAWS)


def tracks(name: str) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]], int]:
    """Rows of truth and of results: B loses one, C swaps two and has something that is not there."""
    length = {"A": 4, "B": 5, "C": 6}[name]
    truth = [(frame, identity, 20 * identity) for frame in range(1, length + 1) for identity in (1, 2)]
    found = [row for row in truth if name != "B" or row[:2] not in ((2, 1), (3, 1))]
    if name == "C":
        found = [(frame, 3 - identity if frame > 3 else identity, x) for frame, identity, x in truth] + [(2, 7, 0)]
    return truth, found, length


def lay_mot(folder: Path, name: str, new: str) -> None:
    truth, found, length = tracks(name)
    rows = ([(frame, identity, 5.0 * x) for frame, identity, x in part] for part in (truth, found))
    first, second = rows
    video = mot.make_video(folder, new, mot.truth_text(first), length)
    mot.write(folder, TRUTH, mot_metrics.truth_files(video))
    mot.write(folder, RESULTS, mot_metrics.result_files(video, mot.tracked(second, length)))


def lay_mots(folder: Path, name: str, new: str) -> None:
    truth, found, length = tracks(name)
    video = mots.make_video(folder, new, truth, length)
    mots.write(folder, TRUTH, mots_metrics.truth_files(video))
    mots.write(folder, RESULTS, mots_metrics.result_files(video, mots.tracked(found, length)))


def lay_poses(folder: Path, name: str, new: str) -> None:
    truth, found = poses.noisy(ord(name), length=10 + ord(name) % 3, people=3)
    poses.put(folder, new, poses.annotations(truth), found)


@pytest.mark.parametrize(
    ("module", "lay"), [(mot_metrics, lay_mot), (mots_metrics, lay_mots), (posetrack_metrics, lay_poses)]
)
def test_what_trackeval_pools_is_pooled_over_the_draw(
    module: ModuleType, lay: Callable[[Path, str, str], None], tmp_path: Path
) -> None:
    check(tmp_path / "job", lay, module.measure, module.pooled, module.METRICS)


def test_a_video_with_the_boxes_of_three_detectors_is_one_unit() -> None:
    names = [f"MOT17-{video}-{detector}" for video in ("02", "11") for detector in ("DPM", "FRCNN", "SDP")]

    def evaluator(folder: Path, sequences: Sequence[str], metric: str) -> Callable[[Sequence[int]], float]:
        assert list(sequences) == names
        return lambda sample: float("".join(str(place) for place in sample))

    units = pooled_units(Path(), record_of({name: {} for name in names}), evaluator)
    assert (units.kind, units.count) == ("videos", 2)
    assert units.measure("IDF1", np.array([[1, 0], [1, 2]], np.int32)).tolist() == [12345, 345345]


def test_what_vot_pools_is_pooled_over_the_draw(tmp_path: Path) -> None:
    def lay(folder: Path, name: str, new: str) -> None:
        run, truth = draw(np.random.default_rng(ord(name)), 40 + ord(name) % 3)
        write_bytes(folder / RESULTS / f"{new}.txt", box_lines(run))
        write_bytes(folder / TRUTH / f"{new}.txt", box_lines(truth))
        write_bytes(folder / TRUTH / "size" / f"{new}.json", str(list(SIZE)).encode())

    evaluation = ResetBased((5, 20))
    check(tmp_path / "job", lay, evaluation.measure, evaluation.pooled, ("eao", "accuracy", "robustness"))


def test_a_draw_that_says_nothing_of_vots_lengths_has_no_number(tmp_path: Path) -> None:
    for name, frames in (("long", 30), ("short", 8)):
        run = [np.array([STARTED]), *[SQUARE[[0, 1, 4, 5]]] * (frames - 1)]
        write_bytes(tmp_path / RESULTS / f"{name}.txt", box_lines(run))
        write_bytes(tmp_path / TRUTH / f"{name}.txt", box_lines(np.tile(SQUARE, (frames, 1))))
        write_bytes(tmp_path / TRUTH / "size" / f"{name}.json", str(list(SIZE)).encode())
    units = pooled_units(tmp_path, record_of({"long": {}, "short": {}}), ResetBased((10, 20)).pooled)
    found = units.measure("eao", np.array([[1, 0], [1, 2]], np.int32))
    assert found[0] > 0 and np.isnan(found[1])


def test_means_over_sequences_are_the_records() -> None:
    record = record_of({"b": {"AUC": 30.0}, "a": {"AUC": 60.0}}, {"AUC": 45.0})
    units = mean_units(Path(), record)
    assert units.truth == "a\nb"
    assert units.measure("AUC", np.array([[1, 2], [1, 0]], np.int32)).tolist() == [45, 60]


def test_means_over_objects_count_a_sequence_as_often_as_it_has_objects(tmp_path: Path) -> None:
    for name, objects in (("a", 1), ("b", 3)):
        mask = encode_index_mask(np.arange(objects + 1, dtype=np.uint8)[None])
        write_bytes(tmp_path / TRUTH / name / "00000.png", mask)
    record = record_of({"a": {"J&F": 80.0}, "b": {"J&F": 40.0}}, {"J&F": 50.0})
    units = object_units(tmp_path, record)
    assert units.measure("J&F", np.array([[1, 2], [1, 1]], np.int32)).tolist() == [50, pytest.approx(280 / 5)]
    shutil.rmtree(tmp_path / TRUTH / "b")
    with pytest.raises(Exception, match="b"):
        object_units(tmp_path, record)


def test_persons_have_their_queries_among_all_crops(tmp_path: Path) -> None:
    points, labels = cloud(3, 60, 7)
    labels[0] = 99  # a person with one crop, who is in the gallery and no query
    save_embeddings(tmp_path, points, labels, [str(n) for n in range(60)])
    units = person_units(tmp_path)
    persons, precision, first = rank(points, labels)
    assert units.count == 7 and units.kind == "persons" and 99 not in persons
    counts = np.array([[1, 0, 2, 0, 0, 1, 3]], np.int32).T
    times = counts[:, 0][np.searchsorted(np.unique(persons), persons)]
    wanted: dict[str, Any] = dict(zip(REID, (100 * np.average(v, weights=times) for v in (precision, first))))
    for metric in REID:
        assert units.measure(metric, counts)[0] == pytest.approx(wanted[metric], abs=1e-9)
