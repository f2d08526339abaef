"""The file from which an interrupted training resumes; pretraining, probes, finetuning and detectors all keep one.

What every training gets from here:

- The file is whole or absent. A kill or a full disk while it is written leaves the state that was there before.
- The state before the last is kept under a second name and is taken, with a warning, where the last is damaged: every
  checksum is compared before a byte is believed.
- Nothing in the file is executed, and a file of another run, of another version or of something else is refused in one
  line.
- A state with values that are not finite is never written: a resumed run finds the last good one.
- Rank 0 alone writes, and all processes must find the same state.

A state needs no random generators: every stream is seeded from what it is for and from how far the run is
(`derive_seed`).
"""

from __future__ import annotations

import abc
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Protocol, TypeVar

from mec_transfer.common import distributed
from mec_transfer.common.errors import CheckpointError, RunError, UserError, one_line
from mec_transfer.common.files import replace_with_copy, save_torch
from mec_transfer.common.interrupt import Interrupted, StopRequest
from mec_transfer.common.progress import Meter, is_main_process, say, warn

T = TypeVar("T")

SAVE_SECONDS = 600
"""A kill loses at most this much work and one step; a signal loses nothing."""
_AGAIN = "to train from the beginning"


class Stepper(Protocol):
    """Something that is trained iteration by iteration."""

    iteration: int
    """How many iterations are done."""
    optimizer: Any

    def state(self) -> dict[str, Any]:
        """Return everything that is needed to resume from here."""


class ResumableState(abc.ABC):
    """The state of one run in `folder`; each kind of training has a subclass that says what differs."""

    NAME: ClassVar[str]
    PREVIOUS: ClassVar[str]
    """The names of the last state and of the one before it."""
    FORMAT: ClassVar[str]
    """Written into the file; what follows the last slash is the version."""
    OLDER_FORMATS: ClassVar[tuple[str | None, ...]] = ()
    """What earlier versions wrote in its place and this one can still read."""
    TITLE: ClassVar[str]
    """What messages call such a file."""
    RUN_KEY: ClassVar[str] = "run"
    """The key of the run's identity in the file."""
    KEYS: ClassVar[frozenset[str]]
    """The keys that a state must hold."""
    PROGRESS: ClassVar[tuple[str, ...]]
    """The keys of the numbers that say how far the run is."""
    CURE: ClassVar[str]
    """Advice for a training that diverged."""

    def __init__(self, folder: Path, run: Any) -> None:
        """`run` identifies the run in plain values: a later command resumes it only if it has the same ones."""
        self.folder, self.run = folder, run
        self.path, self.previous = folder / self.NAME, folder / self.PREVIOUS
        self._saved = time.monotonic()

    @abc.abstractmethod
    def difference(self, there: Any) -> str:
        """Return why a state of the run `there` does not belong to this run, and what to do; "" if it does."""

    def older(self) -> Sequence[Path]:
        """Return older states, newest first, to use when the last two are damaged."""
        return ()

    @property
    def is_due(self) -> bool:
        """Whether this process should save after the next step because its last state is too old."""
        return is_main_process() and time.monotonic() - self._saved >= SAVE_SECONDS

    def save(self, values: dict[str, Any]) -> None:
        """Write a state; the one that was there becomes the previous one. Processes other than rank 0 do nothing.

        At no moment is there less than one whole file under either name.

        Args:
            values: tensors, numbers, strings and containers of them; `PROGRESS` and, with the run, `KEYS` among them.

        Raises:
            RunError: the disk is full or the folder cannot be written, or a value is not finite. What is there stays.
        """
        if not is_main_process():
            return
        if name := _find_nonfinite(values):
            raise RunError(
                f"{self.path}: not saved because '{name}' is no longer finite at {self._position(values)}; what was "
                f"there before is kept. {self.CURE}"
            )
        if self.path.exists():
            replace_with_copy(self.path, self.previous)
        save_torch(self.path, {"format": self.FORMAT, self.RUN_KEY: self.run, **values})
        self._saved = time.monotonic()

    def save_and_stop(self, values: dict[str, Any], number: int) -> NoReturn:
        """Save, then raise `Interrupted` for signal `number`; every process calls this after the same step."""
        self.save(values)
        distributed.barrier()  # torchrun kills the others when the first one ends
        say(f"{self.path}: saved at {self._position(values)}")
        raise Interrupted(number)

    def train_to(
        self, last: int, stepper: Stepper, step: Callable[[T], float], batches: Iterable[T], stop: StopRequest
    ) -> None:
        """Train until iteration `last`, with progress, and save: at the end, when it is due, and at a signal.

        Args:
            last: how many iterations the whole training has.
            stepper: what is trained, at its current iteration.
            step: trains one iteration on a batch and returns the loss.
            batches: the remaining batches.
            stop: tells of a signal, which ends the training with `Interrupted` after a step.
        """
        meter = Meter("training", last, "iterations", start=stepper.iteration)
        try:
            for batch in batches:
                loss = step(batch)
                meter.advance(loss=loss, lr=stepper.optimizer.param_groups[0]["lr"])
                over = stepper.iteration == last
                if (number := stop.of_all()) and not over:
                    self.save_and_stop(stepper.state(), number)
                if over or self.is_due:
                    self.save(stepper.state())
        finally:
            meter.close()

    def load(self) -> dict[str, Any] | None:
        """Return the newest whole state, with tensors on the CPU, on every process; None where there is none at all.

        Raises:
            CheckpointError: none can be read, or a file is not a state of this kind or was written by another version.
            UserError: it belongs to another run, or the processes find different states.
            RunError: there is not enough memory to read it.
        """
        path, values = self._newest() or (None, {})
        seen = (self.run, [values.get(name) for name in self.PROGRESS])
        if any(other != seen for other in distributed.gather_objects(seen)):
            raise UserError(
                f"{self.folder}: the processes do not find the same images and the same checkpoint; "
                "--out must be one folder for all machines, and --data hold the same files on each"
            )
        if path is None:
            return None
        if path != self.path and is_main_process():
            replace_with_copy(path, self.path)  # else the next save would keep the damaged one as the previous
        return values

    def restore(self, apply: Callable[[dict[str, Any]], None]) -> bool:
        """Hand the newest state to `apply`, and return whether there is one.

        Raises:
            CheckpointError: it does not fit; and whatever `load` raises.
        """
        values = self.load()
        if values is None:
            return False
        try:
            apply(values)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:  # torch raises any of them
            what = f"does not fit this run ({one_line(error)})"
            raise CheckpointError(f"{self.path}: {what}; choose another --out, or delete it {_AGAIN}") from error
        return True

    def discard(self) -> None:
        """Remove the last state and the one before it: the run's result is safe."""
        self.previous.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def _newest(self) -> tuple[Path, dict[str, Any]] | None:
        last_two = [path for path in (self.path, self.previous) if path.exists()]
        damage: dict[Path, str] = {}
        for path in (*last_two, *(self.older() if last_two else ())):
            try:
                content = _read(path)
            except _DamagedError as error:
                damage[path] = str(error)
                continue
            values = self._own(path, content)
            if damage:
                reason = next(iter(damage.values()))
                warn(f"{reason}; going on from {path.name} instead, {self._position(values)}")
            return path, values
        if damage:
            reason, *_ = damage.values()
            others = "".join(f" and {path.name}" for path in list(damage)[1:])
            raise CheckpointError(f"{reason}; delete it{others} {_AGAIN}")
        return None

    def _own(self, path: Path, content: Any) -> dict[str, Any]:
        """Return what a file holds. Raises if that is not a state of this run."""
        there = content if isinstance(content, dict) else {}
        written = there.get("format")
        if written != self.FORMAT and written not in self.OLDER_FORMATS:
            what = f"is not a {self.TITLE}"
            if isinstance(written, str) and written.rpartition("/")[0] == self.FORMAT.rpartition("/")[0]:
                what = f"was written by another version of this program ({written}; this one reads {self.FORMAT})"
            raise CheckpointError(f"{path}: {what}; choose another --out, or delete it {_AGAIN}")
        if lacking := sorted(self.KEYS - there.keys()):
            what = f"is not a whole {self.TITLE}: it has no '{lacking[0]}'"
            raise CheckpointError(f"{path}: {what}; choose another --out, or delete it {_AGAIN}")
        if difference := self.difference(there.get(self.RUN_KEY)):
            raise UserError(f"{path}: {difference}")
        return there

    def _position(self, values: dict[str, Any]) -> str:
        return ", ".join(f"{name} {values[name]}" for name in self.PROGRESS)


class _DamagedError(Exception):
    """A file was cut short or changed."""


def _read(path: Path) -> Any:
    """Read what `torch.save` wrote. Raises _DamagedError, or RunError if the file itself may be intact."""
    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            if broken := archive.testzip():  # torch itself does not look at the checksums
                raise ValueError(f"its part {broken} is not what was written")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (MemoryError, PermissionError) as error:
        raise RunError(f"{path}: cannot be read ({one_line(error)})") from None
    except Exception as error:  # torch raises many kinds for a damaged file
        raise _DamagedError(f"{path}: cannot be read ({one_line(error)})") from None


def _find_nonfinite(value: Any, name: str = "") -> str:
    """Return the dotted keys of the first tensor in `value` that is not finite; "" if all are."""
    import torch

    if isinstance(value, torch.Tensor):
        return name if value.is_floating_point() and not bool(value.isfinite().all()) else ""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    found = (_find_nonfinite(item, f"{name}.{key}" if name else str(key)) for key, item in inside)
    return next(filter(None, found), "")
