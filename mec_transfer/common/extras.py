"""The libraries that only one part of the program needs, and what to do when one is missing.

`pyproject.toml` has an extra for each part. Nothing imports one of these libraries at the top of a file that a part
without the extra imports too. Code that is about to use a part calls `require`; an import that fails anyway is
explained in the same words (`explain`).
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import warnings

from mec_transfer.common.errors import MissingExtra


@dataclasses.dataclass(frozen=True)
class Library:
    """A library that the core of the program does not need."""

    modules: tuple[str, ...]
    """The modules that are imported from it."""
    name: str
    package: str
    """The name on the package index."""
    cure: str = ""
    """The command that installs it, if the part's extra does not."""
    light: bool = True
    """Whether its modules are imported to see that they work; otherwise they only have to be installed."""

    @property
    def top(self) -> str:
        """The package that its modules belong to."""
        return self.modules[0].partition(".")[0]

    def fault(self) -> str | None:
        """Return "" if it is not installed, a reason if it cannot be imported, None if nothing is wrong."""
        if importlib.util.find_spec(self.top) is None:
            return ""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for module in self.modules if self.light else ():
                    importlib.import_module(module)
        except Exception as error:  # whatever it raises: a system library is missing, NumPy is another, half a copy
            return " ".join(str(error).split()) or type(error).__name__
        return None


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of the program with an extra of its own."""

    what: str
    """How the message about it begins."""
    libraries: tuple[Library, ...]


_COCO = Library(("pycocotools.mask",), "pycocotools", "pycocotools")
PARTS = {
    "detection": Part(
        "detection",
        (
            _COCO,
            # detection/engine.py imports it, with all its parts.
            Library(
                ("detectron2",), "Detectron2", "detectron2", cure="mec-transfer engines install detectron2", light=False
            ),
        ),
    ),
    "tracking": Part(
        "object tracking",
        (
            Library(("scipy.optimize", "scipy.spatial"), "scipy", "scipy"),
            Library(("cv2",), "opencv", "opencv-python-headless"),
            _COCO,
            # Its own list of needs asks for an OpenCV that wants libGL; what it needs of them is in the extra.
            Library(("trackeval",), "TrackEval", "trackeval", "pip install --no-deps trackeval"),
        ),
    ),
    "transfer": Part(
        "logistic regression",
        (
            Library(("scipy.optimize", "scipy.io"), "scipy", "scipy"),
            Library(("threadpoolctl",), "threadpoolctl", "threadpoolctl"),
        ),
    ),
    "mmtracking": Part(
        "a trained tracker",
        tuple(
            # tracking/mmtrack/engine.py imports it, with all its parts.
            Library((module,), name, module, cure="mec-transfer engines install mmtracking", light=False)
            for module, name in (
                ("mmtrack", "MMTracking"),
                ("mmdet", "MMDetection"),
                ("mmcls", "MMCls"),
                ("mmcv", "MMCV"),
            )
        ),
    ),
    "svm": Part("a linear SVM", (Library(("sklearn.svm", "sklearn.model_selection"), "scikit-learn", "scikit-learn"),)),
    "plot": Part("a plot", (Library(("matplotlib",), "matplotlib", "matplotlib"),)),
    "tensorboard": Part("--tensorboard", (Library(("tensorboard",), "tensorboard", "tensorboard"),)),
    "wandb": Part("--wandb", (Library(("wandb",), "Weights & Biases", "wandb"),)),
    "slurm": Part("--launcher slurm", (Library(("submitit",), "submitit", "submitit"),)),
}
"""By the name of the extra; those of a family of benchmarks have the family's name."""


def require(part: str) -> None:
    """Raise MissingExtra if `part` cannot be used."""
    if problem := lacking(part):
        raise MissingExtra(problem)


def lacking(part: str) -> str:
    """Return in one line what `part` needs but does not find, and what to do; empty if everything is there."""
    missing, faults = [], []
    for library in PARTS[part].libraries:
        fault = library.fault()
        if fault == "":
            missing.append(library)
        elif fault:
            cure = library.cure or f"pip install --force-reinstall {library.package}"
            faults.append(f"{PARTS[part].what}: {library.name} does not import ({fault}); {cure}")
    return "; ".join(([_needs(part, missing)] if missing else []) + faults)


def explain(error: ImportError) -> MissingExtra | None:
    """Return the error for an import that failed because an optional library is missing; None for any other import."""
    top = (error.name or "").partition(".")[0]
    for part, about in PARTS.items():
        if any(top == library.top for library in about.libraries):
            return MissingExtra(lacking(part) or f"{about.what}: {top} does not import ({error})")
    return None


def _needs(part: str, missing: list[Library]) -> str:
    names = [library.name for library in missing]
    listed = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    cures = dict.fromkeys(library.cure or f"pip install 'mec-transfer[{part}]'" for library in missing)
    return f"{PARTS[part].what} needs {listed}: {' and '.join(cures)}"
