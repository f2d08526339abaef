"""SimCLR's published 1 % and 10 % lists of ImageNet labels: where they lie, whether they are right, fetching them.

Source: google-research/simclr, imagenet_subsets/1percent.txt and 10percent.txt: one file name a line, without the
class folder. They are fetched when the user asks for it, never within a run.
"""

from __future__ import annotations

import codecs
import dataclasses
import hashlib
import http.client
import urllib.request
from pathlib import Path

from mec_transfer.common.errors import DataError, RunError
from mec_transfer.common.files import write_bytes

URL = "https://raw.githubusercontent.com/google-research/simclr/master/imagenet_subsets"
_TIMEOUT_SECONDS = 30
_MOST_BYTES = 16 << 20


@dataclasses.dataclass(frozen=True)
class PublishedList:
    """A list as published."""

    file_name: str
    count: int
    sha256: str


PUBLISHED = {
    "1%": PublishedList("1percent.txt", 12_811, "71e82a48ba78252683ae334c4d019ebd5c6e855b9599c1389fbe83eb9549cf17"),
    "10%": PublishedList("10percent.txt", 128_116, "6d09de11e7bdaf5b1f3b1f249b6183695f97310cdd20f0c03e7235b6b9392091"),
}


def read_published(labels: str, root: Path) -> list[str]:
    """Return the file names of the published list for `labels` ("1%" or "10%").

    Looked for in root/imagenet_subsets, root, and the imagenet_subsets beside root.

    Raises:
        DataError: the list is not there (says how to fetch it), or is not the published one byte for byte.
    """
    published = PUBLISHED[labels]
    path = _find(published, root)
    if path is None:
        folder = root / "imagenet_subsets"
        raise DataError(
            f"{folder / published.file_name}: SimCLR's {labels} list of ImageNet is not there; get it with "
            f"`mec-transfer data subset --fetch --out {folder}`, or give a list of your own"
        )
    try:
        return _verified(path.read_bytes(), published, str(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def find_published(root: Path) -> list[Path]:
    """Return the files of the published lists that a data set in `root` is evaluated with, as far as they are there."""
    return [path for published in PUBLISHED.values() if (path := _find(published, root))]


def _find(published: PublishedList, root: Path) -> Path | None:
    folders = (root / "imagenet_subsets", root, root.resolve().parent / "imagenet_subsets")
    return next((path for folder in folders if (path := folder / published.file_name).is_file()), None)


def fetch_published(out: Path, url: str = URL) -> list[Path]:
    """Download both lists to the folder `out`, verified; a right one that is there already is kept.

    Raises:
        DataError: what came is not the published list.
        RunError: the server cannot be reached, or `out` cannot be written.
    """
    return [
        _fetch(out / published.file_name, published, f"{url}/{published.file_name}") for published in PUBLISHED.values()
    ]


def _fetch(path: Path, published: PublishedList, address: str) -> Path:
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == published.sha256:
        return path
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_SECONDS) as answer:
            data = answer.read(_MOST_BYTES)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise RunError(
            f"{address}: cannot be fetched ({reason}); fetch it on a machine with internet and put it in {path.parent}"
        ) from None
    _verified(data, published, address)
    write_bytes(path, data)
    return path


def _verified(data: bytes, published: PublishedList, source: str) -> list[str]:
    plain = data.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")  # what editors on other systems make of it
    found = hashlib.sha256(plain).hexdigest()
    names = plain.decode("utf-8", errors="replace").split()
    if len(names) != published.count or found != published.sha256:
        raise DataError(
            f"{source}: is not SimCLR's list: {len(names)} names and sha256 {found[:12]}..., published are "
            f"{published.count} and {published.sha256[:12]}...; fetch it again"
        )
    return names
