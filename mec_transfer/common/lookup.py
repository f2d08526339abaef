"""What stands under a name in a module, given as a string: registries import only what is asked for."""

from __future__ import annotations

import importlib
from typing import Any


def look_up(place: str) -> Any:
    """Return what stands at "module:name"."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
