"""What mmcv 1.7, mmdet 2.28, mmcls 0.25 and mmtrack 0.14 need changed to run beside today's torch and NumPy.

Each patch says which symptom it cures and from which version of which package on the symptom is there; it is applied
there alone. They are applied once, in memory, by `engine.load`, in a process that runs this engine and nothing else.
Wherever that is possible a patch changes what one module of theirs sees, never torch or NumPy themselves.

mmcv reads files with torch's refusal of code (weights_only), which is never lifted: what it saves itself passes, with
NumPy's numbers. Backbones come through this project's own reader in any case.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pickle
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch

from mec_transfer.common.errors import CheckpointError, ConfigError, one_line
from mec_transfer.engines.versions import installed_version, version_digits


@dataclasses.dataclass(frozen=True)
class Patch:
    """A change of one behaviour."""

    symptom: str
    """What happens without it."""
    package: str
    """The package whose version brings the symptom."""
    since: str
    """The first version that has it."""
    apply: Callable[[], None]

    def is_needed(self) -> bool:
        """Whether the installed version has the symptom."""
        return version_digits(installed_version(self.package)) >= version_digits(self.since)


class _View(ModuleType):
    """A module as another one sees it: with some names more."""

    def __init__(self, module: ModuleType, **names: object) -> None:
        super().__init__(module.__name__)
        self.__dict__["_module"] = module
        self.__dict__.update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_module"], name)


_NUMPY_ALIASES_USED_BY = (
    "mmcv.ops.pixel_group",
    "mmdet.core.bbox.samplers.iou_balanced_neg_sampler",
    "mmdet.datasets.custom",
    "mmdet.datasets.openimages",
    "mmtrack.core.evaluation.eval_mot",
    "mmtrack.core.evaluation.ytviseval",
    "mmtrack.datasets.coco_video_dataset",
)


def _give_numpy_aliases() -> None:
    view = _View(np, int=int, float=float, bool=bool)
    for name in _NUMPY_ALIASES_USED_BY:
        importlib.import_module(name).np = view  # type: ignore[attr-defined]


def _give_asfarray() -> None:
    distances = importlib.import_module("motmetrics.distances")
    distances.np = _View(np, asfarray=lambda values: np.asarray(values, dtype=float))  # type: ignore[attr-defined]


def _mend_video_sampler() -> None:
    sampler: Any = importlib.import_module("mmtrack.datasets.samplers.video_sampler").SOTVideoSampler

    def initialise(self: Any, dataset: Any) -> None:
        self.dataset = dataset
        lengths = enumerate(dataset.num_frames_per_video)
        self.indices = [(video, frame) for video, length in lengths for frame in range(length)]

    sampler.__init__ = initialise


def _mend_get_stream() -> None:
    functions: Any = importlib.import_module("mmcv.parallel._functions")
    original = functions._get_stream

    @functools.wraps(original)
    def get_stream(device: int | torch.device) -> Any:
        return original(torch.device("cuda", device) if isinstance(device, int) else device)

    functions._get_stream = get_stream


def _mend_distributed_forward() -> None:
    # Torch's switch for an experiment that is gone; False is what it was for everyone.
    importlib.import_module("mmcv.parallel").MMDistributedDataParallel._use_replicated_tensor_module = False


def _unwrap_containers_on_cpu() -> None:
    distributed: Any = importlib.import_module("mmcv.parallel").MMDistributedDataParallel

    def unwrapping(step: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(step)
        def unwrapped(self: Any, *inputs: Any, **kwargs: Any) -> Any:
            if not self.device_ids:  # as MMDataParallel does
                (inputs,), (kwargs,) = self.scatter(inputs, kwargs, [-1])
            return step(self, *inputs, **kwargs)

        return unwrapped

    for name in ("train_step", "val_step", "_run_ddp_forward"):
        setattr(distributed, name, unwrapping(getattr(distributed, name)))


def _compare_regions_here() -> None:
    from mec_transfer.tracking.mmtrack.vot_metrics import region_overlap

    tracker: Any = importlib.import_module("mmtrack.models.sot.siamrpn")
    tracker.bbox2region = lambda region: region
    tracker.calculate_region_overlap = lambda one, other, bounds: region_overlap(one, other, bounds)


def _refuse_downloads() -> None:
    loader: Any = importlib.import_module("mmcv.runner").CheckpointLoader

    def load_from_network(filename: str, map_location: Any = None, **kwargs: Any) -> None:
        raise ConfigError(
            f"the config asks MMTracking to load weights from {filename}; weights come from the checkpoint alone: "
            "set init_cfg=None there"
        )

    for prefix in loader._schemes:
        if prefix:  # without one it is a local file
            loader._schemes[prefix] = load_from_network


def _read_own_files_and_no_code() -> None:
    scalar = np.float64(0).__reduce__()[0]
    numbers: list[Any] = [scalar, np.dtype, *(type(np.dtype(letter)) for letter in "?bhilqBHILQefd")]

    def load(file: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            with torch.serialization.safe_globals(numbers):
                return torch.load(file, *args, **kwargs | {"weights_only": True})
        except pickle.UnpicklingError as error:  # whose text advises to run the code
            held = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
            what = held[1] if held else one_line(error)
            raise CheckpointError(f"{file}: holds more than tensors, numbers and text ({what}); not loaded") from None

    checkpoint: Any = importlib.import_module("mmcv.runner.checkpoint")
    checkpoint.torch = _View(torch, load=load)


PATCHES = (
    Patch("AttributeError: module 'numpy' has no attribute 'int'", "numpy", "1.24", _give_numpy_aliases),
    Patch("AttributeError: `np.asfarray` was removed", "numpy", "2.0", _give_asfarray),
    Patch("TypeError: object.__init__() takes exactly one argument", "torch", "2.1", _mend_video_sampler),
    Patch("AttributeError: 'int' object has no attribute 'type'", "torch", "2.1", _mend_get_stream),
    Patch("no attribute '_use_replicated_tensor_module'", "torch", "2.1", _mend_distributed_forward),
    Patch(
        "several processes on a CPU: models get DataContainers, not tensors", "mmcv", "1.0", _unwrap_containers_on_cpu
    ),
    Patch(
        "mmcv cannot read what it saved; the advice is to run a file's code",
        "torch",
        "2.6",
        _read_own_files_and_no_code,
    ),
    Patch("ImportError: Please run pip install ... vot-toolkit", "mmtrack", "0.8", _compare_regions_here),
    Patch("weights that a config names by URL are fetched from the network", "mmcv", "1.0", _refuse_downloads),
)


def apply_all() -> None:
    """Apply what the installed versions need. mmtrack and all it stands on must be importable."""
    for patch in PATCHES:
        if patch.is_needed():
            patch.apply()
