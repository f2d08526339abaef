"""Published numbers, each with its citation and the protocol it belongs to: quoted, never measured here."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from mec_transfer.common.config import DescribedModel, StrictModel, load_config

REFERENCES_PATH = Path(__file__).with_name("references.yaml")

Text = Annotated[str, Field(min_length=1)]
Value = Annotated[float, Field(allow_inf_nan=False)]


class Reference(DescribedModel):
    """One method's published numbers by one protocol."""

    method: str
    arch: str
    pretraining: str
    """How it was pretrained, as far as the source says: "200 epochs"."""
    protocol: str
    metrics: dict[str, float]
    source: str
    """Where the numbers are printed."""
    by_authors: bool
    """False where somebody else ran the method."""
    note: str = ""
    dataset: str = ""
    """What benchmarks call the data; empty where nobody said."""
    nearest: str = ""
    """The protocol of a benchmark that comes nearest, where no benchmark has this one."""
    differs: str = ""
    """In one line, which settings of `nearest` are others."""
    added_from: str = ""
    """The user's file that it comes from; empty for those that ship."""


class _Row(StrictModel):
    method: Text
    pretraining: str = ""
    values: Annotated[list[Value], Field(min_length=1)]
    by_authors: bool | None = None
    source: Text | None = None
    note: str = ""


class _Table(StrictModel):
    protocol: Text
    source: Text
    metrics: Annotated[list[Text], Field(min_length=1)]
    arch: Text = "resnet50"
    by_authors: bool = True
    note: str = ""
    dataset: Text | None = None
    nearest: Text | None = None
    differs: Text | None = None
    rows: Annotated[list[_Row], Field(min_length=1)]

    @model_validator(mode="after")
    def _rows_fit(self) -> _Table:
        for row in self.rows:
            if len(row.values) > len(self.metrics):
                raise ValueError(f"{row.method}: {len(row.values)} values for the metrics {self.metrics}")
        return self

    @model_validator(mode="after")
    def _differences_are_whole(self) -> _Table:
        if (self.nearest is None) != (self.differs is None) or (self.nearest and self.dataset is None):
            raise ValueError(
                "'differs' says what is other than in the protocol 'nearest', on 'dataset': give all three"
            )
        return self


class _File(StrictModel):
    tables: list[_Table]


@functools.cache
def load_references(path: Path = REFERENCES_PATH) -> tuple[Reference, ...]:
    """Read the published numbers. A row may end before its table's last metric: what is not printed stays empty.

    Args:
        path: a file of tables as the one that ships; the numbers of any other say which file they come from.

    Raises:
        ConfigError: the file is malformed, or a table has no source.
    """
    return tuple(
        Reference(
            method=row.method,
            arch=table.arch,
            pretraining=row.pretraining,
            protocol=table.protocol,
            metrics=dict(zip(table.metrics, row.values, strict=False)),
            source=row.source or table.source,
            by_authors=table.by_authors if row.by_authors is None else row.by_authors,
            note="; ".join(filter(None, (table.note, row.note))),
            dataset=table.dataset or "",
            nearest=table.nearest or "",
            differs=table.differs or "",
            added_from="" if path == REFERENCES_PATH else path.name,
        )
        for table in load_config(_File, path).tables
        for row in table.rows
    )
