"""The benchmark: train SiamRPN++ on the checkpoint's backbone, then follow single objects with it.

What moves the number lies in two files side by side: the benchmark's YAML (data) and the stock MMTracking config that
it names (network, schedule, pipelines, and the settings of the test). Both are part of the job's key.
"""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, cast

from mec_transfer.backbone.layouts import find_layout
from mec_transfer.benchmark import Benchmark, Job, Problem, make_record, primary_problems
from mec_transfer.common import distributed, extras
from mec_transfer.common.errors import ConfigError, RunError, UserError
from mec_transfer.common.files import replace_with_copy, write_bytes, write_text
from mec_transfer.common.progress import say
from mec_transfer.common.runtime import derive_seed, pick_device, seed_everything
from mec_transfer.datasets.trackers import TrackerData
from mec_transfer.datasets.videos.box_video import BoxVideo, box_lines
from mec_transfer.datasets.videos.video import remarks
from mec_transfer.results.record import Record, Selection
from mec_transfer.tracking.mmtrack import engine
from mec_transfer.tracking.mmtrack.config import SOT_LAYOUT, SiamRpnConfig, stock_path
from mec_transfer.tracking.mmtrack.evaluation import Evaluation, OnePass, ResetBased, read_regions
from mec_transfer.tracking.sequences import (
    RESULTS,
    Tick,
    draw_extremes,
    follow_all,
    recorded_sequences,
    sequence_details,
)

FINAL = "tracker.pth"
SETTINGS = "mmtracking.py"
"""The chosen tracker and its config, as plain MMTracking loads them."""
SUBMISSION = "submission.zip"
"""Goes to the server of a data set whose truth is not public: SEQUENCE.txt, a line of x,y,w,h for each frame."""


class SiamRpn(Benchmark):
    """SiamRPN++ by a stock MMTracking config: one-pass evaluation of the epochs that the config evaluates."""

    config: SiamRpnConfig

    def check(self, job: Job) -> list[Problem]:
        """Engine, data, network and metric; MMTracking itself is not imported here."""
        videos, evaluation = self._videos(job), self._evaluation
        problems = [Problem(message=line, severity="warning") for line in remarks(videos)]
        try:
            extras.require("mmtracking")
            find_layout(SOT_LAYOUT).check(job.backbone)
            stock_path(self.config.recipe.config)
        except UserError as error:
            problems.append(Problem(message=str(error)))
        found = [*self._data(job).problems, *filter(None, [evaluation.problem(videos)])]
        if 0 < (withheld := sum(bool(video.withheld) for video in videos)) < len(videos):
            found.append(f"{withheld} of {len(videos)} sequences have no public truth; measure the others alone")
        problems += [Problem(message=problem) for problem in found]
        return problems + primary_problems(self.config, evaluation.METRICS)

    def run(self, job: Job) -> Record:
        """Train (from where an earlier attempt stopped), follow every sequence with each epoch's weights, measure.

        Raises:
            ConfigError: the stock config does not fit the checkpoint, or would load weights from elsewhere.
            DataError: an image cannot be read.
            RunError: the network in memory is not the checkpoint's, the loss is not finite, or the disk is full.
            Interrupted: a signal came; what is done is kept.
        """
        began = time.monotonic()
        engine.load()
        import torch

        from mec_transfer.tracking.mmtrack import guard, network

        device = pick_device(job.device)
        config = self._stock(job)
        seed_everything(derive_seed(job.seed, "init"))
        tracker = network.build_tracker(config, job.backbone, device)
        difference = guard.check_tracker(tracker, job.backbone)
        say(f"the tracker's backbone is the checkpoint's: every tensor, and its features to {difference:.1g}")
        epochs, videos, evaluation = evaluated_epochs(config), self._videos(job), self._evaluation
        # Float32 keeps all its bits: torch itself lets a GPU drop 13 of 23 in convolutions.
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            trained = self._train(job, tracker, config, epochs, device)
            if videos[0].withheld:
                self._follow(job, tracker, config, trained, epochs[-1])
                hand_in(job.workdir / f"epoch_{epochs[-1]}" / RESULTS, job.workdir / SUBMISSION)
            measured = {}
            for epoch in epochs:
                folder = self._follow(job, tracker, config, trained, epoch)
                names = [video.name for video in videos]
                measured[epoch] = distributed.on_first(partial(evaluation.measure, folder, names))
        best = self._best({epoch: measured[epoch].overall for epoch in epochs})
        folder = job.workdir / f"epoch_{best}"

        def keep() -> None:
            from mec_transfer.tracking.mmtrack.training import weights_path

            replace_with_copy(weights_path(trained, best), job.workdir / FINAL)
            write_text(job.workdir / SETTINGS, config.pretty_text)
            marks = partial(evaluation.marks, folder=folder)
            draw_extremes(videos, measured[best], evaluation.RANKED_BY, job.workdir, marks)

        distributed.on_first(keep)
        return make_record(
            self.config,
            job,
            metrics=measured[best].overall,
            selection=_selection(best, epochs),
            seconds=time.monotonic() - began,
            warnings=remarks(videos),
            details={
                "epoch": best,
                "by_epoch": {str(epoch): measured[epoch].overall for epoch in epochs},
                **sequence_details(videos, measured[best], folder),
                "pairs_per_process": config.data.samples_per_gpu * self.config.processes // distributed.world_size(),
                "processes": distributed.world_size(),
                "guard_difference": difference,
                "engine": {version.name: version.found for version in engine.versions()},
            },
        )

    def recompute(self, folder: Path, record: Record) -> dict[str, float]:
        """From the written boxes and the copy of the truth; neither the data set nor the engine is needed."""
        sequences = recorded_sequences(folder, record)
        return self._evaluation.measure(folder / f"epoch_{record.details.get('epoch')}", sequences).overall

    @property
    def _evaluation(self) -> Evaluation:
        recipe = self.config.recipe
        return ResetBased(recipe.interval) if recipe.evaluation == "reset" else OnePass(recipe.visible_only)

    def _best(self, values: Mapping[int, Mapping[str, float]]) -> int:
        """Return the epoch with the best value, of equals the first, as mmcv's hook keeps it."""
        metrics = self.config.metrics
        sign = 1 if metrics.higher_is_better else -1
        return max(values, key=lambda epoch: sign * values[epoch][metrics.primary])

    def _videos(self, job: Job) -> tuple[BoxVideo, ...]:
        return cast("tuple[BoxVideo, ...]", self._data(job).videos)

    def _data(self, job: Job) -> TrackerData:
        assert isinstance(job.data, TrackerData)
        return job.data

    def _stock(self, job: Job) -> Any:
        """Return the stock config, fitted to the checkpoint. Raises ConfigError where it does not fit."""
        from mec_transfer.tracking.mmtrack import network

        recipe = self.config.recipe
        config = network.read_config(stock_path(recipe.config), recipe.changes)
        network.fit_backbone(config, job.backbone, SOT_LAYOUT)
        network.check_pixels(config)
        mode = config.model.test_cfg.get("test_mode", "OPE")
        if mode != self._evaluation.TEST_MODE:
            raise ConfigError(
                f"recipe.evaluation: {recipe.evaluation} does not go with test_mode '{mode}' of the stock config"
            )
        start = config.optimizer_config.get("backbone_start_train_epoch", config.total_epochs)
        if recipe.frozen and start < config.total_epochs:
            raise ConfigError(
                f"recipe.frozen: the stock config trains the backbone from epoch {start} of {config.total_epochs} on; "
                "raise optimizer_config.backbone_start_train_epoch, or take the protocol that trains it"
            )
        return config

    def _follow(self, job: Job, tracker: Any, config: Any, trained: Path, epoch: int) -> Path:
        """Follow every video with the weights of an epoch; return the folder with what was found."""
        from mec_transfer.tracking.mmtrack import guard
        from mec_transfer.tracking.mmtrack.following import follow
        from mec_transfer.tracking.mmtrack.training import load_weights

        load_weights(tracker, trained, epoch)
        if self.config.recipe.frozen:
            guard.check_frozen(tracker, job.backbone)
        pipeline, evaluation = config.data.test.pipeline, self._evaluation

        def files(video: BoxVideo, tick: Tick) -> dict[str, bytes]:
            found = follow(tracker, video, evaluation.targets(video), pipeline, tick)
            return {f"{video.name}.txt": box_lines(found)}

        folder = job.workdir / f"epoch_{epoch}"
        follow_all(self._videos(job), folder, f"epoch {epoch}: {self.config.title}", files, evaluation.truth)
        distributed.barrier()
        return folder

    def _train(self, job: Job, tracker: Any, config: Any, epochs: Sequence[int], device: Any) -> Path:
        """Train where no other job has; return the folder with the weights of `epochs`."""
        from mec_transfer.tracking.mmtrack.batches import Schedule
        from mec_transfer.tracking.mmtrack.sot_data import Mixture, TrackSet
        from mec_transfer.tracking.mmtrack.trained import train_once

        def mixture() -> Mixture:
            pipeline = config.data.train.dataset_cfgs[0].pipeline
            sets = [TrackSet(part.tracks, pipeline) for part in self._data(job).training]
            return Mixture(sets, [part.weight for part in self.config.dataset.training])

        schedule = Schedule(
            samples=config.data.samples_per_epoch,
            batch=config.data.samples_per_gpu,
            processes=self.config.processes,
            epochs=config.total_epochs,
        )
        return train_once(tracker, config, mixture, schedule, job, keep=epochs, device=device)


def evaluated_epochs(config: Any) -> list[int]:
    """Return the epochs, counted from 1, whose weights a stock config measures, as mmcv's EvalHook does."""
    last, evaluation = config.total_epochs, config.get("evaluation", {})
    start, interval = evaluation.get("start"), evaluation.get("interval", 1)
    first = interval if start is None else max(1, start)
    return list(range(first, last + 1, interval)) or [last]


def hand_in(results: Path, archive: Path) -> NoReturn:
    """Pack what was found for the data set's own server, which alone can score it.

    Raises:
        RunError: always: there is no number to record here.
    """

    def pack() -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as handle:
            for path in sorted(results.glob("*.txt")):
                boxes = (",".join(f"{value:.4f}" for value in region) + "\n" for region in read_regions(path))
                handle.writestr(path.name, "".join(boxes))
        write_bytes(archive, buffer.getvalue())

    distributed.on_first(pack)
    raise RunError(
        f"the sequences' truth is not public: hand {archive} in at the data set's own server; no number here"
    )


def _selection(best: int, epochs: Sequence[int]) -> Selection:
    if len(epochs) == 1:
        return Selection(chosen=f"epoch {best}", by="protocol")
    return Selection(chosen=f"epoch {best} of {epochs[0]} to {epochs[-1]}", by="test set")
