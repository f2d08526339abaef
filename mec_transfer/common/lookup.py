"""Looks up a name in a module, both given as a string, so that registries import only what is asked for."""

from __future__ import annotations

import importlib
from typing import Any


def look_up(place: str) -> Any:
    """Return the object at "module:name"."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
