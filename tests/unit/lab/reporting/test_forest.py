"""Forest plots: each interval where it belongs, the margin band, and how they are grouped."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest
import study_results as made

from fptkit.lab.reporting.drawing import Picture
from fptkit.lab.reporting.forest import forest


def of_class(picture: Picture, name: str) -> list[ElementTree.Element]:
    return [one for one in ElementTree.fromstring(picture.svg()).iter() if one.get("class") == name]


def scale(picture: Picture) -> tuple[float, float]:
    """Offset and slope of the x axis, from its labels."""
    ticks = re.findall(r'class="tick" x="([\d.]+)"[^>]*>([^<]*)<', picture.svg())
    (x0, v0), (x1, v1) = ((float(at), float(text.replace("−", "-"))) for at, text in (ticks[0], ticks[-1]))
    slope = (x1 - x0) / (v1 - v0)
    return x0 - slope * v0, slope


def test_intervals_means_and_margins_are_where_they_belong() -> None:
    compared = (
        made.comparison("x", "a", "b", 0.05, interval=(0.02, 0.08)),
        made.comparison("y", "a", "b", -0.01, interval=(-0.03, 0.01), margin=0.005),
    )
    (picture,) = forest(made.study(("x", "y"), ("a", "b"), comparisons=compared, lifts=(), answers=()))
    offset, slope = scale(picture)

    def at(points: float) -> float:
        return pytest.approx(offset + slope * points, abs=0.2)

    ends = [re.findall(r"M([\d.]+),[\d.]+H([\d.]+)", one.get("d", ""))[0] for one in of_class(picture, "range")]
    assert [[float(end) for end in pair] for pair in ends] == [[at(2), at(8)], [at(-3), at(1)]]
    marks = [*of_class(picture, "found"), *of_class(picture, "open")]
    means = [float(re.findall(r"\(([\d.]+),", one.get("transform", ""))[0]) for one in marks]
    assert means == [at(5), at(-1)]
    bands = [(float(one.get("x", 0)), float(one.get("width", 0))) for one in of_class(picture, "margin")]
    assert bands == [(at(-1), pytest.approx(2 * slope, abs=0.2)), (at(-0.5), pytest.approx(slope, abs=0.2))]


def test_verdicts_differ_in_shape_and_not_only_in_words() -> None:
    study = made.study(("t",), ("a", "b", "c", "d"))
    (picture,) = forest(study)
    assert [one.verdict for one in study.comparisons] == ["better", "same", "undecided"]
    filled, hollow = of_class(picture, "found"), of_class(picture, "open")
    assert (len(filled), len(hollow)) == (2, 1)
    assert filled[0].get("d") != filled[1].get("d")


def test_a_question_over_tasks_has_a_picture_with_the_mean_of_all() -> None:
    first, second = forest(made.study())
    assert (first.title, second.title) == ("pretrained − random", "pretrained − statistics_only")
    names = [one.text for one in of_class(first, "name over") if one.get("text-anchor") is None]
    assert names == ["bit_memory", "bit_xor", "all tasks"]


def test_questions_about_one_task_share_a_picture() -> None:
    (picture,) = forest(made.study(("listops",), ("a", "b", "c")))
    assert picture.title == "listops"
    names = [one.text for one in of_class(picture, "name over") if one.get("text-anchor") is None]
    assert names == ["a − b", "a − c"]


def test_fewer_than_three_seeds_have_no_interval() -> None:
    old = (made.comparison("t", "a", "b", 0.05, seeds=2, interval=(-0.3, 0.4)),)
    (picture,) = forest(made.study(("t",), ("a", "b"), seeds=(0, 1), comparisons=old, lifts=(), answers=()))
    assert not of_class(picture, "range")
    assert len(of_class(picture, "open")) == 1


def test_metrics_in_different_units_have_separate_pictures() -> None:
    results = made.study(("x", "y"), ("a", "b"))
    cells = tuple(
        cell.model_copy(update={"metric": "mean_squared_error", "fraction": False}) if cell.task == "y" else cell
        for cell in results.cells
    )
    pictures = forest(results.model_copy(update={"cells": cells}))
    labels = [re.findall(r">(difference[^;]*);", picture.svg())[0] for picture in pictures]
    assert labels == ["difference, points", "difference of mean squared error"]


def test_nothing_is_drawn_without_a_difference() -> None:
    none = made.comparison("t", "a", "b", 0.0, seeds=0).model_copy(update={"mean": None, "differences": ()})
    assert forest(made.study(("t",), ("a", "b"), comparisons=(none,), lifts=(), answers=())) == []
    assert forest(made.study(("t",), ("a",))) == []


def test_names_that_do_not_fit_beside_their_figures_are_above_them() -> None:
    long = "a_long_name_of_an_arm"
    (short,) = forest(made.study(("t",), ("a", "b")))
    (tall,) = forest(made.study(("t",), (long, f"{long}_too")))
    assert len(of_class(short, "name over")) == len(of_class(tall, "name over")) == 2

    def heights(picture: Picture) -> list[float]:
        return [float(one.get("y", 0)) for one in of_class(picture, "name over")]

    assert len(set(heights(short))) == 1
    assert len(set(heights(tall))) == 2
    assert next(one.text for one in of_class(tall, "name over")) == f"{long} − {long}_too"
