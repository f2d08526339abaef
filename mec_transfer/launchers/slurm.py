"""Jobs of a SLURM cluster: they outlive the run that submitted them, and the next run finds them again.

The name of a task's job is written to TICKET_NAME beside its log before SLURM gets the job. However a run is killed,
the next one therefore finds all of its jobs in the queue.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from mec_transfer.common.errors import RunError, UserError
from mec_transfer.common.files import read_json, write_json
from mec_transfer.common.progress import say, warn
from mec_transfer.launchers.launcher import Ended, Show, Task, in_words
from mec_transfer.launchers.slurm_job import STATE_NAME, JobState
from mec_transfer.launchers.slurm_queue import Entry, NoAnswer, Place, call, ended_jobs, queued_jobs
from mec_transfer.launchers.slurm_submit import LARGEST_ARRAY, SlurmOptions, require_slurm, submit_array

TICKET_NAME = "slurm.json"
_FILES_SECONDS = 2.0
_QUEUE_SECONDS = 10.0
_NEWS_SECONDS = 60.0
_WAITING = ("PENDING", "CONFIGURING")
_SURE = 2
"""A job that is over in the queue counts as ended without a message after this many looks: its files may come late."""
_HINTS = {
    "OUT_OF_MEMORY": "ask for more with --slurm mem=SIZE",
    "TIMEOUT": "it could not save and be requeued in time",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Ticket:
    """The job that is to do a task."""

    name: str
    number: int
    command: list[str]
    submitted: float

    @classmethod
    def read(cls, task: Task) -> _Ticket | None:
        with contextlib.suppress(UserError, TypeError):
            return cls(**read_json(task.log.with_name(TICKET_NAME)))
        return None

    def write(self, task: Task) -> None:
        write_json(task.log.with_name(TICKET_NAME), dataclasses.asdict(self))

    @property
    def place(self) -> Place:
        return self.name, self.number


class _Job:
    """A task that has a job in the queue."""

    def __init__(self, task: Task, ticket: _Ticket, entry: Entry) -> None:
        self.task, self.ticket, self.entry = task, ticket, entry
        self.reason = ""
        """Why this launcher cancelled it."""
        self.over = 0
        """How many looks at the queue in a row found it over, or did not find it."""
        self._seen = task.log.stat().st_size if task.log.exists() else 0
        self._heard = time.monotonic()

    def note(self, entry: Entry | None) -> None:
        """Note what the queue says."""
        self.over = self.over + 1 if entry is None or entry.over else 0
        if entry and entry.state != self.entry.state:
            self._heard = time.monotonic()  # it has only just begun
        self.entry = entry or self.entry

    def show(self, show: Show) -> None:
        """Pass on the whole lines that were added to its log."""
        with contextlib.suppress(FileNotFoundError), self.task.log.open("rb") as log:
            log.seek(self._seen)
            lines, end, _ = log.read().rpartition(b"\n")
            self._seen += len(lines) + len(end)
            for line in lines.split(b"\n") if end else ():
                self._heard = time.monotonic()
                show(self.task, line.decode(errors="replace").rstrip())

    def ended(self, folder: Path) -> Ended | None:
        """Return how it ended, as it noted itself, else as SLURM says; `folder` has the output of srun."""
        state = JobState.read(self.task.log)
        if state.status is not None:
            return Ended(task=self.task, status=state.status, reason=state.reason)
        if self.over < _SURE:
            return None
        how = "no longer in the queue"
        if self.entry.over:
            output = folder / f"{self.entry.id}_0_log.out"
            how = f"{self.entry.state}; {_HINTS.get(self.entry.state, f'see {output}')}"
        return Ended(task=self.task, status=1, reason=self.reason or f"SLURM job {self.entry.id}: {how}")

    def end_silence(self) -> None:
        """Cancel it if it has printed nothing for too long."""
        limit = self.task.silence_seconds
        if limit is not None and self.entry.state == "RUNNING" and time.monotonic() - self._heard > limit:
            with contextlib.suppress(NoAnswer):  # asked again at the next look
                call(["scancel", self.entry.id])
                self.reason = f"cancelled because it printed nothing for {in_words(limit)}"


class SlurmLauncher:
    """Runs tasks as jobs of SLURM: tasks that are started together and take equally many GPUs become one array.

    Nothing is submitted before `wait`. A task whose job is still in the queue from an earlier run is not submitted
    again. When the launcher is left, its jobs stay in the queue.
    """

    def __init__(self, show: Show, options: SlurmOptions, folder: Path) -> None:
        """Submit nothing yet; submitit's own files will go to `folder`. Raises UserError where there is no SLURM."""
        require_slurm()
        self._show, self._options, self._folder = show, options, folder
        self._new: list[Task] = []
        """Tasks that have no job yet."""
        self._fresh = False
        """Whether one of them was added since the last look at the queue."""
        self._jobs: list[_Job] = []
        self._at_once: dict[str, int] = {}
        """How many jobs of an array SLURM may start at once, by the array's name; 0 where there is no limit."""
        self._over: list[Ended] = []
        self._next_look = self._next_news = 0.0
        self._answers, self._news = True, ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def busy(self) -> bool:
        """Whether a task was started that `wait` has not returned yet."""
        return bool(self._new or self._jobs or self._over)

    def has_room(self, task: Task) -> bool:
        """Whether a task can start now: the queue takes any number of them."""
        return True

    def start(self, task: Task) -> None:
        """Let `wait` find the task's job in the queue, or submit one."""
        self._new.append(task)
        self._fresh = True

    def wait(self) -> Ended:
        """Submit the started tasks, and wait until a job has ended; show what jobs print.

        Raises:
            UserError: SLURM refuses new jobs; those that it has go on.
        """
        while not self._over:
            if self._fresh or time.monotonic() >= self._next_look:
                self._look()
            for job in [*self._jobs]:
                if job.entry.state in _WAITING and not job.over:
                    continue
                ended = job.ended(self._folder)  # before the last look at its log
                job.show(self._show)
                if ended:
                    self._jobs.remove(job)
                    self._over.append(ended)
            if not self._over:
                time.sleep(_FILES_SECONDS)
        return self._over.pop(0)

    def stop(self) -> None:
        """Leave the jobs in the queue, and say so."""
        if self._jobs:
            arrays = dict.fromkeys(job.entry.id.partition("_")[0] for job in self._jobs)
            say(
                f"jobs that stay with SLURM and go on: {len(self._jobs)}; the same command finds them again "
                f"(to cancel them: scancel {' '.join(arrays)})"
            )
        self._jobs.clear()

    def _look(self) -> None:
        """Ask SLURM about all jobs at once, and submit the new ones."""
        self._fresh, self._next_look = False, time.monotonic() + _QUEUE_SECONDS
        try:
            found = queued_jobs()
            gone = [job.ticket for job in self._jobs if job.ticket.place not in found]
            if gone:
                found |= ended_jobs({ticket.name for ticket in gone}, min(ticket.submitted for ticket in gone))
            for job in self._jobs:
                job.note(found.get(job.ticket.place))
                job.end_silence()
            self._submit(self._adopt(found))
        except NoAnswer as error:
            if self._answers:
                warn(f"SLURM does not answer ({error}); asking again every {in_words(_QUEUE_SECONDS)}")
            self._answers = False
            return
        if not self._answers:
            say("SLURM answers again")
        self._answers = True
        self._tell()

    def _adopt(self, found: dict[Place, Entry]) -> list[Task]:
        """Watch the jobs that are already in the queue for new tasks; return the other tasks."""
        tasks, self._new = self._new, []
        rest = []
        for task in tasks:
            ticket = _Ticket.read(task)
            entry = found.get(ticket.place) if ticket else None
            if ticket is None or entry is None or entry.over:
                rest.append(task)
            elif entry.state == "COMPLETING":  # whether it was cancelled or requeued, the next look will tell
                self._new.append(task)
            elif ticket.command != _command(task):
                reason = f"SLURM job {entry.id} does this with other settings; wait for it, or: scancel {entry.id}"
                self._over.append(Ended(task=task, status=1, reason=reason))
            else:
                self._show(task, f"SLURM job {entry.id} is in the queue ({entry.state})")
                self._at_once.setdefault(ticket.name, 0)
                self._jobs.append(_Job(task, ticket, entry))
        return rest

    def _submit(self, tasks: list[Task]) -> None:
        """Submit tasks as arrays, as far as there is room; keep the others for later."""
        room = self._share_out()
        while tasks and (room is None or room > 0):
            array = [task for task in tasks if task.gpus == tasks[0].gpus][:LARGEST_ARRAY]
            others = set(tasks) - set(array)
            try:
                self._submit_one(array, room)
            except NoAnswer:
                self._new += tasks
                raise
            tasks = [task for task in tasks if task in others]
            room = None if room is None else room - min(room, len(array))
        self._new += tasks

    def _submit_one(self, tasks: Sequence[Task], room: int | None) -> None:
        name = f"mec-{uuid.uuid4().hex[:12]}"
        tickets = []
        for number, task in enumerate(tasks):
            task.log.with_name(STATE_NAME).unlink(missing_ok=True)
            tickets.append(_Ticket(name=name, number=number, command=_command(task), submitted=time.time()))
            tickets[-1].write(task)
        try:
            ids = submit_array(self._options, self._folder, name, tasks, room)
        except (UserError, RunError):
            for task in tasks:
                task.log.with_name(TICKET_NAME).unlink(missing_ok=True)
            raise
        self._at_once[name] = room or 0
        for task, ticket, job in zip(tasks, tickets, ids, strict=True):
            self._show(task, f"SLURM job {job}")
            self._jobs.append(_Job(task, ticket, Entry(id=job, state="PENDING")))

    def _share_out(self) -> int | None:
        """Raise the limits of arrays as others need less; return how many new jobs may start (None: any number)."""
        most = self._options.max_running
        if most is None:
            return None
        left = Counter(job.ticket.name for job in self._jobs)
        room = most - sum(min(self._at_once[name], count) for name, count in left.items())
        for name, count in left.items():
            more = min(room, count - self._at_once[name])
            if more > 0:
                array = next(job.entry.id.partition("_")[0] for job in self._jobs if job.ticket.name == name)
                with contextlib.suppress(NoAnswer):  # all of them have begun
                    call(["scontrol", "update", f"JobId={array}", f"ArrayTaskThrottle={self._at_once[name] + more}"])
                self._at_once[name] += more
                room -= more
        return room

    def _tell(self) -> None:
        """Say how many jobs run and wait, if that has changed and was not said less than a minute ago."""
        states = Counter("waiting" if job.entry.state in _WAITING else "running" for job in self._jobs)
        why = sorted({job.entry.why for job in self._jobs if job.entry.state in _WAITING} - {"", "None"})
        news = ", ".join(f"{states[state]} {state}" for state in ("running", "waiting") if states[state])
        news += f" ({', '.join(why)})" if why else ""
        if news and news != self._news and time.monotonic() >= self._next_news:
            self._news, self._next_news = news, time.monotonic() + _NEWS_SECONDS
            say(f"SLURM: {news}")


def _command(task: Task) -> list[str]:
    return [task.module, *task.arguments]
