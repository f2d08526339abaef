"""Spoilt text files of every tracking layout: each is read, or is a line that names it. Nothing else may come out."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.images.folders import open_split
from mec_transfer.datasets.images.labels import label_subset
from mec_transfer.datasets.videos.box_video import BoxVideo
from mec_transfer.datasets.videos.davis import DavisVideo
from mec_transfer.datasets.videos.motchallenge import MotVideo
from mec_transfer.datasets.videos.mots import MotsVideo
from mec_transfer.datasets.videos.posetrack import PoseVideo
from mec_transfer.datasets.videos.video import Video
from mec_transfer.datasets.videos.vot import VotVideo
from mec_transfer.tracking.association import mot_metrics, mots_metrics, posetrack_metrics
from tests.datasets.images import test_ilsvrc
from tests.datasets.videos import test_mots
from tests.datasets.videos.tiny_videos import SPLITS, read, write

ROUNDS = 40
"""Mutations of each file; thousands were run when the readers were written."""
BYTES = (
    *(
        b",",
        b";",
        b" ",
        b"\t",
        b"\r",
        b"\n",
        b"-",
        b".",
        b"e",
        b"_",
        b'"',
        b"\\",
        b"[",
        b"{",
        b"}",
        b"=",
        b":",
        b"%(a)s",
    ),
    *(b"nan", b"inf", b"-1", b"0", b"1e999", b"9" * 30, b"9" * 5000, b"0x1", b"1_0", b"null", b"true", b"None", b"#"),
    *(b"\x00", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", "\u0663".encode(), "\u2028".encode(), b"../", b"[Sequence]\n"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 1e308, 10**400, float("nan"), float("inf"), "", "1", "x", "\\", [], {}, [[]], [1]),
    *([None] * 51, {"size": [30, 40], "counts": "1"}, {"a": 1}, [0, 0, 5, 5], ["1", "2", "3", "4"]),
)


def spoil_bytes(data: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.randint(1, 3)):
        start = rng.randint(0, len(data))
        stop = min(len(data), start + rng.choice((0, 0, 1, 1, 2, 8, 40)))
        put = rng.choice(BYTES) if rng.random() < 0.8 else data[start:stop] * 2
        data = data[:start] + put + data[stop:]
    return data


def spoil_json(text: str, rng: random.Random) -> str:
    document = json.loads(text)
    places: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        value = waiting.pop()
        keys = value.keys() if isinstance(value, dict) else range(len(value))
        places += [(value, key) for key in keys]
        waiting += [value[key] for key in keys if isinstance(value[key], (dict, list))]
    for holder, key in rng.sample(places, min(len(places), rng.randint(1, 2))):
        if isinstance(holder, dict) and rng.random() < 0.3:
            holder.pop(key, None)
        else:
            holder[key] = rng.choice(VALUES)
    return json.dumps(document, indent=1)


def use(video: Video) -> None:
    """Take from a video what tracking and measuring take, and look for what should have been refused."""
    assert len(video.frames) and all(path.is_file() for path in video.frames.paths)
    if isinstance(video, BoxVideo):
        assert video.boxes.shape == (len(video.frames), 4) and not np.isinf(video.boxes).any()
        assert (video.boxes[0, 2:] > 0).all() and video.is_visible().shape == (len(video.frames),)
        assert not isinstance(video, VotVideo) or np.isfinite(video.polygons).all()
        return
    if isinstance(video, DavisVideo):
        assert video.mask(0).any()
        return
    assert isinstance(video, MotVideo | MotsVideo | PoseVideo)
    assert len(video.detections) == len(video.frames) and 0 < video.frame_rate < np.inf
    for seen in video.detections:
        assert np.isfinite(seen.boxes).all() and np.isfinite(seen.scores).all()
        assert (seen.boxes[:, 2:] > seen.boxes[:, :2]).all()
    if isinstance(video, MotVideo):
        assert mot_metrics.truth_files(video)
        assert all(np.isfinite(boxes).all() for boxes in video.truth)
    elif isinstance(video, MotsVideo):
        assert mots_metrics.truth_files(video)
    else:
        assert posetrack_metrics.truth_files(video)


def try_once(root: Path, layout: str, path: Path) -> bool:
    """Return whether the folder was taken for a sound one."""
    try:
        videos, problems = read(root, layout)
    except DataError as error:
        assert str(root) in str(error) and "\n" not in str(error)
        return False
    for problem in problems:
        assert str(root) in problem and "\n" not in problem, problem
    for video in videos:
        use(video)
    return bool(videos) and not problems


SOUND = {
    "motchallenge": {"frame": 1, "bbox": [0, 0, 5, 5.5], "score": 0.5, "category_id": 1},
    "mots": {"image_id": 1, "score": 1, "segmentation": {"size": [30, 40], "counts": test_mots.ONE}},
}


@pytest.mark.parametrize("layout", SOUND)
def test_spoilt_json_detections_are_named_or_still_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    write(tmp_path, layout)
    monkeypatch.setitem(SPLITS, layout, ("train", "found.json"))
    path, rng = tmp_path / "found.json", random.Random(layout)
    sound = json.dumps([SOUND[layout]] * 3, indent=1)
    refused = 0
    for _ in range(3 * ROUNDS):
        if rng.random() < 0.7:
            path.write_text(spoil_json(sound, rng))
        else:
            path.write_bytes(spoil_bytes(sound.encode(), rng))
        refused += not try_once(tmp_path, layout, path)
    assert refused > ROUNDS


@pytest.mark.parametrize("name", [*test_ilsvrc.KINDS, "labels"])
def test_spoilt_lists_of_images_are_named_or_still_sound(make_images: Callable[..., Path], name: str) -> None:
    root = make_images(
        *[f"train/{c}/{c}_1.JPEG" for c in test_ilsvrc.CLASSES], *[f"val/{n}" for n in test_ilsvrc.NAMES]
    )
    train = open_split(root, "train") if name == "labels" else None
    sound = test_ilsvrc.KINDS.get(name, "# mine\nn01/n01_1.JPEG\nn03_1.JPEG\n").encode()
    path, rng, refused = root / name, random.Random(name), 0
    for _ in range(3 * ROUNDS):
        path.write_bytes(spoil_bytes(sound, rng))
        try:
            if train is None:
                labels = open_split(root, "val").labels
            else:
                labels = label_subset(train, str(path), dataset="x", root=root, seed=0).indices
            assert len(labels) and labels.min() >= 0 and labels.max() < 3
        except DataError as error:
            assert str(root) in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > ROUNDS


@pytest.mark.parametrize("layout", SPLITS)
def test_spoilt_files_are_named_or_still_sound(tmp_path: Path, layout: str) -> None:
    """Seeded: a failure can be repeated. A file of another layout's, or none, must be an error as well."""
    files = write(tmp_path, layout)
    assert try_once(tmp_path, layout, files[0])
    for path in files:
        rng, sound = random.Random(f"{layout}/{path.name}"), path.read_bytes()
        refused = 0
        for _ in range(ROUNDS):
            if path.suffix == ".json" and rng.random() < 0.7:
                path.write_text(spoil_json(sound.decode(), rng))
            else:
                path.write_bytes(spoil_bytes(sound, rng))
            refused += not try_once(tmp_path, layout, path)
        assert refused > ROUNDS // 4
        path.write_bytes(sound)
    for path in files:
        path.unlink()
        assert not try_once(tmp_path, layout, path)
        path.write_bytes(b"")
        assert not try_once(tmp_path, layout, path) or path.name == "det.txt"
        shutil.copy(__file__, path)
        assert not try_once(tmp_path, layout, path)
