"""Image files are looked at before training: sizes, EXIF orientation, cut files."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from mec_transfer.datasets.objects import headers
from mec_transfer.datasets.objects.annotation import ObjectAnnotation, ObjectImage
from mec_transfer.datasets.objects.headers import Header, image_problems, read_headers
from mec_transfer.datasets.objects.splits import ObjectSplit

THING = ObjectAnnotation(class_index=0, box=(0, 0, 9, 9))


def save(path: Path, orientation: int = 1, size: tuple[int, int] = (30, 20), mode: str = "RGB", **more: Any) -> Path:
    exif = Image.Exif()
    exif[headers.EXIF_ORIENTATION] = orientation
    Image.effect_noise(size, 50).convert(mode).save(path, exif=exif, **more)
    return path


def split_of(*images: tuple[Path, tuple[int, int]], objects: tuple[ObjectAnnotation, ...] = (THING,)) -> ObjectSplit:
    found = [
        ObjectImage(path=path, image_id=path.stem, width=width, height=height, objects=objects)
        for path, (width, height) in images
    ]
    return ObjectSplit(name="t", classes=("cat",), images=tuple(found))


@pytest.mark.parametrize(
    ("orientation", "said", "message"),
    [
        (1, (30, 20), ""),
        (1, (20, 30), "has 30x20 pixels, its annotation says 20x30"),
        (6, (20, 30), ""),
        (6, (30, 20), "has EXIF orientation 6, .* 30x20, is that of the stored pixels, .*drop the tag"),
        (5, (31, 20), r"has 20x30 pixels \(with EXIF orientation 5, by which Detectron2 turns it\), .* says 31x20"),
        (3, (30, 20), "has EXIF orientation 3, .* no size tells .*turn the pixels .* drop the tag"),
        (2, (30, 20), "has EXIF orientation 2, .* no size tells"),
        (9, (30, 20), ""),
    ],
)
def test_a_size_is_that_of_the_turned_picture(tmp_path, orientation, said, message):
    split = split_of((save(tmp_path / "a.jpg", orientation), said))
    (problems,) = image_problems([split])
    assert re.match(f"a.jpg: {message}", problems[0]) if message else not problems


def test_one_picture_whose_size_tells_speaks_for_the_others_of_the_data_set(tmp_path):
    upside_down = split_of((save(tmp_path / "a.jpg", 3), (30, 20)), (save(tmp_path / "s.jpg", 6, (20, 20)), (20, 20)))
    assert list(image_problems([upside_down])[0]) == [0, 1]
    telling = split_of((save(tmp_path / "b.jpg", 8), (20, 30)))
    assert image_problems([upside_down, telling]) == [{}, {}]
    contrary = split_of((tmp_path / "b.jpg", (30, 20)))
    assert [list(found) for found in image_problems([upside_down, telling, contrary])] == [[0, 1], [], [0]]
    assert image_problems([split_of((tmp_path / "a.jpg", (30, 20)), objects=())]) == [{}]  # no box to be elsewhere


def test_the_published_data_set_is_taken_as_the_published_runs_took_it(tmp_path):
    upside_down = split_of((save(tmp_path / "a.jpg", 3), (30, 20)), (save(tmp_path / "b.jpg", 6), (30, 20)))
    assert list(image_problems([upside_down])[0]) == [0, 1]
    assert list(image_problems([upside_down], trusted=True)[0]) == [1]  # a size that tells still tells


def test_every_header_is_read_and_cut_files_are_decoded_wherever_they_are(tmp_path):
    images = [(save(tmp_path / f"{i:03d}.jpg", size=(30, 20 + i % 3)), (30, 20 + i % 3)) for i in range(200)]
    sampled = headers.sample_indices(200, headers.SAMPLED)
    unseen = [i for i in range(200) if i not in sampled]
    data = images[unseen[0]][0].read_bytes()
    images[unseen[0]][0].write_bytes(data[: len(data) * 2 // 3])  # cut: the header is whole
    images[unseen[1]][0].write_bytes(images[unseen[1]][0].read_bytes() + b"trailer")  # sound, with something after it
    images[unseen[2]] = (images[unseen[2]][0], (30, 99))
    images[unseen[3]][0].write_bytes(b"")
    images[sampled[0]][0].unlink()
    (problems,) = image_problems([split_of(*images)])
    assert sorted(problems) == sorted([unseen[0], unseen[2], unseen[3], sampled[0]])
    assert "image file is truncated" in problems[unseen[0]] and "No such file" in problems[sampled[0]]
    path, _ = images[unseen[4]]
    data = bytearray(path.read_bytes())
    data[-60:-2] = b"\xff\xd8" * 29  # broken inside: found where it is decoded
    path.write_bytes(data)
    broken = image_problems([split_of(*images)], thorough=True)[0].keys() - problems.keys()
    assert broken <= {unseen[4]}


def test_a_png_is_turned_only_by_what_pillow_finds_in_it(tmp_path):
    save(tmp_path / "a.png", 6)
    Image.new("RGB", (30, 20)).save(tmp_path / "b.png")
    words = PngImagePlugin.PngInfo()
    words.add_text("Comment", "eXIf")
    Image.new("RGB", (30, 20)).save(tmp_path / "c.png", pnginfo=words)
    headers = read_headers([str(tmp_path / f"{name}.png") for name in "abc"])
    assert headers == [Header(20, 30, 6), Header(30, 20), Header(30, 20)]


def test_deep_and_twice_turned_images_are_named(tmp_path):
    Image.new("I;16", (30, 20)).save(tmp_path / "a.png")
    save(tmp_path / "b.tif", 6)
    problems = image_problems([split_of((tmp_path / "a.png", (30, 20)), (tmp_path / "b.tif", (20, 30)))])[0]
    assert "more than 8 bits a channel" in problems[0] and "applied twice" in problems[1]


def test_a_file_is_read_again_only_when_it_has_changed(tmp_path, monkeypatch):
    path = save(tmp_path / "a.jpg")
    read: list[str] = []
    monkeypatch.setattr(headers._header_of, "_look", lambda path: read.append(path) or Header(1, 1))
    for _ in range(3):
        read_headers([str(path)])
    assert len(read) == 1
    save(path, size=(50, 50))
    read_headers([str(path)])
    assert len(read) == 2


def test_a_disk_that_does_not_answer_is_no_broken_image(tmp_path, monkeypatch):
    def fail(self, *arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(self))

    monkeypatch.setattr(Path, "open", fail)
    path = tmp_path / "a.jpg"
    path.touch()
    assert read_headers([str(path)]) == ["cannot be read (Input/output error)"]
