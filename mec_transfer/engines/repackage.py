"""A source archive made into a wheel of Python alone: no setup script of its runs, and nothing is compiled.

Every change to the source is an `Edit` that says what it expects to find; an archive that differs is refused.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from mec_transfer.common.errors import UserError
from mec_transfer.common.files import sha256_file, write_bytes


@dataclasses.dataclass(frozen=True)
class Edit:
    """`old` stands in `file` exactly `count` times and becomes `new`."""

    reason: str
    file: str
    """Its path below the package's folder."""
    old: str
    new: str
    count: int = 1


def check_archive(path: Path, name: str, sha256: str) -> None:
    """Raise UserError where `path` is not the archive of `name` ("mmcv 1.7.2") that is known by `sha256`."""
    found = sha256_file(path)
    if found != sha256:
        raise UserError(
            f"{path}: sha256 {found} is not that of {name} ({sha256}); "
            "nothing of it was used: download it again, or look for who changed it"
        )


def read_sdist(sdist: Path) -> dict[str, bytes]:
    """Return the plain files of a source archive, by their path below its top folder; nothing is unpacked to disk."""
    with tarfile.open(sdist, "r:gz") as archive:
        return {
            member.name.partition("/")[2]: archive.extractfile(member).read()  # type: ignore[union-attr]
            for member in archive
            if member.isfile()
        }


def package_files(
    sources: Mapping[str, bytes], folders: Mapping[str, str], suffixes: Sequence[str]
) -> dict[str, bytes]:
    """Return the files that a wheel installs, by their path in it.

    Args:
        sources: those of the source archive.
        folders: folder of the archive -> folder of the wheel.
        suffixes: the endings of what is taken; what only a compiler reads is left out.
    """
    return {
        f"{target}{name.removeprefix(folder)}": content
        for folder, target in folders.items()
        for name, content in sources.items()
        if name.startswith(f"{folder}/") and name.endswith(tuple(suffixes))
    }


def apply_edits(files: Mapping[str, bytes], edits: Sequence[Edit], package: str, origin: str) -> dict[str, bytes]:
    """Return `files` with every edit done, each changed file saying so in its first line (Apache-2.0, section 4b).

    Args:
        files: by their path in the wheel.
        edits: what is to change.
        package: the folder below which the edits' files lie.
        origin: what the source is, "Detectron2 0.6".

    Raises:
        UserError: a file is not there, or does not hold the text as often as its edit expects.
    """
    edited = dict(files)
    for edit in edits:
        name = f"{package}/{edit.file}"
        text = edited[name].decode() if name in edited else ""
        if text.count(edit.old) != edit.count:
            raise UserError(
                f"{name}: {edit.old!r} stands there {text.count(edit.old)} times where {edit.count} are expected "
                f"({edit.reason}); this is not the source that the edits are written for"
            )
        edited[name] = text.replace(edit.old, edit.new).encode()
    for name in sorted({f"{package}/{edit.file}" for edit in edits}):
        reasons = "; ".join(dict.fromkeys(edit.reason for edit in edits if f"{package}/{edit.file}" == name))
        edited[name] = f"# Changed by mec-transfer from {origin}: {reasons}.\n".encode() + edited[name]
    return edited


def write_wheel(
    out: Path, name: str, version: str, files: Mapping[str, bytes], licences: Mapping[str, bytes], about: str
) -> Path:
    """Write a wheel of Python alone into the folder `out`; return its path. The same input gives the same bytes.

    Args:
        out: a folder.
        name: of the package.
        version: of the package.
        files: what it installs, by path.
        licences: by file name.
        about: the lines of its METADATA that follow name and version.
    """
    info = f"{name}-{version}.dist-info"
    content = dict(files)
    content |= {f"{info}/licenses/{licence}": text for licence, text in licences.items()}
    listed = "".join(f"License-File: {licence}\n" for licence in licences)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{about}{listed}"
    content[f"{info}/METADATA"] = metadata.encode()
    content[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: mec-transfer\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    content[f"{info}/RECORD"] = record(content, f"{info}/RECORD").encode()
    wheel = out / f"{name}-{version}-py3-none-any.whl"
    write_bytes(wheel, zipped(content))
    return wheel


def record(files: Mapping[str, bytes], own: str) -> str:
    """Return the text of a wheel's RECORD, which lies at `own`: path, hash and size of each file."""
    lines = []
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}\n")
    return "".join(lines) + f"{own},,\n"


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return `files` as a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)  # dated 1980: the same bytes whenever it is built
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()
