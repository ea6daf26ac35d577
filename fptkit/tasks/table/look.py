"""A first look at tables: the options of the task ``table``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fptkit.tasks.reading.json_lines import ENDINGS as RECORDS
from fptkit.tasks.reading.labels import shown
from fptkit.tasks.reading.look import FALLBACK, Choice, Look, files_at, files_seen
from fptkit.tasks.reading.look_tables import MOST_CLASSES, Seen, columns_seen, guess_target, reading_options, see_table
from fptkit.tasks.table.options import ENDINGS


def look(place: Path, labels: Sequence[str] = ()) -> Look | None:
    """Look at a table, or at a folder of tables.

    Args:
        place: a file or folder.
        labels: columns to predict, if the user names them.

    Raises:
        DataError: the first table cannot be read.
    """
    found = files_at(place, ENDINGS)
    if found is None:
        return _records(place)
    seen = see_table(found.files[0])
    guess = guess_target(seen, labels)
    options: dict[str, Choice] = {**({"target": guess.choice} if guess.choice else {}), **reading_options(seen)}
    if unused := [name for name in seen.columns if seen.is_identifier(name) and name not in guess.names]:
        options["ignore"] = Choice(unused, "as many values as rows, like an identifier", doubtful=True)
    # Others, such as prices with one strange cell, are errors in the data: the check of the recipe names the line.
    few = [name for name in seen.odd if seen.columns[name].distinct <= MOST_CLASSES]
    if odd := [name for name in few if name not in guess.names]:
        options["categorical"] = Choice(odd, f"not all cells are numbers: {_first(seen, odd)}", doubtful=True)
    return Look(
        "table",
        FALLBACK + 0.2 * (len(seen.columns) > 1),
        "rows with columns",
        (*files_seen(found), *columns_seen(seen), *guess.seen, *_advice(seen, guess.names)),
        options,
        guess.lacking,
        sections={"head": {"readout": "mean"}},
    )


def _first(seen: Seen, odd: Sequence[str]) -> str:
    return seen.odd[odd[0]].split(": ", 1)[-1][:80]


def _advice(seen: Seen, targets: Sequence[str]) -> tuple[str, ...]:
    """A line about columns by which a split may be better than at random."""
    repeated = [
        name
        for name in seen.of_kind("category", "number")
        if name not in targets
        and name.lower().split("_")[0] in ("patient", "subject", "speaker", "user", "group", "site")
        and 1 < seen.columns[name].distinct < seen.rows
    ]
    if not repeated:
        return ()
    return (f"rows of one {shown(repeated)} may resemble each other: consider split: {{group: {repeated[0]}}}",)


def _records(place: Path) -> Look | None:
    """JSON records, which this task does not read, if no other one has a use for them."""
    found = files_at(place, RECORDS)
    if found is None:
        return None
    lacking = f"{place}: JSON records without texts or sequences; write them as CSV (pandas: read_json, to_csv)"
    return Look("table", 0.0, "JSON records", files_seen(found), lacking=lacking)
