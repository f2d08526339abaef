"""What is run in a storm: a suite with several jobs at once, or a pretraining of several processes."""

from __future__ import annotations

import abc
import dataclasses
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from mec_transfer.common.files import write_text
from mec_transfer.common.paths import find_config
from tools.storms.likeness import unlike_files, unlike_numbers

_WORDS = ("--device", "cpu")


class Subject(abc.ABC):
    """A command that can be given again and again until it is done."""

    title: str

    @abc.abstractmethod
    def command(self, out: Path) -> list[str]:
        """Return the command line that works in `out`."""

    def data(self, out: Path) -> Path:
        """Return the folder that it reads images from."""
        return out / "data"

    def prepare(self, calm: Path, out: Path) -> None:  # noqa: B027  # most need nothing
        """Put into `out` what a storm need not spoil, from a calm run's folder."""

    def tracebacks(self, said: str) -> int:
        """Count the tracebacks in what a start printed."""
        return said.count("Traceback (most recent call last)")

    def wrong_numbers(self, calm: Path, out: Path) -> Iterator[str]:
        """Say which numbers there are that the calm run has not."""
        return iter(())

    def unlike(self, calm: Path, out: Path) -> Iterator[str]:
        """Say what of the finished run is not as the calm run has it."""
        return unlike_files(calm, out)


@dataclasses.dataclass(frozen=True)
class Suite(Subject):
    """`mec-transfer run` of a suite that draws its own data."""

    name: str
    jobs: int
    workers: int
    given: Path | None = None
    """Drawn data, which is then read where it lies; None: each run has a copy, as if it had drawn it."""

    @property
    def title(self) -> str:  # type: ignore[override]
        """The suite and how it is run."""
        return f"suite {Path(self.name).stem}, --jobs {self.jobs} --workers {self.workers}"

    def command(self, out: Path) -> list[str]:
        """Return the command line that works in `out`."""
        suite = [self.name]
        if self.given:
            suite = [str(self._on_given_data(out)), "--data-root", str(self.given)]
        words = ["--suite", *suite, "--out", str(out), "--jobs", str(self.jobs), "--workers", str(self.workers)]
        return [sys.executable, "-m", "mec_transfer.cli.main", "run", *words, *_WORDS]

    def prepare(self, calm: Path, out: Path) -> None:
        """Take over the drawn data; what kills do to the drawing is tested beside it."""
        if self.given is None:
            shutil.copytree(calm / "data", out / "data")

    def data(self, out: Path) -> Path:
        """Return the folder that it reads images from."""
        return self.given or super().data(out)

    def _on_given_data(self, out: Path) -> Path:
        """Write the same suite without its own drawing, which looks at every file before anything begins."""
        suite = yaml.safe_load(find_config(self.name, "suites").read_text(encoding="utf-8"))
        del suite["demo_world"]
        path = out.parent / f"{suite['id']}.yaml"
        write_text(path, yaml.safe_dump(suite))
        return path

    def wrong_numbers(self, calm: Path, out: Path) -> Iterator[str]:
        """Look at the records that hold a number."""
        return unlike_numbers(calm, out)


@dataclasses.dataclass(frozen=True)
class Pretraining(Subject):
    """`torch.distributed.run` of a pretraining on pictures of the demo world."""

    pictures: Path
    processes: int
    epochs: int

    @property
    def title(self) -> str:  # type: ignore[override]
        """How it is run."""
        return f"pretraining, {self.processes} processes, {self.epochs} epochs"

    def command(self, out: Path) -> list[str]:
        """Return the command line that works in `out`."""
        config = self.pictures.parent.with_name(f"storm-{self.epochs}.yaml")
        if not config.exists():
            text = f"dim: 16\npred_dim: 8\nviews: {{size: 32}}\nbatch_size: 16\nepochs: {self.epochs}\n"
            write_text(config, f"arch: resnet18\n{text}warmup_epochs: 1\nlog_every: 1\neps: 16.0\nbase_lr: 0.05\n")
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={self.processes}", "-m", "pretrain"]
        words = ["--data", str(self.pictures), "--out", str(out), "--workers", "0", "--set", "save_every_steps=2"]
        return [sys.executable, *launch, str(config), *words, *_WORDS]

    def data(self, out: Path) -> Path:
        """Return the folder that it reads images from."""
        return self.pictures

    def tracebacks(self, said: str) -> int:
        """Count the tracebacks of the pretraining's own: torch.distributed.run ends with one where a process fails."""
        return super().tracebacks(said) - said.count("multiprocessing.errors.ChildFailedError")
