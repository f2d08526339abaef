"""A family of benchmarks that needs no torch and a tenth of a second: the suite's tests run it in real processes.

Data is a folder with a file `size`; a checkpoint is any text file, or `random:NAME`. What a job does is in its
recipe; every run appends "begin" and "end" to runs.txt in its folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from mec_transfer.backbone.backbone import Backbone, Provenance
from mec_transfer.benchmark import Benchmark, BenchmarkConfig, Job, Problem
from mec_transfer.common.config import StrictModel
from mec_transfer.common.errors import CheckpointError, DataError, RunError
from mec_transfer.datasets.config import DatasetConfig
from mec_transfer.datasets.data import Data, Layout
from mec_transfer.datasets.index import Index
from mec_transfer.datasets.registry import LAYOUTS
from mec_transfer.results.record import Record, Selection


class Recipe(StrictModel):
    seconds: float = 0.0
    meet: int = 0
    """How many jobs of the model must have begun before this one goes on."""
    fail_for: str = ""
    """Models whose job raises, comma separated; a file `mended` in the data stops it."""
    linger: float = 0.0
    """Seconds that a job takes to end after its number is written."""
    kill_for: str = ""
    """Models whose job kills its own process."""
    needs: str = ""
    """The protocol whose job has to be finished first, and the folder of which lies beside."""


class FakeConfig(BenchmarkConfig):
    recipe: Recipe = Recipe()

    @property
    def needs(self) -> str:
        return self.recipe.needs


class Fake(Benchmark):
    config: FakeConfig

    def check(self, job: Job) -> list[Problem]:
        problems = []
        if self.config.needs and not self._beside(job):
            problems.append(Problem(message=f"no job by {self.config.needs} is finished"))
        if (job.data.folder / "broken").exists():
            problems.append(Problem(message=f"{job.data.folder}: is broken; mend it"))
        if (job.data.folder / "odd").exists():
            problems.append(Problem(message="the data is odd", severity="warning"))
        return problems

    def _beside(self, job: Job) -> bool:
        records = [json.loads(path.read_text()) for path in job.workdir.parent.glob("*/record.json")]
        done = [record for record in records if record["status"] == "ok" and record["trial"] == job.trial]
        return self.config.needs in [record["benchmark"]["protocol"] for record in done]

    def run(self, job: Job) -> Record:
        note(job, "begin")
        recipe, mended = self.config.recipe, (job.data.folder / "mended").exists()
        time.sleep(recipe.seconds)
        while len([*job.workdir.parent.glob("*/runs.txt")]) < recipe.meet:
            time.sleep(0.02)
        if job.model_name in recipe.fail_for.split(",") and not mended:
            raise RunError("the loss is nan at step 7")
        if job.model_name in recipe.kill_for.split(",") and not mended:
            os.kill(os.getpid(), signal.SIGKILL)
        top1 = number(f"{job.backbone.sha256} {self.config.protocol} {job.seed}")
        (job.workdir / "predictions.json").write_text(json.dumps({"top1": top1}))
        note(job, "end")
        return Record(
            status="ok",
            model=job.model_info(),
            benchmark=self.config.info(),
            trial=job.trial,
            seed=job.seed,
            metrics={"top1": top1, "top5": 99.0},
            primary=self.config.metrics.primary,
            dataset=job.dataset,
            selection=Selection(chosen="the only one", by="nothing to choose"),
            seconds=time.process_time(),
        )

    def finished(self, job: Job) -> None:
        time.sleep(self.config.recipe.linger)

    def recompute(self, folder: Path, record: Record) -> dict[str, float]:
        try:
            return {**json.loads((folder / "predictions.json").read_text()), "top5": 99.0}
        except FileNotFoundError:
            raise DataError(f"{folder / 'predictions.json'}: no such file") from None


def note(job: Job, what: str) -> None:
    with (job.workdir / "runs.txt").open("a") as file:
        file.write(f"{what}\n")


def number(text: str) -> float:
    """0 to 99.99, from nothing but the text."""
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % 10_000 / 100


def fake_backbone(ckpt: str, encoder: str = "auto") -> Backbone:
    if ckpt.startswith("random:"):
        data = ckpt.encode()
    elif Path(ckpt).is_file():
        data = Path(ckpt).read_bytes()
        with (Path(ckpt).parent / "reads.txt").open("a") as file:
            file.write(f"{ckpt}\n")
        if data == b"no network":
            raise CheckpointError(f"{ckpt}: holds no network")
    else:
        raise CheckpointError(f"{ckpt}: no such file")
    backbone = Backbone(arch="resnet18", state_dict={}, provenance=Provenance(source=ckpt))
    backbone.__dict__["sha256"] = hashlib.sha256(data).hexdigest()
    return backbone


class FakeData(Data):
    def __init__(self, config: DatasetConfig, folder: Path) -> None:
        super().__init__(config, folder)
        self.size = (folder / "size").read_text()

    @property
    def splits(self) -> dict[str, int]:
        return {"all": int(self.size)}

    @property
    def classes(self) -> int:
        return 2

    def hash(self) -> tuple[str, str]:
        return hashlib.sha256(self.size.encode()).hexdigest(), ""

    def image_files(self) -> Iterator[tuple[str, bytes | Path]]:
        yield from ()


class FakeLayout(Layout):
    def open(self, config: DatasetConfig, folder: Path, index: Index) -> FakeData:
        if not (folder / "size").is_file():
            raise DataError(f"{folder}: no such data; make it")
        return FakeData(config, folder)


def install() -> None:
    """Register the family, and stand in for the parts of the suite that need torch."""
    import mec_transfer.backbone.source as source
    import mec_transfer.common.runtime as runtime
    from mec_transfer.suite.registry import BENCHMARKS

    BENCHMARKS["fake/fake"] = ("fake_family:Fake", "fake_family:FakeConfig")
    source.resolve_backbone = fake_backbone
    LAYOUTS["images"]["fake"] = "fake_family:FakeLayout"
    runtime.hardware = lambda: {"cpu": "fake", "cores": 1, "gpu": "none", "gpus": 0}
