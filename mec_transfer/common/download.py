"""Downloads a file: resumes where a transfer broke off, verifies the result, and never leaves an incomplete FILE.

During the transfer the data is in FILE.part, and FILE.part.json says which version of which address it is a part of.
The transfer is resumed only if that note is there and the server confirms that nothing has changed (If-Range). Only
commands that the user calls import this module: no job uses the network.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.client
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from mec_transfer import __version__
from mec_transfer.common.config import StrictModel
from mec_transfer.common.errors import RunError, UserError, one_line
from mec_transfer.common.files import read_json, write_json
from mec_transfer.common.progress import Meter, say

Checked = Literal["sha256", "md5", "size alone", "nothing to check against"]
_SECONDS = 30.0
"""How long a server may be silent."""
_BLOCK = 1 << 20
_PAGE = "{remote.name}: {remote.url} gave a web page, not the file (a login, or a notice)"
_AGAIN = "the same command goes on from there"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remote:
    """A file on a server."""

    name: str
    """What messages call it."""
    url: str
    sha256: str | None = None
    """The published hash, or its first digits."""
    md5: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """A complete file."""

    bytes: int
    sha256: str
    checked: Checked
    """What it was compared with."""


def fetch(remote: Remote, path: Path) -> Found:
    """Download a file to `path`, in a folder that this process has locked.

    Raises:
        RunError: the server, the network or the disk failed, or the download is not the published file.
    """
    part = path.with_name(f"{path.name}.part")
    announced = _download(remote, part)
    try:
        found = look(remote, part, announced)
    except RunError as error:
        _forget(part)
        raise RunError(f"{error}; nothing of it was kept") from None
    try:
        part.replace(path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({one_line(error)})") from None
    _forget(part)
    return found


def look(remote: Remote, path: Path, announced: int | None = None) -> Found:
    """Hash a complete file whose size a server `announced`. Raises RunError if it is not the published file."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as handle:
        start = handle.read(1024)
        handle.seek(0)
        while block := handle.read(_BLOCK):
            sha256.update(block)
            md5.update(block)
    found = {"sha256": sha256.hexdigest(), "md5": md5.hexdigest()}
    wanted = {"sha256": remote.sha256, "md5": remote.md5}
    checked: Checked = "nothing to check against" if announced is None else "size alone"
    if _is_page(start):
        raise RunError(_PAGE.format(remote=remote))
    kinds: tuple[Literal["md5", "sha256"], ...] = ("md5", "sha256")
    for kind in kinds:
        if (digits := wanted[kind]) is None:
            continue
        if not found[kind].startswith(digits):
            raise RunError(
                f"{remote.name}: not the published file: its {kind} is {found[kind]}, published is {digits}..."
            )
        checked = kind
    return Found(bytes=path.stat().st_size, sha256=found["sha256"], checked=checked)


def _is_page(start: bytes) -> bool:
    """Whether a file begins like HTML or XML: no checkpoint and no archive begins with `<`."""
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def _download(remote: Remote, part: Path) -> int | None:
    """Fetch the rest of `part`; return the size that the server announced for the whole, None where it did not."""
    for _ in range(2):
        held = _held(remote, part)
        with _answer(remote, held) as answer:
            if answer is None:  # it has nothing after what is held: that is the whole file, or none of it
                if held.size == held.total:
                    return held.total
                _forget(part)
                continue
            return _receive(remote, part, held, answer)
    raise RunError(f"{remote.name}: {remote.url} refuses the whole file, and a part of it")


class _Held(StrictModel):
    """The part of a file that is on the disk, and the version it belongs to."""

    url: str
    validator: str = ""
    """The server's strong ETag or the file's date; "" if it gave neither: then the transfer cannot be resumed."""
    total: int | None = None
    size: int = 0


def _held(remote: Remote, part: Path) -> _Held:
    try:
        held = _Held.model_validate(read_json(_about(part)))
        size = part.stat().st_size
    except (UserError, ValueError, OSError):
        return _Held(url=remote.url)
    return (
        held.model_copy(update={"size": size}) if held.validator and held.url == remote.url else _Held(url=remote.url)
    )


def _about(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _about(part).unlink(missing_ok=True)


@contextlib.contextmanager
def _answer(remote: Remote, held: _Held) -> Iterator[http.client.HTTPResponse | None]:
    """Request the rest of the file; None if the server says that nothing follows."""
    headers = {"User-Agent": f"mec-transfer/{__version__}", "Accept-Encoding": "identity"}
    if held.size:
        headers |= {"Range": f"bytes={held.size}-", "If-Range": held.validator}
    try:
        answer = urlopen(Request(remote.url, headers=headers), timeout=_SECONDS)
    except HTTPError as error:
        error.close()
        if error.code != 416 or not held.size:
            raise RunError(f"{remote.name}: {remote.url} answers {error.code} ({error.reason})") from None
        answer = None
    except (URLError, OSError, http.client.HTTPException) as error:
        reason = one_line(error.reason if isinstance(error, URLError) and isinstance(error.reason, OSError) else error)
        raise RunError(
            f"{remote.name}: {remote.url} cannot be reached ({reason}); go online, or copy the file from another "
            "machine"
        ) from None
    if answer is None:
        yield None
        return
    with answer:
        yield answer


def _receive(remote: Remote, part: Path, held: _Held, answer: http.client.HTTPResponse) -> int | None:
    """Write an answer to `part`: appended if the server resumes there, else from the beginning."""
    if answer.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise RunError(_PAGE.format(remote=remote))
    length = answer.headers.get("Content-Length", "")
    start, total = 0, int(length) if length.isdigit() else None
    if answer.status == 206:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if span is None or int(span[1]) != held.size:
            raise RunError(f"{remote.name}: {remote.url} gave another part of the file than was asked for")
        start, total = held.size, None if span[2] == "*" else int(span[2])
    missing = (total or 0) - start
    if missing > (free := shutil.disk_usage(part.parent).free):
        raise RunError(f"{part.parent}: {missing / 1e6:,.0f} MB are to come, {free / 1e6:,.0f} MB are free; make room")
    if start:
        say(f"{remote.name}: going on after {start / 1e6:,.1f} MB")
    else:  # removed before the note describes another version
        part.unlink(missing_ok=True)
    tag = answer.headers.get("ETag", "")
    validator = tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")
    write_json(_about(part), _Held(url=remote.url, validator=validator, total=total).model_dump(mode="json"))
    size = _write(remote, part, start, total, answer)
    if total is not None and size != total:
        raise RunError(f"{remote.name}: broke off after {size / 1e6:,.1f} of {total / 1e6:,.1f} MB; {_AGAIN}")
    return total


def _write(remote: Remote, part: Path, start: int, total: int | None, answer: http.client.HTTPResponse) -> int:
    """Append the answer to the first `start` bytes of `part`; return the size of the result."""
    size = start
    meter = Meter(remote.name, -(-total // _BLOCK) if total else 0, "MiB", start // _BLOCK)
    try:
        with part.open("r+b" if start else "wb") as handle:
            handle.seek(start)
            handle.truncate()
            while block := _read(remote, answer, size):
                handle.write(block)
                size += len(block)
                meter.advance(size // _BLOCK - meter.done)
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        raise RunError(f"{part}: cannot be written ({one_line(error)}); make room, and {_AGAIN}") from None
    finally:
        meter.close()
    return size


def _read(remote: Remote, answer: http.client.HTTPResponse, size: int) -> bytes:
    try:
        return answer.read(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise RunError(f"{remote.name}: broke off after {size / 1e6:,.1f} MB ({one_line(error)}); {_AGAIN}") from None
