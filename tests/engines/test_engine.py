"""What every engine does alike: found by name, loaded once and quietly, told in one line where it fails."""

from __future__ import annotations

import dataclasses
import logging
import sys
import warnings
from types import ModuleType

import pytest

from mec_transfer.common.errors import MissingExtra, UserError
from mec_transfer.engines import engine
from mec_transfer.engines.engine import ENGINES, Engine, find_engine


def noisy() -> ModuleType:
    warnings.warn("On January 1, 2023, MMCV will release v2.0.0", stacklevel=1)
    logging.getLogger("torch.utils.cpp_extension").warning("No CUDA runtime is found")
    return sys


def broken() -> ModuleType:
    raise AssertionError("MMCV==2.1.0 is used but incompatible.\n Please install mmcv>=1.3.17")


MADE = Engine(
    name="maker",
    title="Maker",
    part="plot",
    tested={"torch": ("1", "99")},
    noise=((FutureWarning, "old", ""),),
    start=noisy,
    installer="mec_transfer.common.errors:one_line",
    prover="mec_transfer.engines.engine:ENGINES",
)


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_is_found_by_its_name_without_its_libraries(name: str) -> None:
    found = find_engine(name)
    assert found.name == name and found.proofs() and found.part
    assert callable(engine.look_up(found.installer))


def test_loading_is_quiet_and_done_once(caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder) -> None:
    made = dataclasses.replace(MADE)
    with warnings.catch_warnings():
        assert made.load() is sys and made.load() is sys
        warnings.warn("old ways", FutureWarning, stacklevel=1)
    assert not recwarn.list and not caplog.records
    assert logging.getLogger("torch.utils.cpp_extension").level == logging.NOTSET


def test_an_untested_version_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        made = dataclasses.replace(MADE, tested={"torch": ("0.1", "0.2")})
        made.load()
        made.load()
    said = capsys.readouterr().err
    assert said.count("(tested: 0.1 to 0.2); mec-transfer engines check maker tells whether it works") == 1


def test_what_does_not_import_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as caught:
        dataclasses.replace(MADE, start=broken).load()
    assert str(caught.value) == (
        "Maker does not import (MMCV==2.1.0 is used but incompatible. Please install mmcv>=1.3.17); "
        "run: mec-transfer engines install maker"
    )
    monkeypatch.setattr(engine, "require", lambda part: (_ for _ in ()).throw(MissingExtra(f"no {part}")))
    with pytest.raises(MissingExtra, match="no plot"):
        dataclasses.replace(MADE).load()
