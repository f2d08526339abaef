"""Numbers, flags and ids of annotation files, as the tools that people use write them.

A number that is written as a string means that number. What cannot be read raises ValueError with what stands there and
what is needed, so that nothing gets a meaning that its author did not write (`bool("0")`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from itertools import islice

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_FLAGS = {"": False, "0": False, "1": True, "false": False, "true": True, "no": False, "yes": True}
_PLAIN = {int, float}
_SHOWN = 60
_LARGEST = 2**31
"""Pixels: beyond any image, and beyond what image libraries can hold."""
FARTHEST = 1e6
"""Pixels: no object of any image is farther from its corner, or larger. Beyond it numbers are damaged."""
_KINDS: dict[type, str] = {bool: "true or false", str: "a string", list: "a list", dict: "an object"}


def brief(value: object) -> str:
    """Return a value for a message: short, on one line, in ASCII."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def few(names: Iterable[str], shown: int = 5) -> str:
    """Return the first of `names`, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - shown} more" if len(listed) > shown else ""
    return ", ".join(islice(listed, shown)) + more


def show(value: object) -> str:
    """Return a value for a message that says what it is instead of a number."""
    if value is None:
        return "missing"
    kind = _KINDS.get(type(value))
    return f"{kind} ({brief(value)})" if kind else brief(value)


def number(value: object, what: str) -> float:
    """Return a finite number. Raises ValueError, `what` being its name."""
    right = isinstance(value, int | float) and not isinstance(value, bool)
    if right or (isinstance(value, str) and _NUMBER.fullmatch(value.strip())):
        try:
            found = float(value)  # type: ignore[arg-type]
        except OverflowError:
            found = math.inf
        if math.isfinite(found):
            return found
    raise ValueError(f"{what} is {show(value)}, a number is needed")


def numbers(values: list[object], what: str) -> list[float]:
    """Return finite numbers; a list of nothing else is returned itself, quickly. Raises ValueError."""
    if set(map(type, values)) <= _PLAIN:
        try:
            if math.isfinite(math.fsum(values)):  # type: ignore[arg-type]
                return values  # type: ignore[return-value]
        except (OverflowError, ValueError):  # the slow way finds out by which
            pass
    return [number(value, what) for value in values]


def size(value: object, what: str) -> int:
    """Return a number of pixels, a whole number from 1 on. Raises ValueError."""
    found = number(value, what)
    if found < 1 or found != int(found):
        raise ValueError(f"{what} is {show(value)}, a whole number from 1 on is needed")
    if found >= _LARGEST:
        raise ValueError(f"{what} is {show(value)}, more than any image has")
    return int(found)


def whole(value: object, what: str) -> int:
    """Return a whole number, as 3, 3.0 or "3". Raises ValueError."""
    found = number(value, what)
    if found != int(found):
        raise ValueError(f"{what} is {show(value)}, a whole number is needed")
    if abs(found) >= 2.0**63:
        raise ValueError(f"{what} is {show(value)}, a whole number is needed, of 64 bits at most")
    return value if isinstance(value, int) else int(found)


def flag(value: object, what: str) -> bool:
    """Return what 0, 1, true, false, null, or one of these as a word, says. Raises ValueError for anything else."""
    if value is None or isinstance(value, bool):
        return bool(value)
    word = str(int(value)) if isinstance(value, int | float) and value in (0, 1) else value
    if isinstance(word, str) and word.strip().lower() in _FLAGS:
        return _FLAGS[word.strip().lower()]
    raise ValueError(f"{what} is {show(value)}, 0 or 1 is needed")


def identifier(value: object, what: str) -> int | str:
    """Return an id: a whole number, also where it is written as a string; any other string as it is.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (word := text(value, what).strip()):
        return int(word) if re.fullmatch(r"-?(0|[1-9]\d{0,17})", word, re.ASCII) else word
    raise ValueError(f"{what} is {show(value) if value != '' else 'empty'}, a number is needed")


def text(value: object, what: str) -> str:
    """Return a text; a number counts as its digits. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"{what} is {show(value)}, a string is needed")
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a pair of surrogates: no file can be called so, and no record can hold it
        raise ValueError(f"{what} is {show(value)}, which is not valid Unicode") from None
    return value


def name(value: object, what: str) -> str:
    """Return a name, its white space tidied. Raises ValueError."""
    return " ".join(text(value, what).split())
