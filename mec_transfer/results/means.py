"""Derived columns: the mean over several columns of a leaderboard.

A suite names them. A run leaves their definition beside its records, in `means.json`, from which every leaderboard of
those records has them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mec_transfer.common.config import DescribedModel, parse_config
from mec_transfer.common.errors import UserError
from mec_transfer.common.files import read_json, write_json
from mec_transfer.common.progress import warn

MEANS_NAME = "means.json"
Text = Annotated[str, Field(min_length=1)]


class MeanPart(DescribedModel):
    """A column that a mean includes."""

    protocol: Text
    """The protocol id."""
    metric: Text
    """The column's metric."""


class MeanSpec(DescribedModel):
    """A mean over columns."""

    title: Text
    """The derived column's head."""
    of: Annotated[tuple[MeanPart, ...], Field(min_length=2)]
    """The columns."""
    higher_is_better: bool = True
    """The direction of all of them."""


class _File(DescribedModel):
    schema_: Literal[1] = Field(default=1, alias="schema")
    means: list[MeanSpec]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mean:
    """A derived column: the mean over several columns, for the rows that have a number in each of them.

    A mean over fewer columns would be another measurement, and is not computed.
    """

    spec: MeanSpec
    values: Mapping[int, float]
    """Row to mean."""
    chosen_on_test_set: frozenset[int]
    """The rows with a number that was chosen on the images that it is measured on."""
    hindrance: str = ""
    """Why there is no mean, if the reason is not a missing number: one line."""

    @property
    def best(self) -> set[int]:
        """The rows with the best mean; none where fewer than two rows have one."""
        top = (max if self.spec.higher_is_better else min)(self.values.values(), default=None)
        return {row for row, value in self.values.items() if value == top} if len(self.values) > 1 else set()

    @property
    def text(self) -> str:
        """Return in one line what it is the mean of."""
        parts = ", ".join(f"`{part.protocol}` {part.metric}" for part in self.spec.of)
        return f"{self.spec.title}: the mean over {parts}, of a model that has a number in each."

    def shown(self, row: int) -> str:
        """Return a row's mean as columns show theirs: "71.25†", or "" where it has none."""
        if row not in self.values:
            return ""
        return f"{self.values[row]:.2f}{'†' if row in self.chosen_on_test_set else ''}"


def read_means(folder: Path) -> list[MeanSpec]:
    """Return the means that a folder defines; none if it has no `means.json`.

    Raises:
        UserError: the file cannot be read.
        ConfigError: it holds something else.
    """
    path = folder / MEANS_NAME
    return parse_config(_File, read_json(path), str(path)).means if path.exists() else []


def keep_means(folder: Path, means: Iterable[MeanSpec]) -> None:
    """Write the definition of `means` into a folder, replacing those with the same titles and a damaged file.

    Raises:
        RunError: the disk is full or the folder cannot be written.
    """
    there: list[MeanSpec] = []
    try:
        there = read_means(folder)
    except UserError as error:
        warn(f"{error}; it is written anew")
    kept = list({spec.title: spec for spec in (*there, *means)}.values())
    if kept != there:
        write_json(folder / MEANS_NAME, _File(schema=1, means=kept).model_dump(mode="json", by_alias=True))
