"""What a command knows of an engine, and how one is found by its name without importing the others."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType

from mec_transfer.common.errors import UserError, one_line
from mec_transfer.common.extras import require
from mec_transfer.common.lookup import look_up
from mec_transfer.common.progress import warn
from mec_transfer.engines import versions
from mec_transfer.engines.versions import Spans, Version

ENGINES = {
    "detectron2": "mec_transfer.detection.engine:ENGINE",
    "mmtracking": "mec_transfer.tracking.mmtrack.engine:ENGINE",
}
"""Name -> where its `Engine` stands."""

Noise = tuple[type[Warning], str, str]
"""Category, start of the message and module of a warning that is not to be seen."""

Proofs = Mapping[str, Callable[[], str]]
"""Name -> a proof, which returns what it saw or raises."""


@dataclasses.dataclass(frozen=True, eq=False)
class Engine:
    """A foreign training code: how it is loaded, installed and proven."""

    name: str
    """As commands take it, "detectron2"."""
    title: str
    """As its authors write it, "Detectron2"."""
    part: str
    """The part of `extras.PARTS` that lists its libraries."""
    tested: Spans
    """What its proofs and the tests have run on."""
    noise: tuple[Noise, ...]
    """The warnings of its calls to interfaces that others have deprecated; of no use to who runs a benchmark."""
    start: Callable[[], ModuleType]
    """Imports it with all its parts and makes it ready."""
    installer: str
    """Where the function stands that installs it, "module:function"."""
    prover: str
    """Where its proofs stand, "module:PROOFS"."""

    @functools.cache  # noqa: B019  an engine lives as long as its process
    def load(self) -> ModuleType:
        """Import the engine; return its package. Warns once of an untested version.

        Raises:
            UserError: it is not installed (MissingExtra), or does not import; says what to do.
        """
        require(self.part)
        try:
            with _quiet():
                package = self.start()
        except Exception as error:  # built for another torch, too old for this Pillow, half copied: whatever it raises
            raise UserError(
                f"{self.title} does not import ({one_line(error)}); run: mec-transfer engines install {self.name}"
            ) from error
        for category, message, module in self.noise:
            warnings.filterwarnings("ignore", message=message, category=category, module=module)
        for version in self.versions():
            if not version.tested:
                check = "engines check" if self.name == DEFAULT else f"engines check {self.name}"
                warn(f"{self.describe(version)}; mec-transfer {check} tells whether it works")
        return package

    def versions(self) -> list[Version]:
        """Return the versions that are installed of what `tested` names."""
        return versions.installed(self.tested)

    def describe(self, version: Version) -> str:
        """Return one line: name, version and, where it is untested, what was tested."""
        return versions.describe(version, self.tested)

    def install(self, source: str | None) -> str:
        """Make the engine importable; return one line that says which it is. `source`: install this, do not choose.

        Raises:
            UserError: `source` is not what it claims to be, or what is installed already is in the way.
            RunError: pip failed; its reason is given.
        """
        done: str = look_up(self.installer)(source)
        return done

    def proofs(self) -> Proofs:
        """Return what shows that the installed engine computes what the protocols need."""
        found: Proofs = look_up(self.prover)
        return found


DEFAULT = "detectron2"
"""The engine that a command means without a name."""


def find_engine(name: str) -> Engine:
    """Return the engine of that name in ENGINES; its own libraries are not imported."""
    engine: Engine = look_up(ENGINES[name])
    return engine


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep imports from warning; torch logs of a CUDA toolkit that there is no GPU for."""
    logger = logging.getLogger("torch.utils.cpp_extension")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
