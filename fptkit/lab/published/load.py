"""Loads published figures from the YAML files in this folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from fptkit.errors import DataError, RecipeError
from fptkit.lab.published.records import (
    SCORE,
    Facts,
    Figure,
    Published,
    PublishedFile,
    PublishedTable,
    TableCell,
)
from fptkit.recipe.tree import Fault, plain, read_tree, recipe_error
from fptkit.registry import in_use
from fptkit.specs import PublishedSpec


def published_names() -> tuple[str, ...]:
    """Names of the papers with figures, sorted: fptkit's own and those of plugins."""
    return tuple(in_use().names(PublishedSpec))


def load_published(name: str) -> Published:
    """Load the figures of a paper.

    Args:
        name: one of `published_names`.

    Raises:
        UnknownNameError: there is no paper of that name.
        DataError: its file cannot be read or is invalid, see `read_published`.
    """
    return read_paper(in_use().get(PublishedSpec, name))


def read_paper(spec: PublishedSpec) -> Published:
    """Read the file of a record.

    Raises:
        DataError: it cannot be read or is invalid, see `read_published`, or has another name.
    """
    file = spec.file
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise DataError(f"{file} cannot be read: {getattr(err, 'strerror', None) or err}") from err
    found = read_published(text, file.name)
    if found.name != spec.name:
        raise DataError(f"{file.name} has the name '{found.name}'; make it that of its record, '{spec.name}'")
    return found


def read_published(text: str, source: str) -> Published:
    """Parse a file of published figures.

    Args:
        text: the YAML text.
        source: name of the file, for messages.

    Raises:
        DataError: it is not YAML; has unknown, duplicate or missing keys, a row of the wrong length, an undefined
            label, a figure without task or arm, or the same figure twice.
    """
    faults: list[Fault] = []
    tree = read_tree(text, source, faults)
    if faults or tree is None:
        problems = recipe_error(faults)
        raise DataError(f"{source}: " + "; ".join(_told(problems))) from problems
    try:
        file = PublishedFile.model_validate(plain(tree))
    except ValidationError as err:
        told = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in err.errors()]
        raise DataError(f"{source}: " + "; ".join(told)) from err
    try:
        figures = tuple(_figures(file))
        _check_each_once(figures)
    except ValueError as err:
        raise DataError(f"{source}: {err}") from err
    return Published(**dict(file), figures=figures)


def _told(error: RecipeError) -> Iterator[str]:
    for problem in error.problems:
        yield f"{problem.where}: {problem.message}"


def _figures(file: PublishedFile) -> Iterator[Figure]:
    """Every figure of every table, with its facts."""
    _check_names(file)
    for name, table in file.tables.items():
        if unused := set(table.labels) - set(table.columns) - set(table.rows):
            raise ValueError(f"table '{name}': label '{min(unused)}' is neither a row nor a column")
        for row, cells in table.rows.items():
            for column, cell in zip(table.columns, cells, strict=True):
                if cell is not None:
                    yield _figure(file, name, row, column, cell)


def _check_names(file: PublishedFile) -> None:
    """Check that no name has two meanings."""
    kinds = (("task", set(file.tasks)), ("arm", set(file.arms)), ("label", set(file.labels)))
    for at, (kind, names) in enumerate(kinds):
        for other, others in kinds[at + 1 :]:
            if both := names & others:
                raise ValueError(f"'{min(both)}' is both {kind} and {other}")


def _figure(file: PublishedFile, name: str, row: str, column: str, cell: TableCell) -> Figure:
    table = file.tables[name]
    exceptions = [e.facts for e in table.exceptions if e.row == row and column in e.columns]
    layers = [table.all, _meaning(file, name, column), _meaning(file, name, row), *exceptions]
    where = f"table '{name}', row '{row}', column '{column}'"
    own = Facts()
    for layer in layers:
        own = own.under(layer)
    arms = sorted({layer.arm for layer in layers if layer.arm is not None})
    if strange := [arm for arm in arms if arm not in file.arms]:
        raise ValueError(f"{where}: there is no arm '{strange[0]}'")
    if len(arms) > 1:
        raise ValueError(f"{where}: two arms, '{arms[0]}' and '{arms[1]}'")
    if arms:
        own = file.arms[arms[0]].under(own)
    # The arm's learning rate takes precedence over the task's: the LSTM has its own.
    facts = file.tasks[own.task].facts.under(own) if own.task in file.tasks else own
    # A speed-up may be given for all tasks together.
    needed = ("body", "freezing") if table.metric == "times as fast" else ("task", "body", "freezing")
    missing = [key for key in needed if getattr(facts, key) is None]
    if missing:
        raise ValueError(f"{where}: its {' and '.join(missing)} is not given")
    if facts.task is not None and facts.task not in file.tasks:
        raise ValueError(f"{where}: there is no task '{facts.task}'")
    if table.metric == SCORE and cell.value > 100:
        raise ValueError(f"{where}: an accuracy of {cell.value:g} %, above 100")
    return _finished(file, table, facts, {"table": name, "row": row, "column": column, **dict(cell)})


def _meaning(file: PublishedFile, table: str, word: str) -> Facts:
    """Facts of a row or column name."""
    if word in file.tables[table].labels:
        return file.tables[table].labels[word]
    if word in file.labels:
        return file.labels[word]
    if word in file.tasks:
        return Facts(task=word)
    if word in file.arms:
        return Facts(arm=word)
    raise ValueError(f"table '{table}': '{word}' is not a task, arm or label")


def _finished(file: PublishedFile, table: PublishedTable, facts: Facts, place: dict[str, Any]) -> Figure:
    told = {
        **dict(facts),
        "checked_against": facts.checked_against or file.checked_against,
        "repeats": bool(facts.repeats),
        "split": facts.split or "test",
        "words": facts.words or "",
        "task": facts.task or "",
    }
    told.update({key: None for key in ("blocks", "width") if told[key] == "unknown"})
    del told["arm"]
    return Figure(
        **told,
        **place,
        place=table.place,
        source=table.source or file.source,
        metric=table.metric,
        seeds=file.seeds,
        protocol=file.protocol,
        learning_rates=file.learning_rates,
    )


def _check_each_once(figures: tuple[Figure, ...]) -> None:
    """Check that each quantity of a model on a task is given once; other occurrences must say ``repeats: true``."""
    first: dict[tuple[object, ...], Figure] = {}
    for figure in figures:
        if figure.repeats:
            continue
        if (other := first.setdefault(figure.identity, figure)) is not figure:
            raise ValueError(
                f"table '{figure.table}', row '{figure.row}', column '{figure.column}' is the same figure as table "
                f"'{other.table}', row '{other.row}', column '{other.column}'; one of them must say 'repeats: true'"
            )
    for figure in figures:
        if figure.repeats and figure.identity not in first:
            raise ValueError(
                f"table '{figure.table}', row '{figure.row}', column '{figure.column}' says 'repeats: true', "
                "but no other table has this figure"
            )
