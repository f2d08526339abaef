"""Small source archives, for the tests of what is made of one."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path


def write_sdist(path: Path, files: dict[str, str]) -> Path:
    """Write `files` below the one folder that a source archive has, here named as the archive; return `path`."""
    with tarfile.open(path, "w:gz") as out:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"{path.name.removesuffix('.tar.gz')}/{name}")
            entry.size = len(text)
            out.addfile(entry, io.BytesIO(text.encode()))
    return path
