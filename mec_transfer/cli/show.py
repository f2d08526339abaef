"""Print a benchmark's or a pretraining recipe's config in full: what each key means, and what was published by it.

  mec-transfer show knn_dino                              every key, those of its base included
  mec-transfer show knn_dino --set recipe.k=10            and what an override makes of it
  mec-transfer show mec_r50_100ep                         a recipe of mec-pretrain

What it prints is a config of its own: written to a file, it is the same benchmark.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import itertools
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mec_transfer.common.command import add_overrides
from mec_transfer.common.errors import UserError

_WIDTH = 110


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add CONFIG and --set."""
    parser.add_argument("config", metavar="CONFIG", help="a name that `mec-transfer ls` shows, or a YAML file")
    add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    """Print the config. Raises ConfigError where there is none of the name."""
    recipe = _recipe_path(args.config)
    print("\n".join(_recipe(recipe, args.overrides) if recipe else _benchmark(args)))
    return 0


def _recipe_path(name: str) -> Path | None:
    """Return the file of a pretraining recipe; None where the name means something else."""
    from mec_transfer.common.config import load_yaml
    from mec_transfer.common.paths import find_config

    try:
        path = find_config(name, "pretrain")
    except UserError:
        return None
    return None if "protocol" in load_yaml(path) else path


def _recipe(path: Path, overrides: list[str]) -> Iterator[str]:
    from mec_transfer.common.config import load_config
    from pretrain.config import PretrainConfig

    yield f"# {path.stem}, a recipe of mec-pretrain"
    yield from _keys(load_config(PretrainConfig, path, overrides), "")


def _benchmark(args: argparse.Namespace) -> Iterator[str]:
    from mec_transfer.results.references import load_references
    from mec_transfer.suite.registry import benchmark_config, find_benchmark

    config = benchmark_config(find_benchmark(args.config, Path()), args.overrides)
    yield f"# sha256 of all that moves a number: {config.sha256}"
    yield from _keys(config, "")
    published = [entry for entry in load_references() if entry.protocol == config.protocol]
    yield f"\n# Published under {config.protocol}: {'' if published else 'nothing that is quoted here'}".rstrip()
    for entry in published:
        values = ", ".join(f"{name} {value:g}" for name, value in entry.metrics.items())
        about = ", ".join(filter(None, (entry.method, entry.arch, entry.pretraining)))
        yield f"#   {about}: {values} ({entry.source}{'' if entry.by_authors else '; not by its authors'})"


def _keys(config: Any, indent: str) -> Iterator[str]:
    """Yield the lines of a config's keys, each under what it means."""
    from pydantic import BaseModel

    meanings = _meanings(type(config))
    for name in type(config).model_fields:
        value = getattr(config, name)
        if meaning := meanings.get(name):
            yield from textwrap.wrap(meaning, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        if isinstance(value, BaseModel):
            yield f"{indent}{name}:"
            yield from _keys(value, f"{indent}  ")
        else:
            yield f"{indent}{name}: {_scalar(config.model_dump(mode='json')[name])}"


def _scalar(value: Any) -> str:
    """Return a value as YAML on one line."""
    import yaml

    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def _meanings(model: type) -> dict[str, str]:
    """Return the words that stand under each field of a class and of those that it is made from."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if not one.__module__.startswith(("mec_transfer", "pretrain")):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for field, words in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(words, ast.Expr):
                text = getattr(words.value, "value", None)
                if isinstance(text, str):
                    found[field.target.id] = " ".join(text.split())
    return found
