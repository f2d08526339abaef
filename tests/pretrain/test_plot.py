"""The plot of a run: what is read of a log, damaged ones too, and that each figure is where it belongs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mec_transfer.common.errors import DataError
from mec_transfer.common.step_log import read_log
from pretrain import plot
from pretrain.plot import main, plot_runs

KEYS = ("loss", "coding_length", "lr", "lamda_inv", "teacher_momentum", "spectral_norm", "embedding_std")
KEYS += ("effective_rank", "images_per_second")


def write_log(folder, steps=30, scale=1.0):
    folder.mkdir(parents=True, exist_ok=True)
    lines = [{"step": s, "epoch": s // 10} | {key: scale * (i + s) for i, key in enumerate(KEYS)} for s in range(steps)]
    lines += [{"step": s, "epoch": s // 10, "knn_top1": 40.0 + s} for s in range(9, steps, 10)]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "log.jsonl"


def drawn(figure):
    """{title: [y values of each line]} of a figure."""
    return {axes.get_title(): [line.get_ydata() for line in axes.lines] for axes in figure.axes}


def test_every_figure_of_the_log_has_its_panel(tmp_path):
    found = drawn(plot._draw({"run": read_log(write_log(tmp_path))}))
    assert len(found) == 10
    titles = {key: title for row in plot._ROWS for key, title in row.items()}
    assert titles.keys() == {*KEYS, "knn_top1"}
    for i, key in enumerate(KEYS):
        assert found[titles[key]][0].tolist() == [i + s for s in range(30)]
    assert found[titles["knn_top1"]][0].tolist() == [49, 59, 69]
    assert found[titles["spectral_norm"]][1] == [1, 1]  # where the series ends


def test_runs_lie_over_one_another_in_their_own_colours(tmp_path):
    runs = {"a": read_log(write_log(tmp_path / "a")), "b": read_log(write_log(tmp_path / "b", 20, scale=2.0))}
    figure = plot._draw(runs)
    first, second = figure.axes[0].lines
    assert (second.get_ydata() == 2 * first.get_ydata()[:20]).all() and first.get_color() != second.get_color()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    assert [line.get_color() for line in legend.get_lines()] == [first.get_color(), second.get_color()]


def test_a_long_noisy_curve_gets_its_mean(tmp_path):
    (lines,) = (axes.lines for axes in plot._draw({"run": read_log(write_log(tmp_path, 500))}).axes[:1])
    assert len(lines) == 2 and lines[1].get_ydata()[100:400].tolist() == pytest.approx(list(range(100, 400)))


def test_the_running_mean_passes_over_what_is_not_a_number():
    values = np.array([1, np.nan, 3, np.nan, np.nan, np.nan, 8])
    expected = [1, 2, 3, 3, np.nan, 8, 8]
    assert plot._running_mean(values, 1).tolist() == pytest.approx(expected, nan_ok=True)


GOOD = '{"step": 2, "epoch": 0, "loss": -1.5, "lr": 0.1}\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, {2: -1.5}),
        (GOOD + '{"step": 3, "epoch": 0, "lo', {2: -1.5}),
        ("\n[1]\n7\nnull\n" + '{"loss": 1}\n{"step": null, "loss": 1}\n{"step": Infinity}\n' + GOOD, {2: -1.5}),
        (GOOD + '{"step": 4, "loss": NaN}\n{"step": 5, "loss": -Infinity}\n', {2: -1.5, 4: None, 5: None}),
        ('{"step": 9, "loss": 3}\n' + GOOD + '{"step": 9, "loss": 4}\n', {2: -1.5, 9: 4.0}),
        (GOOD + '{"step": 3, "loss": "high"}\n{"step": 4, "lr": 1}\n', {2: -1.5}),
        (GOOD + "\ufffd\x00\x00\x00", {2: -1.5}),
    ],
)
def test_a_damaged_log_is_drawn_as_far_as_it_goes(tmp_path, text, expected):
    (tmp_path / "log.jsonl").write_text(text)
    steps, values = read_log(tmp_path / "log.jsonl")["loss"]
    assert steps.tolist() == list(expected)
    assert [None if np.isnan(value) else value for value in values] == list(expected.values())
    assert main([str(tmp_path)]) == 0
    assert Image.open(tmp_path / "training.png").size == (1440, 1056)


@pytest.mark.parametrize("text", ["", "no json\n", '{"step": 1}\n', None])
def test_a_log_without_a_line_is_refused(tmp_path, capsys, text):
    if text is not None:
        (tmp_path / "log.jsonl").write_text(text)
    with pytest.raises(DataError, match="log.jsonl"):
        plot_runs([tmp_path / "log.jsonl"], tmp_path / "training.png")
    assert main([str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert f"{tmp_path}/log.jsonl" in message and message.count("\n") == 1
    assert not (tmp_path / "training.png").exists()


def test_runs_of_one_name_are_told_apart(tmp_path):
    logs = [write_log(tmp_path / "first" / "out"), write_log(tmp_path / "second" / "out")]
    assert plot._names(logs) == ["first/out", "second/out"]
    assert plot._names([logs[0], logs[0]]) == ["out", "out (2)"]


def test_several_runs_want_to_know_where_to(tmp_path, capsys):
    runs = [str(write_log(tmp_path / name).parent) for name in "ab"]
    assert main(runs) == 2 and "--out FILE.png" in capsys.readouterr().err
    assert main([*runs, "--out", str(tmp_path / "both.png")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'both.png'}\n"
    colours = {tuple(pixel) for pixel in np.array(Image.open(tmp_path / "both.png").convert("RGB")).reshape(-1, 3)}
    assert {(0x1F, 0x77, 0xB4), (0xFF, 0x7F, 0x0E)} <= colours


def test_the_command_needs_no_display_no_torch_and_no_pyplot(tmp_path):
    write_log(tmp_path)
    code = (
        "import sys; from pretrain.plot import main; code = main(sys.argv[1:])\n"
        "assert not {'torch', 'matplotlib.pyplot'} & set(sys.modules); sys.exit(code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "MPLBACKEND": "tkagg", "DISPLAY": ""}
    done = subprocess.run([sys.executable, "-W", "error", "-c", code, tmp_path], env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "training.png").is_file()
