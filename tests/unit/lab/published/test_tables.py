"""The papers' tables, typed again for this test, against the files of the package."""

from __future__ import annotations

import pytest

from fptkit.lab.published import content_rows, load_published, published_names

TASKS = ("bit_memory", "bit_xor", "listops", "mnist", "cifar10", "cifar10_lra", "remote_homology")

TABLES: dict[tuple[str, str], tuple[tuple[str, ...], dict[str, tuple[float | None, ...]]]] = {
    ("fpt2021", "table_1"): (
        TASKS,
        {
            "FPT": (100, 100, 38.4, 98.0, 72.1, 38.6, 12.7),
            "full": (100, 100, 38, 99.1, 70.3, 42, 9),
            "lstm": (60.9, 50.1, 17.1, 99.5, 73.6, 11.7, 12),
        },
    ),
    ("fpt2021", "table_2"): (
        TASKS,
        {
            "language": (100, 100, 38.4, 98.0, 68.2, 38.6, 12.7),
            "random": (75.8, 100, 34.3, 91.7, 61.7, 36.1, 9.3),
            "bit_memory_pretrained": (100, 100, 35.4, 97.8, 62.6, 36.7, 7.8),
            "vit": (100, 100, 37.4, 97.8, 72.5, 43.0, 7.5),
            "statistics": (100, 100, 37.4, 97.2, 56.5, 33.1, 11.0),
        },
    ),
    ("fpt2021", "steps"): (
        TASKS,
        {
            "language": (10_000, 500, 2_000, 5_000, 400_000, 300_000, 100_000),
            "random": (40_000, 20_000, 6_000, 20_000, 400_000, 600_000, 100_000),
        },
    ),
    ("fpt2021", "underfitting"): (
        ("test", "train"),
        {"FPT": (38.6, 38.5), "transformer": (42, 70), "Linformer": (39, 97)},
    ),
    ("fpt2021", "size"): (
        ("language", "random"),
        {"12 blocks": (68.2, 61.7), "24 blocks": (69.8, 64.0), "36 blocks": (72.1, 65.7)},
    ),
    ("fpt2021", "cached_output"): (("listops", "cifar10_lra"), {"output only": (32.8, 24.7)}),
    ("fpt2021", "cached_speed"): (("at least", "at most"), {"output only": (500, 2_000)}),
    ("fpt2021", "depth"): (
        ("language", "random"),
        {"1 block": (17, 17), "2 blocks": (36, 16), "6 blocks": (38, 35)},
    ),
    ("fpt2021", "output_depth"): (
        ("language", "random"),
        {
            "1 block": (12, None),
            "3 blocks": (18, None),
            "6 blocks": (33, None),
            "12 blocks": (33, 17),
            "24 blocks": (None, 17),
        },
    ),
    ("fpt2021", "unfreezing"): (
        TASKS,
        {
            "FPT": (100, 100, 38.4, 98.0, 68.2, 38.6, 12.7),
            "+feed-forward": (100, 100, 36.0, 98.3, 76.6, 38.2, 13.1),
            "+attention": (100, 100, 36.8, 89.0, 47.7, 23.0, 10.9),
            "+feed-forward +attention": (100, 100, 35.8, 93.1, 32.9, 21.0, 10.5),
        },
    ),
    ("fpt2021", "unfreezing_last"): (
        ("FPT", "+feed-forward", "+feed-forward +last attention"),
        {"language": (68.2, 76.6, 80.0)},
    ),
    ("fpt2021", "successive_language"): (
        ("output", "output+norm", "output+norm+input", "output+norm+input+positions"),
        {
            "bit_memory": (76, 94, 100, 100),
            "bit_xor": (56, 98, 98, 100),
            "listops": (15, 36, 36, 38),
            "mnist": (23, 96, 98, 98),
            "cifar10": (25, 54, 60, 68),
            "cifar10_lra": (17, 39, 39, 39),
            "remote_homology": (2, 9, 10, 13),
        },
    ),
    ("fpt2021", "frozen_norm"): (
        ("norm frozen", "norm trained"),
        {"language": (61.5, 68.2), "random": (55.0, 61.7)},
    ),
    ("fpt2021", "backbones"): (
        ("cifar10", "listops"),
        {"bert": (68.8, 38.3), "t5_encoder": (64.7, 15.4), "longformer": (66.8, 17.0)},
    ),
    ("fpt2021", "successive_random"): (
        ("output", "output+norm", "output+norm+input", "output+norm+input+positions"),
        {
            "bit_xor": (50, 100, 100, 100),
            "listops": (17, 35, 36, 37),
            "mnist": (25, 83, 92, 92),
            "cifar10": (20, 46, 56, 62),
            "cifar10_lra": (11, 34, 36, 36),
        },
    ),
    ("rothermel2021", "table_1"): (
        ("listops", "mnist", "cifar10", "cifar10_lra"),
        {
            "frozen, random": (38.9, 98.0, 61.8, 44.2),
            "frozen, pretrained": (46.1, 98.5, 66.3, 54.7),
            "unfrozen, random": (57.6, 98.7, 77.8, 62.0),
            "unfrozen, pretrained": (56.3, 99.0, 77.7, 67.8),
        },
    ),
    ("tape2019", "fold_holdout"): (
        ("remote_homology",),
        {"LSTM": (26,), "Transformer": (21,), "ResNet": (17,), "one-hot": (9,)},
    ),
    ("lra2020", "transformer"): (("listops", "cifar10_lra"), {"Transformer": (36.37, 42.44)}),
    ("lra2020", "s4"): (("listops", "cifar10_lra"), {"S4": (59.5, 88.5)}),
}

ERRORS = {
    "frozen, random": (0.3, 0.0, 0.2, 0.3),
    "frozen, pretrained": (0.3, 0.1, 0.0, 1.4),
    "unfrozen, random": (0.8, 0.0, 0.2, 0.7),
    "unfrozen, pretrained": (0.9, 0.0, 0.1, 0.3),
}
"""Standard errors of Rothermel et al., Table 1."""

ONE_TRANSCRIPTION = {
    *(("underfitting", row, "train") for row in ("FPT", "transformer", "Linformer")),
    ("underfitting", "Linformer", "test"),
    *(
        ("unfreezing", row, task)
        for row in ("+feed-forward", "+attention", "+feed-forward +attention")
        for task in TASKS
        if task != "cifar10"
    ),
}
"""Figures of Lu et al. that were found in a single transcription."""


def test_every_table_is_typed_here() -> None:
    assert set(TABLES) == {(name, table) for name in published_names() for table in load_published(name).tables}


@pytest.mark.parametrize(("name", "table"), TABLES)
def test_every_figure_of_a_table(name: str, table: str) -> None:
    columns, rows = TABLES[name, table]
    typed = {
        (row, column): value
        for row, values in rows.items()
        for column, value in zip(columns, values, strict=True)
        if value is not None
    }
    assert {(figure.row, figure.column): figure.value for figure in load_published(name).of(table)} == typed


def test_every_standard_error() -> None:
    columns = TABLES["rothermel2021", "table_1"][0]
    typed = {(row, columns[place]): sem for row, sems in ERRORS.items() for place, sem in enumerate(sems)}
    assert {(figure.row, figure.column): figure.sem for figure in load_published("rothermel2021").figures} == typed
    for name in ("fpt2021", "tape2019", "lra2020"):
        assert {figure.sem for figure in load_published(name).figures} == {None}


def test_figures_of_a_single_transcription_say_so() -> None:
    for name in published_names():
        single = {
            (figure.table, figure.row, figure.column)
            for figure in load_published(name).figures
            if figure.checked_against == "one transcription"
        }
        assert single == (ONE_TRANSCRIPTION if name == "fpt2021" else set())


def test_the_tables_that_are_there_and_those_that_are_not() -> None:
    """Each of the 22 tables of Lu et al. is listed exactly once."""
    rows = content_rows(load_published("fpt2021"))
    listed = [
        int(word)
        for row in rows
        if row["table"].startswith("Table")
        for word in row["table"].split(", section")[0].replace(",", " ").split()
        if word.isdigit()
    ]
    assert sorted(listed) == list(range(1, 23))
    absent = {row["table"]: row for row in rows if not row["figures"]}
    assert absent.keys() == {"Table 3", "Tables 4, 5, 18 and 20", "Table 22"}
    assert all(row["read in"].startswith("not here: ") for row in absent.values())
    here = {row["table"]: row for row in rows if row["figures"]}
    assert here["Table 13"]["figures"] == "28"
    assert here["Table 13"]["read in"] == "transcriptions that agree (10), one transcription (18)"
    assert here["Table 1"]["read in"] == "transcriptions that agree"


@pytest.mark.parametrize("name", published_names())
def test_each_paper_says_what_is_missing(name: str) -> None:
    assert load_published(name).absent
