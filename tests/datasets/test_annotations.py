from __future__ import annotations

from pathlib import Path

import pytest

from mec_transfer.common.errors import DataError
from mec_transfer.datasets.annotations import (
    Json,
    parse_number,
    parse_whole,
    read_table,
    read_text,
    split_fields,
)


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ('[{"a": 1}, {"b": [1, {"c": 2}]},\n\n{"d": "]"}]', None, [1, 1, 3]),
        ('{\n"x": 1,\n"list" :\n[\n{},\n {\n"y": "list"}, {}]}', "list", [5, 6, 7]),
        ('{"other": {"list": [1]},\n "list": [\n{"a": 1}, {}]}', "list", [3, 3]),
    ],
)
def test_items_have_their_lines(tmp_path: Path, text: str, key: str | None, lines: list[int]) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    document = Json(path)
    assert len(document.items(key)) == len(lines)
    assert [document.complain(key, index, "no") for index in range(len(lines))] == [f"{path}:{n}: no" for n in lines]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b'{"list": [1]}', r"a.json:1: 'list' must be a list of objects"),
        (b"[]", r"a.json:1: 'list' must be a list of objects"),
        (b'\n{"list": [}', r"a.json:2: malformed JSON \(Expecting value\)"),
        (b"[" * 100_000, r"a.json:1: malformed JSON \(nested too deeply\)"),
        (b"\xff", r"a.json:1: not a text file"),
    ],
)
def test_broken_json_is_named(tmp_path: Path, text: bytes, what: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(DataError, match=what):
        Json(path).items("list")


def test_tables_keep_what_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("1, 2,3\n\n4,5\n6,7,x\n8,9,inf\r\n10,11,12\n")
    problems: list[str] = []
    table = read_table(path, (4, 3), problems, "a,b,c")
    assert table.values.tolist() == [[1, 2, 3], [10, 11, 12]]
    assert table.lines.tolist() == [1, 6]
    assert problems == [
        f"{path}:3: 2 numbers, 3 are needed (a,b,c)",
        f"{path}:4: not numbers separated by commas (a,b,c)",
        f"{path}:5: a number is not finite",
    ]
    kept = table.keep(table.values[:, 0] > 5, "{0:g} is large", problems)
    assert kept.values.tolist() == [[1, 2, 3]]
    assert problems[-1] == f"{path}:6: 10 is large"


def test_an_empty_table(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("")
    assert read_table(path, (9,), [], "").values.shape == (0, 9)
    with pytest.raises(DataError, match=r"b.txt: cannot be read \(No such file or directory\)"):
        read_table(tmp_path / "b.txt", (9,), [], "")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"1,2\n1,\xc3\x28\n", ":2: not a text file (utf-8: invalid continuation byte); save it as UTF-8"),
        ("1,2\n3,4\n".encode("utf-16-le"), ":1: not a text file (it holds a zero byte); save it as UTF-8"),
        (b"\xff\xfe1", ":1: not a text file (utf-16-le: truncated data); save it as UTF-8"),
    ],
)
def test_what_is_no_text_is_named_with_its_line(tmp_path: Path, data: bytes, what: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_text(path)
    assert str(caught.value) == f"{path}{what}"


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("1,2,3", ["1", "2", "3"]),
        (" 1, 2 ,\t3 ,", ["1", "2", "3"]),
        ("1\t2  3 ", ["1", "2", "3"]),
        ("1;2;3;", ["1", "2", "3"]),
        ("1,,3", ["1", "", "3"]),  # what is missing must not move the rest
        ("1 2,3", ["1 2", "3"]),
        ("1,2,,", ["1", "2", ""]),
        ("1,5;2", ["1", "5;2"]),
        ("1", ["1"]),
        ("  ", []),
    ],
)
def test_fields_of_a_line(line: str, fields: list[str]) -> None:
    assert split_fields(line) == fields


def test_numbers() -> None:
    assert (parse_number(" 1e1"), parse_whole("7.0")) == (10.0, 7)
    for text in ("1_0", "x", "", "1.5", "inf", "nan"):
        with pytest.raises(ValueError, match=".+"):
            parse_whole(text)
