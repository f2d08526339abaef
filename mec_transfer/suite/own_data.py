"""The user's own data, for commands and suites alike: any folder of a known layout under a benchmark's protocol.

A folder that holds what the benchmark's data set promises (`dataset.expect`) is that data set. Any other folder is the
user's own data: it is called by its folder's name, the protocol gets an id of its own, and no published number is shown
beside it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mec_transfer.benchmark import BenchmarkConfig, describe_data
from mec_transfer.common.config import parse_config
from mec_transfer.common.errors import ConfigError, DataError
from mec_transfer.datasets.config import (
    Contents,
    DatasetConfig,
    ObjectsDatasetConfig,
    SegmentsDatasetConfig,
    VideosDatasetConfig,
)
from mec_transfer.datasets.data import Data
from mec_transfer.datasets.registry import find_layout, open_data
from mec_transfer.results.record import DatasetInfo

SKIP_INVALID = "dataset.skip_invalid=true"
"""The override that leaves broken annotations out."""
Load = Callable[[Sequence[str]], BenchmarkConfig]
"""Returns the benchmark's config under overrides."""
Open = Callable[[DatasetConfig, Path], Data]
"""Opens a data set, as `datasets.registry.open_data` does."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FittedData:
    """A benchmark's config as it fits the data in a folder."""

    config: BenchmarkConfig
    data: Data
    info: DatasetInfo
    note: str
    """Why this is the user's own data, and under which protocol id; empty for the data set that the config names."""


def fit_data(
    load: Load,
    overrides: Sequence[str],
    folder: Path,
    settings: Mapping[str, Any] | None = None,
    open_: Open = open_data,
) -> FittedData:
    """Find out whether `folder` is the data set that a benchmark names, and fit the config to it where it is not.

    Args:
        load: returns the benchmark's config.
        overrides: the user's own, `a.b=value` each; they take precedence over what is found in the folder.
        folder: the data set's own folder.
        settings: keys of `dataset` that the user chose for their own data, such as `train` or `sequences`.
        open_: opens the data, in place of `open_data`.

    Raises:
        DataError: the data cannot be used.
        ConfigError: an override is wrong.
    """
    _refuse_promises(overrides)
    published = load(overrides)
    chosen = find_layout(published.dataset.layout).adapt(published.dataset, folder, settings or {})
    reasons: list[str] = []
    try:
        data = open_(_changed(published.dataset, overrides, chosen), folder)
    except DataError as error:
        chosen, reason = _all_sequences(published.dataset, chosen, error)
        data = open_(_changed(published.dataset, overrides, chosen), folder)
        reasons.append(reason)
    info, promised = describe_data(data), published.dataset.promised
    if not chosen and promised:
        reasons = list(differences(info, promised))
    if not chosen and not reasons:
        return FittedData(config=published, data=data, info=info, note="")
    config = load(_own_overrides(published, overrides, chosen, folder))
    taken = promised and promised.images and not any(" images in " in reason for reason in reasons)
    if taken and isinstance(config.dataset, ObjectsDatasetConfig):
        data = open_(config.dataset, folder)  # because of its counts it was read as the published one
    why = f"is not {published.dataset.name}" + (f" ({'; '.join(reasons)})" if reasons else "")
    about = "; ".join(filter(None, (f"data of one's own: {why}", info.note)))
    info = info.model_copy(update={"name": config.dataset.name, "note": about})
    note = (
        f"{folder}: {why}: it is called '{info.name}'{_parts(config.dataset, info)}; the protocol is {config.protocol}"
    )
    return FittedData(config=config, data=data, info=info, note=note)


def _changed(dataset: DatasetConfig, overrides: Sequence[str], chosen: Mapping[str, Any]) -> DatasetConfig:
    """Return a data set's config with what was `chosen` for it, as far as no override says otherwise."""
    changes = {key: value for key, value in chosen.items() if f"dataset.{key}" not in _named(overrides)}
    return parse_config(type(dataset), {**dataset.model_dump(mode="json"), **changes}, "dataset")


def _own_overrides(
    published: BenchmarkConfig, overrides: Sequence[str], chosen: Mapping[str, Any], folder: Path
) -> list[str]:
    """Return the overrides that fit a benchmark to the user's own data: its splits, a name and its columns' heads."""
    dataset = published.dataset
    # The user cannot give the name of a published data set to another one.
    mine = [o for o in overrides if not (o.startswith("dataset.name=") and dataset.name in dataset.expect)]
    name = _own_name(folder, dataset.name)
    wanted = {f"dataset.{key}": value for key, value in (*chosen.items(), ("name", name))}
    wanted["title"] = f"{published.title}, {name}"
    if also := published.metrics.also:
        wanted["metrics.also"] = {metric: f"{head}, {name}" for metric, head in also.items()}
    return [*mine, *(f"{key}={json.dumps(value)}" for key, value in wanted.items() if key not in _named(mine))]


def _named(overrides: Sequence[str]) -> set[str]:
    return {override.partition("=")[0].strip() for override in overrides}


def _refuse_promises(overrides: Sequence[str]) -> None:
    """Raise ConfigError for an override that would let any folder pass as the published data set."""
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key == "dataset" or key.startswith("dataset.expect"):
            raise ConfigError(
                f"--set {override!r}: what a published data set holds cannot be overridden; give the data a name of "
                "its own (dataset.name), or leave that to the program"
            )


def differences(found: DatasetInfo, promised: Contents) -> Iterator[str]:
    """Yield each count in which a data set differs from what its name promises, in words."""
    if promised.classes not in (None, found.classes):
        yield f"{_counted(found.classes, 'class', 'classes')}, not {promised.classes}"
    if promised.sequences not in (None, found.sequences):
        yield f"{_counted(found.sequences, 'sequence', 'sequences')}, not {promised.sequences}"
    for split, images in promised.images.items():
        if found.splits.get(split, 0) != images:
            yield f"{_counted(found.splits.get(split, 0), 'image', 'images')} in {split}, not {images}"


def _counted(number: int | None, one: str, several: str) -> str:
    return f"{number or 0} {one if number == 1 else several}"


def _own_name(data: Path, published: str) -> str:
    """Name the user's own data after its folder, but never like the published data set."""
    name = data.resolve().name
    return f"other-{name}" if name == published else name


def _parts(dataset: DatasetConfig, info: DatasetInfo) -> str:
    if isinstance(dataset, ObjectsDatasetConfig | SegmentsDatasetConfig):
        return f", its {info.classes} classes are trained on {'+'.join(dataset.train)} and measured on {dataset.test}"
    return ""


def _all_sequences(dataset: DatasetConfig, chosen: Mapping[str, Any], error: DataError) -> tuple[dict[str, Any], str]:
    """If a folder of videos lacks the published sequences, take all sequences of its split, and say so."""
    from mec_transfer.datasets.videos.video import MissingPart

    if not isinstance(error, MissingPart) or not isinstance(dataset, VideosDatasetConfig) or chosen:
        raise error
    if not dataset.sequences:
        hint = "data of your own: name its part with --split and --sequences, or with dataset.split in a suite"
        raise MissingPart(f"{error} ({hint})") from None
    return {"sequences": []}, f"no sequence {dataset.sequences[0]}; all of '{dataset.split}' are taken"
