"""Small data sets on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def make_images(tmp_path: Path) -> Callable[..., Path]:
    """Write tiny images at the given paths below a folder, each of its own colour; return the folder."""

    def make(*names: str, folder: str = "data") -> Path:
        root = tmp_path / folder
        for index, name in enumerate(names):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4), (index % 256, 80, index // 256)).save(path, "PNG")
        return root

    return make


@pytest.fixture
def folder_set(make_images: Callable[..., Path]) -> Path:
    """Two classes, three training and two validation images each."""
    names = [f"train/{c}/{c}_{i}.JPEG" for c in ("cat", "dog") for i in range(3)]
    return make_images(*names, *[f"val/{c}/v{c}_{i}.JPEG" for c in ("cat", "dog") for i in range(2)])
