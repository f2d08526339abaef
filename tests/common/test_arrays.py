from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mec_transfer.common.arrays import kept_arrays, measure_saved, save_arrays
from mec_transfer.common.errors import UserError


def test_metrics_follow_from_what_was_saved(tmp_path: Path) -> None:
    save_arrays(tmp_path / "predictions.npz", scores=np.arange(3.0))
    assert measure_saved(tmp_path, lambda saved: {"sum": float(saved["scores"].sum())}) == {"sum": 3.0}


def test_predictions_that_are_missing_or_damaged_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"predictions\.npz: no such file"):
        measure_saved(tmp_path, lambda saved: {})
    (tmp_path / "predictions.npz").write_bytes(b"x")
    with pytest.raises(UserError, match=r"predictions\.npz: not readable as predictions \(not a \.npz file\)"):
        measure_saved(tmp_path, lambda saved: {})
    save_arrays(tmp_path / "predictions.npz", other=np.zeros(1))
    with pytest.raises(UserError, match="not readable as predictions"):
        measure_saved(tmp_path, lambda saved: {"x": float(saved["scores"][0])})


def test_what_was_kept_is_used_only_where_it_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sub" / "000.npz"
    assert kept_arrays(path, {"ap": (2,)}) is None and capsys.readouterr().err == ""
    save_arrays(path, ap=np.ones(2))
    kept = kept_arrays(path, {"ap": (2,)})
    assert kept is not None and kept["ap"].tolist() == [1.0, 1.0]
    assert kept_arrays(path, {"ap": (3,)}) is None
    assert "000.npz: not readable ('ap' is of shape (2,), not (3,)); it is computed again" in capsys.readouterr().err
