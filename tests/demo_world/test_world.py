from __future__ import annotations

import hashlib
import math
import multiprocessing
import os
import sys
import time
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mec_transfer.common.errors import DataError, RunError
from mec_transfer.datasets.config import TracksDatasetConfig
from mec_transfer.datasets.decode import load_rgb
from mec_transfer.datasets.images.folders import open_split, open_unlabelled
from mec_transfer.datasets.registry import open_data
from mec_transfer.demo_world import videos, world
from mec_transfer.demo_world.draw import random_scene
from mec_transfer.demo_world.render import render
from mec_transfer.demo_world.scene import CATEGORIES
from mec_transfer.demo_world.shapes import TABLE_SIZE, diamond_angle, outline, radius_table
from mec_transfer.demo_world.textures import PATTERNS, Texture, noise, paint
from mec_transfer.demo_world.world import WorldSize, write_demo_world
from tests.datasets.reading import find_problems, open_objects

TINY = WorldSize(train_per_class=2, val_per_class=1, unlabelled=5, side=24)
IMAGES = ("classification", "pretrain")


@pytest.fixture(scope="module")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_world(tmp_path_factory.mktemp("demo") / "world", seed=0, parts=IMAGES, size=TINY)


def pixels(path: Path) -> bytes:
    return np.asarray(load_rgb(path)).tobytes()


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_world_is_read_by_the_code_for_real_data(tiny_world: Path) -> None:
    assert find_problems(tiny_world / "imagenet", "imagefolder") == []
    train, val = (open_split(tiny_world / "imagenet", split) for split in ("train", "val"))
    assert train.classes == tuple(sorted(CATEGORIES)) == tuple(CATEGORIES)
    assert (len(train), len(val), len(open_unlabelled(tiny_world / "pretrain"))) == (20, 10, 5)
    every = [pixels(path) for path in tiny_world.rglob("*.JPEG")]
    assert len(set(every)) == len(every) == 35  # no picture twice, in particular none of train in val
    assert load_rgb(train.root / train.paths[0]).size == (24, 24)


def test_same_pixels_for_the_same_seed() -> None:
    """Tests the renderer alone, which uses only operations that round the same on every processor."""
    drawn = b"".join(
        render(random_scene(Random(f"golden {name}"), [name, "ball"], 48), 48, 48).image.tobytes()
        for name in CATEGORIES
    )
    assert hashlib.sha256(drawn).hexdigest() == GOLDEN_RENDERED


def test_same_decoded_pixels_on_the_pinned_versions(tiny_world: Path) -> None:
    names = ("imagenet/train/cog/cog_train_00001.JPEG", "imagenet/val/star/star_val_00000.JPEG", "pretrain/000003.JPEG")
    decoded = b"".join(pixels(tiny_world / name) for name in names)
    assert hashlib.sha256(decoded).hexdigest() == GOLDEN_DECODED


GOLDEN_RENDERED = "a09e9478967f5ee5891786da509912c238328c0c7beda91d5c92131877b0f7c1"
GOLDEN_DECODED = "fb0d31e520302c4b8ec11212bb67317c755a4fe484cd72eae93591fd7b918ed6"


def test_a_picture_does_not_depend_on_how_many_there_are(tiny_world: Path, tmp_path: Path) -> None:
    smaller = WorldSize(train_per_class=1, val_per_class=1, unlabelled=2, side=24)
    small = contents(write_demo_world(tmp_path / "small", 0, IMAGES, size=smaller))
    large = contents(tiny_world)
    assert len(small) == 10 + 10 + 2 + 1
    assert all(large[name] == data for name, data in small.items() if name.endswith(".JPEG"))
    other = contents(write_demo_world(tmp_path / "other", 1, IMAGES, size=smaller))
    assert all(other[name] != data for name, data in small.items())


def test_finished_world_is_left_alone_and_lost_files_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(videos, "SEQUENCES", {"otb": {"TwinStars": "twins"}})
    out = write_demo_world(tmp_path / "w", size=TINY)
    whole = contents(out)
    with monkeypatch.context() as patch:
        patch.setattr(world, "_draw", lambda *_: pytest.fail("drew a finished world"))
        patch.setattr(videos, "write_videos", lambda *_: pytest.fail("drew a finished world"))
        write_demo_world(out, size=TINY)
    (out / "pretrain/000001.JPEG").unlink()
    (out / "imagenet/val/ball/ball_val_00000.JPEG").write_bytes(b"")
    (out / "coco/annotations/instances_val2017.json").unlink()
    (out / "otb/TwinStars/groundtruth_rect.txt").unlink()
    write_demo_world(out, size=TINY)
    assert contents(out) == whole


def test_interrupted_world_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_world: Path) -> None:
    out = tmp_path / "w"
    real = world.write_jpeg

    def stop_in_the_middle(path: Path, pixels: np.ndarray) -> None:
        if path.parent.name == "leaf":
            path.parent.mkdir(parents=True)
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        real(path, pixels)

    monkeypatch.setattr(world, "write_jpeg", stop_in_the_middle)
    with pytest.raises(KeyboardInterrupt):
        write_demo_world(out, parts=IMAGES, size=TINY)
    assert not (out / "world.json").exists()
    with pytest.raises(DataError, match="'seed' is 0, asked for is 5"):
        write_demo_world(out, seed=5, size=TINY)
    monkeypatch.setattr(world, "write_jpeg", real)
    assert contents(write_demo_world(out, parts=IMAGES, size=TINY)) == contents(tiny_world)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="one process draws everything")
def test_every_core_draws_the_same_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_world: Path) -> None:
    monkeypatch.setattr(world, "usable_cores", lambda: 3)
    monkeypatch.setattr(world, "_WORTH_A_PROCESS", 1)
    drawers = tmp_path / "drawers"
    drawers.mkdir()
    real = world.write_jpeg

    def note_who_draws(path: Path, pixels: np.ndarray) -> None:
        (drawers / f"{os.getpid()}").touch()
        if path.name != "000004.JPEG" or os.getpid() == ours:
            time.sleep(0.02)
            return real(path, pixels)
        raise OSError(28, "No space left on device", str(path))

    ours = os.getpid()
    monkeypatch.setattr(world, "write_jpeg", note_who_draws)
    assert contents(write_demo_world(tmp_path / "w", 0, IMAGES, size=TINY)) == contents(tiny_world)
    assert len([*drawers.iterdir()]) == 3 and not multiprocessing.active_children()

    monkeypatch.setattr(world, "write_jpeg", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(RunError, match="No space left on device"):
        write_demo_world(tmp_path / "full", 0, IMAGES, size=TINY)
    assert not multiprocessing.active_children()


def test_parts_are_added(tmp_path: Path, tiny_world: Path) -> None:
    out = tmp_path / "w"
    write_demo_world(out, size=TINY, parts=("pretrain",))
    assert not (out / "imagenet").exists()
    write_demo_world(out, size=TINY, parts=("classification",))
    ours, whole = contents(out), contents(tiny_world)
    assert {n: d for n, d in ours.items() if n != "world.json"} == {n: d for n, d in whole.items() if n != "world.json"}
    with pytest.raises(DataError, match="'nix' is not a part"):
        write_demo_world(out, size=TINY, parts=("nix",))


def test_objects_are_the_same_in_all_layouts_and_their_masks_lie_in_their_boxes(tmp_path: Path) -> None:
    out = write_demo_world(tmp_path / "w", parts=("detection",), size=TINY)
    splits = (("train2017", "trainval", 80), ("val2017", "test", 24))
    for coco_name, voc_name, number in splits:
        coco = open_objects(out / "coco", "coco", coco_name)
        voc = open_objects(out / "voc", "voc", f"2007_{voc_name}")
        assert (
            coco.classes == voc.classes == tuple(sorted(CATEGORIES)) and len(coco.images) == len(voc.images) == number
        )
        for ours, theirs in zip(coco.images, voc.images, strict=True):
            assert pixels(ours.path) == pixels(theirs.path)
            assert [(o.class_index, o.box) for o in ours.objects] == [(o.class_index, o.box) for o in theirs.objects]
            for thing in ours.objects:
                corners = np.reshape(thing.segmentation, (-1, 2))
                x0, y0, x1, y1 = thing.box
                assert corners.min() >= 0 and corners.max() <= 96
                # What hides a part of a thing makes its box smaller than its outline, never larger.
                assert corners[:, 0].min() <= x0 + 1 and corners[:, 0].max() >= x1 - 1
                assert corners[:, 1].min() <= y0 + 1 and corners[:, 1].max() >= y1 - 1
    assert sum(len(image.objects) for image in coco.images) >= 24
    tracks = []
    for layout, folder, split in (("coco_tracks", "coco", "train2017"), ("imagenet_det", "ILSVRC", "train")):
        config = TracksDatasetConfig(name="x", layout=layout, split=split)
        tracks.append(open_data(config, out / folder).tracks)  # type: ignore[attr-defined]
    assert len(tracks[0]) >= 80 and np.array_equal(tracks[0].boxes, tracks[1].boxes)


def test_other_worlds_and_foreign_folders_are_refused(tmp_path: Path, tiny_world: Path) -> None:
    before = contents(tiny_world)
    with pytest.raises(DataError, match=r"world.json: 'seed' is 0, asked for is 1; choose another folder"):
        write_demo_world(tiny_world, seed=1, size=TINY)
    with pytest.raises(DataError, match="'size' is"):
        write_demo_world(tiny_world)
    assert contents(tiny_world) == before
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.tex").write_text("precious")
    with pytest.raises(DataError, match=r"holds something else \(chapter.tex\)"):
        write_demo_world(tmp_path / "thesis")
    with pytest.raises(DataError, match="is a file"):
        write_demo_world(tmp_path / "thesis/chapter.tex")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/world.json").write_text("{")
    with pytest.raises(DataError, match=r"world.json: not readable as JSON.*remove"):
        write_demo_world(tmp_path / "broken")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/world.json").write_text("[]")
    with pytest.raises(DataError, match="'format' is None"):
        write_demo_world(tmp_path / "foreign")


def test_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match="cannot be written \\(No space left on device\\)"):
        write_demo_world(tmp_path / "w", size=TINY)


def test_diamond_angle_rises_with_the_true_angle() -> None:
    true = np.arange(0, 2 * math.pi, 0.01)
    angle = diamond_angle(np.cos(true).astype(np.float32), np.sin(true).astype(np.float32))
    assert (np.diff(angle) > 0).all()
    quarters = diamond_angle(np.float32([1, 0, -1, 0]), np.float32([0, 1, 0, -1]))
    assert quarters.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("shape", [*CATEGORIES, "pebble", "bar", "triangle"])
def test_outlines_have_one_area_and_their_table_follows_them(shape: str) -> None:
    corners = outline(shape)
    x, y = corners.T
    area = abs(sum(x[i - 1] * y[i] - x[i] * y[i - 1] for i in range(len(x)))) / 2
    assert area == pytest.approx(2.2, rel=1e-9)
    table = radius_table(shape)
    assert table.min() > 0.1 and table[0] == table[-1]
    angle = diamond_angle(x.astype(np.float32), y.astype(np.float32))
    seen = np.interp(angle, np.arange(TABLE_SIZE + 1) * 4 / TABLE_SIZE, table)
    smooth = shape not in ("cog", "plus", "star")  # near a corner the table's steps may lie on either edge
    np.testing.assert_allclose(seen, np.hypot(x, y), rtol=0.02 if smooth else 0.2)


@pytest.mark.parametrize("name", CATEGORIES)
def test_owner_map_agrees_with_the_polygon(name: str) -> None:
    """What is seen of the nearest thing is its polygon, as another rasteriser fills it."""
    scene = random_scene(Random(name), [name], 160)
    seen = render(scene, 160, 160).owner == len(scene.things) - 1
    filled = Image.new("1", (640, 640))
    ImageDraw.Draw(filled).polygon([(4 * x, 4 * y) for x, y in scene.things[-1].polygon()], fill=1)
    expected = np.asarray(filled)[2::4, 2::4]
    assert (seen & expected).sum() / (seen | expected).sum() > 0.96


@pytest.mark.parametrize("pattern", PATTERNS)
def test_textures_use_both_colours_and_stay_between_them(pattern: str) -> None:
    v, u = np.mgrid[-2:2:64j, -2:2:64j].astype(np.float32)
    low, high = (0.1, 0.2, 0.3), (0.9, 0.4, 0.35)
    drawn = paint(Texture(pattern=pattern, colours=(low, high), frequency=1.5), u, v)
    assert drawn.shape == (3, 64, 64) and drawn.dtype == np.float32
    red = drawn[0]
    assert red.min() >= 0.1 - 1e-6 and red.max() <= 0.9 + 1e-6
    assert red.max() - red.min() > 0.4


def test_noise_spreads_over_its_range_and_repeats() -> None:
    v, u = np.mgrid[0:512, 0:512].astype(np.float32) / 64
    field = noise(u, v)
    assert field.min() < 0.05 and field.max() > 0.95 and 0.4 < field.mean() < 0.6
    np.testing.assert_array_equal(noise(u[:, :100], v[:, :100]), noise(u[:, :100] - 8, v[:, :100] + 16))


@pytest.mark.parametrize(("hue_alone", "highest"), [(True, 0.2), (False, 0.3)])
def test_hue_says_nothing_of_the_class_and_brightness_little(hue_alone: bool, highest: float) -> None:
    """The classes' mean colours differ little: the nearest mean is the right one about once in ten times."""
    means = {}
    for name in CATEGORIES:
        drawn = [render(random_scene(Random(f"{name}/{i}"), [name], 24), 24, 24).image for i in range(60)]
        colours = np.array([image.mean((0, 1)) for image in drawn])
        means[name] = colours - colours.mean(axis=1, keepdims=True) if hue_alone else colours
    centres = np.stack([m[:30].mean(0) for m in means.values()])
    right = sum(
        int((((m[30:, None] - centres) ** 2).sum(-1).argmin(1) == label).sum())
        for label, m in enumerate(means.values())
    )
    assert right / 300 < highest
