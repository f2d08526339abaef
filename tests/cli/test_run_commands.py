"""knn, linear, semisup, run, leaderboard, report, verify, ls and doctor: exit statuses and what they say."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mec_transfer.api import default_name
from mec_transfer.cli.doctor import OPTIONAL
from mec_transfer.cli.evaluate import format_record
from mec_transfer.cli.main import COMMANDS, main
from mec_transfer.common.paths import CONFIGS
from mec_transfer.results.record import read_record

sys.path.append(str(Path(__file__).parents[1] / "suite" / "fake"))

MINE = (
    "knn",
    "linear",
    "semisup",
    "run",
    "leaderboard",
    "report",
    "verify",
    "ls",
    "show",
    "doctor",
    "models",
    "reproduce",
)

FAKE_YAML = """
id: fake
family: fake
kind: fake
protocol: fake-one
title: Fake
published: nowhere
dataset: {name: d, layout: fake, folder: d}
metrics: {primary: top1}
"""


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The arguments of a job of the fake family that is done at once."""
    import fake_family

    from mec_transfer.backbone import source
    from mec_transfer.datasets.registry import LAYOUTS
    from mec_transfer.suite import registry

    monkeypatch.setitem(registry.BENCHMARKS, "fake/fake", ("fake_family:Fake", "fake_family:FakeConfig"))
    monkeypatch.setattr(source, "resolve_backbone", fake_family.fake_backbone)
    monkeypatch.setitem(LAYOUTS["images"], "fake", "fake_family:FakeLayout")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "size").write_text("10")
    (tmp_path / "fake.yaml").write_text(FAKE_YAML)
    data, out, config = (str(tmp_path / name) for name in ("d", "out", "fake.yaml"))
    return ["random:x", "--data", data, "--out", out, "--config", config]


@pytest.mark.parametrize("name", MINE)
def test_help_says_what_it_does(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0 and "usage: mec-transfer" in capsys.readouterr().out


def test_no_command_imports_torch_before_it_works() -> None:
    code = (
        "import importlib, sys\n"
        "from mec_transfer.cli.main import main\n"
        f"for name in {MINE!r}: importlib.import_module('mec_transfer.cli.' + name)\n"
        "main(['ls']); main(['--help'])\n"
        "heavy = {'torch', 'torchvision', 'numpy', 'PIL', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_command_has_a_line_in_the_usage() -> None:
    assert set(MINE) <= set(COMMANDS)


def test_a_job_prints_a_short_table_and_is_not_repeated(
    fake: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["knn", *fake, "--name", "mine"]) == 0
    printed = capsys.readouterr().out
    record = read_record(tmp_path / "out")
    assert record.model.name == "mine" and f"{record.metrics['top1']:.2f}  (primary)" in printed
    assert "fake-one" in printed and str(tmp_path / "out" / "record.json") in printed
    before = (tmp_path / "out" / "runs.txt").read_text()
    assert main(["knn", *fake, "--name", "mine"]) == 0
    assert capsys.readouterr().out == printed and (tmp_path / "out" / "runs.txt").read_text() == before


def test_another_job_in_the_same_out_is_a_mistake(fake: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["knn", *fake]) == 0
    assert main(["knn", "random:y", *fake[1:]]) == 2
    error = capsys.readouterr().err
    assert "holds another job (fake-one of random:x" in error and error.count("\n") == 1


def test_an_override_shows_in_the_protocol(fake: list[str], tmp_path: Path) -> None:
    assert main(["linear", *fake, "--set", "recipe.seconds=0.01"]) == 0
    assert read_record(tmp_path / "out").benchmark.protocol.startswith("fake-one+custom-")


def test_a_failing_job_exits_1_and_says_why(
    fake: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["knn", *fake, "--name", "m", "--set", "recipe.fail_for=m"]) == 1
    assert capsys.readouterr().err == "mec-transfer: failed: the loss is nan at step 7\n"
    assert read_record(tmp_path / "out").status == "failed"


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("knn", ["--config", "knn_dion"], "no such config"),
        ("knn", ["--workers", "-1"], "neither can be negative"),
        ("knn", ["--trial", "-1"], "--trial -1: cannot be negative"),
        ("knn", ["--set", "recipe.sconds=1"], "Did you mean 'seconds'"),
        ("linear", ["--fast"], "leave out --fast"),
        ("semisup", ["--recipe", "swav"], "leave out --recipe"),
        ("semisup", ["--labels", "10%"], "leave out --recipe and --labels"),
        ("semisup", ["--labels", "no-such-list.txt"], "no-such-list.txt: no such file; give 1%, 10% or a file"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    fake: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    arguments: list[str],
    message: str,
) -> None:
    assert main([command, *fake, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_default_configs_exist() -> None:
    for name in ["knn_dino", "linear_mec", "linear_fast"]:
        assert (CONFIGS / "classification" / f"{name}.yaml").is_file(), name
    for recipe in ("barlow", "vicreg", "swav"):
        for percent in (1, 10):
            assert (CONFIGS / "classification" / f"semisup_{percent}pct_{recipe}.yaml").is_file()


@pytest.mark.parametrize(
    ("checkpoint", "name"),
    [("random:resnet50", "random:resnet50"), ("a/moco_v2.pth.tar", "moco_v2"), ("runs/x/checkpoint_last.pth", "x")],
)
def test_a_model_is_named_after_its_checkpoint(checkpoint: str, name: str) -> None:
    assert default_name(checkpoint) == name


def test_a_failed_record_can_be_shown(fake: list[str], tmp_path: Path) -> None:
    main(["knn", *fake, "--name", "m", "--set", "recipe.fail_for=m"])
    assert "failed     the loss is nan" in format_record(read_record(tmp_path / "out"))


def test_leaderboard_in_three_formats(fake: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", str(tmp_path)]) == 2
    assert "no job below it has a record yet" in capsys.readouterr().err
    main(["knn", *fake])
    capsys.readouterr()
    for form, mark in (("md", "| random:x |"), ("csv", "yes,random:x,"), ("json", '"model": "random:x"')):
        assert main(["leaderboard", str(tmp_path), "--format", form]) == 0
        assert mark in capsys.readouterr().out
    assert main(["leaderboard", str(tmp_path / "nowhere")]) == 2


def test_leaderboard_of_a_damaged_record_warns_and_shows_a_failure(
    fake: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["knn", *fake])
    (tmp_path / "out" / "record.json").write_text("{")
    assert main(["leaderboard", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "failed (1)" in printed.out and "warning:" in printed.err and "record.json" in printed.err


def test_verify_recomputes_and_tells_what_differs(
    fake: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["verify", str(tmp_path)]) == 2
    main(["knn", *fake])
    (tmp_path / "fake.yaml").unlink()  # the job knows its own config
    assert main(["verify", str(out)]) == 0
    assert "1 verified, 0 bad" in capsys.readouterr().out
    record = json.loads((out / "record.json").read_text())
    record["metrics"]["top1"] += 1e-8
    (out / "record.json").write_text(json.dumps(record))
    assert main(["verify", str(tmp_path)]) == 1
    assert "from the predictions" in capsys.readouterr().out
    record["metrics"]["invented"] = 99.0
    record["metrics"]["top1"] -= 1e-8
    (out / "record.json").write_text(json.dumps(record))
    assert main(["verify", str(out)]) == 1
    assert "invented = 99.0 in the record, and nothing in the predictions" in capsys.readouterr().out
    (out / "predictions.json").unlink()
    assert main(["verify", str(out)]) == 1
    assert "no such file" in capsys.readouterr().out
    (out / "record.json").write_text("{")
    assert main(["verify", str(out)]) == 1


def test_verify_counts_what_has_no_number(fake: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["knn", *fake])
    arguments = [tmp_path / "failed" if item == str(tmp_path / "out") else item for item in fake]
    main(["knn", *map(str, arguments), "--name", "m", "--set", "recipe.fail_for=m"])
    capsys.readouterr()
    assert main(["verify", str(tmp_path)]) == 0
    assert "1 verified, 0 bad, 1 without a number" in capsys.readouterr().out


def test_ls_lists_protocols_and_suites(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls"]) == 0
    printed = capsys.readouterr().out
    assert "imagenet-linear-mec" in printed and "demo_knn, demo_linear_fast" in printed and "mec_r50_100ep" in printed
    assert main(["ls", "suites"]) == 0
    assert "imagenet-linear-mec" not in capsys.readouterr().out


def test_ls_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"benchmarks", "recipes", "suites"}
    by_name = {entry["name"]: entry for entry in found["benchmarks"]}
    assert by_name["knn_dino"]["protocol"] == "imagenet-knn-dino"
    assert "demo_knn" in next(suite["benchmarks"] for suite in found["suites"] if suite["name"] == "demo")


def test_run_needs_a_suite_that_exists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--suite", "papr", "--out", str(tmp_path)]) == 2
    assert "Did you mean 'paper'?" in capsys.readouterr().err


def test_run_refuses_a_data_root_for_a_suite_that_draws_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--suite", "demo", "--data-root", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "makes its own data; leave out --data-root" in capsys.readouterr().err


def test_run_refuses_to_be_started_by_torchrun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["run", "--suite", "demo", "--out", str(tmp_path / "out")]) == 2
    assert "start it without torchrun" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_doctor_reports_line_by_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from mec_transfer.cli import doctor

    without = [] if importlib.util.find_spec("detectron2") else ["--without", "detection"]
    assert main(["doctor", *without]) == 0
    printed = capsys.readouterr().out
    assert "torchvision's kernels" in printed and "all configs load" in printed and "GiB free" in printed

    def broken():  # type: ignore[no-untyped-def]
        raise RuntimeError("two\nlines")
        yield ""

    monkeypatch.setattr(doctor, "_gpu", broken)
    assert main(["doctor"]) == 1
    assert "BAD   two lines\n" in capsys.readouterr().out


def test_doctor_says_of_each_benchmark_whether_it_is_ready(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lacks = {"mmtracking": "a trained tracker needs X: get X"}
    monkeypatch.setattr("mec_transfer.common.extras.lacking", lambda part: lacks.get(part, ""))
    assert main(["doctor", "--benchmarks", *(f"--without={part}" for part in OPTIONAL)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert {"ok    knn_dino: ready", "ok    vos_dino: ready", "ok    voc0712_c4: ready"} <= {*lines}
    assert "BAD   siamrpn_lasot: a trained tracker needs X: get X" in lines


def test_doctor_says_what_a_part_that_was_left_out_costs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mec_transfer.common.extras.lacking", lambda part: "" if part == "tracking" else "it is not there"
    )
    assert main(["doctor", *(f"--without={part}" for part in OPTIONAL)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "without" in line]
    assert [line.partition(":")[0] for line in lines] == [
        f"ok    without {name}" for name in ("detection", "mmtracking", "svm", "plot")
    ]
    assert "benchmarks do not run (cityscapes_fpn, coco_c4_1x, " in lines[0] and "knn" not in lines[0]
    assert "siamrpn_lasot" in lines[1] and "vos_unitrack" not in lines[1] and "training.png" in lines[3]
    assert lines[2].endswith("3 benchmarks do not run (demo_voc_svm, voc07_svm, voc07_svm_low_shot)")


def test_doctor_tells_that_out_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["doctor", "--out", str(tmp_path / "file")]) == 1
    assert f"BAD   {tmp_path / 'file'}: is a file" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\x1b[1m"])
def test_a_models_name_is_one_line(fake: list[str], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["knn", *fake, "--name", name]) == 2
    assert "must be one line of text" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "config", "right"),
    [
        ("knn", "demo_semisup_10pct_barlow", "semisup"),
        ("semisup", "linear_fast", "linear"),
        ("linear", "demo_knn", "knn"),
    ],
)
def test_a_config_of_another_command_is_refused(
    fake: list[str], command: str, config: str, right: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, *fake[:-1], config]) == 2
    assert f"is a benchmark of mec-transfer {right}, not of {command}" in capsys.readouterr().err


@pytest.mark.parametrize("override", ["kind=linear_fast", "family=fake"])
def test_an_override_cannot_make_another_benchmark(
    fake: list[str], override: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["knn", *fake[:-1], "demo_knn", "--set", override]) == 2
    assert "--set cannot change them" in capsys.readouterr().err
