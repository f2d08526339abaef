"""Finds the configs that ship with the project."""

from __future__ import annotations

from pathlib import Path

from mec_transfer.common.errors import ConfigError, did_you_mean

_PACKAGE = Path(__file__).resolve().parents[1]
_SHIPPED = _PACKAGE / "configs"
CONFIGS = _SHIPPED if _SHIPPED.is_dir() else _PACKAGE.parent / "configs"
"""Inside the package if a wheel installed them, else beside it in a clone."""


def is_stock(file: Path) -> bool:
    """Whether a file is an engine's own config, which is kept beside the benchmark that names it."""
    return file.stem.endswith("_d2")


def find_stock(name: str, folder: str) -> Path:
    """Return an engine's own config, in configs/`folder` or by its path. Raises ConfigError if there is none."""
    for path in (CONFIGS / folder / name, Path(name)):
        if path.is_file():
            return path
    raise ConfigError(f"recipe.config: {name} is neither in configs/{folder} nor a file")


def find_base(name: str, beside: Path) -> Path:
    """Return what `base: name` means in a config in the folder `beside`: a file from there, else one that ships."""
    own = beside / name
    shipped = CONFIGS.glob(f"*/{name}") if name == Path(name).name and not own.exists() else ()
    return min(shipped, default=own)


def find_config(name: str | Path, folder: str) -> Path:
    """Return the config that `name` means: a file's path, or the bare name of one in configs/`folder`.

    Raises:
        ConfigError: neither exists; the nearest names are suggested.
    """
    path = Path(name)
    if path.is_file():
        return path
    known = {file.stem: file for file in (CONFIGS / folder).glob("*.yaml") if not is_stock(file)}
    if path.name == str(name) and path.stem in known and path.suffix in ("", ".yaml"):
        return known[path.stem]
    raise ConfigError(
        f"{name}: no such config.{did_you_mean(path.stem, known)} In configs/{folder}: {', '.join(sorted(known))}."
    )
