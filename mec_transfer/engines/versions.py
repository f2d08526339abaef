"""Versions of the packages that an engine stands on, and whether they are ones that its proofs have passed on."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Mapping
from importlib import metadata

Spans = Mapping[str, tuple[str, str]]
"""Package -> lowest and highest tested version, as far as their digits go."""


@dataclasses.dataclass(frozen=True)
class Version:
    """A package that an engine stands on."""

    name: str
    found: str
    tested: bool
    """Whether `found` lies within the tested span."""


def installed(spans: Spans) -> list[Version]:
    """Return the versions that are installed of what `spans` names."""
    found = {name: installed_version(name) for name in spans}
    return [Version(name, version, within(version, *spans[name])) for name, version in found.items()]


def describe(version: Version, spans: Spans) -> str:
    """Return one line: name, version and, where it is untested, what was tested."""
    low, high = spans[version.name]
    span = low if low == high else f"{low} to {high}"
    return f"{version.name} {version.found}" + ("" if version.tested else f" (tested: {span})")


def installed_version(name: str) -> str:
    """Return the version of a package that is installed; "unknown" where it states none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # a checkout on the path has no metadata
        return str(getattr(importlib.import_module(name), "__version__", "unknown"))


def within(version: str, low: str, high: str) -> bool:
    """Whether `low` <= `version` <= `high`, each compared as far as the bound's own digits go."""
    digits = version_digits(version)
    lowest, highest = version_digits(low), version_digits(high)
    return bool(digits) and lowest <= digits[: len(lowest)] and digits[: len(highest)] <= highest


def version_digits(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version, (2, 11, 0) of "2.11.0+cu130"; () of one that has none."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
