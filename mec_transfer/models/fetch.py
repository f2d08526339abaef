"""Fetches a public checkpoint, or verifies one that was fetched before."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from mec_transfer.common.config import StrictModel
from mec_transfer.common.download import Checked, Found, Remote, fetch, look
from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.files import read_json, write_json
from mec_transfer.common.lock import folder_lock
from mec_transfer.models.zoo import Entry

NOTE_NAME = "fetched.json"


class Note(StrictModel):
    """What is known about a fetched file, kept in `fetched.json` beside it."""

    name: str
    url: str
    bytes: int
    sha256: str
    checked: Checked
    """What the file was compared with when it was fetched."""
    date: str
    """UTC, ISO 8601."""


def fetch_model(entry: Entry, folder: Path) -> Note:
    """Put a checkpoint into its place below `folder`; one that is there already is verified again.

    A file that was put there by hand is verified in the same way.

    Raises:
        UserError: the address needs a browser and the file is not there yet, or the file that is there is another one.
        RunError: the server, the network or the disk failed, or the download is not the published file.
    """
    path = entry.path(folder)
    if entry.by_hand and not path.exists():
        raise UserError(f"{entry.name}: only a browser gets it: open {entry.url} and save the file as {path}")
    with folder_lock(path.parent, f"fetching {entry.name}", patience=None):
        if path.exists():
            return _look_again(entry, path)
        note = _note(entry, fetch(_remote(entry), path))
        write_json(path.with_name(NOTE_NAME), note.model_dump(mode="json"))
        return note


def read_note(path: Path) -> Note | None:
    """Return the note about the checkpoint `path`; None if there is none."""
    try:
        return Note.model_validate(read_json(path.with_name(NOTE_NAME)))
    except (UserError, ValueError):
        return None


def _look_again(entry: Entry, path: Path) -> Note:
    """Compare an existing file with the published hash and, if it was fetched here, with the note from then."""
    try:
        note = _note(entry, look(_remote(entry), path))
    except RunError as error:
        raise UserError(f"{error}; delete {path} and fetch it again") from None
    known = read_note(path)
    if known is None:
        write_json(path.with_name(NOTE_NAME), note.model_dump(mode="json"))
        return note
    if (known.bytes, known.sha256) != (note.bytes, note.sha256):
        raise UserError(f"{path}: changed since it was fetched on {known.date[:10]}; delete it and fetch it again")
    return known


def _remote(entry: Entry) -> Remote:
    return Remote(name=entry.name, url=entry.url, sha256=entry.sha256, md5=entry.md5)


def _note(entry: Entry, found: Found) -> Note:
    return Note(
        name=entry.name,
        url=entry.url,
        bytes=found.bytes,
        sha256=found.sha256,
        checked=found.checked,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )
