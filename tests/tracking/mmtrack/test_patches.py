"""When a patch is applied, and what a module sees through one; test_engine.py looks at their effects."""

from __future__ import annotations

import numpy as np
import pytest

from mec_transfer.tracking.mmtrack import patches
from mec_transfer.tracking.mmtrack.patches import PATCHES, Patch, _View


@pytest.mark.parametrize(
    ("version", "needed"), [("1.23.5", False), ("1.24.0", True), ("2.4.6", True), ("unknown", False)]
)
def test_a_patch_is_for_the_versions_that_have_its_symptom(
    version: str, needed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied: list[str] = []
    monkeypatch.setattr(patches, "installed_version", lambda package: version)
    monkeypatch.setattr(patches, "PATCHES", (Patch("no np.int", "numpy", "1.24", lambda: applied.append("x")),))
    patches.apply_all()
    assert applied == ["x"] * needed


def test_every_patch_names_its_symptom_once() -> None:
    assert len({patch.symptom for patch in PATCHES}) == len({patch.apply for patch in PATCHES}) == len(PATCHES)


def test_a_module_sees_more_names_and_the_others_do_not() -> None:
    view = _View(np, int=int)
    assert view.int is int and view.float32 is np.float32 and not hasattr(np, "int")
    assert not hasattr(view, "no_such_name")
