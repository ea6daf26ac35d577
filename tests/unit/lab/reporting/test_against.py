"""Tables beside published figures: reasons that rows share are said once and stay visible on a phone."""

from __future__ import annotations

import study_results as made

from fptkit.lab.reporting.against import section
from fptkit.lab.reporting.document import Table


def orientation(*tasks: str) -> Table:
    tables = section(made.study(tasks, ("pretrained", "random")), "rothermel2021").tables
    return next(table for table in tables if table.caption.startswith("Not comparable"))


def test_a_shared_reason_is_named_in_its_row_and_explained_once() -> None:
    table = orientation("mnist", "listops")
    column = [entry.text for entry in table.header].index("why")
    assert all("size" in entries[column].text for entries in table.rows)
    assert not any("4 blocks" in entries[column].text for entries in table.rows)
    assert sum("size: ours 4 blocks of 256, theirs 12 blocks of 768" in note for note in table.notes) == 1
    marks = {note.split(" ")[0] for note in table.notes if ": ours 4 blocks" in note}
    assert all(f"size{mark}" in entries[column].text for entries in table.rows for mark in marks)


def test_every_reason_of_a_row_can_be_read() -> None:
    """Marks resolved, a row says what it said before they were shared."""
    from fptkit.lab.published import against_rows, compare, load_published

    results = made.study(("mnist", "listops"), ("pretrained", "random"))
    table = orientation("mnist", "listops")
    column = [entry.text for entry in table.header].index("why")
    rows = against_rows(compare(results, load_published("rothermel2021"))).orientation
    for entries, row in zip(table.rows, rows, strict=True):
        text = entries[column].text
        for reason in row["why"].split("; "):
            notes = [note.split(" ", 1) for note in table.notes]
            mark = next((mark for mark, said in notes if said == reason), None)
            assert reason in text if mark is None else mark in text


def test_its_rows_are_stacked_on_narrow_screens() -> None:
    tables = section(made.study(("mnist",), ("pretrained",)), "rothermel2021").tables
    assert all(table.prose for table in tables)


def test_chance_and_resolution_are_below_our_figures_and_chance_below_theirs() -> None:
    ours, theirs = section(made.study(("mnist",), ("pretrained", "random")), "rothermel2021").tables
    assert any(note.startswith("Chance: mnist 10.0 %") for note in ours.notes)
    assert any(note.startswith("Resolution: mnist") for note in ours.notes)
    assert [note.split(":")[0] for note in theirs.notes] == ["Chance"]


def test_two_seeds_have_no_standard_error() -> None:
    tables = section(made.study(("mnist",), ("pretrained", "random"), seeds=(0, 1)), "rothermel2021").tables
    column = [entry.text for entry in tables[0].header].index("ours")
    assert all("±" not in entries[column].text for entries in tables[0].rows)
