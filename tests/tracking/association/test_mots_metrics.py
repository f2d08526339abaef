"""Mask metrics: fractions computed by hand, and TrackEval run on a folder of its own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trackeval
from pycocotools import mask as coco_mask

from mec_transfer.common.errors import UserError
from mec_transfer.datasets.videos.frames import Frames
from mec_transfer.datasets.videos.mots import MotsVideo
from mec_transfer.tracking.association import mots_metrics
from mec_transfer.tracking.association.tracks import TrackedFrame
from mec_transfer.tracking.sequences import RESULTS, TRUTH, Files

HEIGHT, WIDTH = 40, 100
Row = tuple[int, int, int]
"""Frame, identity, left edge of a mask of 10 x 20 pixels at height 5."""


def encode(pixels: np.ndarray) -> dict[str, Any]:
    return dict(coco_mask.encode(np.asfortranarray(pixels, dtype=np.uint8)))


def oblong(x: int, width: int = 10) -> np.ndarray:
    pixels = np.zeros((HEIGHT, WIDTH), dtype=bool)
    pixels[5:25, x : x + width] = True
    return pixels


def make_video(folder: Path, name: str, truth: list[Row], length: int, extra: str = "") -> MotsVideo:
    folder = folder / "data" / name
    (folder / "gt").mkdir(parents=True)
    lines = [f"{t}  {2000 + i} 2 {HEIGHT} {WIDTH} {encode(oblong(x))['counts'].decode()}\n\n" for t, i, x in truth]
    (folder / "gt" / "gt.txt").write_text("".join(lines) + extra)
    (folder / "seqinfo.ini").write_text(f"[Sequence]\nname={name}\nseqLength={length}\n")
    numbers = tuple(range(1, length + 1))
    frames = Frames(name=name, paths=(Path("1.jpg"),) * length, numbers=numbers, width=WIDTH, height=HEIGHT)
    return MotsVideo(
        frames=frames,
        files=(),
        frame_rate=30,
        detections=(),
        ground_truth=folder / "gt" / "gt.txt",
        seqinfo=folder / "seqinfo.ini",
    )


def frame_of(masks: dict[int, np.ndarray], scores: list[float] | None = None) -> TrackedFrame:
    return TrackedFrame(
        identities=np.array(list(masks), dtype=np.int64),
        boxes=np.zeros((len(masks), 4)),
        scores=np.array(scores if scores is not None else [0.5] * len(masks)),
        masks=tuple(encode(pixels) for pixels in masks.values()),
    )


def tracked(rows: list[Row], length: int) -> list[TrackedFrame]:
    every = range(1, length + 1)
    return [frame_of({identity: oblong(x) for frame, identity, x in rows if frame == number}) for number in every]


def write(folder: Path, kind: str, files: Files) -> None:
    for name, data in files.items():
        path = folder / kind / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def score(folder: Path, truth: list[Row], frames: list[TrackedFrame], length: int, extra: str = "") -> dict[str, float]:
    video = make_video(folder, "A", truth, length, extra)
    write(folder, TRUTH, mots_metrics.truth_files(video))
    write(folder, RESULTS, mots_metrics.result_files(video, frames))
    measured = mots_metrics.measure(folder, ["A"])
    assert measured.by_sequence["A"] == pytest.approx(measured.overall)
    assert tuple(measured.overall) == mots_metrics.METRICS
    return measured.overall


TRACK = [(frame, 1, 10) for frame in (1, 2, 3, 4)]


def test_shifted_masks_a_switch_and_a_false_positive(tmp_path: Path) -> None:
    """In frames 1 and 2 the mask is exact, in 3 it is off by 2 of 10 columns (IoU 8 / 12) and has another identity."""
    frames = tracked([(1, 7, 10), (2, 7, 10), (3, 8, 12), (4, 8, 60)], 4)
    found = score(tmp_path, TRACK, frames, 4)
    assert [found[name] for name in ("IDs", "FP", "FN", "MT", "ML", "Frag")] == [1, 1, 1, 0, 0, 0]
    assert found["MOTSA"] == pytest.approx(100 * (3 - 1 - 1) / 4)
    assert found["sMOTSA"] == pytest.approx(100 * (2 + 8 / 12 - 1 - 1) / 4)
    assert found["MOTSP"] == pytest.approx(100 * (2 + 8 / 12) / 3)
    assert found["IDF1"] == pytest.approx(100 * 2 * 2 / (4 + 4))
    # 8 / 12 reaches the thresholds up to 0.65: 13 of 19 have three matches, 6 have two.
    det = {3: 3 / (3 + 1 + 1), 2: 2 / (2 + 2 + 2)}
    ass = {3: (2 / 4 + 2 / 4 + 1 / 5) / 3, 2: 2 / 4}
    for name, value in (("DetA", det), ("AssA", ass), ("HOTA", {n: math.sqrt(det[n] * ass[n]) for n in det})):
        assert found[name] == pytest.approx(100 * (13 * value[3] + 6 * value[2]) / 19)


def test_perfect_and_empty_results(tmp_path: Path) -> None:
    perfect = score(tmp_path / "1", TRACK, tracked(TRACK, 4), 4)
    assert [perfect[name] for name in mots_metrics.METRICS] == pytest.approx(
        [100, 100, 0, 100, 100, 100, 100, 100, 1, 0, 0, 0, 0]
    )
    empty = score(tmp_path / "2", TRACK, tracked([], 4), 4)
    assert {name: value for name, value in empty.items() if value} == {"FN": 4, "ML": 1}
    nothing = score(tmp_path / "3", [], tracked([], 1), 1)
    assert not any(nothing.values())


def test_an_object_that_leaves_and_returns_in_a_frame_without_others(tmp_path: Path) -> None:
    truth = [(frame, 1, 10) for frame in (1, 4)]
    assert score(tmp_path / "1", truth, tracked([(1, 5, 10), (4, 5, 10)], 4), 4)["IDs"] == 0
    assert score(tmp_path / "2", truth, tracked([(1, 5, 10), (4, 6, 10)], 4), 4)["IDs"] == 1


def test_what_lies_in_an_ignored_region_does_not_count(tmp_path: Path) -> None:
    region = encode(oblong(50, width=30))["counts"].decode()
    extra = f"1 10000 10 {HEIGHT} {WIDTH} {region}\n"
    inside = score(tmp_path / "1", TRACK, tracked([*TRACK, (1, 2, 46)], 4), 4, extra)
    assert inside["FP"] == 0  # 6 of its 10 columns are in the region
    outside = score(tmp_path / "2", TRACK, tracked([*TRACK, (1, 2, 45)], 4), 4, extra)
    assert outside["FP"] == 1  # 5 are


def test_of_overlapping_masks_the_higher_score_keeps_the_pixels(tmp_path: Path) -> None:
    masks = {1: oblong(10), 2: oblong(16), 3: oblong(17, width=2), 4: oblong(70)}
    video = make_video(tmp_path, "A", TRACK[:1], 1)
    write(tmp_path, TRUTH, mots_metrics.truth_files(video))
    write(tmp_path, RESULTS, mots_metrics.result_files(video, [frame_of(masks, [0.4, 0.9, 0.3, 0.1])]))
    (frame,) = mots_metrics.read_results(tmp_path, "A")
    assert frame.identities.tolist() == [1, 2, 4]  # nothing of 3 is left
    assert frame.boxes.tolist() == [[10, 5, 16, 25], [16, 5, 26, 25], [70, 5, 80, 25]]
    assert frame.scores.tolist() == [1, 1, 1]
    assert frame.masks is not None
    np.testing.assert_array_equal(coco_mask.decode(frame.masks[1]), oblong(16))
    assert mots_metrics.measure(tmp_path, ["A"]).overall["MOTSP"] == pytest.approx(60)
    text = (tmp_path / RESULTS / "A.txt").read_text()
    assert text.startswith(f"1 2001 2 {HEIGHT} {WIDTH} ")


def test_an_empty_mask_is_left_out(tmp_path: Path) -> None:
    found = score(tmp_path, TRACK[:1], [frame_of({1: oblong(10), 2: oblong(10, width=0)})], 1)
    assert (found["sMOTSA"], found["FP"]) == (100, 0)


def test_trackeval_on_the_written_files_gives_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["MOTS20-02", "MOTS20-05"]
    for seed, name in enumerate(names):
        rng = np.random.default_rng(seed)
        truth, results, length = [], [], 9 + 4 * seed
        for identity in range(4):
            for frame in range(1, length + 1):
                if rng.random() < 0.9:
                    truth.append((frame, identity, 5 + 24 * identity))
                if rng.random() < 0.8 and frame != 3:
                    shift = int(rng.integers(-4, 5))
                    results.append((frame, 1 + (identity + (frame > 5)) % 4, 5 + 24 * identity + shift))
        region = encode(oblong(16, width=8))["counts"].decode()
        extra = f"2 10000 10 {HEIGHT} {WIDTH} {region}\n"
        video = make_video(tmp_path, name, truth, length, extra)
        write(tmp_path, TRUTH, mots_metrics.truth_files(video))
        write(tmp_path, RESULTS, mots_metrics.result_files(video, tracked(results, length)))
    measured = mots_metrics.measure(tmp_path, names)
    assert capsys.readouterr() == ("", "")
    expected = official(tmp_path, names)
    assert measured.overall == in_our_names(expected["COMBINED_SEQ"])
    assert measured.by_sequence == {name: in_our_names(expected[name]) for name in names}
    assert 0 < measured.overall["sMOTSA"] < measured.overall["MOTSA"] < 100


def official(folder: Path, names: list[str]) -> Any:
    """Run TrackEval's own evaluator on its own folders."""
    (folder / "gt" / "seqmaps").mkdir(parents=True)
    (folder / "gt" / "seqmaps" / "MOTS-train.txt").write_text("name\n" + "".join(f"{name}\n" for name in names))
    for name in names:
        place, results = folder / "gt" / "MOTS-train" / name, folder / "trackers" / "MOTS-train" / "ours" / "data"
        (place / "gt").mkdir(parents=True)
        results.mkdir(parents=True, exist_ok=True)
        (place / "gt/gt.txt").write_bytes((folder / TRUTH / name / "gt/gt.txt").read_bytes())
        (place / "seqinfo.ini").write_bytes((folder / TRUTH / name / "seqinfo.ini").read_bytes())
        (results / f"{name}.txt").write_bytes((folder / RESULTS / f"{name}.txt").read_bytes())
    off = ("PRINT_RESULTS", "PRINT_CONFIG", "TIME_PROGRESS", "OUTPUT_SUMMARY", "OUTPUT_DETAILED", "PLOT_CURVES")
    evaluator = trackeval.Evaluator({**dict.fromkeys(off, False), "LOG_ON_ERROR": None})
    folders = {"GT_FOLDER": str(folder / "gt"), "TRACKERS_FOLDER": str(folder / "trackers"), "PRINT_CONFIG": False}
    quiet = {"PRINT_CONFIG": False}
    metrics = [trackeval.metrics.HOTA(), trackeval.metrics.CLEAR(dict(quiet)), trackeval.metrics.Identity(dict(quiet))]
    return evaluator.evaluate([trackeval.datasets.MOTSChallenge(folders)], metrics)[0]["MOTSChallenge"]["ours"]


def in_our_names(fields: Any) -> dict[str, float]:
    hota, clear, identity = (fields["pedestrian"][kind] for kind in ("HOTA", "CLEAR", "Identity"))
    ratios = {name: 100 * float(np.mean(hota[name])) for name in ("HOTA", "DetA", "AssA")}
    ratios |= {"MOTSA": 100 * clear["MOTA"], "sMOTSA": 100 * clear["sMOTA"], "MOTSP": 100 * clear["MOTP"]}
    counts = {"IDs": clear["IDSW"], "FP": clear["CLR_FP"], "FN": clear["CLR_FN"]}
    counts |= {name: clear[name] for name in ("MT", "ML", "Frag")}
    return ratios | counts | {"IDF1": 100 * identity["IDF1"]}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda line: line + " 7", "A.txt:2: not a line of `frame id class height width rle`"),
        (lambda line: "9" + line[1:], "A.txt:2: .*there is no frame 9"),
        (lambda line: "1" + line[1:], "TrackEval refuses it: Tracker has overlapping masks"),
        (lambda line: line[:-2], "A.txt:2: .*malformed RLE"),
    ],
)
def test_damaged_results_are_named(tmp_path: Path, change: Any, what: str) -> None:
    score(tmp_path, TRACK, tracked(TRACK, 4), 4)
    path = tmp_path / RESULTS / "A.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], change(lines[1]), *lines[2:]]) + "\n")
    with pytest.raises(UserError, match=what):
        mots_metrics.measure(tmp_path, ["A"])
    path.unlink()
    with pytest.raises(UserError, match=r"A.txt: cannot be read"):
        mots_metrics.measure(tmp_path, ["A"])
    truth = tmp_path / TRUTH / "A" / "gt" / "gt.txt"
    truth.write_text(truth.read_text()[:-2])
    with pytest.raises(UserError, match=r"gt.txt:4: .*malformed RLE"):
        mots_metrics.measure(tmp_path, ["A"])


def test_overlapping_results_of_others_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    score(tmp_path, TRACK, tracked(TRACK, 4), 4)
    path = tmp_path / RESULTS / "A.txt"
    path.write_text(path.read_text() + path.read_text().splitlines()[0].replace("2001", "2002") + "\n")
    with pytest.raises(UserError, match="TrackEval refuses it: Tracker has overlapping masks"):
        mots_metrics.measure(tmp_path, ["A"])
    assert capsys.readouterr() == ("", "")
