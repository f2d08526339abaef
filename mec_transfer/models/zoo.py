"""The public checkpoints that have a name here, such as `moco:v2-800ep`, and where they are kept once fetched.

A file is kept in DIR/FAMILY/NAME under the name that its authors gave it, so that a folder filled on one machine can be
copied to another. DIR is $MEC_TRANSFER_MODELS, which `--models-dir` sets, else the user's cache.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import Field, StringConstraints, model_validator

from mec_transfer.common.config import StrictModel, load_config
from mec_transfer.common.errors import UserError, did_you_mean

ZOO_PATH = Path(__file__).with_name("zoo.yaml")
FOLDER_VARIABLE = "MEC_TRANSFER_MODELS"

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]*")
Text = Annotated[str, Field(min_length=1)]
Word = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Digits = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8,64}$")]


class Tolerance(StrictModel):
    """How far a measured number may be from the published one, and why."""

    within: dict[str, Annotated[float, Field(gt=0)]]
    """By metric."""
    reason: Text


class Expect(StrictModel):
    """A published number of this checkpoint, by a protocol that a benchmark here follows."""

    protocol: Text
    tolerance: Text
    """A name in the file's `tolerances`."""
    method: Text | None = None
    """The method in the number's row of results/references.yaml; None: that of the entry."""
    pretraining: str | None = None


class _Expect(Expect):
    protocol: Text | Annotated[list[Text], Field(min_length=1)]  # type: ignore[assignment]

    def each(self) -> Iterator[Expect]:
        for protocol in [self.protocol] if isinstance(self.protocol, str) else self.protocol:
            yield Expect(**(self.model_dump() | {"protocol": protocol}))


class _File(StrictModel):
    name: Word
    method: Text
    pretraining: str
    url: Text
    file: str | None = None
    by_hand: bool = False
    arch: Text | None = None
    size_mib: Annotated[float, Field(gt=0)] | None = None
    sha256: Digits | None = None
    md5: Digits | None = None
    expect: list[_Expect] = Field(default_factory=list)


class _Group(StrictModel):
    family: Word
    source: Text
    format: Text
    arch: Text = "resnet50"
    encoder: Text = "auto"
    files: Annotated[list[_File], Field(min_length=1)]


class Entry(StrictModel):
    """One public checkpoint."""

    name: str
    """What CKPT may be on the command line: `FAMILY:NAME`."""
    method: str
    pretraining: str
    arch: str
    format: str
    """A format of backbone/formats.py."""
    encoder: str
    """Which of the file's networks has the published numbers, as --encoder takes it."""
    source: str
    """The file in which the address was read, as REPOSITORY:PATH."""
    url: str
    by_hand: bool
    """Whether the address is a web page, from which only a browser gets the file."""
    file: str
    """The file's own name."""
    size_mib: float | None
    """The size that the source states, in MiB."""
    sha256: str | None
    """The first digits of the hash, if the address or the authors give them."""
    md5: str | None
    expect: list[Expect]

    @model_validator(mode="after")
    def _stays_in_its_folder(self) -> Entry:
        if not _FILE.fullmatch(self.file):
            raise ValueError(f"{self.name}: '{self.file}' is no plain file name; name one with 'file'")
        return self

    @property
    def size(self) -> str:
        """The size in words."""
        return f"{self.size_mib * 1024**2 / 1e6:.0f} MB" if self.size_mib else "size not stated"

    def path(self, folder: Path) -> Path:
        """Return its path below a folder of models."""
        family, _, name = self.name.partition(":")
        return folder / family / name / self.file


class _Zoo(StrictModel):
    tolerances: dict[str, Tolerance]
    groups: list[_Group]

    @model_validator(mode="after")
    def _fits_together(self) -> _Zoo:
        names = [f"{group.family}:{file.name}" for group in self.groups for file in group.files]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{twice[0]} stands twice")
        for expect in (expect for group in self.groups for file in group.files for expect in file.expect):
            if expect.tolerance not in self.tolerances:
                raise ValueError(f"no tolerance '{expect.tolerance}'.{did_you_mean(expect.tolerance, self.tolerances)}")
        return self


@functools.cache
def _read(path: Path) -> _Zoo:
    return load_config(_Zoo, path)


@functools.cache
def load_zoo(path: Path = ZOO_PATH) -> dict[str, Entry]:
    """Return the checkpoints by name, in the file's order. Raises ConfigError where the file is malformed."""
    found = {}
    for group in _read(path).groups:
        for file in group.files:
            entry = Entry(
                name=f"{group.family}:{file.name}",
                method=file.method,
                pretraining=file.pretraining,
                arch=file.arch or group.arch,
                format=group.format,
                encoder=group.encoder,
                source=group.source,
                url=file.url,
                by_hand=file.by_hand,
                file=file.file or unquote(urlsplit(file.url).path.rpartition("/")[2]),
                size_mib=file.size_mib,
                sha256=file.sha256,
                md5=file.md5,
                expect=[one for expect in file.expect for one in expect.each()],
            )
            found[entry.name] = entry
    return found


def load_tolerances(path: Path = ZOO_PATH) -> dict[str, Tolerance]:
    """Return the tolerances by name. Raises ConfigError where the file is malformed."""
    return _read(path).tolerances


def families() -> list[str]:
    """Return the families: what precedes the colon in the names, each once."""
    return list(dict.fromkeys(name.partition(":")[0] for name in load_zoo()))


def find_entry(name: str) -> Entry:
    """Return a checkpoint by name. Raises UserError if there is none."""
    zoo = load_zoo()
    if name in zoo:
        return zoo[name]
    family = name.partition(":")[0]
    of_family = [known for known in zoo if known.startswith(f"{family}:")]
    there = f"Of {family} there are {', '.join(of_family)}" if of_family else "mec-transfer models lists them"
    raise UserError(f"{name}: no public checkpoint has this name.{did_you_mean(name, zoo)} {there}")


def models_dir() -> Path:
    """Return the folder of models: $MEC_TRANSFER_MODELS, else the user's cache.

    Raises:
        UserError: neither is known, as in a container whose user has no entry among the system's and no HOME.
    """
    if given := os.environ.get(FOLDER_VARIABLE):
        return Path(given)
    if not (cache := os.environ.get("XDG_CACHE_HOME")):
        try:
            cache = str(Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache"))
        except RuntimeError:
            raise UserError(f"this user has no home folder; give --models-dir DIR, or set {FOLDER_VARIABLE}") from None
    return Path(cache, "mec-transfer", "models")


def fetched_file(entry: Entry) -> Path:
    """Return the path of a fetched checkpoint. Raises UserError, which says how to fetch it, if it is not there.

    Nothing is fetched here, since jobs do not use the network.
    """
    path = entry.path(models_dir())
    if not path.is_file():
        raise UserError(
            f"{entry.name}: not on this machine; `mec-transfer models fetch {entry.name}` ({entry.size}) "
            f"puts it at {path}"
        )
    return path
