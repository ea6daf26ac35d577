"""A recipe written out again loads into an equal one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fptkit.recipe.dump import ORDER, dump_mapping, dump_recipe
from fptkit.recipe.load import load_recipe
from fptkit.recipe.models import Recipe
from fptkit.recipe.tree import Fault, plain, read_tree
from fptkit.registry import Plugin, Registry, load_plugins
from fptkit.specs import ListenerSpec

SHIPPED = sorted((Path(__file__).parents[3] / "recipes").glob("*.yaml"))
RUNS = [path for path in SHIPPED if not path.name.startswith("pretrain")]


def builtins(files: object = ()) -> Registry:
    registry = load_plugins(files, selection="")  # type: ignore[arg-type]
    options = "fptkit.encoders.options:LinearOptions"
    listener = ListenerSpec(name="tracker", summary="follows", target="nowhere:build", options=options)
    registry.add([listener], Plugin("tests", "file"))
    return registry


def load(path: Path, **arguments: Any) -> Recipe:
    return load_recipe(str(path), registry_loader=builtins, **arguments).recipe


EXAMPLES = [
    "task: {name: bit_xor}",
    "task: {name: bit_memory, bits: 8, bits_per_token: 4, mask_probability: 0}\nencoder: {name: linear, hidden: [3]}",
    "task: {name: bit_xor}\nbackbone: {name: random, size: nano, blocks: 1, init: flat_0.02}\nfreezing: {name: full}",
    "task: {name: bit_xor}\nfreezing: {name: custom, train: [{role: input}, {role: norm, blocks: [0, -1]}]}",
    "task: {name: bit_xor}\nfreezing: {name: fpt, train: [{role: feed_forward, blocks: '6:'}, "
    "{role: all, blocks: ':', learning_rate_multiplier: 1e-3}], freeze: [position, norm], "
    "learning_rate_multipliers: {norm: 0.1, input: 3}}",
    "task: {name: bit_xor}\ntrain: {learning_rate: 1e-5, adam_epsilon: 1e-20, seed: 9223372036854775807}",
    "task: {name: bit_xor}\ntrain: {learning_rate: 0.30000000000000004, clip_norm: 1e300}",
    "task: {name: bit_xor}\ndescription: 'no'",
    'task: {name: bit_xor}\ndescription: "1e-3"',
    "task: {name: bit_xor}\ndescription: |\n  two\n  lines: of text # here\n",
    "task: {name: bit_xor}\ndescription: \"  é — 'quotes' \\t \\u2028 [x]: {y} & *z !tag\"",
    "task: {name: bit_xor}\nbackbone: {name: gpt2, weights: ['path:a: b', 'path:#c', 'path:[d]', random]}",
    "task: {name: bit_xor}\nlisteners: [{name: tracker}, {name: tracker, hidden: [1, 2]}]",
    "task: {name: bit_xor}\npinned: {weights: 'hub:a/b', source: generated, precision: bfloat16}\nthreads: 3",
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_survive(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    recipe = load(tmp_path / "a.yaml")
    written = dump_recipe(recipe, ["a header", "in two lines"])
    (tmp_path / "b.yaml").write_text(written, encoding="utf-8")
    again = load(tmp_path / "b.yaml")
    assert again == recipe
    assert dump_recipe(again, ["a header", "in two lines"]) == written


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_shipped_recipes_survive_with_every_profile(path: Path, tmp_path: Path) -> None:
    root = read_tree(path.read_text(encoding="utf-8"), path.name, [])
    assert root is not None
    profiles = root.mapping["profiles"].mapping if "profiles" in root.mapping else {}
    for profile in (None, *profiles):
        recipe = load(path, profile=profile)
        (tmp_path / "b.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
        assert load(tmp_path / "b.yaml") == recipe


def test_every_default_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("task: {name: bit_xor}", encoding="utf-8")
    recipe = load(tmp_path / "a.yaml")
    written = dump_recipe(recipe, ["first", "", "second\nthird"])
    assert written.startswith("# first\n#\n# second\n# third\ndescription: ''\nplugins: []\ntask:\n  name: bit_xor\n")
    values = yaml.safe_load(written)
    assert list(values) == list(ORDER)
    assert set(ORDER) == set(Recipe.model_fields)
    assert values["backbone"]["weights"] == ["hub:openai-community/gpt2", "builtin:gpt2_nano"]
    assert values["train"]["adam_betas"] == [0.9, 0.999]
    assert values["encoder"] is None
    assert values["freezing"] == {"name": "fpt", "train": [], "freeze": [], "learning_rate_multipliers": {}}


def test_plugins_are_written_as_absolute_paths(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from fptkit import EncoderSpec, hookimpl\n"
        "@hookimpl\n"
        "def fptkit_encoders():\n"
        "    return [EncoderSpec(name='mine', summary='x', target='a:b', accepts=('vectors',))]\n",
        encoding="utf-8",
    )
    text = "plugins: [mine.py]\ntask: {name: bit_xor}\nencoder: {name: mine}"
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    recipe = load(tmp_path / "a.yaml")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    assert load(tmp_path / "elsewhere" / "b.yaml") == recipe


WORDS = ["", "no", "YES", "y", "on", "true", "null", "~", "010", "0x1", "1", "1.5", "1e-3", ".inf", ".nan", "1:30",
         "<<", "- a", "a: b", "a #b", "[a]", "{a}", "&a", "*a", "!a", "%a", "@a", "`a", "'", '"', "|", ">", "a\nb",
         "\ta", " ", "2024-01-01", "=", "---", "ü", "x" * 300, "a b " * 60]  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_any_text_survives(word: str) -> None:
    for value in (word, [word, word], {"inner": word}, [{"inner": [word]}]):
        faults: list[Fault] = []
        root = read_tree(dump_mapping({"key": value, word or "empty": 1}), "x", faults)
        assert faults == []
        assert root is not None
        assert plain(root)["key"] == value


@pytest.mark.parametrize(
    "number", [0.1, 1e-5, 1e16, 1e22, 5e-324, 1.7976931348623157e308, -0.0, float("inf"), 10**30, True]
)
def test_any_number_survives(number: float) -> None:
    root = read_tree(dump_mapping({"key": number}), "x", [])
    assert root is not None
    read = root.mapping["key"].value
    assert read == number
    assert type(read) is type(number)
