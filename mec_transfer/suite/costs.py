"""What the jobs of a plan will cost: hours by measured rates (`rates.yaml`), bytes by the files that are kept."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mec_transfer.benchmark import Resources, Work
from mec_transfer.common.config import StrictModel, load_config
from mec_transfer.suite.plan import PlannedJob, RunOptions

RATES = Path(__file__).with_name("rates.yaml")
Device = Literal["cpu", "gpu"]
Text = Annotated[str, Field(min_length=1)]


class Machine(StrictModel):
    """A machine that rates were measured on."""

    device: Device
    name: Text


class Rate(StrictModel):
    """The speed of a kind of work on a machine."""

    work: Text
    arch: Text
    setting: Text
    half: bool = False
    per_second: float = Field(gt=0)
    machine: Text
    measured: str = Field(pattern=r"\d{4}-\d\d-\d\d")
    source: Text
    """Where the figure can be found, and what was taken from there."""


class Peak(StrictModel):
    """The peak memory of a job of a protocol: that of its largest process."""

    protocol: Text
    arch: Text
    gib: float = Field(gt=0)
    machine: Text
    measured: str = Field(pattern=r"\d{4}-\d\d-\d\d")


class Rates(StrictModel):
    """All known speeds and sizes."""

    machines: dict[str, Machine]
    rates: list[Rate]
    peaks: list[Peak] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_of_each(self) -> Rates:
        seen: set[tuple[object, ...]] = set()
        for machine in (entry.machine for entries in (self.rates, self.peaks) for entry in entries):
            if machine not in self.machines:
                raise ValueError(f"'{machine}' is not one of the machines {', '.join(self.machines)}")
        for rate in self.rates:
            device = self.machines[rate.machine].device
            if (place := (device, rate.work, rate.arch, rate.setting, rate.half)) in seen:
                raise ValueError(f"two rates of {rate.work}, {rate.arch}, {rate.setting} on a {device}")
            seen.add(place)
        return self

    def find(self, work: Work, arch: str, device: Device) -> Rate | None:
        """Return the rate of a kind of work on a kind of device; None if it is not known."""
        half = work.half and device == "gpu"
        for rate in self.rates:
            alike = (rate.work, rate.setting, rate.half) == (work.kind, work.setting, half)
            if alike and rate.arch in (arch, "any") and self.machines[rate.machine].device == device:
                return rate
        return None

    def find_peak(self, protocol: str, arch: str, device: Device) -> Peak | None:
        """Return the peak memory of a protocol on a kind of device; None if it is not known."""
        for peak in self.peaks:
            if (peak.protocol, peak.arch) == (protocol, arch) and self.machines[peak.machine].device == device:
                return peak
        return None


@functools.cache
def load_rates() -> Rates:
    """Return the rates that ship with the project."""
    return load_config(Rates, RATES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """What a job costs. None means not known."""

    hours: float | None
    """How many hours one GPU, or a whole CPU, works."""
    own_bytes: int | None
    cached_bytes: Mapping[str, int] | None
    """How many bytes each kept thing takes. What two jobs share has one name, which holds the weights' hash."""
    more: bool = False
    """Whether predictions come on top of the bytes."""
    machines: frozenset[str] = frozenset()
    """The machines that its rates were measured on."""

    @property
    def disk_bytes(self) -> int | None:
        """What the job needs in its folder and in the cache, including what other jobs have put there."""
        if self.own_bytes is None or self.cached_bytes is None:
            return None
        return self.own_bytes + sum(self.cached_bytes.values())


def cost_of(job: PlannedJob, device: Device) -> Cost:
    """Return what a job that can run will cost on a kind of device."""
    spec = job.spec
    resources = spec.config.resources(spec.model.arch, spec.dataset)
    hours, machines = _hours(resources, spec.model.arch, device)
    prefix = f"{spec.model.sha256} {spec.dataset.fingerprint}"
    cached = resources.cached_bytes
    return Cost(
        hours=hours,
        own_bytes=resources.own_bytes,
        more=resources.more,
        cached_bytes=None if cached is None else {f"{prefix} {what}": size for what, size in cached.items()},
        machines=machines,
    )


def peak_memory_of(job: PlannedJob, options: RunOptions) -> int | None:
    """Return the bytes of memory that a job was measured to take at most, on the kind of device that it is for."""
    peak = load_rates().find_peak(job.spec.benchmark.protocol, job.spec.model.arch, _device(options))
    return None if peak is None else round(peak.gib * 2**30)


def _hours(resources: Resources, arch: str, device: Device) -> tuple[float | None, frozenset[str]]:
    if resources.work is None:
        return None, frozenset()
    known = load_rates()
    rates = [known.find(work, arch, device) for work in resources.work]
    found = [rate for rate in rates if rate is not None]
    if len(found) < len(rates):
        return None, frozenset()
    seconds = sum(work.units / rate.per_second for work, rate in zip(resources.work, found, strict=True))
    return seconds / 3600, frozenset(known.machines[rate.machine].name for rate in found)


def as_json(job: PlannedJob, options: RunOptions) -> dict[str, Any]:
    """Return `gpus`, `gpu_hours`, `disk_bytes` and `memory_bytes` of a job that can run, null where nobody knows.

    `gpus` are those that it was published with, or the share of them that --gpus leaves it; with --device cpu there is
    `cpu_hours` in place of both.
    """
    device, wanted = _device(options), job.spec.config.processes
    cost = cost_of(job, device)
    gpus = {"gpus": wanted if options.gpus is None else options.gpus_of(wanted)} if device == "gpu" else {}
    memory = peak_memory_of(job, options)
    return {**gpus, f"{device}_hours": cost.hours, "disk_bytes": cost.disk_bytes, "memory_bytes": memory}


def describe_cost(job: PlannedJob, options: RunOptions) -> str:
    """Return in a few words what a job that can run costs."""
    device, wanted = _device(options), job.spec.config.processes
    cost = cost_of(job, device)
    gpus = f"{options.gpus_of(wanted)} of {wanted} GPUs, " if wanted > 1 and device == "gpu" else ""
    hours = "unknown" if cost.hours is None else _rounded(cost.hours)
    size = "unknown" if cost.disk_bytes is None else _size(cost.disk_bytes, cost.more)
    peak = peak_memory_of(job, options)
    memory = "" if peak is None else f", memory {_size(peak, False)}"
    return f"{gpus}{_UNITS[device]} {hours}, disk {size}{memory}"


def describe_costs(jobs: Sequence[PlannedJob], options: RunOptions) -> str:
    """Return what jobs that can run cost in all, counting shared files once, and how much of it is not known."""
    device = _device(options)
    costs = [cost_of(job, device) for job in jobs]
    hours = [cost.hours for cost in costs if cost.hours is not None]
    own = [cost.own_bytes for cost in costs if cost.own_bytes is not None]
    cached = {what: size for cost in costs for what, size in (cost.cached_bytes or {}).items()}
    known = sum(cost.disk_bytes is not None for cost in costs)
    machines = sorted({name for cost in costs for name in cost.machines})
    parts = [
        f"{_UNITS[device]} {_in_all(_rounded(sum(hours)), len(hours), len(costs))}",
        f"disk {_in_all(_size(sum(own) + sum(cached.values()), any(c.more for c in costs)), known, len(costs))}",
    ]
    return ", ".join(parts) + (f" (hours as measured on {' and '.join(machines)})" if machines else "")


def _device(options: RunOptions) -> Device:
    """Return the device that a plan is for: GPUs, even on a machine without them, unless the CPU was asked for."""
    return "cpu" if options.device == "cpu" else "gpu"


_UNITS: Mapping[Device, str] = {"cpu": "CPU hours", "gpu": "GPU hours"}


def _in_all(figure: str, known: int, jobs: int) -> str:
    if not known:
        return "unknown"
    return figure if known == jobs else f"{figure} for {known} of {jobs} jobs, else unknown"


def _rounded(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.2g}"


def _size(size: float, more: bool) -> str:
    power = 1 if size < 1000 * 2**10 else 2 if size < 1000 * 2**20 else 3
    return f"{size / 2 ** (10 * power):.1f} {'KMG'[power - 1]}iB{' or more' * more}"
