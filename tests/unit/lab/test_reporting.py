"""Reports of studies: what they say, that no name in them becomes markup, and what a browser makes of them."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
import study_results as made
from markdown_it import MarkdownIt
from rich.console import Console

from fptkit.errors import DataError, UnknownNameError, UsageError
from fptkit.lab.reporting import curves, outcomes, tables, wording, write_reports
from fptkit.lab.reporting.compose import compose
from fptkit.lab.reporting.contents import status_of
from fptkit.lab.reporting.drawing import INK, LINES, SERIES, Picture
from fptkit.lab.reporting.markdown import escaped, to_markdown
from fptkit.lab.reporting.page import to_html
from fptkit.lab.reporting.spreadsheet import COLUMNS, to_csv
from fptkit.lab.reporting.terminal import print_results
from fptkit.lab.reporting.write import read_study, write
from fptkit.lab.studies.results import CellResult, Costs, CurvePoint, Estimate, Measure, RateResult, StudyResults

SEVEN = ("bit_memory", "bit_xor", "listops", "mnist", "cifar10", "cifar10_lra", "homology")
TEN = ("language", "random", *(f"arm_{number}" for number in range(8)))
LONG = "a_very_long_arm_name_that_goes_on_and_on_and_never_ends_but_must_not_break_the_page"
HOSTILE_TASK = "<script>alert(1)</script>"
HOSTILE_ARM = '"><img src=http://evil.example/x onerror=alert(1)>|*`[a](b)'
NO_COSTS = Costs(runs={})
ACCURACY = Measure("accuracy", fraction=True)
ERROR = Measure("mean_squared_error")


def nothing_known() -> StudyResults:
    """A study without any finished run."""
    whole = made.study()
    bare = tuple(CellResult(task=one.task, arm=one.arm, complete=False) for one in whole.cells)
    return whole.model_copy(
        update={
            "cells": bare,
            "comparisons": (),
            "lifts": (),
            "runs": (),
            "versions": {},
            "question": "",
            "profile": None,
        }
    )


def squared_error() -> StudyResults:
    """A study measured by an error instead of an accuracy."""
    whole = made.study(("regression",), ("a", "b"))
    cells = tuple(
        one.model_copy(update={"metric": "mean_squared_error", "fraction": False, "majority": None})
        for one in whole.cells
    )
    return whole.model_copy(update={"cells": cells})


STUDIES = {
    "full": made.study(
        noise=(*made.noise("bit_memory", "pretrained"), *made.noise("bit_xor", "random")),
        deviations=("seeds: 5 (plan: 10)",),
        smoke=True,
        until="3 seeds, then more where a comparison is undecided, at most 20",
    ),
    "format 1": made.study(format=1, choose="common", answers=(), ranks=()),
    "two seeds": made.study(seeds=(0, 1)),
    "failures": made.with_failures(made.study(), f"RuntimeError: {HOSTILE_TASK}\nand a second line | with a bar"),
    "one seed": made.study(seeds=(0,)),
    "one place": made.study(("t",), ("a",), rates=(1e-3,)),
    "large": made.study(SEVEN, TEN),
    "fractions": made.study(fractions=(0.01, 0.1, 1.0)),
    "hostile": made.study((HOSTILE_TASK, "x|y"), (LONG, HOSTILE_ARM), warnings=(HOSTILE_TASK,), question=HOSTILE_ARM),
    "nothing": nothing_known(),
    "error": squared_error(),
    "skipped": made.study(skipped={"no_backbone on bit_xor": "the task has no counterpart"}),
}
each_study = pytest.mark.parametrize("results", STUDIES.values(), ids=STUDIES)


# Words


@pytest.mark.parametrize(
    ("estimate", "metric", "text"),
    [
        (Estimate(values=(0.98, 0.985, 0.99), mean=0.985, sem=0.005), ACCURACY, "98.5 ± 0.5"),
        (Estimate(values=(0.98, 0.99), mean=0.985, sem=0.005), ACCURACY, "98.5"),
        (Estimate(values=(0.985,), mean=0.985, sem=None), ACCURACY, "98.5"),
        (Estimate(values=(1.0, 1.0, 1.0), mean=1.0, sem=0.0), ACCURACY, "100.0 ± 0.0"),
        (Estimate(values=(), mean=None, sem=None), ACCURACY, "–"),
        (Estimate(values=(0.1,), mean=0.123456, sem=None), ERROR, "0.1235"),
        (Estimate(values=(-2.0,), mean=-2.0, sem=None), ERROR, "−2"),
        (None, ACCURACY, "–"),
    ],
)
def test_a_mean_with_its_error(estimate: Estimate | None, metric: Measure, text: str) -> None:
    assert wording.mean_and_sem(estimate, metric) == text


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (wording.rate(1e-3), "1e-3"),
        (wording.rate(0.00316), "3.16e-3"),
        (wording.rate(0.1), "1e-1"),
        (wording.rate(2), "2e0"),
        (wording.rate(None), "–"),
        (wording.p_value(0.0004), "< 0.001"),
        (wording.p_value(0.004), "0.004"),
        (wording.p_value(0.61), "0.61"),
        (wording.p_value(0.0499), "< 0.05"),
        (wording.p_value(0.05), "0.050"),
        (wording.margin(0.01, ACCURACY), "1 point"),
        (wording.margin(0.005, ACCURACY), "0.5 points"),
        (wording.margin(0.05, ERROR), "0.05"),
        (wording.p_value(None), "–"),
        (wording.amount(1.24e12, "FLOP"), "1.24 TFLOP"),
        (wording.amount(999_999), "1 M"),
        (wording.amount(512), "512"),
        (wording.amount(86e6), "86 M"),
        (wording.duration(3.21), "3.2 s"),
        (wording.duration(250), "4 min 10 s"),
        (wording.duration(7500), "2 h 5 min"),
        (wording.share(0.05), "5 %"),
        (wording.share(0.005), "0.5 %"),
        (wording.interval((-0.012, 0.018), ACCURACY), "[−1.2, 1.8]"),
        (wording.difference(-0.0001, ACCURACY, signed=True), "+0.0 points"),
        (wording.counted(1, "seed"), "1 seed"),
        (wording.effect_size(-0.317), "−0.32"),
        (wording.effect_size(-0.001), "0.00"),
        (wording.listed(("a", "b", "c")), "a, b and c"),
    ],
)
def test_numbers_are_written_in_one_way(written: str, text: str) -> None:
    assert written == text


# Tables


def main_figures(results: StudyResults) -> dict[str, list[str]]:
    """The main table as text: arm to its figures."""
    (table,) = tables.main_tables(results)
    return {entries[0].text: [entry.text for entry in entries[1:]] for entries in table.rows}


def test_the_main_table_has_every_figure_and_rate() -> None:
    results = made.study()
    (table,) = tables.main_tables(results)
    assert [entry.text for entry in table.header] == ["arm", "bit_memory", "bit_xor"]
    for arm, entries in zip(results.arms, table.rows, strict=True):
        for task, entry in zip(results.tasks, entries[1:], strict=True):
            cell = results.cell(task, arm)
            assert cell is not None
            assert cell.main is not None
            assert cell.main.mean is not None
            assert cell.main.sem is not None
            assert entry.text == f"{cell.main.mean * 100:.1f} ± {cell.main.sem * 100:.1f}"
            rank, *rates = entry.details
            edge = [rates.pop()] if rates[-1] == "edge" else []
            assert rank == {"pretrained": "rank 1", "random": "shared rank 2", "statistics_only": "shared rank 2"}[arm]
            assert " ".join(rates) == wording.counted_rates(cell.chosen_rates.values())
            assert edge == (["edge"] if cell.at_edge else [])
    assert table.rows[0][0].detail == "reference"
    assert [[entry.text for entry in entries] for entries in table.foot] == [
        ["chance", "10.0", "10.0"],
        ["most frequent class", "11.2", "11.2"],
        ["resolution", "3.1 points", "3.1 points"],
    ]


def test_missing_and_incomplete_cells_are_marked() -> None:
    (table,) = tables.main_tables(STUDIES["failures"])
    assert (table.rows[-1][-1].text, table.rows[-1][-1].details[-1]) == ("–", "0 of 5 seeds, incomplete")
    (alone,) = tables.main_tables(STUDIES["one seed"])
    assert "1 seed" in alone.rows[0][1].detail
    left_out = made.study().model_copy(
        update={"cells": made.study().cells[:-1], "skipped": {"statistics_only on bit_xor": "no"}}
    )
    (table,) = tables.main_tables(left_out)
    assert (table.rows[-1][-1].text, table.rows[-1][-1].detail) == ("–", "not made")


def test_with_seeds_until_decided_every_cell_says_how_many_it_has() -> None:
    results = made.study(until="3 seeds, then more where a comparison is undecided, at most 20")
    fewer = results.cells[0].model_copy(update={"test": {"test": made.estimate([0.9, 0.91, 0.92])}})
    name = (fewer.task, fewer.arm, fewer.data_fraction)
    runs = tuple(run for run in results.runs if (run.task, run.arm, run.data_fraction) != name or run.seed < 3)

    def shown(**changes: object) -> list[str]:
        (table,) = tables.main_tables(results.model_copy(update={"cells": (fewer, *results.cells[1:]), **changes}))
        return [entry.details[-1] for entry in table.rows[0][1:3]]

    assert [text.rpartition(", ")[2] for text in shown(runs=runs)] == ["3 seeds", "5 seeds"]
    assert shown()[0].endswith("3 of 5 seeds"), "two of its seeds have no result"


def test_protocols_never_share_a_table() -> None:
    results = made.study()
    cells = [one.model_copy(update={"protocol": "fpt2021"}) if one.task == "bit_xor" else one for one in results.cells]
    found = tables.main_tables(results.model_copy(update={"cells": tuple(cells)}))
    assert [[entry.text for entry in table.header] for table in found] == [["arm", "bit_memory"], ["arm", "bit_xor"]]
    assert [re.findall(r"protocol (\w+)", table.caption) for table in found] == [["clean"], ["fpt2021"]]


def test_stand_ins_are_marked_and_named() -> None:
    results = made.study()
    cells = [
        one.model_copy(
            update={
                "data_stand_in": one.task == "bit_xor",
                "source": "digits" if one.task == "bit_xor" else "generated",
                "weights_stand_in": one.arm == "pretrained",
            }
        )
        for one in results.cells
    ]
    (table,) = tables.main_tables(results.model_copy(update={"cells": tuple(cells)}))
    assert [entry.text for entry in table.header] == ["arm", "bit_memory", "bit_xor †"]
    assert [entries[0].text for entries in table.rows] == ["pretrained ‡", "random", "statistics_only"]
    assert "bit_xor digits" in table.notes[0]
    assert "pretrained builtin:gpt2_nano" in table.notes[1]


def test_each_fraction_of_the_data_has_its_own_table() -> None:
    captions = [table.caption for table in tables.main_tables(STUDIES["fractions"])]
    assert len(captions) == 3
    assert "of the training data" not in captions[0]
    assert captions[1].endswith("10 % of the training data.")
    notes = [note for table in tables.main_tables(STUDIES["fractions"]) for note in table.notes]
    assert len(notes) == len(set(notes)) >= 3, "a note of several tables is said once"


def test_effort_counts_the_seeds_that_reached_the_target() -> None:
    report = compose(made.study(), NO_COSTS)
    (table,) = next(section for section in report.sections if section.key == "effort").tables
    assert [entry.text for entry in table.rows[0]] == ["bit_memory", "pretrained", "80.0 %", "400", "4 TFLOP", "5 of 5"]


# Pictures


def drawn(picture: Picture) -> ElementTree.Element:
    """The picture as XML; parsing fails if a name was not escaped."""
    return ElementTree.fromstring(picture.svg())


def of_class(picture: Picture, name: str) -> list[ElementTree.Element]:
    return [element for element in drawn(picture).iter() if name in element.get("class", "").split()]


def one_cell(**more: object) -> StudyResults:
    """A study of one cell with given rates."""
    results = made.study(("t",), ("a",), rates=(1e-4, 1e-3, 1e-2))
    return results.model_copy(update={"cells": (results.cells[0].model_copy(update=more),)})


def rates_of(*figures: tuple[float, float | None, int, int]) -> tuple[RateResult, ...]:
    return tuple(
        RateResult(
            learning_rate=rate,
            validation=made.estimate([] if level is None else [level - 0.01, level, level + 0.01]),
            runs=("a", "b", "c"),
            diverged=diverged,
            steps=steps,
        )
        for rate, level, diverged, steps in figures
    )


def test_learning_rates_are_spaced_by_their_ratio_and_the_chosen_one_is_ringed() -> None:
    rates = rates_of((1e-4, 0.5, 0, 100), (1e-3, 0.9, 0, 100), (1e-2, 0.7, 0, 100))
    (picture,) = curves.learning_rates(one_cell(rates=rates, chosen_rate=1e-3, at_edge=""))
    places = [tuple(map(float, re.findall(r"[\d.]+", mark.get("transform", "")))) for mark in of_class(picture, "mark")]
    across, up = [place[0] for place in places], [place[1] for place in places]
    assert across[1] - across[0] == pytest.approx(across[2] - across[1], abs=0.11)
    assert up[1] < up[2] < up[0]
    (ring,) = of_class(picture, "ring")
    assert (float(ring.get("cx", 0)), float(ring.get("cy", 0))) == places[1]
    assert not of_class(picture, "cross")


@pytest.mark.parametrize(("edge", "chosen", "turn"), [("high", 1e-2, 1), ("low", 1e-4, -1)])
def test_a_rate_on_the_edge_has_an_arrow_outwards(edge: str, chosen: float, turn: int) -> None:
    rates = rates_of((1e-4, 0.8, 0, 100), (1e-3, 0.8, 0, 100), (1e-2, 0.8, 0, 100))
    (picture,) = curves.learning_rates(one_cell(rates=rates, chosen_rate=chosen, at_edge=edge))
    (ring,), (arrow,) = of_class(picture, "ring"), of_class(picture, "cross")
    start = float(re.findall(r"M([\d.]+),", arrow.get("d", ""))[0])
    assert (start - float(ring.get("cx", 0))) * turn > 0


def test_diverged_and_stopped_rates_are_marked() -> None:
    rates = rates_of((1e-4, 0.5, 0, 25), (1e-3, 0.9, 0, 100), (1e-2, None, 2, 10))
    (picture,) = curves.learning_rates(one_cell(rates=rates, chosen_rate=1e-3, at_edge=""))
    titles = [element.text for element in drawn(picture).iter("title")]
    assert len(of_class(picture, "hollow")) == 1
    assert "a at 1e-4: 50.0 ± 0.6 after 25 steps" in titles
    assert len(of_class(picture, "cross")) == 1
    assert "a: 2 diverged at 1e-2" in titles


def test_a_study_whose_every_run_diverged_is_drawn() -> None:
    rates = rates_of((1e-4, None, 2, 3), (1e-3, None, 2, 3))
    (picture,) = curves.learning_rates(one_cell(rates=rates, chosen_rate=None, at_edge=""))
    assert len(of_class(picture, "cross")) == 2


def test_bars_are_as_long_as_their_figures() -> None:
    results = made.study(("t",), ("a", "b"))
    (picture,) = outcomes.bars(results)
    widths = [float(bar.get("width", 0)) for bar in of_class(picture, "bar")]
    means = [cell.main.mean for cell in results.cells if cell.main and cell.main.mean]
    assert widths[0] / widths[1] == pytest.approx(means[0] / means[1], abs=0.002)
    assert len(of_class(picture, "dot")) == 2 * 5, "a dot for each seed"
    assert len(of_class(picture, "level")) == 2, "chance and the most frequent class"


def test_bars_of_negative_values_start_at_zero() -> None:
    tests = {"test": made.estimate([-2.0, -4.0])}
    (picture,) = outcomes.bars(one_cell(metric="score", test=tests, majority=None))
    (bar,) = of_class(picture, "bar")
    assert float(bar.get("width", 0)) > 100


def test_a_band_needs_an_error() -> None:
    assert len(of_class(curves.convergence(made.study())[0], "band")) == 3
    points = (CurvePoint(step=10, mean=0.2), CurvePoint(step=20, mean=0.4))
    (picture,) = curves.convergence(one_cell(curve=points))
    assert not of_class(picture, "band")
    assert len(of_class(picture, "line")) == 1
    two_seeds = curves.convergence(made.study(seeds=(0, 1)))
    assert not of_class(two_seeds[0], "band")


def test_metrics_in_different_units_have_separate_charts() -> None:
    results = made.study(("t",), ("a", "b"))
    cells = (results.cells[0], results.cells[1].model_copy(update={"metric": "mean_squared_error", "fraction": False}))
    pictures = outcomes.bars(results.model_copy(update={"cells": cells}))
    assert [len(of_class(picture, "bar")) for picture in pictures] == [1, 1]


def test_cost_is_drawn_if_it_is_known() -> None:
    results = made.study()
    assert outcomes.costs_in_seconds(results, NO_COSTS) == []
    assert len(outcomes.costs_in_seconds(results, made.costs_of(results))) == len(results.tasks)
    (picture,) = outcomes.costs_in_flops(one_cell(flops_per_step=2e9, steps=(100, 300)))
    assert any("for 400 GFLOP" in (title.text or "") for title in drawn(picture).iter("title"))


def test_a_chart_of_fractions_needs_two() -> None:
    assert curves.data_fractions(made.study()) == []
    picture = curves.data_fractions(STUDIES["fractions"])[0]
    assert len(of_class(picture, "mark")) == 3 * 3


@each_study
def test_every_picture_is_sound_and_says_what_it_shows(results: StudyResults) -> None:
    report = compose(results, made.costs_of(results))
    pictures = [picture for section in report.sections for picture in section.pictures]
    for picture in pictures:
        root = ElementTree.fromstring(picture.file())
        ids = [element.get("id") for element in root.iter() if element.get("id")]
        assert root.get("aria-labelledby", "").split() == ids
        assert "nan" not in picture.svg().lower().replace("finance", "")
        # A name never leaves its text.
        assert {element.tag.rpartition("}")[2] for element in root.iter()} <= {
            *("svg", "g", "title", "desc", "text", "line", "path", "polyline", "polygon", "rect", "circle", "style")
        }
        below = [one for one in root.iter() if one.get("class") == "tick" and one.get("text-anchor") == "middle"]
        beside = [one for one in root.iter() if one.get("class") == "tick" and one.get("text-anchor") == "end"]
        assert len(below) >= 2, "an axis without labelled ticks cannot be read"
        assert len(beside) != 1
    assert len({picture.key for picture in pictures}) == len(pictures)
    assert bool(pictures) == bool(results.runs)


def luminance(colour: str) -> float:
    """Source: WCAG 2.2, relative luminance."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("side", [0, 1], ids=["light", "dark"])
def test_colours_stand_out_from_the_page(side: int) -> None:
    def contrast(colour: str) -> float:
        pair = sorted((luminance(colour), luminance(INK["surface"][side])))
        return (pair[1] + 0.05) / (pair[0] + 0.05)

    for name in ("ink", "quiet"):
        assert contrast(INK[name][side]) >= 4.5, name
    assert contrast(LINES["axis"][side]) >= 3
    for pair in SERIES:
        assert contrast(pair[side]) >= 3, pair


# The page


class Page(HTMLParser):
    """What a browser would see: elements, what they point to, text."""

    EMPTY = ("meta", "link")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def page_of(results: StudyResults) -> str:
    return to_html(compose(results, made.costs_of(results), link=lambda address: f"../runs/{address[:16]}/"))


@each_study
def test_the_page_is_complete_and_requests_nothing(results: StudyResults) -> None:
    text = page_of(results)
    page = Page(text)
    assert page.open == []
    assert not {tag for tag, _ in page.tags} & {"script", "img", "iframe", "object", "embed", "base", "form", "use"}
    attributes = [pair for _, found in page.tags for pair in found.items()]
    assert not [name for name, _ in attributes if name.startswith("on") or name in ("src", "srcset", "action")]
    for name, value in attributes:
        if name.endswith("href"):
            assert value.startswith(("#", "data:,", "../runs/")), value
    sheet = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in sheet
    assert "@import" not in sheet
    policy = next(found for tag, found in page.tags if found.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@each_study
def test_the_page_can_be_used_without_seeing_it(results: StudyResults) -> None:
    page = Page(page_of(results))
    ids = [found["id"] for _, found in page.tags if "id" in found]
    assert len(ids) == len(set(ids))
    for tag, found in page.tags:
        assert set(found.get("aria-labelledby", "").split()) <= set(ids)
        if tag == "th":
            assert found["scope"] in ("row", "col")
        if tag == "svg":
            assert found.get("role") == "img" or found.get("aria-hidden") == "true"
        if tag == "a" and found["href"].startswith("#"):
            assert found["href"][1:] in ids
    assert next(tag for tag, _ in page.tags if tag in ("h1", "h2", "h3")) == "h1"
    assert [found["lang"] for tag, found in page.tags if tag == "html"] == ["en"]


def test_the_page_shows_names_as_they_are() -> None:
    texts = Page(page_of(STUDIES["hostile"])).texts
    assert any(text.strip() == HOSTILE_TASK for text in texts)
    assert any(text.strip() == HOSTILE_ARM for text in texts)


def test_warnings_come_first() -> None:
    results = made.study(warnings=("watch out", "and this"))
    for text in (page_of(results), to_markdown(compose(results, NO_COSTS))):
        assert text.index("watch out") < text.index("and this") < text.index("Answer") < text.index("95.4")
        assert text.index("watch out") < text.index(results.question)


@pytest.mark.parametrize("form", [page_of, lambda results: to_markdown(compose(results, NO_COSTS))])
def test_what_every_figure_depends_on_comes_before_the_answer(form: Callable[[StudyResults], str]) -> None:
    text = form(made.study(smoke=True, deviations=("seeds: 5 (plan: 10)", "arms: 3 (plan: 2)"), plan="3f9a" * 16))
    text = text[text.find("<body>") :] if "<body>" in text else text
    order = ("seeds: 5 (plan: 10)", "arms: 3 (plan: 2)", "What is compared", "Compared is the procedure", "94.4")
    places = [text.index(one) for one in ("Its figures mean nothing", *order)]
    assert places == sorted(places)
    assert "3f9a" * 16 in text.split("How it was made")[-1]
    plain = form(made.study())
    assert "Smoke" not in plain
    assert "Deviations" not in plain


def test_a_study_without_deviations_says_that_it_follows_its_plan() -> None:
    assert status_of(made.study(plan="3f9a" * 16)).endswith("It follows its locked plan.")
    assert "plan" not in status_of(made.study(plan="3f9a" * 16, deviations=("seeds: 5 (plan: 10)",)))
    assert "plan" not in status_of(made.study())


def test_numbers_never_break_on_the_page() -> None:
    text = page_of(STUDIES["full"])
    visible = " ".join(Page(re.sub("<svg.*?</svg>", "", text, flags=re.DOTALL)).texts)  # a picture has no lines
    for pattern in (r"p [=<] ?\d", r"p\u00a0[=<] \d", r"\d ± \d", r"\[[−\d.]+, [−\d.]+\]", r"\d points", r"I² \d"):
        assert not re.search(pattern, visible), pattern
    assert "p\u00a0=\u00a00.002" in visible
    assert not re.search(r"\de-\d", visible), "a browser breaks after a hyphen"
    assert "1e-\u20603" in visible


def test_a_narrow_screen_stacks_sentences_and_scrolls_figures() -> None:
    results = STUDIES["failures"]
    page = Page(page_of(results))
    tables = [found for tag, found in page.tags if tag == "table"]
    stacked = [found for found in tables if found.get("class") == "stack"]
    assert 0 < len(stacked) < len(tables)
    assert all(found.get("role") == "table" for found in stacked), "or it would be no table to a screen reader"
    regions = [found for _, found in page.tags if found.get("class") == "scroll"]
    assert all(found["tabindex"] == "0" and found["role"] == "region" and found["aria-label"] for found in regions)
    labels = [found["data-label"] for tag, found in page.tags if tag == "td" and "data-label" in found]
    assert {"reason", "status"} <= set(labels)


def test_failures_are_listed_with_their_reasons() -> None:
    results = STUDIES["failures"]
    text = page_of(results)
    assert text.count("RuntimeError: &lt;script&gt;") == len(results.failures)
    assert "5 of 6 cells complete" in text


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def opened(page: Path, *, width: int = 1280) -> tuple[str, list[str]]:
    """A page in headless Chromium: its document after loading, and what the console says."""
    assert CHROMIUM is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    options += ["--enable-logging=stderr", "--v=0", f"--user-data-dir={page.parent / 'browser'}"]
    done = subprocess.run(
        [CHROMIUM, *options, f"--window-size={width},900", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
class TestInABrowser:
    """The page in a browser. Deliberate changes to it show that the checks would find an error."""

    def test_the_console_says_nothing(self, tmp_path: Path) -> None:
        page = tmp_path / "report.html"
        page.write_text(page_of(STUDIES["hostile"]), encoding="utf-8")
        document, console = opened(page)
        assert console == []
        assert document.count("<svg") > 5

    def test_a_request_would_be_refused_and_told(self, tmp_path: Path) -> None:
        page = tmp_path / "report.html"
        text = page_of(STUDIES["full"])
        page.write_text(text.replace("</main>", '<img src="http://127.0.0.1:9/x.png"></main>'), encoding="utf-8")
        _, console = opened(page)
        assert any("Content Security Policy" in line for line in console)

    @pytest.mark.parametrize("width", [400, 1280])
    @pytest.mark.parametrize("name", ["large", "hostile"])
    def test_nothing_is_wider_than_the_window(self, name: str, width: int, tmp_path: Path) -> None:
        page = tmp_path / "report.html"
        text = re.sub(r"<meta http-equiv[^>]*>", "", page_of(STUDIES[name]))
        measure = "<script>document.title = document.documentElement.scrollWidth + ' in ' + innerWidth</script></body>"
        page.write_text(text.replace("</body>", measure), encoding="utf-8")
        document, _ = opened(page, width=width)
        needed, _, given = re.findall(r"<title>([^<]*)</title>", document)[0].partition(" in ")
        assert int(given) <= width + 120  # a headless window has a least width on some systems
        assert int(needed) <= int(given)


# Markdown

MARKDOWN_MAKES = {
    "h1",
    "h2",
    "p",
    "ul",
    "li",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "br",
    "blockquote",
    "strong",
    "ol",
} | {
    "pre",
    "code",
    "details",
    "summary",
}
"""Elements that Markdown renders to; any other one would come from an unescaped name."""


@each_study
def test_markdown_renders_as_tables_and_lets_no_markup_through(results: StudyResults) -> None:
    report = compose(results, made.costs_of(results))
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(to_markdown(report))
    found = re.findall(r"<(\w+)", html)
    wanted = [table for section in report.sections for table in section.tables]
    assert found.count("table") == len(wanted)
    assert found.count("td") == sum(len(entries) for table in wanted for entries in (*table.rows, *table.foot))
    assert set(found) <= MARKDOWN_MAKES


def test_markdown_shows_names_as_they_are() -> None:
    html = MarkdownIt("commonmark").enable("table").render(to_markdown(compose(STUDIES["hostile"], NO_COSTS)))
    assert "<td>&lt;script&gt;alert(1)&lt;/script&gt;</td>" in html
    assert "&quot;&gt;&lt;img src=http://evil.example/x onerror=alert(1)&gt;|*`[a](b)" in html
    assert escaped("bit_memory") == "bit_memory"


def test_markdown_links_to_its_pictures() -> None:
    report = compose(made.study(), NO_COSTS)
    without, with_pictures = to_markdown(report), to_markdown(report, pictures="figures")
    assert "![" not in without
    assert "A ring marks" not in without, "what explains pictures goes with them"
    keys = re.findall(r"\]\(figures/([\w-]+)\.svg\)", with_pictures)
    assert keys == [picture.key for section in report.sections for picture in section.pictures]


# CSV


@each_study
def test_csv_holds_every_figure_unrounded(results: StudyResults) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(results, NO_COSTS))))
    assert len(rows) == sum(max(1, len(cell.test)) for cell in results.cells)
    for cell in results.cells:
        (row,) = [
            one
            for one in rows
            if (one["task"], one["arm"], float(one["data_fraction"])) == (cell.task, cell.arm, cell.data_fraction)
        ]
        assert tuple(row) == COLUMNS
        assert tuple(map(float, row["values"].split())) == (cell.main.values if cell.main else ())
        assert (float(row["mean"]) if row["mean"] else None) == (cell.main.mean if cell.main else None)
        assert row["complete"] == str(cell.complete)


def test_csv_has_chance_ranks_and_no_error_of_two_seeds() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(made.study(), NO_COSTS))))
    assert [row["rank"] for row in rows[:3]] == ["1", "2", "2"]
    assert {(row["chance"], row["majority"]) for row in rows} == {("0.1", "0.112")}
    assert all(float(row["sem"]) > 0 and float(row["validation_sem"]) > 0 for row in rows)
    two = list(csv.DictReader(io.StringIO(to_csv(made.study(seeds=(0, 1)), NO_COSTS))))
    assert {row[name] for row in two for name in ("sem", "validation_sem", "common_sem", "rank")} == {""}


def test_every_column_is_described() -> None:
    text = (Path(__file__).parents[3] / "docs" / "reports.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)`", text.split("## The table")[1], re.MULTILINE) == list(COLUMNS)


def test_csv_has_a_row_for_each_split() -> None:
    tests = {"test_fold": made.estimate([0.1, 0.2]), "test_family": made.estimate([0.8, 0.9])}
    rows = list(csv.DictReader(io.StringIO(to_csv(one_cell(test=tests, test_split="test_fold"), NO_COSTS))))
    assert [(row["split"], row["seeds"]) for row in rows] == [("test_fold", "2"), ("test_family", "2")]


# Files


def test_reports_are_written_and_link_to_the_runs(tmp_path: Path) -> None:
    results = made.study(("t",), ("a",))
    folder = made.save(results, tmp_path / "my studies" / "one", made.costs_of(results))
    ledger = tmp_path / "my studies"
    first = results.runs[0].address
    (ledger / "runs" / first[:16]).mkdir(parents=True)
    files = write_reports(folder, ledger)
    assert [path.name for path in files] == ["report.md", "results.csv", "report.html"]
    link = f"../runs/{first[:16]}/"
    assert (folder / link).is_dir()
    assert files[0].read_text(encoding="utf-8").count(f"]({link})") == 1, "no link to a folder that is not there"
    assert files[2].read_text(encoding="utf-8").count(f'href="{link}"') == 1
    assert not list(folder.glob(".*")), "nothing is left of the writing"


def test_the_same_results_give_the_same_files(tmp_path: Path) -> None:
    folder = made.save(STUDIES["full"], tmp_path / "one")
    before = [path.read_bytes() for path in write_reports(folder, tmp_path)]
    assert [path.read_bytes() for path in write_reports(folder, tmp_path)] == before


def test_published_figures_get_separate_sections(tmp_path: Path) -> None:
    folder = made.save(made.study(("mnist",), ("pretrained", "random")), tmp_path / "one")
    files = write_reports(folder, tmp_path, against=("fpt2021", "rothermel2021"))
    for path in (files[0], files[2]):
        text = path.read_text(encoding="utf-8")
        assert "Against fpt2021" in text
        assert "Against rothermel2021" in text
        assert "for orientation" in text
        assert "size: ours 4 blocks of 256, theirs 12 blocks of 768" in text
    with pytest.raises(UnknownNameError, match="rothermel2021"):
        write_reports(folder, tmp_path, against=("rothermel",))


def test_comparable_and_other_figures_never_share_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    from fptkit.lab import published
    from fptkit.lab.reporting import against

    results = made.study(("mnist",), ("pretrained", "random"))
    pairs = [
        pair
        for pair in published.compare(results, published.load_published("rothermel2021"))
        if pair.ours and pair.theirs
    ]
    one, other = pairs[0].model_copy(update={"comparable": True, "reasons": ()}), pairs[1]
    monkeypatch.setattr(against, "compare", lambda *_: (one, other))
    section = against.section(results, "rothermel2021")
    assert section.points == ()
    assert [table.caption.partition(":")[0] for table in section.tables] == [
        "Comparable",
        "Not comparable, for orientation only. Accuracy in %; gap",
    ]
    assert [[entries[1].text for entries in table.rows] for table in section.tables] == [["pretrained"], ["random"]]


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no results"):
        write_reports(tmp_path, tmp_path)
    (tmp_path / "results.json").write_text('{"format": 2}')
    with pytest.raises(DataError, match="damaged"):
        write_reports(tmp_path, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"results.json"}


def test_a_file_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    folder = made.save(made.study(("t",), ("a",)), tmp_path / "one")
    (folder / "report.md").mkdir()
    with pytest.raises(UsageError, match=r"report\.md cannot be written"):
        write_reports(folder, tmp_path)
    assert not list(folder.glob(".*"))


def test_costs_are_optional(tmp_path: Path) -> None:
    study = read_study(made.save(made.study(), tmp_path / "one"), tmp_path)
    assert study.results == made.study()
    assert study.costs == NO_COSTS
    assert study.command == ""


def test_the_command_is_the_one_that_made_the_study(tmp_path: Path) -> None:
    folder = made.save(made.study(), tmp_path / "one")
    markdown = write_reports(folder, tmp_path)[0]
    assert "```sh\nfptkit study modality --profile nano\n```" in markdown.read_text(encoding="utf-8")
    (folder / "study.yaml").write_text("# modality\n# Made by: fptkit study other.yaml --seeds 3\nseeds: [0]\n")
    markdown = write_reports(folder, tmp_path)[0]
    assert "```sh\nfptkit study other.yaml --seeds 3\n```" in markdown.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_report_needs_no_heavy_library(tmp_path: Path) -> None:
    made.save(made.study(("mnist",), ("a", "b")), tmp_path / "one")
    code = (
        "import sys; from pathlib import Path; from fptkit.lab.reporting import write_reports\n"
        "from fptkit.lab.reporting.terminal import print_results; from fptkit.lab.reporting.write import read_study\n"
        "write_reports(Path('one'), Path('.'), against=('fpt2021',))\n"
        "print_results(read_study(Path('one'), Path('.')).results)\n"
        "heavy = {'torch', 'numpy', 'scipy', 'matplotlib', 'transformers'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# The terminal


def printed(results: StudyResults, width: int, *, terminal: bool) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    consoles = [
        Console(file=file, width=width, force_terminal=terminal, no_color=True, markup=False, highlight=False)
        for file in (out, err)
    ]
    print_results(results, console=consoles[0], error_console=consoles[1])
    return re.sub(r"\x1b\[[\d;]*m", "", out.getvalue()), re.sub(r"\x1b\[[\d;]*m", "", err.getvalue())


@pytest.mark.parametrize("width", [80, 140])
@each_study
def test_the_terminal_shows_every_figure_within_its_width(results: StudyResults, width: int) -> None:
    out, _ = printed(results, width, terminal=True)
    assert max(map(len, out.splitlines())) <= width
    for cell in results.cells:
        assert out.count(wording.mean_and_sem(cell.main, cell.measure)) >= 1


@each_study
def test_in_a_pipe_a_row_is_a_line(results: StudyResults) -> None:
    out, _ = printed(results, 80, terminal=False)
    assert "\x1b" not in out
    lines = out.splitlines()
    for table in tables.main_tables(results):
        for entries in (*table.rows, *table.foot):
            figures = [entry.text for entry in entries]
            assert any(all(figure in line for figure in figures) for line in lines), figures
    assert all(line == line.rstrip() for line in lines)


def test_warnings_go_to_the_other_stream() -> None:
    out, err = printed(made.study(warnings=("the grid is too narrow",)), 80, terminal=False)
    assert err == "warning: the grid is too narrow\n"
    assert "too narrow" not in out


def test_a_wide_table_repeats_the_names_of_its_rows() -> None:
    out, _ = printed(STUDIES["large"], 80, terminal=True)
    (part,) = re.findall(r"^Results$.*?^edge: ", out, re.MULTILINE | re.DOTALL)
    assert len(re.findall(r"^language +\d", part, re.MULTILINE)) == 3
    assert [len(re.findall(rf"\b{task}\b", part)) for task in SEVEN] == [1] * 7


def test_the_terminal_breaks_no_line_within_a_number() -> None:
    for width in range(60, 120):
        out, _ = printed(STUDIES["full"], width, terminal=True)
        assert not re.search(r"p [=<]$|±$|\[[−+]?[\d.]+,$|\d$\n +points", out, re.MULTILINE), width
        assert "\ue000" not in out


def test_the_terminal_begins_with_what_every_figure_depends_on() -> None:
    out, _ = printed(STUDIES["full"], 100, terminal=True)
    places = [
        out.index(text) for text in ("Its figures mean nothing", "1. seeds: 5 (plan: 10)", "\nArms\n", "\nAnswer\n")
    ]
    assert places == sorted(places)
    assert out.index("Compared is the procedure, search included") < out.index("pretraining lift")


def test_what_is_no_text_is_written_as_an_escape(tmp_path: Path) -> None:
    """Names of files that are not UTF-8, and damaged files of a run, may get into a report."""
    assert write(tmp_path / "a" / "r.md", "file a\udcff\r\n\x1b").read_bytes() == b"file a\\udcff\r\n\x1b"
