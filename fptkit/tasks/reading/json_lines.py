"""Records of JSON: one object per line, or a list of objects."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fptkit.errors import DataError
from fptkit.sources.decoding import decoding, shown_value
from fptkit.tasks.reading.delimited import TextTable
from fptkit.tasks.reading.text import lines_of, read_text

ENDINGS = (".jsonl", ".ndjson", ".json")
"""Endings of files of JSON records."""

LIST = "\x1f"
"""Separates the elements of a JSON list in the text of a cell: the unit separator of ASCII, which no text has."""


def read_json_records(path: Path) -> TextTable:
    """Read the objects of a file, a line each or as one list, as a table whose columns are their keys.

    Numbers are kept as they are written, true and false become ``true`` and ``false``, null and an absent key empty
    text, a list its elements with `LIST` between them. Text is not changed.

    Args:
        path: the file, packed or not.

    Raises:
        DataError: it is not JSON, has no records, or a value is an object or a list of lists.
    """
    columns: dict[str, list[str]] = {}
    lines: list[int] = []
    for number, record in _records(path):
        for name in record.keys() - columns.keys():
            columns[name] = [""] * len(lines)
        lines.append(number)
        for name, cells in columns.items():
            cells.append(_cell(record.get(name), f"{path}:{number}", name))
    if not lines:
        raise DataError(f"{path}: no records; expected a JSON object on each line")
    return TextTable(str(path), dict(sorted(columns.items())), lines)


def _records(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield line and content of each object; of a list, the number of the object instead of its line."""
    lines = lines_of(path)
    first = next(lines, None)
    if first is not None and first[1].lstrip().startswith("["):
        found = _parsed(read_text(path), str(path))
        yield from ((number, _object(each, f"{path}:{number}")) for number, each in enumerate(found, start=1))
        return
    for number, line in itertools.chain([] if first is None else [first], lines):
        yield number, _object(_parsed(line, f"{path}:{number}"), f"{path}:{number}")


def _parsed(text: str, where: str) -> Any:
    advice = "write each record on a line of its own, or all as one list"
    with decoding(where, "a JSON object", advice=advice):
        return json.loads(
            text, parse_int=str, parse_float=str, parse_constant=str, object_pairs_hook=lambda p: _pairs(p, where)
        )


def _pairs(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{where}: the key '{doubled}' occurs twice; remove one")
    return found


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise DataError(
            f"{where}: expected a JSON object with keys, got {shown_value(value, 40)}; write {{...}} for each record"
        )
    return value


def _cell(value: Any, where: str, name: str) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case str():
            return _checked(value, where, name)
        case list() if not any(isinstance(each, list | dict) for each in value):
            return LIST.join(_cell(each, where, name) for each in value)
    raise DataError(
        f"{where}: '{name}' is {type(value).__name__} of {shown_value(value, 40)}; expected text, a number or a list"
    )


def _checked(text: str, where: str, name: str) -> str:
    if LIST in text or "\0" in text:
        raise DataError(f"{where}: '{name}' has a control character; remove it")
    try:
        text.encode()
    except UnicodeEncodeError as err:
        raise DataError(
            f"{where}: '{name}' has half of a surrogate pair (\\u{ord(text[err.start]):04x}); write the file again"
        ) from err
    return text
