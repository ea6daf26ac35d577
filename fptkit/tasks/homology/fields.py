"""The fields of a record of TAPE's files that the task uses."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex

from fptkit.errors import DataError
from fptkit.sources.decoding import shown_value

MOST_FOLDS = 100_000  # SCOPe 2.08 has about 1,500 folds; a larger label is not a fold number


class Record(NamedTuple):
    """One protein domain.

    Args:
        primary: its amino acids as one-letter codes.
        fold: label of its fold, from 0; the class to predict.
        superfamily: label of its superfamily, -1 if unknown.
        family: label of its family, -1 if unknown.
        identifier: its name in SCOP, or its number in the file.
    """

    primary: str
    fold: int
    superfamily: int = -1
    family: int = -1
    identifier: str = ""


def record_of(path: Path, number: int, fields: Any) -> Record:
    """A record from the fields of its file, checked.

    Args:
        path: the file, for messages.
        number: place of the record in the file, from 0.
        fields: what the file has for it.

    Raises:
        DataError: a field is missing or has another type.
    """
    where = f"{path}: record {number}"
    if not isinstance(fields, Mapping):
        raise DataError(f"{where}: expected an object with 'primary' and 'fold_label', got {type(fields).__name__}")
    primary = fields.get("primary")
    if isinstance(primary, bytes):
        primary = primary.decode("latin-1")
    if not isinstance(primary, str) or not primary:
        raise DataError(f"{where}: 'primary' must be amino acids as letters, got {shown_value(primary)}")
    fold = _label(where, fields, "fold_label")
    if fold is None:
        raise DataError(f"{where}: 'fold_label' is missing")
    superfamily, family = (_label(where, fields, name) for name in ("superfamily_label", "family_label"))
    name = _name(fields.get("id", number))
    return Record(primary, fold, -1 if superfamily is None else superfamily, -1 if family is None else family, name)


def _name(identifier: object) -> str:
    """The name of a record as text, short if it is no text."""
    if isinstance(identifier, bytes):
        return identifier.decode("latin-1")
    if isinstance(identifier, SupportsIndex):
        return shown_value(operator.index(identifier))
    return identifier if isinstance(identifier, str) else shown_value(identifier)


def _label(where: str, fields: Mapping[str, Any], name: str) -> int | None:
    if name not in fields:
        return None
    try:
        label = operator.index(fields[name])
    except TypeError:
        label = None
    if label is None or isinstance(fields[name], bool) or (label < 0 and name == "fold_label"):
        raise DataError(f"{where}: '{name}' must be a whole number >= 0, got {shown_value(fields[name])}")
    if abs(label) >= MOST_FOLDS:
        raise DataError(
            f"{where}: '{name}' is {shown_value(label)}; labels are numbered from 0 without gaps, below {MOST_FOLDS:,}"
        )
    return label
