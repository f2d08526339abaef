"""Strict YAML configs: unknown and duplicate keys are errors, and 1e-5 is a number.

A config is a frozen pydantic model. Any key can be overridden with `--set a.b=value`. A file may say
`base: other.yaml` (relative to itself, or the name of one that ships): its own keys are then merged over the other's,
mapping by mapping.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, TypeVar, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from mec_transfer.common.errors import ConfigError, did_you_mean
from mec_transfer.common.paths import find_base


class StrictModel(BaseModel):
    """Base of every config: frozen, no unknown keys, no silent coercion of strings to numbers, no inf or nan."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DescribedModel(StrictModel):
    """A strict model whose docstrings are the descriptions in its JSON Schema."""

    model_config = ConfigDict(use_attribute_docstrings=True)


M = TypeVar("M", bound=BaseModel)
Setting = bool | int | float | str | list[int] | list[float] | list[str]
"""What a key of an engine's own config may be set to."""

_TOLD = 3
_YAML_WORDS = {
    "tuple_type": "must be a list, such as [1, 2]",
    "list_type": "must be a list, such as [1, 2]",
    "model_type": "must be a mapping of keys",
    "dict_type": "must be a mapping of keys",
}
"""In place of pydantic's words for JSON."""


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys and reads YAML 1.2 floats such as 1e-5."""


def _construct_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise ConfigError(f"line {line}: key {key!r} is not a string; quote it")
        if key in mapping:
            raise ConfigError(f"line {line}: key '{key}' stands twice; keep one of them")
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def parse_yaml(text: str) -> Any:
    """Parse YAML text strictly. Raises ConfigError with the line for bad syntax or a duplicate key."""
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        what = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ConfigError(f"{where}not valid YAML ({what})") from None


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping, with its `base:` chain merged in.

    Raises:
        ConfigError: the file is missing, unreadable, malformed, not a mapping, or its bases form a cycle.
    """
    return _load_yaml(path, ())


def _load_yaml(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in seen:
        raise ConfigError(f"{path}: 'base' leads back to this file; remove the cycle")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such config file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    try:
        data = parse_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: the top level must be a mapping of keys, found {type(data).__name__}")
    base = data.pop("base", None)
    if base is None:
        return data
    if not isinstance(base, str):
        raise ConfigError(f"{path}: 'base' must be the path of a config file, found {base!r}")
    return merge(_load_yaml(find_base(base, path.parent), (*seen, path.resolve())), data)


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` laid on it; mappings are merged, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def apply_overrides(data: dict[str, Any], overrides: list[str], source: str) -> dict[str, Any]:
    """Return `data` with each "a.b=value" of `overrides` set; the value is read as YAML.

    Raises:
        ConfigError: an override has no "=", or its path runs through a value that is not a mapping.
    """
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not path.strip():
            raise ConfigError(f"{source}: --set {override!r} is not of the form a.b=value")
        try:
            value = parse_yaml(text)
        except ConfigError as error:
            raise ConfigError(f"{source}: --set {override!r}: {error}") from None
        keys = path.strip().split(".")
        data = dict(data)
        node = data
        for key in keys[:-1]:
            child = node.get(key, {})
            if not isinstance(child, dict):
                raise ConfigError(f"{source}: --set {override!r}: '{key}' is not a mapping")
            node[key] = child = dict(child)
            node = child
        node[keys[-1]] = value
    return data


def scalar(value: Any) -> str:
    """Return a value as YAML on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def parse_config(model: type[M], data: dict[str, Any], source: str) -> M:
    """Validate `data` as `model`.

    Raises:
        ConfigError: one line that names the source, each wrong key, its value and what is allowed.
    """
    try:
        # JSON mode: YAML has no tuples and no paths, so lists and strings must do for them.
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        told = " ".join(_explain_all(model, error.errors()).split())  # a key may hold what ends a line
        raise ConfigError(f"{source}: {told}") from None
    except TypeError as error:
        raise ConfigError(f"{source}: a value has a type that a config cannot hold ({error})") from None


def load_config(model: type[M], path: Path, overrides: list[str] | None = None) -> M:
    """Read, override and validate a config file (`load_yaml`, `apply_overrides`, `parse_config`)."""
    return parse_config(model, apply_overrides(load_yaml(path), overrides or [], str(path)), str(path))


def json_sha256(value: Any) -> str:
    """Return the sha256 (hex) of a JSON value, written with sorted keys and no spaces."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _explain_all(model: type[BaseModel], items: list[Any]) -> str:
    """The first few; a config of another kind has all its keys wrong."""
    told = [_explain(model, item) for item in items[:_TOLD]]
    more = [f"and {len(items) - _TOLD} more"] if len(items) > _TOLD else []
    return "; ".join([*told, *more])


def _explain(model: type[BaseModel], item: Any) -> str:
    path = ".".join(str(part) for part in item["loc"]) or "(top level)"
    if item["type"] == "extra_forbidden":
        options = _fields_at(model, item["loc"][:-1])
        allowed = f" Allowed: {', '.join(sorted(options))}" if options else ""
        name = str(item["loc"][-1])
        elsewhere = _paths_to(model, name)
        hint = f" Did you mean '{elsewhere[0]}'?" if elsewhere else did_you_mean(name, options)
        return f"'{path}' is not an option.{hint}{allowed}"
    if item["type"] == "missing":
        return f"'{path}' is missing"
    why = _YAML_WORDS.get(item["type"], item["msg"].removeprefix("Value error, "))
    shown = "" if isinstance(item["input"], dict) else f" = {item['input']!r}"  # a whole section says nothing
    return f"'{path}'{shown}: {why}"


def _paths_to(model: type[BaseModel], name: str, prefix: str = "", depth: int = 4) -> list[str]:
    """Return the dotted paths of the keys called `name` in a config and its sections, the shallowest first."""
    found, deeper = [], []
    for key, field in model.model_fields.items():
        if key == name and prefix:
            found.append(f"{prefix}{key}")
        for option in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(option, type) and issubclass(option, BaseModel) and depth:
                deeper += _paths_to(option, name, f"{prefix}{key}.", depth - 1)
    return found + deeper


def _fields_at(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    current: Any = model
    is_dict = False
    for part in path:
        if is_dict or isinstance(part, int):  # a name of the user's own, or a place in a list
            is_dict = False
            continue
        fields = getattr(current, "model_fields", {})
        if part not in fields:
            return []
        current = fields[part].annotation
        is_dict = get_origin(current) is dict
        for option in getattr(current, "__args__", ()):
            if isinstance(option, type) and issubclass(option, BaseModel):
                current = option
    return list(getattr(current, "model_fields", {}))
