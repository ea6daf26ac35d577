"""Strange recipes, studies and overrides: refused at once, with an error that says why."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from children import Limits, each_in_child, working_in
from file_kinds import registry
from hypothesis import strategies as st
from parts import Tally
from strategies import drawn

from fptkit.errors import FptkitError

ROOT = Path(__file__).parents[2]
DRAWN = 100
"""Examples that are drawn at a time."""

LIMITS = Limits(seconds=2.0, mib=300)
MODULES = ("hypothesis", "yaml", "fptkit.cli.validate", "fptkit.lab.studies.load", "fptkit.recipe.load")
PROMISE = "ends in an error of fptkit or is accepted, within 2 s and 300 MB"

KEYS = st.one_of(
    st.sampled_from(
        [
            "task",
            "backbone",
            "encoder",
            "head",
            "train",
            "freezing",
            "name",
            "weights",
            "source",
            "extends",
            "plugins",
            "profiles",
            "seeds",
            "arms",
            "tasks",
            "learning_rates",
            "budget",
            "search",
            "controls",
            "reference",
            "blocks",
            "keep",
            "threads",
            "precision",
            "device",
            "pinned",
            "vary",
        ]
    ),
    st.text(max_size=12),
    st.sampled_from(("a.b", "", "<<", "\x1b[31m", "x" * 400, "None", "1", "true", "é", "\u202e")),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from((0, -1, 10**6, 10**9, 2**31, 2**63, 10**30, 1e-300, 1e300, float("nan"), float("inf"), -0.0)),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from(
        ("auto", "random", "builtin:gpt2_nano", "path:/dev/zero", "hub:a/b@c", "base/gpt2", "../x", "\x00", "a" * 5000)
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(KEYS, inner, max_size=6)),
    max_leaves=20,
)


@functools.cache
def bases(folder: str) -> tuple[dict[str, Any], ...]:
    """The shipped files of a folder of recipes, as trees."""
    found = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((ROOT / folder).glob("*.yaml"))]
    return tuple(tree for tree in found if isinstance(tree, dict))


@st.composite
def edited(draw: st.DrawFn, folders: Sequence[str]) -> dict[str, Any]:
    """A shipped file with some of its values replaced, removed, or added to."""
    trees = [tree for folder in folders for tree in bases(folder)]
    tree = json.loads(json.dumps(draw(st.sampled_from(trees)), default=str))
    for _ in range(draw(st.integers(1, 5))):
        _edit(draw, tree)
    return dict(tree)


def _edit(draw: st.DrawFn, tree: Any) -> None:
    """One change at a random place below."""
    while True:
        if isinstance(tree, dict) and tree:
            key: Any = draw(st.sampled_from(sorted(tree)))
        elif isinstance(tree, list) and tree:
            key = draw(st.integers(0, len(tree) - 1))
        else:
            return
        if isinstance(tree[key], dict | list) and tree[key] and draw(st.integers(0, 3)):
            tree = tree[key]
            continue
        break
    kind = draw(st.integers(0, 5))
    if kind == 0:
        del tree[key]
    elif kind == 1 and isinstance(tree, dict):
        tree[draw(KEYS)] = draw(VALUES)
    elif kind == 2 and isinstance(tree, dict):
        tree[draw(KEYS)] = tree[key]
    else:
        tree[key] = draw(VALUES)


TEXTS = st.one_of(
    st.text(max_size=200),
    st.binary(max_size=200),
    st.sampled_from(
        (
            "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
            "!!python/object/apply:os.system [id]",
            "? [a]\n: b",
            "<<: {a: 1}",
            "- 1\n- 2",
            "---\na: 1\n---\nb: 2",
            "task: !x 3",
            "a: 1\na: 2",
            "extends: recipe.yaml",
            "extends: [.]",
            "plugins: [recipe.yaml]",
            "task: {name: bit_xor, bits: 0x10}",
            "%YAML 9.9\n---\na: 1",
            "\ufeffa: 1",
            "a: 2024-01-01",
            "{" * 2000,
            "a: " + "[" * 2000,
            "seeds: 2147483648",
            "k: 1\n" * 3000,
            "".join(f"k{n}: 1\n" for n in range(8000)),
            "[" + "0," * 400_000 + "]",
            "a: " + "x" * 3_000_000,
        )
    ),
)


def _text(content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return content.encode("utf-8", "surrogatepass")
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass")


class _Validated:
    """What `fptkit validate` does, on files that are drawn."""

    name, tries = "", ""
    long, chunk = 0, 200
    modules = MODULES
    strategy: st.SearchStrategy[Any]

    def carry_out(self, trials: Sequence[int], place: Path) -> Tally:
        """See `Part`."""
        file = place / "recipe.yaml"
        examples: list[Any] = []

        def attack(trial: int) -> tuple[str, Callable[[], Any]]:
            if not examples:
                examples.extend(drawn(self.strategy, DRAWN, f"{self.name} {trial}"))
            file.write_bytes(_text(examples.pop()))
            return self.tries, functools.partial(_validate, place, file.name, ())

        return each_in_child(trials, attack, place, limits=LIMITS, keep=lambda _: file)


class Recipes(_Validated):
    """See `Part`."""

    name, tries = "recipes", "recipes"
    promise = f"Any text as a recipe {PROMISE}"
    long = 20_000
    strategy = st.one_of(edited(("recipes", "recipes/base")), edited(("recipes",)), VALUES, TEXTS)


class Studies(_Validated):
    """See `Part`."""

    name, tries = "studies", "studies"
    promise = f"Any text as a study {PROMISE}"
    long = 10_000
    strategy = edited(("recipes/studies",))


class Overrides:
    """See `Part`."""

    name, tries = "overrides", "lists of overrides"
    promise = f"Any list of --set {PROMISE}"
    long = 10_000
    chunk = 200
    modules = MODULES

    def carry_out(self, trials: Sequence[int], place: Path) -> Tally:
        """See `Part`."""
        kept = place / "overrides.json"

        examples: list[Any] = []

        def attack(trial: int) -> tuple[str, Callable[[], Any]]:
            if not examples:
                examples.extend(drawn(st.lists(OVERRIDES, min_size=1, max_size=4), DRAWN, f"override {trial}"))
            texts = examples.pop()
            kept.write_text(json.dumps(texts))
            return self.tries, functools.partial(_validate, ROOT, "recipes/bit_xor_gpt2.yaml", texts)

        return each_in_child(trials, attack, place, limits=LIMITS, keep=lambda _: kept)


PATHS = st.one_of(
    st.sampled_from(
        [
            "train.max_steps",
            "train.learning_rate",
            "task.bits",
            "backbone.weights",
            "backbone.blocks.keep",
            "threads",
            "task.name",
            "freezing.name",
            "head.readout",
            "train.schedule",
            "encoder.name",
            "extends",
            "plugins",
            "profiles",
            "pinned.weights",
        ]
    ),
    st.lists(KEYS, min_size=1, max_size=4).map(".".join),
)
OVERRIDES = st.one_of(
    st.tuples(PATHS, VALUES).map(lambda pair: f"{pair[0]}={yaml.safe_dump(pair[1], default_flow_style=True).strip()}"),
    st.tuples(PATHS, st.text(max_size=20)).map("=".join),
    st.text(max_size=40),
)


def _validate(folder: Path, file: str, overrides: Sequence[str]) -> None:
    """As ``fptkit validate``, without its command line."""
    from fptkit.cli.validate import _validate as validate

    with working_in(folder):
        try:
            validate(file, registry(), None, list(overrides), ())
        except FptkitError as err:
            str(err)
            raise
