"""Which versions count as tested, and how an untested one is told."""

from __future__ import annotations

from mec_transfer.engines.versions import Version, describe, installed, within


def test_versions_within_and_beyond_the_tested_ones() -> None:
    assert within("2.11.0+cu130", "2.11", "2.11")
    assert not within("2.12.0", "2.11", "2.11") and not within("unknown", "2.11", "2.11")
    spans = {"torch": ("2.11", "2.11"), "numpy": ("1.26", "2.4")}
    assert describe(Version("torch", "2.12.0", False), spans) == "torch 2.12.0 (tested: 2.11)"
    assert describe(Version("numpy", "2.5.1", False), spans) == "numpy 2.5.1 (tested: 1.26 to 2.4)"
    assert describe(Version("numpy", "2.0.1", True), spans) == "numpy 2.0.1"


def test_what_is_installed_is_found() -> None:
    (torch,) = installed({"torch": ("1", "9")})
    assert torch.tested and torch.found[0].isdigit()
    assert not installed({"torch": ("0.1", "0.2")})[0].tested
