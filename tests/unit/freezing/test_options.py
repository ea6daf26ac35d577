"""The freezing section of a recipe: what it accepts, every error with its line, and the examples of its page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from fptkit.engine.build import build
from fptkit.errors import FreezingError, RecipeError
from fptkit.freezing.options import FreezingOptions, RuleOptions
from fptkit.freezing.records import fptkit_freezing_policies
from fptkit.recipe.load import LoadedRecipe, load_recipe
from fptkit.registry import load_plugins
from fptkit.specs import ROLES, FromOption

PAGE = (Path(__file__).parents[3] / "docs" / "freezing.md").read_text(encoding="utf-8")
TWELVE = (
    "task: {name: bit_xor}\nbackbone: {name: random, size: nano, blocks: 12, width: 8, heads: 2}\nprecision: float32\n"
)


def builtins(files: object = ()) -> Any:
    return load_plugins(files, selection="")  # type: ignore[arg-type]


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load_text(text: str, *overrides: str, **arguments: Any) -> LoadedRecipe:
        (tmp_path / "x.yaml").write_text(TWELVE + text, encoding="utf-8")
        return load_recipe(str(tmp_path / "x.yaml"), overrides=overrides, registry_loader=builtins, **arguments)

    return load_text


def test_what_a_section_means(load: Any) -> None:
    freezing = load(
        """freezing:
  name: fpt
  train:
    - {role: attention, blocks: "-2:", learning_rate_multiplier: 1e-1}
    - {role: norm, blocks: [0, -1]}
    - {role: all, blocks: 2:4}
  freeze: [position, norm]
  learning_rate_multipliers: {norm: 0.5, input: 3}
"""
    ).recipe.freezing
    assert freezing.name == "fpt"
    assert freezing.options == FreezingOptions(
        train=(
            RuleOptions(role="attention", blocks="-2:", learning_rate_multiplier=0.1),
            RuleOptions(role="norm", blocks=(0, -1)),
            RuleOptions(role="all", blocks="2:4"),
        ),
        freeze=("position", "norm"),
        learning_rate_multipliers={"norm": 0.5, "input": 3.0},
    )


def test_overrides_and_profiles(load: Any) -> None:
    text = """freezing: {name: fpt, learning_rate_multipliers: {norm: 0.5, input: 3}}
profiles:
  slow: {freezing: {learning_rate_multipliers: {norm: 0.2}}}
  all: {freezing: {name: full}}
"""
    loaded = load(
        text, "freezing.learning_rate_multipliers.norm=0.1", 'freezing.train=[{role: attention, blocks: "-1:"}]'
    )
    assert loaded.recipe.freezing.options.learning_rate_multipliers == {"norm": 0.1, "input": 3.0}
    assert loaded.recipe.freezing.options.train == (RuleOptions(role="attention", blocks="-1:"),)
    slow = load(text, profile="slow").recipe.freezing.options
    assert slow.learning_rate_multipliers == {"norm": 0.2, "input": 3.0}
    assert load(text, profile="all").recipe.freezing.options == FreezingOptions()
    assert load("", "freezing.freeze=[position]").recipe.freezing.options.freeze == ("position",)


KNOWN = "known: input, output, position, attention, feed_forward, norm, recurrent, embedding, adapter, other"
FORM = 'is not of the form START:STOP or START:STOP:STEP, such as "6:" or "-2:"'


@pytest.mark.parametrize(
    ("section", "path", "message"),
    [
        ("train: [{role: atention}]", "train[0].role",
         f"unknown role 'atention'. Did you mean 'attention'?\n{KNOWN}, all"),
        ("train: [{role: 3}]", "train[0].role", "expected one of input, output, position"),
        ("train: [{blocks: [0]}]", "train[0].role", "required: one of input, output, position"),
        ("train: [{role: norm, block: 1}]", "train[0]", "unknown key 'block'. Did you mean 'blocks'?\nallowed: role,"),
        ("train: [norm]", "train[0]", "expected a mapping, got 'norm'"),
        ("train: {role: norm}", "train", "expected a list of mappings, got a mapping"),
        ("train: [{role: norm, blocks: 3}]", "train[0].blocks", "expected a list of integers (at least 1) or text or"),
        ("train: [{role: norm, blocks: []}]", "train[0].blocks", "expected a list of integers (at least 1) or text or"),
        ("train: [{role: norm, blocks: [0, a]}]", "train[0].blocks[1]", "expected an integer, got 'a'"),
        ("train: [{role: norm, blocks: [1.5]}]", "train[0].blocks[0]", "expected an integer, got 1.5"),
        ("train: [{role: norm, blocks: [true]}]", "train[0].blocks[0]", "expected an integer, got true"),
        ("train: [{role: norm, blocks: '6'}]", "train[0].blocks", f"'6' {FORM}"),
        ("train: [{role: norm, blocks: '1:2:0'}]", "train[0].blocks", f"'1:2:0' {FORM}"),
        ("train: [{role: norm, blocks: '1-3'}]", "train[0].blocks", f"'1-3' {FORM}"),
        ("train: [{role: norm, blocks: 'last:'}]", "train[0].blocks", f"'last:' {FORM}"),
        ("train: [{role: output, last: 1}]", "train[0]", "role 'output' is outside the blocks; leave 'last' out"),
        ("train: [{role: norm, last: 0}]", "train[0].last", "expected an integer >= 1 or null, got 0"),
        ("train: [{role: norm, last: 1, blocks: [0]}]", "train[0]", "'blocks' and 'last' both say which blocks"),
        ("train: [{role: norm, kind: biass}]", "train[0].kind",
         "unknown kind of parameter 'biass'. Did you mean 'bias'?"),
        ("train: [{role: output, blocks: [0]}]", "train[0]", "role 'output' is outside the blocks; leave 'blocks'"),
        ("train: [{role: norm, learning_rate_multiplier: 0}]", "train[0].learning_rate_multiplier",
         "expected a number > 0, got 0"),
        ("train: [{role: norm, learning_rate_multiplier: -1}]", "train[0].learning_rate_multiplier",
         "expected a number > 0, got -1"),
        ("train: [{role: norm, learning_rate_multiplier: .inf}]", "train[0].learning_rate_multiplier",
         "expected a finite number, got .inf"),
        ("learning_rate_multipliers: {nrm: 1}", "learning_rate_multipliers.nrm",
         f"unknown role 'nrm'. Did you mean 'norm'?\n{KNOWN}"),
        ("learning_rate_multipliers: {all: 2}", "learning_rate_multipliers.all", "unknown role 'all'."),
        ("learning_rate_multipliers: {norm: 0}", "learning_rate_multipliers.norm", "expected a number > 0, got 0"),
        ("learning_rate_multipliers: {norm: fast}", "learning_rate_multipliers.norm", "expected a number > 0, got 'f"),
        ("learning_rate_multipliers: {attention: 2}", "learning_rate_multipliers.attention",
         "policy 'fpt' does not train 'attention' here\ntrained: input, output, position, norm"),
        ("freeze: [positon]", "freeze[0]", f"unknown role 'positon'. Did you mean 'position'?\n{KNOWN}"),
        ("freeze: [norm, attention]", "freeze[1]", "policy 'fpt' does not train 'attention' here\ntrained: input,"),
        ("freeze: [norm, norm]", "freeze[1]", "role 'norm' is named twice"),
        ("freeze: [input, output, norm, position]", "freeze", "nothing would train"),
        ("freeze: norm", "freeze", "expected a list of entries, each one of input"),
        ("without: [norm]", "", "unknown key 'without'.\nallowed: name, train, freeze, learning_rate_multipliers"),
        ("name: custom", "", "policy 'custom' has no rows of its own: give them, as in train: [{role: output}]"),
    ],
)  # fmt: skip
def test_one_mistake(section: str, path: str, message: str, load: Any) -> None:
    named = section == "name: custom"
    with pytest.raises(RecipeError) as caught:
        load(f"freezing:\n  {section}\n" if named else f"freezing:\n  name: fpt\n  {section}\n")
    (problem,) = caught.value.problems
    assert problem.where.endswith("x.yaml:4" if named else "x.yaml:6"), problem
    assert problem.path == f"freezing.{path}".rstrip(".")
    assert problem.message.startswith(message), problem.message


def test_all_mistakes_at_once_each_at_its_line(load: Any) -> None:
    with pytest.raises(RecipeError) as caught:
        load(
            """freezing:
  name: fpt
  train:
    - {role: norm}
    - role: attention
      blocks: "x:"
      learning_rate_multiplier: 0
  learning_rate_multipliers:
    norm: 1
    imput: 2
  freeze:
    - nrom
"""
        )
    found = [(problem.where.rpartition(":")[2], problem.path) for problem in caught.value.problems]
    assert found == [
        ("9", "freezing.train[1].blocks"),
        ("10", "freezing.train[1].learning_rate_multiplier"),
        ("13", "freezing.learning_rate_multipliers.imput"),
        ("15", "freezing.freeze[0]"),
    ]


def test_a_mistake_of_an_override_names_it(load: Any) -> None:
    with pytest.raises(RecipeError) as caught:
        load("", "freezing.learning_rate_multipliers.attention=0.1")
    (problem,) = caught.value.problems
    assert problem.where == "--set freezing.learning_rate_multipliers.attention=0.1"
    assert problem.path == "freezing.learning_rate_multipliers.attention"


def test_roles_and_blocks_missing_in_the_model_are_recipe_errors(load: Any) -> None:
    loaded = load('freezing: {name: fpt, train: [{role: norm, blocks: "0:24"}]}')
    with pytest.raises(FreezingError, match="no block 24 in this model, which has 12, 0 to 11") as caught:
        build(loaded.recipe, loaded.registry, torch.device("cpu"))
    assert caught.value.exit_code == 2


# The page


EXAMPLES = re.findall(r"^```yaml\n(freezing:.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_of_the_page_load_and_build(text: str, load: Any) -> None:
    loaded = load(text)
    built = build(loaded.recipe, loaded.registry, torch.device("cpu"))
    named = {role for row in yaml.safe_load(text)["freezing"].get("train", []) for role in [row["role"]]}
    roles = built.model.parameter_roles()
    trained = {roles[name].role for group in built.groups for name in group.parameters}
    assert named - {"all"} <= trained


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) >= 7


def test_the_free_forms_of_the_page_are_the_named_policies(load: Any) -> None:
    def trained(text: str) -> set[str]:
        loaded = load(text)
        groups = build(loaded.recipe, loaded.registry, torch.device("cpu")).groups
        return {name for group in groups for name in group.parameters}

    both = next(text for text in EXAMPLES if "{role: feed_forward}, {role: attention}]" in text)
    last = next(text for text in EXAMPLES if "{role: feed_forward}, {role: attention, blocks: [-1]}]" in text)
    assert trained(both) == trained("freezing: {name: fpt_feed_forward_attention}")
    assert trained(last) == trained("freezing: {name: fpt_feed_forward_last_attention}")


def test_the_table_of_the_page_is_that_of_the_records() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith(("| `", "| policy |"))]
    header = [cell.strip() for cell in lines[0].strip("|").split("|")][1:]
    written = {}
    for line in lines[1:]:
        name, *cells = (cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|"))
        if len(cells) == len(header):
            written[name.strip("`")] = dict(zip(header, cells, strict=True))
    policies = {policy.name: policy for policy in fptkit_freezing_policies()}
    assert written.keys() == policies.keys()
    for name, cells in written.items():
        marks = dict.fromkeys(header, "")
        for rule in policies[name].rules:
            mark = {None: "●", (-1,): "last"}[rule.blocks]  # type: ignore[index]
            mark = "last k" if rule.last == FromOption("k") else "biases" if rule.kind == "bias" else mark
            for role in ROLES if rule.role == "all" else (rule.role,):
                place = role if role in header else "others"
                marks[place] = marks[place] or mark
        assert cells == marks, name
