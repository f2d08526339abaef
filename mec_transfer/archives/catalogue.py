"""The public data sets that have a name here, such as `dtd`: their archives, and where to put their content."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, model_validator

from mec_transfer.common.config import StrictModel, load_config
from mec_transfer.common.errors import UserError, did_you_mean

SETS_PATH = Path(__file__).with_name("sets.yaml")
NO_LICENCE = "not known here; its authors' page may say"
Text = Annotated[str, Field(min_length=1)]
Below = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)*$")]
"""A path below the data root."""


class Archive(StrictModel):
    """A file to fetch: an archive, or a file that is taken as it is."""

    url: Text
    bytes: Annotated[int, Field(gt=0)] | None = None
    """The size that a source states."""
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    md5: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")] | None = None
    into: Below | None = None
    """The folder that its content goes into; None for the data root itself."""
    inner: Below | None = None
    """An archive inside it: only the content of that one is taken."""

    @property
    def name(self) -> str:
        """The name of the file."""
        return urlsplit(self.url).path.rpartition("/")[2]


class PublicSet(StrictModel):
    """A public data set."""

    title: Text
    licence: Text = NO_LICENCE
    about: Text | None = None
    """Its size in words, if the size of a file is not known to the byte."""
    source: Text | None = None
    """Where addresses, hashes and sizes were found."""
    layout: Text | None = None
    """The layout that opens it; None if no layout can open it without further work."""
    place: Below | None = None
    """The folder that fetching makes below the data root."""
    folder: Below | None = None
    """The folder that the layout opens, if that is another one."""
    files: list[Archive] = Field(default_factory=list)
    by_hand: Text | None = None
    """What to do if there is no public address."""

    @model_validator(mode="after")
    def _open_or_by_hand(self) -> Self:
        if bool(self.files) == bool(self.by_hand) or bool(self.files) != bool(self.place and self.source):
            raise ValueError("either 'files', with 'place' and 'source', or 'by_hand'")
        if self.files and not self.about and not all(file.bytes for file in self.files):
            raise ValueError("'about' is needed where a file has no 'bytes'")
        return self

    @property
    def size(self) -> str:
        """The size of the download, in words."""
        of = f" in {len(self.files)} files" if len(self.files) > 1 else ""
        return (self.about or f"{sum(file.bytes or 0 for file in self.files) / 1e6:,.1f} MB") + of


class _Sets(StrictModel):
    sets: dict[str, PublicSet]


@functools.cache
def load_sets(path: Path = SETS_PATH) -> dict[str, PublicSet]:
    """Return the data sets by name. Raises ConfigError where the file is malformed."""
    return load_config(_Sets, path).sets


def find_set(name: str) -> PublicSet:
    """Return a data set by name. Raises UserError if there is none, or if it has no public address."""
    sets = load_sets()
    if name not in sets:
        raise UserError(f"{name}: no public data set has this name.{did_you_mean(name, sets)} {', '.join(sets)}")
    if reason := sets[name].by_hand:
        raise UserError(f"{name}: cannot be fetched: {reason}")
    return sets[name]
