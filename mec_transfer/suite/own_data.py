"""Data of one's own, for commands and suites alike: any folder of a layout under a benchmark's protocol.

A folder that holds what the benchmark's data set promises (`dataset.expect`) is that data set. Any other is data of
one's own: it goes by its folder's name, the protocol gets an id of its own, and no published number stands beside it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mec_transfer.benchmark import BenchmarkConfig, DatasetConfig, ObjectsDatasetConfig, VideosDatasetConfig
from mec_transfer.common.errors import DataError
from mec_transfer.results.record import DatasetInfo
from mec_transfer.suite.dataset import differences

Load = Callable[[list[str]], BenchmarkConfig]
"""Takes overrides and gives the benchmark's config under them."""
Describe = Callable[[DatasetConfig, Path], DatasetInfo]

_TRAIN = ("trainval", "train", "train2017")
_TEST = ("test", "val", "val2017", "valid")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FittedData:
    """A benchmark's config as it fits the data in a folder."""

    overrides: list[str]
    """Those that were given, and those that the data asks for."""
    config: BenchmarkConfig
    info: DatasetInfo
    note: str
    """Why this is data of one's own, and under which protocol id; empty for the data set that the config names."""


def fit_data(
    load: Load,
    overrides: Sequence[str],
    folder: Path,
    describe: Describe,
    settings: Mapping[str, Any] | None = None,
) -> FittedData:
    """Find out whether `folder` is the data set that a benchmark names, and fit the config to it where it is not.

    Args:
        load: gives the benchmark's config.
        overrides: `a.b=value` each, the user's own; what they say of the data set has the last word.
        folder: the data set's own folder.
        describe: fingerprints the data, as `describe_dataset` does.
        settings: keys of `dataset` that the user chose for data of their own, such as `train` or `sequences`.

    Raises:
        DataError: the data cannot be used.
        ConfigError: an override is wrong.
    """
    published = load(list(overrides))
    chosen = _adapted(published.dataset, folder, settings or {})
    config = load([*overrides, *_as_overrides(overrides, chosen)])
    reasons: list[str] = []
    try:
        info = describe(config.dataset, folder)
    except DataError as error:
        chosen, reason = _all_sequences(published.dataset, chosen, error)
        config = load([*overrides, *_as_overrides(overrides, chosen)])
        info = describe(config.dataset, folder)
        reasons.append(reason)
    if not chosen and config.dataset.promised:
        reasons = differences(info, config.dataset.promised)
    if not chosen and not reasons:
        return FittedData(overrides=list(overrides), config=config, info=info, note="")
    name = _own_name(folder, published.dataset.name)
    title = _as_overrides(overrides, {"title": f"{published.title}, {name}"}, section="")
    fitted = [*overrides, *_as_overrides(overrides, {**chosen, "name": name}), *title]
    config = load(fitted)
    why = f"is not {published.dataset.name}" + (f" ({'; '.join(reasons)})" if reasons else "")
    about = "; ".join(filter(None, (f"data of one's own: {why}", info.note)))
    info = info.model_copy(update={"name": config.dataset.name, "note": about})
    note = (
        f"{folder}: {why}: it is called '{info.name}'{_parts(config.dataset, info)}; the protocol is {config.protocol}"
    )
    return FittedData(overrides=fitted, config=config, info=info, note=note)


def _own_name(data: Path, published: str) -> str:
    """Name data of one's own after its folder, never as the published set is called."""
    name = data.resolve().name
    return f"other-{name}" if name == published else name


def _as_overrides(given: Sequence[str], settings: Mapping[str, Any], section: str = "dataset.") -> list[str]:
    """Return `settings` as overrides, without those that the user set already."""
    named = {override.partition("=")[0].strip() for override in given}
    return [f"{section}{k}={json.dumps(v)}" for k, v in settings.items() if f"{section}{k}" not in named]


def _parts(dataset: DatasetConfig, info: DatasetInfo) -> str:
    if isinstance(dataset, ObjectsDatasetConfig):
        return f", its {info.classes} classes are trained on {'+'.join(dataset.train)} and measured on {dataset.test}"
    return ""


def _adapted(dataset: DatasetConfig, folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the user's choice, or a folder without the published splits, asks for."""
    if isinstance(dataset, ObjectsDatasetConfig):
        return _adapt_objects(dataset, folder, settings)
    return dict(settings)


def _adapt_objects(dataset: ObjectsDatasetConfig, folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Find layout and splits. Raises DataError where the folder has none, or they cannot be guessed."""
    if not settings and {*dataset.train, dataset.test} <= set(_split_names(folder, dataset.layout)):
        return {}
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    for layout in sorted(("voc", "coco"), key=lambda one: one != dataset.layout):
        names = _split_names(folder, layout)
        if not names:
            continue
        train = settings.get("train") or [name for name in _TRAIN if name in names][:1]
        test = settings.get("test") or next((name for name in _TEST if name in names), None)
        for what, name in (("train", next(iter(train), None)), ("test", test)):
            if name not in names:
                lacking = f"has no split '{name}'" if name else "has no split of a usual name"
                raise DataError(
                    f"{folder}: {lacking} to {what} on; it has {', '.join(names)}: name one with --{what}, or with "
                    f"dataset.{what} in a suite"
                )
        return {"layout": layout, "train": list(train), "test": test, "classes": list(settings.get("classes", ()))}
    raise DataError(
        f"{folder}: neither a VOC folder (ImageSets/Main/*.txt, Annotations/, JPEGImages/) nor a COCO folder "
        "(annotations/*.json)"
    )


def _split_names(folder: Path, layout: str) -> list[str]:
    from mec_transfer.datasets import coco, voc

    return {"voc": voc.split_names, "coco": coco.split_names}[layout](folder)


def _all_sequences(dataset: DatasetConfig, chosen: Mapping[str, Any], error: DataError) -> tuple[dict[str, Any], str]:
    """Where a folder of videos lacks the published sequences, take all that its split has, and say so."""
    from mec_transfer.datasets.videos import MissingPart

    if not isinstance(error, MissingPart) or not isinstance(dataset, VideosDatasetConfig) or chosen:
        raise error
    if not dataset.sequences:
        hint = "data of your own: name its part with --split and --sequences, or with dataset.split in a suite"
        raise MissingPart(f"{error} ({hint})") from None
    return {"sequences": []}, f"no sequence {dataset.sequences[0]}; all of '{dataset.split}' are taken"
