"""A small suite over the fake family (fake/fake_family.py), run in this process or as a real command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mec_transfer.datasets.registry import LAYOUTS

FAKE = Path(__file__).parent / "fake"
sys.path.append(str(FAKE))

ONE = """
id: one
family: fake
kind: fake
protocol: fake-one
title: Fake one
published: nowhere
dataset: {name: first, layout: fake, folder: first}
metrics: {primary: top1}
"""
TWO = "base: one.yaml\nid: two\nprotocol: fake-two\ntitle: Fake two\ntrials: 2\ndataset: {folder: second}\n"
SUITE = """
id: small
models:
  random: random:x
benchmarks: [one.yaml, two.yaml]
"""


PRETRAINED = "  mec: {pretrain: mec_r50_100ep, data: images}\n"


class World:
    """A suite, its data and a model file in a folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.data, self.out = root, root / "data", root / "out"
        for name, size in (("first", 10), ("second", 20)):
            self.write(f"data/{name}/size", str(size))
        self.write("one.yaml", ONE)
        self.write("two.yaml", TWO)
        self.write("suite.yaml", SUITE)
        self.write("b.txt", "weights of b")

    @property
    def env(self) -> dict[str, str]:
        """What real processes need to know the fake family."""
        return {**os.environ, "PYTHONPATH": f"{FAKE}{os.pathsep}{Path.cwd()}"}

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def pretrain(self, overrides: str = "") -> None:
        """Add a model that is pretrained first."""
        entry = PRETRAINED.replace("images}", f"images, overrides: [{overrides}]}}")
        self.write("suite.yaml", SUITE.replace("models:\n", f"models:\n{entry}"))

    def start(self, *arguments: str, out: str = "out") -> subprocess.Popen[str]:
        """Start `mec-transfer run` on the suite."""
        command = [sys.executable, "-m", "mec_transfer.cli.main", "run", "--suite", "suite.yaml", "--data-root", "data"]
        return subprocess.Popen(
            [*command, "--out", out, *arguments],
            cwd=self.root,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, out: str = "out") -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        process = self.start(*arguments, out=out)
        stdout, stderr = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def finished(self, out: str = "out") -> dict[str, int]:
        """Folder of each ok record to the moment it was written."""
        paths = sorted((self.root / out).glob("jobs/*/*/record.json"))
        return {p.parent.name: p.stat().st_mtime_ns for p in paths if '"status": "ok"' in p.read_text()}

    def board(self, out: str = "out") -> dict[str, bytes]:
        """The three leaderboards."""
        return {form: (self.root / out / f"leaderboard.{form}").read_bytes() for form in ("md", "csv", "json")}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture(autouse=True)
def fake_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake family's data."""
    monkeypatch.setitem(LAYOUTS["images"], "fake", "fake_family:FakeLayout")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake family in this process."""
    import fake_family

    from mec_transfer.backbone import source
    from mec_transfer.suite import models, registry

    monkeypatch.setitem(registry.BENCHMARKS, "fake/fake", ("fake_family:Fake", "fake_family:FakeConfig"))
    monkeypatch.setattr(source, "resolve_backbone", fake_family.fake_backbone)
    assert models  # imported after the stand-ins are in place
