"""Print a benchmark's or a pretraining recipe's config in full: what each key means, and what was published by it.

  mec-transfer show knn_dino                              every key, those of its base included
  mec-transfer show knn_dino --set recipe.k=10            and what an override makes of it
  mec-transfer show mec_r50_100ep                         a recipe of mec-pretrain
  mec-transfer show knn_dino --cards                      the protocol on one card, as markdown
  mec-transfer show --cards                               the cards of all benchmarks: docs/protocols.md

What it prints without --cards is a config of its own: written to a file, it is the same benchmark.
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
    """Add CONFIG, --cards and --set."""
    parser.add_argument(
        "config", nargs="?", metavar="CONFIG", help="a name that `mec-transfer ls` shows, or a YAML file"
    )
    parser.add_argument(
        "--cards", action="store_true", help="print protocol cards: CONFIG's, or those of all benchmarks"
    )
    add_overrides(parser)


def run(args: argparse.Namespace) -> int:
    """Print the config or the cards. Raises ConfigError where there is no config of the name."""
    print("\n".join(_cards(args) if args.cards else _config(args)))
    return 0


def _cards(args: argparse.Namespace) -> Iterator[str]:
    from mec_transfer.report.cards import card
    from mec_transfer.report.protocols_page import all_cards
    from mec_transfer.suite.registry import benchmark_config, find_benchmark

    if args.config:
        return card(benchmark_config(find_benchmark(args.config, Path()), args.overrides))
    if args.overrides:
        raise UserError("--set changes one benchmark: name its CONFIG")
    return all_cards()


def _config(args: argparse.Namespace) -> Iterator[str]:
    if not args.config:
        raise UserError(
            "name a CONFIG that `mec-transfer ls` shows, or ask for the cards of all benchmarks with --cards"
        )
    recipe = _recipe_path(args.config)
    return _recipe(recipe, args.overrides) if recipe else _benchmark(args)


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
            yield from _value(name, config.model_dump(mode="json")[name], indent)


def _value(name: str, value: Any, indent: str) -> Iterator[str]:
    """Yield a key and its value: sentences in lines of their own, anything else on one line."""
    from mec_transfer.common.config import scalar

    if isinstance(value, list) and any(isinstance(part, str) and len(part) > _WIDTH // 2 for part in value):
        import yaml

        yield f"{indent}{name}:"
        text = yaml.safe_dump(value, width=_WIDTH - len(indent), allow_unicode=True)
        yield textwrap.indent(text.removesuffix("\n"), indent)
    else:
        yield f"{indent}{name}: {scalar(value)}"


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
