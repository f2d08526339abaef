from __future__ import annotations

from pathlib import Path

import pytest

from mec_transfer.common.errors import ConfigError
from mec_transfer.results.references import Reference, load_references


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
        ("imagenet-semisup-1pct-barlow", "Barlow Twins", "", {"top1": 55.0, "top5": 79.2}, True),
        ("imagenet-semisup-10pct-vicreg", "VICReg", "", {"top1": 69.5, "top5": 89.5}, True),
        ("voc07-c4-simsiam", "SimSiam, optimal", "", {"AP50": 77.3, "AP": 48.5, "AP75": 52.5}, True),
        ("voc0712-c4-barlow", "Barlow Twins", "", {"AP": 56.8, "AP50": 82.6, "AP75": 63.4}, True),
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
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
