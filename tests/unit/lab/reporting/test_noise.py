"""Noise by source: its deviations, intervals and parts of the variance."""

from __future__ import annotations

import re

import pytest
import study_results as made

from fptkit.lab.reporting.compose import compose
from fptkit.lab.reporting.noise import noise
from fptkit.lab.studies.results import Costs


def test_every_source_has_a_row_and_a_bar() -> None:
    results = made.study(noise=tuple(made.noise("bit_memory", "pretrained")))
    section = noise(results)
    (table,) = section.tables
    assert [[entry.text for entry in entries] for entries in table.rows] == [
        ["bit_memory", "pretrained", "initialisation", "0.6 points [0.4, 1.7]", "18.4 %", "5"],
        ["bit_memory", "pretrained", "order of examples, and dropout", "0.4 points [0.2, 1.2]", "8.16 %", "5"],
        ["bit_memory", "pretrained", "training examples", "1.2 points [0.7, 3.5]", "73.5 %", "5"],
    ]
    (picture,) = section.pictures
    widths = [float(width) for width in re.findall(r'class="bar c0"[^>]*width="([\d.]+)"', picture.svg())]
    assert [width / widths[0] for width in widths] == [1, pytest.approx(4 / 6, abs=0.01), pytest.approx(2, abs=0.01)]


def test_too_few_runs_have_no_interval() -> None:
    found = made.noise("bit_memory", "random", seeds=2)
    old = tuple(one.model_copy(update={"interval": (0.001, 0.9)}) for one in found)
    section = noise(made.study(noise=old))
    assert section.tables[0].rows[0][3].text == "0.6 points"
    assert 'class="axis" d="M' in section.pictures[0].svg()
    assert "v6M" not in section.pictures[0].svg(), "no whisker"
    unknown = tuple(one.model_copy(update={"deviation": None, "values": (0.9,)}) for one in found)
    section = noise(made.study(noise=unknown))
    assert [entry.text for entry in section.tables[0].rows[0][3:]] == ["–", "–", "1"]
    assert section.pictures == ()


def test_a_study_that_varies_nothing_alone_has_no_such_section() -> None:
    report = compose(made.study(), Costs(runs={}))
    assert "noise" not in [section.key for section in report.sections]
