from __future__ import annotations

from pathlib import Path

import pytest

from mec_transfer.common.errors import ConfigError
from mec_transfer.results.leaderboard import build_leaderboard
from mec_transfer.results.markdown import format_markdown
from mec_transfer.results.references import Reference, load_references
from mec_transfer.suite.registry import benchmark_config, benchmark_files
from tests.results.test_leaderboard import PARTIAL, record

SHOTS = ("top1_5shot", "top1_20shot", "top1_50shot")


def of(protocol: str, method: str, pretraining: str = "") -> list[Reference]:
    return [
        r for r in load_references() if (r.protocol, r.method) == (protocol, method) and pretraining in r.pretraining
    ]


def test_every_number_has_a_citation_and_a_protocol() -> None:
    references = load_references()
    assert len(references) > 80
    for ref in references:
        assert ref.source.strip() and ref.protocol and ref.method and ref.metrics
        assert not any(character.isspace() for character in ref.protocol)


@pytest.mark.parametrize(
    ("protocol", "method", "pretraining", "metrics", "by_authors"),
    [
        ("imagenet-linear-mec", "MEC", "100", {"top1": 70.8}, True),
        ("imagenet-linear-simsiam", "MoCo v2", "800", {"top1": 72.2}, False),
        ("imagenet-linear-simsiam", "SimSiam", "200", {"top1": 70.0}, True),
        ("imagenet-knn-dino", "DINO", "", {"top1": 67.5}, True),
        ("imagenet-knn-dino", "SwAV", "", {"top1": 65.7}, False),
        ("few-shot-eurosat", "DeepCluster v2", "800", dict(zip(SHOTS, (88.39, 92.02, 93.07))), False),
        ("few-shot-chestx", "supervised (torchvision v1)", "", dict(zip(SHOTS, (25.22, 29.26, 32.34))), False),
        ("few-shot-flowers102", "BYOL", "1000", dict(zip(SHOTS, (96.06, 97.88))), False),
        ("imagenet-semisup-1pct-barlow", "Barlow Twins", "", {"top1": 55.0, "top5": 79.2}, True),
        ("imagenet-semisup-10pct-vicreg", "VICReg", "", {"top1": 69.5, "top5": 89.5}, True),
        ("voc0712-c4-moco", "SimSiam, base", "", {"AP50": 82.0, "AP": 56.4, "AP75": 62.8}, True),
        ("voc07-c4-simsiam", "SimSiam, optimal", "", {"AP50": 77.3, "AP": 48.5, "AP75": 52.5}, True),
        ("voc0712-c4-barlow", "Barlow Twins", "", {"AP": 56.8, "AP50": 82.6, "AP75": 63.4}, True),
        ("voc12aug-fcn-d8-mmseg-20k", "DenseCL (mmselfsup)", "", {"mIoU": 69.47}, False),
        ("voc12aug-fcn-densecl", "DenseCL on COCO", "1600", {"mIoU": 68.0}, True),
        ("otb2015-sot-dcf-unitrack", "supervised", "", {"AUC": 61.8}, True),
    ],
)
def test_numbers_as_printed(
    protocol: str, method: str, pretraining: str, metrics: dict[str, float], by_authors: bool
) -> None:
    (found,) = of(protocol, method, pretraining)
    assert found.metrics == metrics and found.by_authors is by_authors


def test_what_was_not_found_is_not_there() -> None:
    mec = [ref for ref in load_references() if ref.method == "MEC"]
    assert [ref.protocol for ref in mec] == ["imagenet-linear-mec"]
    assert not [ref for ref in load_references() if "semisup" in ref.protocol and ref.method == "SimSiam"]


def test_no_protocol_has_one_method_twice_from_one_source() -> None:
    places = [(r.protocol, r.method, r.arch, r.pretraining, r.source, *r.metrics) for r in load_references()]
    assert len(places) == len(set(places))


def test_an_id_that_no_config_has_says_what_differs_from_the_nearest_that_one_has() -> None:
    """And an id that a config has says nothing of the kind: its settings are the config's."""
    data = {config.protocol: config.dataset.name for config in map(benchmark_config, benchmark_files())}
    for ref in load_references():
        if ref.protocol in data:
            assert (ref.nearest, ref.differs) == ("", ""), ref.protocol
        else:
            assert ref.nearest in data and ref.differs.strip() and "\n" not in ref.differs, ref.protocol
        assert ref.dataset == data[ref.nearest or ref.protocol], ref.protocol
        assert not ref.added_from
    assert sum(ref.protocol in data for ref in load_references()) >= 47


def test_numbers_by_mocos_folder_stand_under_its_ids() -> None:
    for protocol in ("voc0712-c4-moco", "coco-c4-1x-moco"):
        found = [ref for ref in load_references() if (ref.protocol, ref.source) == (protocol, "SimSiam paper, Table 5")]
        assert len(found) == 8 and all("MoCo's folder" in ref.note for ref in found)
    (optimal,) = of("coco-c4-1x-moco", "SimSiam, optimal")
    assert optimal.metrics["mask_AP"] == 34.4 and optimal.by_authors


def on(protocol: str, dataset: str, **about: str) -> Reference:
    fields = {"method": "M", "arch": "resnet50", "pretraining": "", "source": "S", "note": "", **about}
    return Reference(protocol=protocol, dataset=dataset, metrics={"top1": 99.0}, by_authors=True, **fields)


def test_numbers_by_other_protocols_are_listed_by_the_data_of_the_columns() -> None:
    other = on("theirs", "imagenet", nearest="x-knn-dino", differs="k = 1 | not 20", method="Other")
    references = [on("x-knn-dino", "imagenet"), other, on("x-linear", "imagenet"), on("voc", "voc07")]
    board = build_leaderboard([record("mec", "x-knn-dino", 60.0)], references)
    assert [ref.protocol for ref in board.published] == ["x-knn-dino"]
    assert [ref.protocol for ref in board.others] == ["theirs", "x-linear"]
    table, _, below = format_markdown(board).partition("## Published under other protocols")
    assert "theirs" not in table
    assert "- `theirs` is not `x-knn-dino`: k = 1 \\| not 20" in below and "voc" not in below
    assert "| Other | `theirs` | top1 99.0 | S (resnet50) |" in below
    assert "- Not run here; the protocol cards have the settings: `x-linear`." in below


def test_numbers_of_the_published_data_are_not_listed_for_other_data() -> None:
    partial = build_leaderboard([record("mec", "x-knn-dino", 60.0, dataset=PARTIAL)], [on("theirs", "imagenet")])
    assert partial.others == () and "Published" not in format_markdown(partial)
    custom = build_leaderboard([record("mec", "x-knn-dino+custom-1", 60.0)], [on("x-knn-dino", "imagenet")])
    assert custom.published == () and [ref.protocol for ref in custom.others] == ["x-knn-dino"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {protocol: x, source: s, metrics: [a], rows: [{method: m, values: [.nan]}]}", "finite"),
        ("- {protocol: x, source: s, nearest: y, metrics: [a], rows: [{method: m, values: [1.0]}]}", "give all three"),
        ("- {protocol: x, source: s, differs: y, metrics: [a], rows: [{method: m, values: [1.0]}]}", "give all three"),
        ("- {protocol: x, metrics: [a], rows: [{method: m, values: [1.0]}]}", "source"),
        ("- {protocol: x, source: '', metrics: [a], rows: [{method: m, values: [1.0]}]}", "source"),
        ("- {protocol: x, source: s, metrics: [a], rows: [{method: m, values: [1.0, 2.0]}]}", "2 values"),
        ("- {protocol: x, source: s, metrics: [a], rows: [{method: m, values: []}]}", "values"),
        ("- {protocol: x, source: s, metrics: [a], rows: [{method: m, valeus: [1.0]}]}", "Did you mean 'values'"),
    ],
)
def test_a_malformed_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"tables:\n  {text}\n")
    with pytest.raises(ConfigError, match=message):
        load_references(path)
