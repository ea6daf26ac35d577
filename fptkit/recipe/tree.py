"""Read YAML text into a tree in which every value has its line number.

PyYAML composes the tree; `fptkit.recipe.scalars` reads its scalars. Faults are collected, so that all of them are
reported together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fptkit.errors import Problem, RecipeError
from fptkit.recipe.scalars import RefusedScalar, Scalar, read_plain
from fptkit.specs import limits


@dataclass(frozen=True)
class Place:
    """Where a value was written.

    Args:
        source: path of the file as shown to the user, or the override (``--set a.b=c``).
        line: line in the file, from 1; None for overrides.
        layer: 0 for files, then 1, 2, ... in the order of the command line; faults are sorted by it.
    """

    source: str
    line: int | None = None
    layer: int = 0

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True)
class Fault:
    """One fault, before faults are sorted and reported."""

    place: Place
    path: str
    message: str


class Faults(list[Fault]):
    """The faults found so far, each once.

    Looking for more ends when there are more than `fptkit.specs.limits.FAULTS`: nobody reads them, and a file with
    thousands would keep us busy for minutes.

    Raises:
        RecipeError: by every method that adds, when there are too many; it reports the first of them.
    """

    def append(self, fault: Fault) -> None:
        """Add one."""
        if fault in self:
            return
        super().append(fault)
        if len(self) > limits.FAULTS:
            raise recipe_error(self)

    def extend(self, faults: Iterable[Fault]) -> None:
        """Add several."""
        for fault in faults:
            self.append(fault)

    def __iadd__(self, faults: Iterable[Fault]) -> Faults:  # type: ignore[override,misc]
        self.extend(faults)
        return self


@dataclass(frozen=True)
class Node:
    """A value and its place; in a mapping, the place is that of its key.

    Args:
        value: a scalar, or further nodes.
        refused: true if a fault was already reported for it; checks then skip it.
    """

    value: Scalar | dict[str, Node] | list[Node]
    place: Place
    refused: bool = False

    @property
    def mapping(self) -> dict[str, Node]:
        """The keys and values of a mapping; empty for any other node."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> list[Node]:
        """The entries of a list; empty for any other node."""
        return self.value if isinstance(self.value, list) else []


def shown_path(path: Path) -> str:
    """A path as messages show it: relative if it is below the working folder."""
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def plain(node: Node) -> Any:
    """The tree as Python values, without places."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def join(path: str, key: str | int) -> str:
    """The dotted path of an entry: ``train.seed``, ``backbone.weights[0]``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def recipe_error(faults: Sequence[Fault]) -> RecipeError:
    """The error that reports faults, sorted by file and line, then by override."""
    files = list(dict.fromkeys(fault.place.source for fault in faults if not fault.place.layer))

    def order(fault: Fault) -> tuple[int, int, int]:
        place = fault.place
        return place.layer, 0 if place.layer else files.index(place.source), place.line or 0

    ordered = sorted(dict.fromkeys(faults), key=order)
    problems = [Problem(str(fault.place), fault.path, fault.message) for fault in ordered[: limits.FAULTS]]
    return RecipeError(problems, more=len(ordered) > limits.FAULTS)


DATA_ELSEWHERE = "keep data in files of their own"
"""What to do about a recipe that is too large."""


def read_tree(text: str, source: str, faults: list[Fault]) -> Node | None:
    """Read the text of a YAML file.

    Args:
        text: content of the file.
        source: name of the file, for places.
        faults: faults found are appended.

    Returns:
        The tree, a mapping; None if the text cannot be used.
    """
    root = _compose(text, Place(source), faults)
    if root is None:
        return None
    if not isinstance(root, yaml.MappingNode):
        faults.append(Fault(Place(source, 1), "", "expected keys and values (task: ...), got something else"))
        return None
    return _build(root, Place(source, root.start_mark.line + 1), "", faults)


def read_value(text: str, place: Place, path: str, faults: list[Fault]) -> Node | None:
    """Read the value of an override: quoted text, a ``[list]`` or a ``{mapping}`` as YAML, anything else as one word.

    A word may contain colons, ``#`` and spaces, since nothing follows it.
    """
    text = text.strip()
    if text[:1] not in ("[", "{", '"', "'"):
        return Node(*_read_word(text, place, path, faults))
    root = _compose(text, place, faults)
    return None if root is None else _build(root, place, path, faults)


def _read_word(text: str, place: Place, path: str, faults: list[Fault]) -> tuple[Scalar, Place, bool]:
    try:
        return read_plain(text), place, False
    except RefusedScalar as refused:
        faults.append(Fault(place, path, str(refused)))
        return None, place, True


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Composer(_Loader):  # type: ignore[misc]  # one of two base classes, the C one if PyYAML was built with it
    """Marks untagged scalars as plain or quoted instead of guessing their type."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return "plain" if implicit[0] else "quoted"
        return "collection"


def _compose(text: str, place: Place, faults: list[Fault]) -> yaml.Node | None:
    """The nodes that PyYAML finds; None if the text as a whole is faulty."""

    def fault(line: int | None, message: str) -> None:
        faults.append(Fault(Place(place.source, line if place.layer == 0 else None, place.layer), "", message))

    if too_large := _too_large(text, place):
        fault(too_large.place.line if too_large.place else None, too_large.message)
        return None
    loader = _Composer(text)
    try:
        root: yaml.Node | None = loader.get_single_node()
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        line = mark.line + 1 if mark else 1
        # A slice: libyaml and Python do not quite agree on what ends a line.
        up_to_fault = [read[: mark.column + 1] for read in text.splitlines()[mark.line :][:1]] if mark else []
        tabs = " (YAML takes no tabs)" if any("\t" in read for read in up_to_fault) else ""
        if err.problem == "but found another document":
            fault(line, "a second document starts here ('---'); a file holds one")
        else:
            fault(line, f"not valid YAML: {', '.join(part for part in (err.context, err.problem) if part)}{tabs}")
        return None
    except yaml.YAMLError as err:
        fault(1, f"not valid YAML: {' '.join(str(err).split())}")
        return None
    except RecursionError:
        fault(1, "not usable YAML: nested too deeply")
        return None
    finally:
        loader.dispose()
    if root is None:
        fault(1, "the file is empty")
    return root


def _too_large(text: str, place: Place) -> _TooLarge | None:
    """What is too large in a YAML text, seen before its nodes are made: they take a hundred times its memory.

    A fault of syntax is not reported here; the text is read again for its nodes.
    """
    if len(text) > limits.FILE_BYTES:
        return _TooLarge(f"longer than {limits.FILE_BYTES:,} characters; {DATA_ELSEWHERE}")
    reader = _Loader(text)
    values = depth = 0
    try:
        while (event := reader.get_event()) is not None and not isinstance(event, yaml.StreamEndEvent):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            values += isinstance(event, (yaml.CollectionStartEvent, yaml.ScalarEvent, yaml.AliasEvent))
            at = Place(place.source, event.start_mark.line + 1, place.layer)
            if values > 2 * limits.FILE_VALUES:  # keys are counted, too
                return _TooLarge(f"more than {limits.FILE_VALUES:,} values; {DATA_ELSEWHERE}", at)
            if depth > limits.NESTING:
                return _TooLarge(f"not usable: nested deeper than {limits.NESTING} levels", at)
    except (yaml.YAMLError, RecursionError):
        return None
    finally:
        reader.dispose()
    return None


def _build(root: yaml.Node, place: Place, path: str, faults: list[Fault]) -> Node | None:
    try:
        return _Builder(place, faults).build(root, place, path)
    except _TooLarge as err:
        faults.append(Fault(err.place or place, "", err.message))
        return None


class _TooLarge(Exception):
    def __init__(self, message: str, place: Place | None = None) -> None:
        self.message = message
        self.place = place


class _Builder:
    """Turns PyYAML's nodes into ours.

    Args:
        place: of the file or override.
        faults: faults found are appended.
    """

    def __init__(self, place: Place, faults: list[Fault]) -> None:
        self._source, self._layer = place.source, place.layer
        self._faults = faults
        self._open: set[int] = set()
        self._count = self._characters = 0

    def build(self, node: yaml.Node, place: Place, path: str) -> Node:
        self._count += 1
        if self._count > limits.FILE_VALUES:
            raise _TooLarge(f"its aliases (*name) expand to more than {limits.FILE_VALUES:,} values", place)
        if len(self._open) >= limits.NESTING:
            raise _TooLarge(f"not usable: nested deeper than {limits.NESTING} levels", place)
        if id(node) in self._open:
            return self._refuse(place, path, "an alias (*name) is inside the value that it names")
        if node.tag not in ("plain", "quoted", "collection"):
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            return self._refuse(place, path, f"the tag {tag} is not allowed; write the value without it")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, place, path)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                children = enumerate(node.value)
                return Node([self.build(item, self._place(item), join(path, i)) for i, item in children], place)
            return Node(dict(self._entries(node, path)), place)
        finally:
            self._open.discard(id(node))

    def _entries(self, mapping: yaml.Node, path: str) -> Iterator[tuple[str, Node]]:
        first: dict[str, Place] = {}
        for key_node, value_node in mapping.value:
            place = self._place(key_node)
            key = self._key(key_node, place, path)
            if key is None:
                continue
            if key in first:
                self._refuse(place, join(path, key), f"duplicate key '{key}'; it was first given {_at(first[key])}")
                continue
            first[key] = place
            yield key, self.build(value_node, place, join(path, key))

    def _key(self, node: yaml.Node, place: Place, path: str) -> str | None:
        if not isinstance(node, yaml.ScalarNode) or node.tag not in ("plain", "quoted"):
            self._refuse(place, path, "a key must be a word")
            return None
        if node.tag == "plain" and node.value == "<<":
            self._refuse(place, path, "merge keys (<<) are not supported; write the keys out, or use profiles")
            return None
        if len(node.value) > limits.KEY_CHARACTERS:
            self._refuse(place, path, f"a key has {len(node.value):,} characters; at most {limits.KEY_CHARACTERS:,}")
            return None
        key = self._scalar(node, place, path)
        if not key.refused and not isinstance(key.value, str):
            self._refuse(place, path, f'a key must be a word, got {node.value or "nothing"}; quote it: "{node.value}"')
        return key.value if isinstance(key.value, str) else None

    def _scalar(self, node: yaml.ScalarNode, place: Place, path: str) -> Node:
        self._characters += len(node.value)
        if self._characters > limits.TEXT_CHARACTERS:
            message = f"more than {limits.TEXT_CHARACTERS:,} characters, aliases (*name) written out"
            raise _TooLarge(message, place)
        if not is_utf8(node.value):
            return self._refuse(place, path, "half a surrogate pair (\\ud800 to \\udfff) is not a character")
        if node.tag == "quoted":
            return Node(node.value, place)
        return Node(*_read_word(node.value, place, path, self._faults))

    def _place(self, node: yaml.Node) -> Place:
        return Place(self._source, node.start_mark.line + 1 if self._layer == 0 else None, self._layer)

    def _refuse(self, place: Place, path: str, message: str) -> Node:
        self._faults.append(Fault(place, path, message))
        return Node(None, place, refused=True)


def is_utf8(text: str) -> bool:
    """Whether the text can be encoded: bytes of a command line that are not UTF-8 reach Python as lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _at(place: Place) -> str:
    return "before" if place.line is None else f"on line {place.line}"
