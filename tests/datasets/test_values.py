"""Numbers, flags and ids as tools write them."""

from __future__ import annotations

import math

import pytest

from mec_transfer.datasets import values


@pytest.mark.parametrize(("written", "read"), [(3, 3), (2.5, 2.5), ("7", 7), (" 7.5e1 ", 75), ("-.5", -0.5), ("+4", 4)])
def test_a_number_is_a_number_however_it_is_written(written, read):
    assert values.number(written, "x") == read


@pytest.mark.parametrize(
    "written",
    [None, True, "", "x", "1,5", "1_0", "0x10", "٣", "nan", "inf", math.nan, math.inf, 10**400, "1e999", [], {}],
)
def test_what_is_no_number_says_so(written):
    with pytest.raises(ValueError, match=r"^its width is .*a number is needed$"):
        values.number(written, "its width")
    with pytest.raises(ValueError, match="a number is needed"):
        values.numbers([1, written], "x")


def test_plain_lists_are_passed_through():
    plain = [1, 2.5, -3]
    assert values.numbers(plain, "x") is plain
    assert values.numbers([1, "2"], "x") == [1, 2]
    assert values.numbers([1e308, 1e308], "x") == [1e308, 1e308]


@pytest.mark.parametrize("written", ["0", 0, 0.0, False, None, "false", "No", ""])
def test_flags_that_are_off(written):
    assert values.flag(written, "x") is False


@pytest.mark.parametrize("written", ["1", 1, 1.0, True, "TRUE", "yes"])
def test_flags_that_are_on(written):
    assert values.flag(written, "x") is True


@pytest.mark.parametrize("written", [2, -1, "2", "x", [], math.nan])
def test_flags_that_are_none(written):
    with pytest.raises(ValueError, match="x is .*0 or 1 is needed"):
        values.flag(written, "x")


@pytest.mark.parametrize(
    ("written", "read"), [(7, 7), ("7", 7), (7.0, 7), ("007", "007"), ("a b", "a b"), (-1, -1), ("1.5", "1.5")]
)
def test_ids(written, read):
    found = values.identifier(written, "x")
    assert found == read and type(found) is type(read)


@pytest.mark.parametrize("written", [None, True, 1.5, math.inf, "", " ", [], {}, "\ud800"])
def test_ids_that_are_none(written):
    with pytest.raises(ValueError, match=r"^x is "):
        values.identifier(written, "x")


@pytest.mark.parametrize(("written", "read"), [(7, 7), (7.0, 7), ("7", 7), (-1, -1), (2**60 + 1, 2**60 + 1)])
def test_whole_numbers(written, read):
    found = values.whole(written, "x")
    assert found == read and type(found) is int


@pytest.mark.parametrize("written", [None, True, 1.5, "1.5", "x", math.inf, [], {}, 10**400, 2**63, -1e300])
def test_whole_numbers_that_are_none(written):
    with pytest.raises(ValueError, match=r"^x is .* number is needed"):
        values.whole(written, "x")


def test_long_values_are_shown_short_and_on_one_line():
    shown = values.show("a\n" * 99)
    assert len(shown) < 80 and "\n" not in shown and shown.startswith("a string ('a\\n")


def test_names_are_tidied_and_texts_are_not():
    assert values.name(" a \n b ", "x") == "a b"
    assert values.text(" a  b", "x") == " a  b"
