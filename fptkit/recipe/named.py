"""Sections of a recipe that are only a name: ``freezing: full``."""

from __future__ import annotations

from fptkit.recipe.tree import Node
from fptkit.specs import KINDS

_SECTIONS = frozenset(kind.section for kind in KINDS if kind.section and not kind.many)
"""Keys of a recipe that name one component."""

INNER = frozenset({"schedule", "readout"})
"""Settings of ``train`` and ``head`` that may name a component; a name alone is kept: it may be a setting's own."""

_HOLDERS = frozenset({"profiles", "tasks", "arms"})
"""Keys of a recipe or study that hold parts of recipes by name."""


def with_named_sections(tree: Node) -> Node:
    """The tree with each section that is only a name written out: ``freezing: full`` is ``freezing: {name: full}``.

    Done before trees are merged, so that a name replaces a section of another name and keeps the options of its own.
    Sections of profiles, and of a study's tasks and arms, are written out, too.
    """
    mapping = {key: _named(key, node) for key, node in tree.mapping.items()}
    for key in _HOLDERS & mapping.keys():
        holder = mapping[key]
        if isinstance(holder.value, dict):
            written = {name: with_named_sections(node) for name, node in holder.mapping.items()}
            mapping[key] = Node(written, holder.place, holder.refused)
    return Node(mapping, tree.place, tree.refused) if isinstance(tree.value, dict) else tree


def _named(key: str, node: Node) -> Node:
    return as_section(node) if key in _SECTIONS else node


def as_section(node: Node) -> Node:
    """The section that a component's name alone stands for, so that its options can be changed."""
    return Node({"name": node}, node.place) if isinstance(node.value, str) else node
