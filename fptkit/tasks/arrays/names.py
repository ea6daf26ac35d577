"""Which array has the inputs, the targets, the lengths of which split, by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fptkit.errors import DataError, UsageError
from fptkit.tasks.reading.labels import shown
from fptkit.tasks.reading.paths import SPLIT_WORDS

X = ("x", "inputs", "input", "data", "features", "images", "image", "img", "series", "sequences", "tokens", "input_ids")
Y = ("y", "labels", "label", "targets", "target", "class")
LENGTHS = ("lengths", "length", "offsets")
NAMES = ("classes", "class_names", "label_names")
"""Usual names of arrays, in lower case."""


@dataclass(frozen=True)
class Roles:
    """The arrays of one split.

    Args:
        x: the inputs.
        y: the targets; empty if there are none.
        lengths: lengths or offsets; None if there are none.
    """

    x: str
    y: tuple[str, ...] = ()
    lengths: str | None = None


@dataclass(frozen=True)
class Wanted:
    """Names that the options give.

    Args:
        x: of the inputs; None for the usual ones.
        y: of the targets; empty for the usual ones.
        lengths: of lengths or offsets; None for the usual ones.
        unlabelled: whether the targets may be absent.
    """

    x: str | None = None
    y: tuple[str, ...] = ()
    lengths: str | None = None
    unlabelled: bool = False


def parted(name: str) -> tuple[str, str | None]:
    """The name of an array without its split, in lower case, and the split: ``X_train`` is x of train."""
    words = re.split(r"[_\-./ ]", name.lower())
    for place, rest in ((-1, words[:-1]), (0, words[1:])):
        if rest and words[place] in SPLIT_WORDS:
            return "_".join(rest), SPLIT_WORDS[words[place]]
    return name.lower(), None


def roles(names: Iterable[str], wanted: Wanted, where: str) -> tuple[dict[str, Roles], tuple[str, ...]]:
    """The arrays of each split, or of ``all`` if the names say no splits, and the names that have no role.

    Args:
        names: names of all arrays.
        wanted: names that the options give.
        where: what has the arrays, for messages.

    Raises:
        DataError: there is no array of inputs, or several could be meant.
        UsageError: an array that the options name does not exist.
    """
    names = list(names)
    found = {split: x for split in (None, *SPLIT_WORDS.values()) if (x := _x_of(names, split, wanted, where))}
    if not found:
        has = shown(names) or "none"
        if wanted.x:
            raise UsageError(f"task.inputs: {where} has no array '{wanted.x}'; it has {has}")
        raise DataError(f"{where}: no array is known to have the inputs; name it in inputs. Its arrays are {has}")
    if None in found and "train" in found:
        raise DataError(f"{where}: both {found[None]} and {found['train']} may be the inputs; name one in inputs")
    chosen = {None: found[None]} if "train" not in found and None in found else {k: v for k, v in found.items() if k}
    result = {split or "all": _roles_of(names, x, split, wanted, where) for split, x in chosen.items()}
    used = {name for some in result.values() for name in (some.x, *some.y, some.lengths)}
    classes = {name for name in names if name.lower() in NAMES}
    return result, tuple(name for name in names if name not in used | classes)


def _x_of(names: Sequence[str], split: str | None, wanted: Wanted, where: str) -> str | None:
    fitting = _named(names, (wanted.x.lower(),) if wanted.x else X, split)
    if wanted.x is not None and wanted.x in names:
        fitting = [wanted.x] if parted(wanted.x)[1] == split else []
    if not fitting and not wanted.x and split is None and len(names) == 1 and parted(names[0])[0] not in (*Y, *LENGTHS):
        return names[0]
    if len(fitting) > 1:
        raise DataError(f"{where}: several arrays may be the inputs ({shown(fitting)}); name one in inputs")
    return fitting[0] if fitting else None


def _roles_of(names: Sequence[str], x: str, split: str | None, wanted: Wanted, where: str) -> Roles:
    targets = []
    for name in wanted.y:
        fitting = [name] if name in names else _named(names, (name.lower(),), split)
        if len(fitting) != 1 and not wanted.unlabelled:
            raise UsageError(f"task.target: {where} has no array '{name}'{_of(split)}; it has {shown(names)}")
        targets += fitting
    if not wanted.y:
        targets = [name for name in _named(names, Y, split) if name != x]
        if len(targets) > 1:
            raise DataError(f"{where}: several arrays may be the targets ({shown(targets)}); name one in target")
    lengths = _named(names, (wanted.lengths.lower(),) if wanted.lengths else LENGTHS, split)
    if wanted.lengths and not lengths:
        raise UsageError(f"task.lengths: {where} has no array '{wanted.lengths}'{_of(split)}; it has {shown(names)}")
    return Roles(x, tuple(targets), lengths[0] if lengths else None)


def _named(names: Sequence[str], bases: Sequence[str], split: str | None) -> list[str]:
    """The arrays of a split with the first of some names that there is."""
    for base in bases:
        if found := [name for name in names if parted(name) == (base, split)]:
            return found
    return []


def _of(split: str | None) -> str:
    return f" of {split}" if split else ""


def classes_in(arrays: Mapping[str, object]) -> str | None:
    """The array with names of classes, if there is one."""
    return next((name for name in arrays if name.lower() in NAMES), None)
