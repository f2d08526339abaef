from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import model_validator

from mec_transfer.common.config import (
    StrictModel,
    apply_overrides,
    load_config,
    load_yaml,
    parse_config,
    parse_yaml,
)
from mec_transfer.common.errors import ConfigError


class Inner(StrictModel):
    base_lr: float = 0.03
    steps: tuple[int, ...] = ()


class Outer(StrictModel):
    name: str
    inner: Inner = Inner()
    size: int | None = None


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "value"), [("1e-5", 1e-5), ("5E3", 5000.0), ("-2e+3", -2000.0), (".5e1", 5.0), ("1_0", 10)]
)
def test_numbers_in_scientific_notation_are_numbers(text: str, value: float) -> None:
    assert parse_yaml(f"x: {text}") == {"x": value}
    assert type(parse_yaml(f"x: {text}")["x"]) is type(value)


@pytest.mark.parametrize("text", ["e5", "1e", "0x1e5g", "sha: 1e5x"])
def test_words_that_look_like_numbers_stay_words(text: str) -> None:
    value = parse_yaml(text)
    assert isinstance(value, str) or isinstance(value["sha"], str)


def test_duplicate_key_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "a.yaml", "name: x\ninner:\n  base_lr: 1\n  base_lr: 2\n")
    with pytest.raises(ConfigError, match=r"a\.yaml: line 4: key 'base_lr' stands twice"):
        load_yaml(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", r"line 1|line 2"),
        ("- a\n- b", "top level must be a mapping"),
        ("", "top level must be a mapping"),
        ("1: x", "key 1 is not a string"),
        ("name: !!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_malformed_files_are_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_yaml(write(tmp_path, "bad.yaml", text))
    assert "bad.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file() -> None:
    with pytest.raises(ConfigError, match="nowhere.yaml: no such config file"):
        load_yaml(Path("nowhere.yaml"))


def test_a_base_is_a_file_beside_or_one_that_ships(tmp_path: Path) -> None:
    child = write(tmp_path, "child.yaml", "base: knn_dino.yaml\nid: child\n")
    assert load_yaml(child)["protocol"] == "imagenet-knn-dino" and load_yaml(child)["id"] == "child"
    write(tmp_path, "knn_dino.yaml", "protocol: mine\n")
    assert load_yaml(child) == {"protocol": "mine", "id": "child"}
    lost = write(tmp_path, "lost.yaml", "base: knn_dni.yaml\n")
    with pytest.raises(ConfigError, match=r"knn_dni\.yaml: no such config file"):
        load_yaml(lost)


def test_base_is_merged_and_cycles_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", "name: base\ninner: {base_lr: 1.0, steps: [1, 2]}\n")
    child = write(tmp_path, "child.yaml", "base: base.yaml\nname: child\ninner: {base_lr: 2.0}\n")
    assert load_config(Outer, child) == Outer(name="child", inner=Inner(base_lr=2.0, steps=(1, 2)))
    cycle = write(tmp_path, "cycle.yaml", "base: cycle.yaml\n")
    with pytest.raises(ConfigError, match="leads back to this file"):
        load_yaml(cycle)


def test_unknown_key_suggests_the_right_one() -> None:
    with pytest.raises(ConfigError, match=r"'inner\.bas_lr' is not an option\. Did you mean 'base_lr'\?"):
        parse_config(Outer, {"name": "x", "inner": {"bas_lr": 1.0}}, "x.yaml")


def test_a_key_of_a_section_is_told_by_its_whole_path() -> None:
    with pytest.raises(ConfigError, match=r"'base_lr' is not an option\. Did you mean 'inner\.base_lr'\?"):
        parse_config(Outer, {"name": "x", "base_lr": 1.0}, "x.yaml")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "'name' is missing"),
        ({"name": "x", "inner": {"base_lr": "fast"}}, "'inner.base_lr' = 'fast'"),
        ({"name": "x", "inner": {"base_lr": "0.1"}}, "'inner.base_lr' = '0.1'"),
        ({"name": "x", "size": 1.5}, "'size' = 1.5"),
        ({"name": "x", "inner": {"base_lr": float("nan")}}, "'inner.base_lr' = nan"),
        ({"name": "x", "inner": {"base_lr": float("inf")}}, "'inner.base_lr' = inf"),
        ({"name": 3}, "'name' = 3"),
        ({"name": "x", "inner": 3}, "'inner' = 3: must be a mapping of keys"),
        ({"name": "x", "inner": {"steps": 3}}, "'inner.steps' = 3: must be a list"),
    ],
)
def test_wrong_values_name_source_key_and_value(data: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match="x.yaml: ") as caught:
        parse_config(Outer, data, "x.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_overrides_reach_nested_keys_and_leave_the_input_alone() -> None:
    data = {"name": "x", "inner": {"base_lr": 1.0}}
    changed = apply_overrides(data, ["inner.base_lr=1e-3", "size=4", "inner.steps=[3, 4]"], "x.yaml")
    assert parse_config(Outer, changed, "x.yaml") == Outer(name="x", size=4, inner=Inner(base_lr=1e-3, steps=(3, 4)))
    assert data == {"name": "x", "inner": {"base_lr": 1.0}}


@pytest.mark.parametrize("override", ["inner.base_lr", "=3", "name.first=3"])
def test_malformed_overrides_are_refused(override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        apply_overrides({"name": "x"}, [override], "x.yaml")


def test_a_file_of_another_kind_does_not_fill_the_screen() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(Outer, {"name": "x", **{f"key{i}": i for i in range(9)}}, "x.yaml")
    message = str(caught.value)
    assert message.count("is not an option") == 3 and message.endswith("; and 6 more") and ".;" not in message


def test_an_error_of_a_whole_section_does_not_repeat_it() -> None:
    class Pair(StrictModel):
        low: int
        high: int

        @model_validator(mode="after")
        def _order(self) -> Pair:
            if self.low > self.high:
                raise ValueError("'low' is above 'high'")
            return self

    class Config(StrictModel):
        pair: Pair

    with pytest.raises(ConfigError, match=r"^x\.yaml: 'pair': 'low' is above 'high'$"):
        parse_config(Config, {"pair": {"low": 2, "high": 1}}, "x.yaml")
