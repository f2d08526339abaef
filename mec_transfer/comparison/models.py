"""Which models are to be compared: names in a run's folder, or folders that hold one model each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from mec_transfer.common.errors import UserError, did_you_mean
from mec_transfer.results.store import Store, Stored


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contender:
    """One model with its jobs."""

    label: str
    name: str
    sha256: str
    jobs: tuple[Stored, ...]


def find_contenders(words: Sequence[str], runs: Sequence[Path] = ()) -> tuple[list[Contender], list[str]]:
    """Return the models that `words` name, in their order, and a line for each record that cannot be read.

    Args:
        words: models' names in `runs` (or `NAME@HASH`, where two models have one name); without `runs`, folders: each
            with one model's jobs, or a single one with several models.
        runs: folders with records below them.

    Raises:
        UserError: a word means no model, or several; or there are fewer than two models, or twice the same.
    """
    if missing := [word for word in words if not runs and not Path(word).is_dir()]:
        raise UserError(f"{missing[0]}: no such folder; to name a model of a run, say --in RUN as well")
    stores = [Store.read(Path(folder)) for folder in (runs or words)]
    problems = [line for store in stores for line in store.problems]
    if runs:
        jobs = [job for store in stores for job in store.stored]
        there = _models(jobs)
        where = ", ".join(map(str, runs))
        found = [_named(word, there, where) for word in words]
    else:
        by_folder = [_models(store.stored) for store in stores]
        for word, models in zip(words, by_folder, strict=True):
            if not models:
                raise UserError(f"{word}: no job below it has a record of a model")
            if len(models) > 1 and len(words) > 1:
                names = " ".join(model.label for model in models)
                raise UserError(
                    f"{word}: holds {len(models)} models; name those that are meant: "
                    f"mec-transfer compare {names} --in {word}"
                )
        found = [model for models in by_folder for model in models]
    return _distinct(found), problems


def _models(jobs: Sequence[Stored]) -> list[Contender]:
    groups: dict[tuple[str, str], list[Stored]] = {}
    for job in jobs:
        if job.record.model.sha256:  # a checkpoint that could not be read is no model
            groups.setdefault((job.record.model.name, job.record.model.sha256), []).append(job)
    models = [Contender(label=name, name=name, sha256=sha, jobs=tuple(mine)) for (name, sha), mine in groups.items()]
    return _labelled(models)


def _labelled(models: Sequence[Contender]) -> list[Contender]:
    names = [model.name for model in models]
    return [
        dataclasses.replace(
            model, label=f"{model.name}@{model.sha256[:8]}" if names.count(model.name) > 1 else model.name
        )
        for model in models
    ]


def _named(word: str, models: Sequence[Contender], where: str) -> Contender:
    found = [model for model in models if word in (model.name, model.label)]
    labels = [model.label for model in models]
    if not found:
        listed = ", ".join(labels) or "none"
        raise UserError(f"{where}: no model '{word}'.{did_you_mean(word, labels)} There are: {listed}.")
    if len(found) > 1:
        raise UserError(f"{where}: several models are called '{word}': {', '.join(model.label for model in found)}")
    return found[0]


def _distinct(models: Sequence[Contender]) -> list[Contender]:
    if len(models) < 2:
        only = f"only {models[0].label} is there" if models else "no model is there"
        raise UserError(f"a comparison takes two models, and {only}; name two folders, or two models and --in RUN")
    keys = [(model.name, model.sha256) for model in models]
    for model, key in zip(models, keys, strict=True):
        if keys.count(key) > 1:
            raise UserError(f"{model.label}: named twice, with the same weights ({model.sha256[:8]})")
    return _labelled(models)
