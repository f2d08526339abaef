"""The Python door: what the commands do, as functions with the same words. docs/python.md shows them at work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mec_transfer.backbone.backbone import Backbone
    from mec_transfer.comparison.compare import Comparisons
    from mec_transfer.results.leaderboard import Leaderboard
    from mec_transfer.results.record import Record


def load_backbone(checkpoint: str | Path, encoder: str = "auto") -> Backbone:
    """Read the ResNet of a checkpoint.

    Args:
        checkpoint: any file that `mec-transfer inspect` understands, or `random:resnet50` and so on.
        encoder: `online`, `teacher` or a prefix, where the file holds more than one.

    Raises:
        CheckpointError: the file does not hold exactly one usable ResNet.
    """
    from mec_transfer.backbone.source import resolve_backbone

    return resolve_backbone(str(checkpoint), encoder)


def evaluate(
    checkpoint: str | Path,
    benchmark: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    name: str | None = None,
    encoder: str = "auto",
    trial: int = 0,
    seed: int = 0,
    device: str = "auto",
    workers: int = 0,
    cache: str | Path | None = None,
) -> Record:
    """Run one benchmark of one checkpoint in the folder `out`, or return the record that lies there already.

    An attempt that was interrupted goes on from there. Data that is not the benchmark's published set gets a name and
    a protocol id of its own, and a warning says so.

    Args:
        checkpoint: as `load_backbone` takes it.
        benchmark: a config's name, such as `knn_dino`, or its file.
        data: the data set's own folder.
        out: the job's own folder.
        overrides: `a.b=value` each, for the config.
        settings: keys of the config's `dataset` for data of one's own, such as `{"train": ["train"], "test": "val"}`.
        name: the model's row on a leaderboard; None: made of the checkpoint.
        encoder: as `load_backbone` takes it.
        trial: which repetition; its seed is `seed` + `trial`.
        seed: of everything random.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        workers: processes that load data.
        cache: where features are kept, for other jobs too; None: in `out`.

    Raises:
        UserError: a mistake in the checkpoint, the config or the data.
        RunError: the run failed; `out` holds a record that says why.
    """
    from mec_transfer.benchmark import describe_model
    from mec_transfer.common.progress import warn
    from mec_transfer.suite.execute import execute_job
    from mec_transfer.suite.own_data import fit_data
    from mec_transfer.suite.registry import BenchmarkFile, find_benchmark, make_benchmark
    from mec_transfer.suite.spec import JobSpec

    file = BenchmarkFile.read(find_benchmark(str(benchmark), Path()))
    # A mistake in the config, or a missing library, is told before a large file is read, and one in the file before a
    # large folder is listed.
    make_benchmark(file.config(overrides))
    backbone = load_backbone(checkpoint, encoder)
    fitted = fit_data(file.config, overrides, Path(data), settings)
    if fitted.note:
        warn(fitted.note)
    spec = JobSpec(
        model=describe_model(name or default_name(str(checkpoint)), backbone),
        benchmark=fitted.config.info(),
        dataset=fitted.info,
        trial=trial,
        seed=seed + trial,
        config=fitted.config,
        checkpoint=str(checkpoint),
        encoder=encoder,
        data=Path(data),
        workdir=Path(out),
        cache=Path(cache) if cache else Path(out, "cache"),
        device=device,
        workers=workers,
    )
    return execute_job(spec, make_benchmark(fitted.config), spec.job(backbone, fitted.data))


def leaderboard(
    folders: str | Path | Sequence[str | Path], references: bool = True, added: Sequence[str | Path] = ()
) -> Leaderboard:
    """Return the leaderboard of every record below a folder, or below several; needs no torch.

    `mec_transfer.results.formats.format_leaderboard(board, "md")` writes it; records that cannot be read are left out
    with a warning.

    Args:
        folders: a run's, or any with records below it. A trial that several hold counts once.
        references: whether the published numbers that ship stand beside the measured ones.
        added: files of further published numbers. A warning names each protocol of theirs that has no place.

    Raises:
        UserError: there is no record below a folder.
        ConfigError: a file of numbers is malformed.
    """
    from mec_transfer.common.errors import UserError, did_you_mean
    from mec_transfer.common.progress import warn
    from mec_transfer.results.leaderboard import build_leaderboard
    from mec_transfer.results.references import load_references
    from mec_transfer.results.store import Store

    quoted = [ref for path in added for ref in load_references(Path(path))]
    records, means = [], []
    for folder in [folders] if isinstance(folders, str | Path) else folders:
        store = Store.read(Path(folder))
        for problem in store.problems:
            warn(problem)
        if not store.records:
            raise UserError(f"{folder}: no job below it has a record yet")
        records += store.records
        means += [spec for spec in store.means if spec not in means]
    board = build_leaderboard(records, [*(load_references() if references else ()), *quoted], means)
    columns = dict.fromkeys(column.protocol for column in board.columns)
    shown = {id(ref) for ref in (*board.published, *board.others)}
    for file, protocol in dict.fromkeys((ref.added_from, ref.protocol) for ref in quoted if id(ref) not in shown):
        hint = "" if protocol in columns else did_you_mean(protocol, columns)
        warn(f"{file}: no column is by '{protocol}' with its metric on published data.{hint}")
    return board


def compare(models: Sequence[str | Path], runs: Sequence[str | Path] = (), confidence: float = 0.95) -> Comparisons:
    """Compare every two models on every benchmark that both have a number of; needs no torch.

    `mec_transfer.comparison.table.format_comparisons(found, "text")` writes it; records that cannot be read are left
    out with a warning.

    Args:
        models: names in `runs`; without `runs`, folders with one model's jobs each, or one folder with several models.
        runs: folders with records below them.
        confidence: that all intervals together hold, 0 to 1.

    Raises:
        UserError: a name or a folder does not mean one model, or the models have no measurement in common.
    """
    from mec_transfer.common.progress import warn
    from mec_transfer.comparison.compare import compare as compare_models
    from mec_transfer.comparison.models import find_contenders
    from mec_transfer.suite.registry import saved_units

    contenders, problems = find_contenders(list(map(str, models)), [Path(run) for run in runs])
    for problem in problems:
        warn(problem)
    return compare_models(contenders, saved_units, confidence)


def default_name(checkpoint: str) -> str:
    """Name a model after its checkpoint: a file's stem (its folder's name where the stem says nothing), or the string.

    >>> default_name("runs/mec_a/checkpoint_last.pth"), default_name("moco_v2_800ep.pth.tar")
    ('mec_a', 'moco_v2_800ep')
    """
    path = Path(checkpoint)
    if not path.exists() and not path.suffix:
        return checkpoint
    stem = path.name.split(".")[0]
    return path.resolve().parent.name if stem.startswith("checkpoint") else stem
