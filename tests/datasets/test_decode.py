from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.decode import decode_rgb, image_errors, load_rgb


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    picture = Image.linear_gradient("L").resize((9, 7))
    if kind.endswith("16"):
        Image.fromarray(np.asarray(picture).astype(np.uint16) * 257).save(buffer, kind.removesuffix("16"))
    else:
        picture.convert("RGB").save(buffer, kind)
    return buffer.getvalue()


ENCODED = {kind: encoded(kind) for kind in ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PNG16", "PPM16", "TIFF16")}


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


@pytest.mark.parametrize(("data", "expected"), [(b"", "empty"), (b"no image", "in no known format")])
def test_bytes_that_are_no_image_are_one_line(data: bytes, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        decode_rgb(data, "shard.tar: a.png")
    assert str(caught.value) == f"shard.tar: a.png: not a readable image ({expected}); replace or remove it"


RAMP = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10 + 7


def grey(tmp_path: Path, name: str, values: np.ndarray, **options: object) -> np.ndarray:
    Image.fromarray(values).save(tmp_path / name, **options)
    return np.asarray(load_rgb(tmp_path / name))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bit_grey_is_scaled_as_its_8_bit_twin(tmp_path: Path, name: str) -> None:
    """Pillow's own `convert` gives white throughout."""
    assert (np.asarray(Image.fromarray(RAMP.astype(np.uint16) << 8).convert("RGB"))[1:] == 255).all()
    wide = RAMP.astype(np.uint16) * 257
    np.testing.assert_array_equal(grey(tmp_path, name, wide), np.stack([RAMP] * 3, axis=2))
    np.testing.assert_array_equal(grey(tmp_path, name, wide & 0xFF00), np.stack([RAMP] * 3, axis=2))


def test_a_tiff_may_count_from_white_and_a_pgm_to_less(tmp_path: Path) -> None:
    wide = RAMP.astype(np.uint16) * 257
    inverted = grey(tmp_path, "a.tif", wide, tiffinfo={262: 0})
    np.testing.assert_array_equal(inverted[..., 0], 255 - RAMP)
    (tmp_path / "b.pgm").write_bytes(b"P5 3 1 1023\n" + np.array([0, 512, 1023], ">u2").tobytes())
    assert np.asarray(load_rgb(tmp_path / "b.pgm"))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(("kind", "what"), [(np.float32, "fractions"), (np.int32, "numbers of mode I")])
def test_pixels_without_a_known_white_are_refused(tmp_path: Path, kind: type, what: str) -> None:
    Image.fromarray(RAMP.astype(kind)).save(tmp_path / "a.tif")
    with pytest.raises(
        DataError, match=rf"a\.tif: not a readable image \(its pixels are {what}, .*save it with 8 or 16"
    ):
        load_rgb(tmp_path / "a.tif")


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "RGBA", "LA", "CMYK"])
def test_every_8_bit_file_is_what_torchvision_makes_of_it(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    picture.convert(mode).save(path)
    with path.open("rb") as file:
        expected = np.asarray(Image.open(file).convert("RGB"))  # torchvision.datasets.folder.pil_loader
    np.testing.assert_array_equal(np.asarray(load_rgb(path)), expected)


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_of_an_animation_the_first_picture_is_taken(tmp_path: Path, suffix: str) -> None:
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    options = {"lossless": True} if suffix == "webp" else {}
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[second], duration=100, **options)
    assert (np.asarray(load_rgb(tmp_path / f"a.{suffix}")) == [255, 0, 0]).all()


def test_transparency_is_dropped_not_blended(tmp_path: Path) -> None:
    clear = Image.new("P", (4, 4), 1)
    clear.putpalette([0, 0, 0, 10, 200, 30])
    clear.save(tmp_path / "a.png", transparency=1)
    assert (np.asarray(load_rgb(tmp_path / "a.png")) == [10, 200, 30]).all()


def test_nobody_is_told_to_remove_an_image_that_the_disk_does_not_give() -> None:
    with pytest.raises(DataError) as caught, image_errors("a.png"):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), "a.png")
    assert str(caught.value) == "a.png: cannot be read (Stale file handle)"
