"""mec-transfer: one self-supervised ResNet checkpoint in, every transfer number out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mec_transfer.api import compare, evaluate, leaderboard, load_backbone

__all__ = ["compare", "evaluate", "leaderboard", "load_backbone"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import `api` when one of its functions is asked for: its parts import this package for its version."""
    if name in __all__:
        from importlib import import_module

        return getattr(import_module("mec_transfer.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
