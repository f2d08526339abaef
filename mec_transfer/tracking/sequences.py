"""What every tracking benchmark does with its videos: one after another, each finished for good, the best one drawn.

What was found in a video is written in the official submission format, beside a copy of the truth. A sequence is
finished when its entry in finished/ is there, so a run that was stopped goes on at the next one.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mec_transfer.common import distributed
from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.files import read_json, write_bytes, write_json
from mec_transfer.common.interrupt import Interrupted, held_signals
from mec_transfer.common.progress import Meter, say, warn
from mec_transfer.datasets.videos.video import Video
from mec_transfer.results.record import RECORD_NAME, Record
from mec_transfer.tracking.overlay import Marks, write_animation

RESULTS = "results"
"""What was found, in the task's official submission format."""
TRUTH = "truth"
"""A copy of what it is measured against."""
_FINISHED = "finished"

V = TypeVar("V", bound=Video)
Files = Mapping[str, bytes]
"""File names relative to a folder, and their bytes."""
Tick = Callable[[], None]
"""To be called once for every frame that is done: shows progress, and raises `Interrupted` where a signal came."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """The numbers of a run."""

    overall: dict[str, float]
    """Percentages as 0-100."""
    by_sequence: dict[str, dict[str, float]]


def follow_all(
    videos: Sequence[V],
    folder: Path,
    title: str,
    follow: Callable[[V, Tick], Files],
    truth: Callable[[V], Files],
) -> None:
    """Follow every video that is not finished in `folder` yet; of several processes each takes its share.

    Raises:
        Interrupted: a signal came; the finished videos are kept.
    """
    mine = videos[distributed.rank() :: distributed.world_size()]
    todo = [video for video in mine if not _entry(folder, video).is_file()]
    if len(todo) < len(mine):
        say(f"{len(mine) - len(todo)} of {len(mine)} sequences are there already")
    meter = Meter(title, sum(len(video.frames) for video in todo), "frames")
    try:
        with held_signals() as stop:

            def tick() -> None:
                meter.advance()
                if stop.number:
                    raise Interrupted(stop.number)

            for video in todo:
                started = time.monotonic()
                for name, files in ((TRUTH, truth(video)), (RESULTS, follow(video, tick))):
                    for path, data in files.items():
                        write_bytes(folder / name / path, data)
                seconds = round(time.monotonic() - started, 3)
                write_json(_entry(folder, video), {"frames": len(video.frames), "seconds": seconds})
    finally:
        meter.close()


def sequence_details(videos: Sequence[Video], measured: Measured, folder: Path) -> dict[str, Any]:
    """Return what a record says of the sequences in `folder`: their numbers, how many frames, and frames a second."""
    frames = sum(len(video.frames) for video in videos)
    seconds = sum(read_json(_entry(folder, video))["seconds"] for video in videos)
    rate = round(frames / seconds, 3) if seconds else 0.0
    return {"by_sequence": measured.by_sequence, "frames": frames, "frames_per_second": rate}


def recorded_sequences(folder: Path, record: Record) -> list[str]:
    """Return the sequences that a record in `folder` is of. Raises UserError where it names none."""
    sequences = list(record.details.get("by_sequence", {}))
    if not sequences:
        what = "names no sequence in 'details.by_sequence'"
        raise UserError(f"{folder / RECORD_NAME}: {what}; delete the folder and run the job again")
    return sequences


def draw_extremes(
    videos: Sequence[V],
    measured: Measured,
    metric: str,
    folder: Path,
    marks: Callable[[V], Callable[[int], Marks]],
    higher_is_better: bool = True,
) -> None:
    """Animate the best, the middle and the worst sequence in folder/pictures; a number is not lost for a picture.

    Args:
        videos: what was followed.
        measured: their numbers.
        metric: by which of them they are ranked.
        folder: the job's own.
        marks: gives, for a video, a function from a frame's index to what is drawn over it.
        higher_is_better: whether the metric grows with what is wanted.
    """
    sign = -1 if higher_is_better else 1
    ranked = sorted(videos, key=lambda video: sign * measured.by_sequence[video.name][metric])
    chosen = {"best": ranked[0], "worst": ranked[-1]} if len(ranked) > 1 else {"only": ranked[0]}
    if len(ranked) > 2:
        chosen["median"] = ranked[len(ranked) // 2]
    for kind, video in chosen.items():
        caption = f"{kind}: {video.name}, {metric} {measured.by_sequence[video.name][metric]:.1f}"
        path = folder / "pictures" / f"{kind}_{video.name}.gif"
        try:
            write_animation(path, video.frames, marks(video), caption)
        except (OSError, RunError) as error:
            warn(f"{path}: not drawn ({error})")


def _entry(folder: Path, video: Video) -> Path:
    return folder / _FINISHED / f"{video.name}.json"
