from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.images import decode_rgb, load_rgb
from mec_transfer.datasets.layouts import open_split


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((9, 7)).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


ENCODED = {kind: encoded(kind) for kind in ("JPEG", "PNG", "BMP", "WEBP", "TIFF")}


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of damaged TIFF tags
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(ENCODED)), st.data())
def test_a_damaged_file_decodes_or_is_a_data_error(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    raw = bytearray(ENCODED[kind])
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, min(len(raw) - 1, 200)))] = data.draw(st.integers(0, 255))
    path = tmp_path / "image"
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        assert load_rgb(path).mode == "RGB"
    except DataError as error:
        assert str(path) in str(error)


def test_huge_image_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bomb.png").write_bytes(ENCODED["PNG"])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(DataError, match=r"bomb.png: not a readable image"):
        load_rgb(tmp_path / "bomb.png")


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "CMYK", "LA"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / f"image.{'tif' if mode == 'CMYK' else 'png'}"
    Image.new(mode, (3, 2)).save(path)
    assert (load_rgb(path).mode, load_rgb(path).size) == ("RGB", (3, 2))


@pytest.mark.parametrize(("data", "expected"), [(b"", "empty"), (b"no image", "of no known format")])
def test_bytes_that_are_no_image_are_one_line(data: bytes, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        decode_rgb(data, "shard.tar: a.png")
    assert str(caught.value) == f"shard.tar: a.png: not a readable image ({expected}); replace or remove it"


def test_a_list_gives_bytes_and_names(folder_set: Path) -> None:
    images = open_split(folder_set, "imagefolder", "train")
    path = images.root / images.paths[1]
    assert images.read(1) == path.read_bytes() and images.name(1) == str(path)
    path.unlink()
    with pytest.raises(DataError, match=f"{path}: .*No such file"):
        images.read(1)


def test_subset_keeps_order_and_classes(folder_set: Path) -> None:
    images = open_split(folder_set, "imagefolder", "train")
    chosen = images.subset([4, 1])
    assert chosen.paths == (images.paths[4], images.paths[1])
    assert (chosen.labels.tolist(), chosen.classes) == ([1, 0], images.classes)
