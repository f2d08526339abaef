"""The list of public data sets: whole, and in agreement with torchvision and with the configs."""

from __future__ import annotations

import inspect
import re
from pathlib import Path, PurePosixPath

import pytest
import torchvision

from mec_transfer.archives.catalogue import find_set, load_sets
from mec_transfer.common.errors import ConfigError, UserError
from mec_transfer.datasets.registry import layout_names
from mec_transfer.suite.config import load_suite
from mec_transfer.suite.registry import benchmark_config, find_benchmark

SETS = load_sets()
OPEN = {name: one for name, one in SETS.items() if one.files}
MODULES = ["caltech", "cifar", "dtd", "fgvc_aircraft", "flowers102", "food101", "oxford_iiit_pet", "sun397", "voc"]


@pytest.mark.parametrize("name", OPEN)
def test_a_set_is_whole(name: str) -> None:
    one = OPEN[name]
    assert one.place and one.source and one.layout in (*layout_names(), None)
    assert PurePosixPath(one.place).is_relative_to(one.folder or one.place)
    assert len({file.name for file in one.files}) == len(one.files)
    assert all(re.fullmatch(r"https?://[\w./~-]+", file.url) for file in one.files)
    # What comes without a check comes by TLS.
    assert all(file.url.startswith("https://") or file.sha256 or file.md5 for file in one.files)


@pytest.mark.parametrize("module", MODULES)
def test_digits_of_torchvision_are_those_of_the_installed_torchvision(module: str) -> None:
    source = inspect.getsource(getattr(torchvision.datasets, module))
    own = [
        file
        for one in OPEN.values()
        if f"torchvision/datasets/{module}.py" in str(one.source)
        for file in one.files
        if file.md5
    ]
    files = [file for one in OPEN.values() if f"datasets/{module}.py" in str(one.source) for file in one.files]
    assert files and all(str(file.md5) in source for file in own)
    found = [file for file in files if file.url in source or file.url.rpartition("/")[0] + "/" in source]
    assert len(found) == len(
        [file for file in files if "ssl-transfer" not in file.url and "Partitions" not in file.url]
    )


def test_every_set_of_the_transfer_suite_is_there_under_the_folder_that_its_config_wants() -> None:
    root = Path("configs").resolve()
    for entry in load_suite(root / "suites/linear_transfer.yaml", ["a=random:resnet18"]).benchmarks:
        dataset = benchmark_config(find_benchmark(entry.config, root)).dataset
        one = SETS[dataset.name]
        if one.by_hand:
            assert dataset.folder in one.by_hand
        else:
            assert (one.folder or one.place, one.layout) == (dataset.folder, dataset.layout)


def test_what_cannot_be_fetched_says_why_in_one_line() -> None:
    assert sorted(set(SETS) - set(OPEN)) == ["cars", "imagenet", "places205"]
    for name, words in (
        ("cars", "is dead"),
        ("imagenet", "at image-net.org"),
        ("places205", "at places.csail.mit.edu"),
        ("dtt", "Did you mean 'dtd'?"),
    ):
        with pytest.raises(UserError, match=re.escape(words)) as error:
            find_set(name)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{title: x}", "either 'files'"),
        ("{title: x, by_hand: y, source: y, place: z, about: a, files: [{url: u}]}", "either 'files'"),
        ("{title: x, source: y, place: ../z, about: a, files: [{url: u}]}", "place"),
        ("{title: x, source: y, place: z, files: [{url: u}]}", "'about' is needed"),
        ("{title: x, source: y, place: z, about: a, files: [{url: u, into: /tmp}]}", "into"),
    ],
)
def test_a_malformed_list_is_told(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "sets.yaml"
    path.write_text(f"sets:\n  one: {text}\n")
    with pytest.raises(ConfigError, match=told):
        load_sets(path)
