"""Box metrics: fractions computed by hand, and TrackEval run on a folder of its own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trackeval

from mec_transfer.common.errors import UserError
from mec_transfer.datasets.videos.frames import Frames
from mec_transfer.datasets.videos.motchallenge import MotVideo
from mec_transfer.tracking.association import mot_metrics
from mec_transfer.tracking.association.tracks import TrackedFrame
from mec_transfer.tracking.sequences import RESULTS, TRUTH, Files, Measured

Row = tuple[int, int, float]
"""Frame, identity, left edge (pixels from 0) of a box of 30 x 40."""


def make_video(folder: Path, name: str, truth: str, length: int) -> MotVideo:
    folder = folder / "data" / name
    (folder / "gt").mkdir(parents=True)
    ground_truth, seqinfo = folder / "gt" / "gt.txt", folder / "seqinfo.ini"
    ground_truth.write_text(truth)
    seqinfo.write_text(f"[Sequence]\nname={name}\nseqLength={length}\n")
    numbers = tuple(range(1, length + 1))
    paths = tuple(Path(f"{number:06d}.jpg") for number in numbers)
    frames = Frames(name=name, paths=paths, numbers=numbers, width=900, height=500)
    files, truths = (ground_truth, seqinfo), (np.empty((0, 4)),) * length
    return MotVideo(
        frames=frames,
        files=files,
        frame_rate=30,
        detections=(),
        ground_truth=ground_truth,
        seqinfo=seqinfo,
        truth=truths,
    )


def truth_text(rows: list[Row], extra: str = "") -> str:
    return "".join(f"{frame}, {identity}, {x + 1}, 6, 30, 40, 1, 1, 1\n\n" for frame, identity, x in rows) + extra


def tracked(rows: list[Row], length: int) -> list[TrackedFrame]:
    frames = []
    for number in range(1, length + 1):
        mine = [(identity, x) for frame, identity, x in rows if frame == number]
        boxes = [[x, 5, x + 30, 45] for _, x in mine]
        frames.append(
            TrackedFrame(
                identities=np.array([identity for identity, _ in mine], dtype=np.int64),
                boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
                scores=np.full(len(mine), 0.9),
            )
        )
    return frames


def write(folder: Path, kind: str, files: Files) -> None:
    for name, data in files.items():
        path = folder / kind / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def score(folder: Path, truth: list[Row], results: list[Row], length: int, extra: str = "", name: str = "A") -> Any:
    video = make_video(folder, name, truth_text(truth, extra), length)
    write(folder, TRUTH, mot_metrics.truth_files(video))
    write(folder, RESULTS, mot_metrics.result_files(video, tracked(results, length)))
    measured = mot_metrics.measure(folder, [name])
    assert measured.by_sequence[name] == pytest.approx(measured.overall) or not truth
    assert tuple(measured.overall) == mot_metrics.METRICS
    return measured.overall


TWO = [(frame, identity, 100.0 * identity) for frame in (1, 2, 3, 4) for identity in (1, 2)]


def test_a_switch_a_gap_and_a_false_positive(tmp_path: Path) -> None:
    one = [(1, 1, 100), (2, 1, 100), (3, 2, 100), (4, 2, 100)]
    other = [(1, 3, 200), (3, 3, 200), (4, 9, 700)]
    found = score(tmp_path, TWO, [*one, *other], 4)
    assert {name: found[name] for name in ("IDs", "FP", "FN", "MT", "ML", "Frag")} == {
        **dict.fromkeys(("IDs", "FP", "MT", "Frag"), 1),
        "FN": 2,
        "ML": 0,
    }
    assert found["MOTA"] == pytest.approx(100 * (1 - (2 + 1 + 1) / 8))
    assert found["IDF1"] == pytest.approx(100 * 2 * 4 / (8 + 7))
    assert found["DetA"] == pytest.approx(100 * 6 / (6 + 2 + 1))
    assert found["AssA"] == pytest.approx(100 * 1 / 2)
    assert found["HOTA"] == pytest.approx(100 * math.sqrt(6 / 9 * 1 / 2))


def test_perfect_results(tmp_path: Path) -> None:
    found = score(tmp_path, TWO, [(frame, identity + 7, x) for frame, identity, x in TWO], 4)
    ratios = {name: found[name] for name in ("IDF1", "MOTA", "HOTA", "DetA", "AssA")}
    assert ratios == pytest.approx(dict.fromkeys(ratios, 100))
    assert [found[name] for name in ("IDs", "MT", "ML", "FP", "FN", "Frag")] == [0, 2, 0, 0, 0, 0]


def test_no_results_and_no_truth(tmp_path: Path) -> None:
    found = score(tmp_path / "1", TWO, [], 4)
    assert {name for name, value in found.items() if value} == {"FN", "ML"}
    assert (found["FN"], found["ML"]) == (8, 2)
    found = score(tmp_path / "2", [], TWO, 4)
    assert {name for name, value in found.items() if value} == {"FP", "MOTA"}  # TrackEval divides by 1 for no truth
    assert not any(score(tmp_path / "3", [], [], 4).values())


def test_one_frame(tmp_path: Path) -> None:
    found = score(tmp_path, [(1, 1, 100), (1, 2, 200)], [(1, 5, 100)], 1)
    assert (found["MOTA"], found["IDF1"]) == pytest.approx((50, 100 * 2 / 3))


def test_an_object_that_leaves_and_returns(tmp_path: Path) -> None:
    truth = [(frame, 1, 100.0) for frame in (1, 2, 5, 6)]
    same = score(tmp_path / "same", truth, [(frame, 4, x) for frame, _, x in truth], 6)
    assert (same["IDs"], same["MOTA"], same["IDF1"], same["AssA"]) == pytest.approx((0, 100, 100, 100))
    other = score(tmp_path / "other", truth, [(frame, 4 + (frame > 3), x) for frame, _, x in truth], 6)
    assert (other["IDs"], other["MOTA"], other["IDF1"]) == pytest.approx((1, 100 * (1 - 1 / 4), 100 * 2 * 2 / 8))
    assert other["AssA"] == pytest.approx(50)


def test_boxes_match_from_half_overlap_on(tmp_path: Path) -> None:
    assert score(tmp_path / "at", [(1, 1, 100)], [(1, 1, 110)], 1)["MOTA"] == pytest.approx(100)  # IoU 20 / 40
    assert score(tmp_path / "below", [(1, 1, 100)], [(1, 1, 110.1)], 1)["MOTA"] == pytest.approx(-100)
    half = score(tmp_path / "hota", [(1, 1, 100)], [(1, 1, 110)], 1)
    assert half["DetA"] == pytest.approx(100 * 10 / 19)  # thresholds 0.05 ... 0.5 of 0.05 ... 0.95


@pytest.mark.parametrize(
    ("line", "name", "false"),
    [
        ("1,9,701,6,30,40,0,7,1\n", "A", 0),  # a static person is neither truth nor a mistake to find
        ("1,9,701,6,30,40,0,6,1\n", "A", 1),  # a vehicle is a mistake,
        ("1,9,701,6,30,40,0,6,1\n", "MOT20-01", 0),  # though not in MOT20
        ("1,9,701,6,30,40,0,1,1\n", "A", 1),
    ],
)
def test_distractors_and_truth_that_does_not_count(tmp_path: Path, line: str, name: str, false: int) -> None:
    found = score(tmp_path, TWO, [*TWO, (1, 9, 700)], 4, line, name)
    assert (found["FP"], found["FN"]) == (false, 0)


def noisy(seed: int, length: int) -> tuple[list[Row], list[Row]]:
    rng = np.random.default_rng(seed)
    truth, results = [], []
    for identity in range(1, 9):
        for frame in range(1, length + 1):
            x = 60 * identity + 3 * frame
            if rng.random() < 0.9 and frame != 4:
                truth.append((frame, identity, float(x)))
            if rng.random() < 0.8 and frame != 5:
                swapped = identity + 10 * (frame > 2 * identity)
                results.append((frame, swapped, float(x + rng.normal(0, 6))))
    return truth, results


def official(folder: Path, benchmark: str, names: list[str]) -> Any:
    """Run TrackEval's own evaluator on its own folders."""
    (folder / "gt" / "seqmaps").mkdir(parents=True)
    (folder / "gt" / "seqmaps" / f"{benchmark}-train.txt").write_text("name\n" + "".join(f"{n}\n" for n in names))
    for name in names:
        place, results = (
            folder / "gt" / f"{benchmark}-train" / name,
            folder / "trackers" / f"{benchmark}-train/ours/data",
        )
        (place / "gt").mkdir(parents=True)
        results.mkdir(parents=True, exist_ok=True)
        (place / "gt/gt.txt").write_bytes((folder / TRUTH / name / "gt/gt.txt").read_bytes())
        (place / "seqinfo.ini").write_bytes((folder / TRUTH / name / "seqinfo.ini").read_bytes())
        (results / f"{name}.txt").write_bytes((folder / RESULTS / f"{name}.txt").read_bytes())
    off = ("PRINT_RESULTS", "PRINT_CONFIG", "TIME_PROGRESS", "OUTPUT_SUMMARY", "OUTPUT_DETAILED", "PLOT_CURVES")
    evaluator = trackeval.Evaluator({**dict.fromkeys(off, False), "LOG_ON_ERROR": None})
    dataset = trackeval.datasets.MotChallenge2DBox(
        {
            "GT_FOLDER": str(folder / "gt"),
            "TRACKERS_FOLDER": str(folder / "trackers"),
            "BENCHMARK": benchmark,
            "PRINT_CONFIG": False,
        }
    )
    quiet = {"PRINT_CONFIG": False}
    metrics = [trackeval.metrics.HOTA(), trackeval.metrics.CLEAR(dict(quiet)), trackeval.metrics.Identity(dict(quiet))]
    return evaluator.evaluate([dataset], metrics)[0]["MotChallenge2DBox"]["ours"]


def in_our_names(fields: Any) -> dict[str, float]:
    hota, clear, identity = (fields["pedestrian"][kind] for kind in ("HOTA", "CLEAR", "Identity"))
    ratios = {name: 100 * float(np.mean(hota[name])) for name in ("HOTA", "DetA", "AssA")}
    ratios |= {"MOTA": 100 * clear["MOTA"], "IDF1": 100 * identity["IDF1"]}
    counts = {"IDs": clear["IDSW"], "FP": clear["CLR_FP"], "FN": clear["CLR_FN"]}
    return ratios | counts | {name: clear[name] for name in ("MT", "ML", "Frag")}


@pytest.mark.parametrize("benchmark", ["MOT17", "MOT20"])
def test_trackeval_on_the_written_files_gives_the_same(
    tmp_path: Path, benchmark: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{benchmark}-0{index}" for index in range(3)]
    for seed, name in enumerate(names):
        truth, results = noisy(seed, 6 + 7 * seed)
        extra = "".join(f"{t},90,{300 + t},6,30,40,0,{6 + seed},1\n6,{91 + t},1,1,9,9,0,1,1\n" for t in range(1, 6))
        video = make_video(tmp_path, name, truth_text(truth, extra), 6 + 7 * seed)
        write(tmp_path, TRUTH, mot_metrics.truth_files(video))
        write(tmp_path, RESULTS, mot_metrics.result_files(video, tracked(results, 6 + 7 * seed)))
    measured: Measured = mot_metrics.measure(tmp_path, names)
    assert capsys.readouterr() == ("", "")
    expected = official(tmp_path, benchmark, names)
    assert measured.overall == in_our_names(expected["COMBINED_SEQ"])
    assert measured.by_sequence == {name: in_our_names(expected[name]) for name in names}
    assert 0 < measured.overall["MOTA"] < 100
    assert measured.overall["IDs"] > 0


def test_sequences_of_both_kinds_are_summed(tmp_path: Path) -> None:
    score(tmp_path, TWO, TWO, 4, "1,9,701,6,30,40,0,6,1\n", "MOT16-02")
    score(tmp_path, TWO, TWO[:4], 4, "1,9,701,6,30,40,0,6,1\n", "MOT20-01")
    measured = mot_metrics.measure(tmp_path, ["MOT20-01", "MOT16-02"])
    assert list(measured.by_sequence) == ["MOT20-01", "MOT16-02"]
    assert measured.overall["MOTA"] == pytest.approx(100 * 12 / 16)


def test_results_are_read_as_written(tmp_path: Path) -> None:
    score(tmp_path, TWO, [(1, 7, 100.25), (3, 8, -4)], 4)
    frames = mot_metrics.read_results(tmp_path, "A")
    assert [frame.identities.tolist() for frame in frames] == [[7], [], [8], []]
    assert frames[0].boxes.tolist() == [[100.25, 5, 130.25, 45]]
    assert (
        (tmp_path / RESULTS / "A.txt").read_text().splitlines()[1].startswith("3,8,-3.0000,6.0000,30.0000,40.0000,0.9,")
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("1,1,2,3,4,5\n", "A.txt:1: 6 numbers, 10 are needed"),
        ("1,1,2,3,4,5,1,-1,-1,-1\n9,1,2,3,4,5,1,-1,-1,-1\n", "A.txt:2: there is no frame 9"),
        ("1,x,2,3,4,5,1,-1,-1,-1\n", "A.txt:1: not numbers"),
        ("1,1,2,3,4,5,1,-1,-1,-1\n" * 2, "A.txt: an identity is in frame 1 twice"),
    ],
)
def test_damaged_results_are_named(tmp_path: Path, text: str, what: str) -> None:
    score(tmp_path, TWO, TWO, 4)
    (tmp_path / RESULTS / "A.txt").write_text(text)
    with pytest.raises(UserError, match=what):
        mot_metrics.measure(tmp_path, ["A"])
    (tmp_path / RESULTS / "A.txt").unlink()
    with pytest.raises(UserError, match=r"A.txt: cannot be read"):
        mot_metrics.measure(tmp_path, ["A"])


def test_damaged_truth_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    score(tmp_path, TWO, TWO, 4)
    path = tmp_path / TRUTH / "A" / "gt" / "gt.txt"
    path.write_text("1,1,2,3,4,5,1,1,1\n1,1,2\n")
    with pytest.raises(UserError, match=r"gt.txt:2: 3 numbers, 9 are needed"):
        mot_metrics.measure(tmp_path, ["A"])
    path.write_text("1,1,2,3,4,5,1,99,1\n")
    with pytest.raises(UserError, match="TrackEval refuses it: Attempting to evaluate using invalid gt classes"):
        mot_metrics.measure(tmp_path, ["A"])
    path.unlink()
    with pytest.raises(UserError, match=r"gt.txt: cannot be read \(No such file or directory\)"):
        mot_metrics.measure(tmp_path, ["A"])
    assert capsys.readouterr() == ("", "")
    path.write_text("")
    (tmp_path / TRUTH / "A" / "seqinfo.ini").unlink()
    with pytest.raises(UserError, match=r"seqinfo.ini: cannot be read"):
        mot_metrics.measure(tmp_path, ["A"])
