"""What pip cannot do is one line."""

from __future__ import annotations

import subprocess

import pytest

from mec_transfer.common.errors import RunError
from mec_transfer.engines import pip


def test_what_pip_cannot_do_is_one_line() -> None:
    with pytest.raises(RunError, match="pip could not install the engine .*no-such-project.*run this again") as caught:
        pip.run_pip("install", "--no-index", "mec-no-such-project", what="the engine", offline="--from DIR")
    assert "\n" not in str(caught.value) and str(caught.value).endswith("(without a network: --from DIR)")


@pytest.mark.parametrize(
    ("broken_by", "words"),
    [
        (
            "NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f1>: "
            "Failed to establish a new connection: [Errno -3] Temporary failure in name resolution')",
            r"Failed to establish a new connection: \[Errno -3\] Temporary failure in name resolution",
        ),
        (
            "ProxyError('Cannot connect to proxy.', OSError('Tunnel connection failed: 403 Forbidden'))",
            r"ProxyError\('Cannot connect to proxy.', OSError\('Tunnel connection failed: 403 Forbidden'\)\)",
        ),
    ],
)
def test_an_index_that_does_not_answer_is_told(broken_by: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = (
        f"WARNING: Retrying (Retry(total=0)) after connection broken by '{broken_by}': /simple/mmcv/\n"
        "ERROR: Could not find a version that satisfies the requirement mmcv (from versions: none)\n"
        "ERROR: No matching distribution found for mmcv\n"
    )
    failed = subprocess.CompletedProcess((), 1, "", said)
    monkeypatch.setattr(pip.subprocess, "run", lambda *args, **kwargs: failed)
    with pytest.raises(RunError, match=rf"\(the package index does not answer: {words}\); mend that and"):
        pip.run_pip("download", "mmcv", what="mmcv", offline="--from DIR")


def test_a_conflict_is_told_by_its_first_line(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "ERROR: Cannot install lap and numpy because of conflicts.\nERROR: ResolutionImpossible: for help visit"
    failed = subprocess.CompletedProcess((), 1, "", said)
    monkeypatch.setattr(pip.subprocess, "run", lambda *args, **kwargs: failed)
    with pytest.raises(RunError, match=r"\(ERROR: Cannot install lap and numpy"):
        pip.run_pip("install", "lap", what="lap", offline="--from DIR")
