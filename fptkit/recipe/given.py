"""Recipes and overrides given as Python values instead of files and texts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from fptkit.errors import UsageError
from fptkit.recipe.check import AnyModel, check_model
from fptkit.recipe.extends import Bases, merge, read_bases, without_key
from fptkit.recipe.find import ReadFile, base_folders
from fptkit.recipe.scalars import DIGITS
from fptkit.recipe.tree import Fault, Faults, Node, Place, join, recipe_error
from fptkit.specs import limits

SOURCE = "the given recipe"
"""How faults name a recipe that was given as a mapping."""


def read_given(content: Mapping[str, Any], folders: Sequence[Path], name: str = "") -> ReadFile:
    """A recipe or study given as a mapping, with all it extends; paths in it are relative to the working folder.

    Args:
        content: keys and values as in a file; a key may be dotted, such as ``train.seed``.
        folders: folders of recipes, in which bases are looked up after the working folder.
        name: what it is called, as a file is by its name; empty: its task and backbone, or ``recipe``.
    """
    faults: list[Fault] = Faults()
    place = Place(SOURCE)
    tree = _mapping(content, place, "", faults)
    bases = base_folders(folders)
    read = Bases()
    layers = read_bases(tree, Path.cwd(), faults, lambda: bases, read=read)
    whole = reduce(merge, [*layers, without_key(tree, "extends")])
    return ReadFile(Path.cwd() / f"{name or _name(whole)}.yaml", whole, tuple(faults), bases, read)


def override_texts(overrides: Mapping[str, Any]) -> list[str]:
    """Overrides as texts of the form ``a.b=value``, as ``--set`` takes them.

    Args:
        overrides: values by key; nested mappings, dotted keys, or both.

    Raises:
        UsageError: a value is not a number, text, boolean, None, path, or a list or mapping of these.
    """
    return [f"{path}={_text(path, value)}" for path, value in _leaves(overrides, "")]


def checked(content: Mapping[str, Any], model: type[AnyModel], where: str) -> AnyModel:
    """A model from values given in Python, by the rules of recipes: text is not a number, unknown keys are faults.

    Args:
        content: values by key.
        model: the model.
        where: what the values were given to, for messages.

    Raises:
        RecipeError: the values have faults; the error holds all of them.
    """
    faults: list[Fault] = Faults()
    made = check_model(_mapping(content, Place(where), "", faults), model, "", faults)
    if faults or made is None:
        raise recipe_error(faults)
    return made


def _leaves(content: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if not isinstance(key, str):
            raise UsageError(f"{path or 'overrides'}: the key {key!r} is not text")
        below = join(path, key)
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, below)
        else:
            yield below, value


def _text(path: str, value: Any) -> str:
    faults: list[Fault] = Faults()
    node = _node(value, Place(SOURCE), path, faults)
    if faults:
        raise UsageError(f"{faults[0].path}: {faults[0].message}")
    return _written(node)


def _written(node: Node) -> str:
    """A value as YAML in one line; JSON, except for numbers that JSON does not have."""
    if isinstance(node.value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {_written(child)}" for key, child in node.value.items()) + "}"
    if isinstance(node.value, list):
        return f"[{', '.join(map(_written, node.value))}]"
    if isinstance(node.value, float) and not math.isfinite(node.value):
        return ".nan" if math.isnan(node.value) else f"{'-' if node.value < 0 else ''}.inf"
    return json.dumps(node.value, ensure_ascii=False)


def _mapping(content: Mapping[Any, Any], place: Place, path: str, faults: list[Fault], depth: int = 0) -> Node:
    """A mapping as a tree; dotted keys become nested ones, which are merged with others of the same beginning."""
    tree = Node({}, place)
    for key, value in content.items():
        if not isinstance(key, str) or not all(key.split(".")):
            faults.append(Fault(place, path, f"a key must be text, got {key!r}"))
            continue
        node = _node(value, place, join(path, key), faults, depth + 1)
        for part in reversed(key.split(".")):
            node = Node({part: node}, place)
        tree = merge(tree, node, depth=depth)
    return tree


def _node(value: Any, place: Place, path: str, faults: list[Fault], depth: int = 0) -> Node:
    if depth >= limits.NESTING:
        faults.append(Fault(place, path, f"nested deeper than {limits.NESTING} levels"))
        return Node(None, place, refused=True)
    # A slice, since a range may be longer than any length.
    if isinstance(value, (list, tuple, range)) and len(value[: limits.GIVEN + 1]) > limits.GIVEN:
        faults.append(Fault(place, path, f"more than {limits.GIVEN:,} entries"))
        return Node(None, place, refused=True)
    if isinstance(value, int) and abs(value) >= 10**DIGITS:
        faults.append(Fault(place, path, f"an integer of more than {DIGITS} digits"))
        return Node(None, place, refused=True)
    if isinstance(value, Mapping):
        return _mapping(value, place, path, faults, depth)
    if isinstance(value, (list, tuple, range)):
        return Node([_node(each, place, join(path, i), faults, depth + 1) for i, each in enumerate(value)], place)
    if isinstance(value, Path):
        return Node(str(value), place)
    if type(value).__module__ == "numpy":  # numbers and arrays, without importing NumPy
        return _node(value.tolist(), place, path, faults, depth)
    if value is None or isinstance(value, (bool, int, float, str)):
        return Node(value, place)
    message = f"got a value of type {type(value).__name__}; give a number, text, boolean, None, a list or a mapping"
    faults.append(Fault(place, path, message))
    return Node(None, place, refused=True)


def _name(tree: Node) -> str:
    """Name of the run: its task and backbone, or ``recipe``."""
    sections = [tree.mapping.get(key) for key in ("task", "backbone")]
    named = [section.mapping.get("name") for section in sections if section]
    return "_".join(str(name.value) for name in named if name and isinstance(name.value, str)) or "recipe"
