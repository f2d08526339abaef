"""What a number's panel is filled from."""

from __future__ import annotations

import json
from pathlib import Path

from mec_transfer.common.files import write_json
from mec_transfer.report.page import write_report
from mec_transfer.report.panels import as_script
from mec_transfer.results.store import Store
from mec_transfer.suite.registry import benchmark_config, find_benchmark
from tests.example_board import example_records
from tests.report.conftest import MakePage, Page, write_records


def test_a_panel_knows_everything_of_its_trials(make_page: MakePage) -> None:
    record = example_records()[0]
    record = record.model_copy(
        update={
            "metrics": {"top1": 61.2400001, "top5": 81.0},
            "seconds": 12.345,
            "finished": "2026-01-02T03:04:05+00:00",
            "hardware": {"gpu": "H100", "gpus": 8},
            "warnings": ["odd"],
        }
    )
    page = make_page([record])
    (trial,) = page.trials(0, 0)
    assert dict(zip(trial["metrics"], trial["values"], strict=True)) == {"top1": 61.24, "top5": 81.0}
    assert trial["weights"]["sha256"] == record.model.sha256 and trial["versions"] == record.versions
    assert (trial["seconds"], trial["finished"], trial["hardware"]) == (12.3, record.finished, record.hardware)
    assert trial["warnings"] == ["odd"] and trial["error"] is None and trial["repeat"] is None and trial["job"] is None
    assert record.dataset and trial["data"]["fingerprint"] == record.dataset.fingerprint
    assert page.data["columns"][0]["config"] == record.benchmark.config_sha256


def test_means_are_the_leaderboard_s(make_page: MakePage) -> None:
    data = make_page(example_records()).data
    means = {name: dict(zip((c["protocol"] for c in data["columns"]), row, strict=True))
             for name, row in zip(data["rows"], data["means"], strict=True)}  # fmt: skip
    assert means["ours"]["voc0712-c4-moco"] == (81.9 + 82.1 + 82.3) / 3
    assert means["theirs"]["voc0712-c4-moco"] == 81.8 and means["random"]["voc0712-c4-moco"] is None


def test_what_differs_is_told_from_the_job_and_the_shipped_config(tmp_path: Path) -> None:
    records = example_records()
    custom = next(record for record in records if "+" in record.benchmark.protocol)
    folders = write_records(tmp_path, records)
    config = benchmark_config(find_benchmark("knn_instdisc", Path()), ["recipe.ks=[20]", "recipe.k=20"])
    job = {
        "config": config.model_dump(mode="json"),
        "workdir": "x/y",
        "checkpoint": "c.pth",
        "encoder": "auto",
        "data": "d",
    }
    write_json(folders[records.index(custom)] / "job.json", job)
    page = Page(write_report(tmp_path, Store.read(tmp_path)))
    data = page.data
    column = next(at for at, one in enumerate(data["columns"]) if one["protocol"] == custom.benchmark.protocol)
    lines = data["shared"][data["columns"][column]["differs"]]
    assert lines[0].startswith("`+custom-90681f19`: this is not `imagenet-knn-instdisc`")
    assert "`recipe.k`: 20, published with 200" in lines
    (trial,) = page.trials(data["rows"].index("ours"), column)
    assert trial["job"] == "x/y/job.json" and "--set recipe.k=20" in trial["repeat"]
    detection = next(one for one in data["columns"] if one["protocol"] == "voc0712-c4-moco")
    assert sum(line.startswith("Known deviation: ") for line in data["shared"][detection["differs"]]) == 2
    assert "facebookresearch/moco" in data["shared"][detection["published"]]


def test_many_long_logs_are_cut_and_equal_ones_kept_once(tmp_path: Path) -> None:
    failed = next(record for record in example_records() if record.status == "failed")
    failures = [failed.model_copy(update={"trial": at, "seed": at}) for at in range(200)]
    for at, folder in enumerate(write_records(tmp_path, failures)):
        (folder / "log.txt").write_text(f"{at if at < 150 else 'same'} " + "x" * 3900)
    page = Page(write_report(tmp_path, Store.read(tmp_path)))
    assert page.path.stat().st_size < 600_000
    logs = [trial["log"] for trial in page.trials(0, 0)]
    assert sum(log is not None for log in logs) == 77  # 300,000 of 3,902 or more each
    assert all(trial["error"] == failed.error for trial in page.trials(0, 0))


def test_json_in_a_page_cannot_end_its_script() -> None:
    value = {"</script>": ["<!--", "&amp;", "\u2028", "\ud800"]}
    text = as_script(value)
    assert not set("<>&\u2028\ud800") & set(text) and json.loads(text) == value
