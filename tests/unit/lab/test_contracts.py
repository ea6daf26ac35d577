"""The checks of what surrounds runs find what they promise to find."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import Field

from fptkit.lab import contracts
from fptkit.lab.studies.options import SearchOptions
from fptkit.lab.studies.plan import Trial
from fptkit.lab.studies.search.choice import Choice, choose, searching, train_all
from fptkit.recipe.load import load_recipe
from fptkit.registry import load_plugins
from fptkit.specs import (
    CommandSpec,
    ControlSpec,
    DataSetSpec,
    LauncherSpec,
    ReportSection,
    ReportSectionSpec,
    SearchSpec,
    WeightSourceSpec,
)

COUNTER = itertools.count()


@pytest.mark.parametrize("name", ["grid", "halving"])
def test_our_own_searches_find_the_best_rate(name: str) -> None:
    assert contracts.check_search(load_plugins(selection="").get(SearchSpec, name)) == 1e-3


def endless(settings: Any, cell: Any, group: Any, outcomes: Any) -> Choice:
    return searching(train_all(cell, [Trial(1e-3 * (1 + len(outcomes)), 0)], outcomes), 1)


def changing(settings: Any, cell: Any, group: Any, outcomes: Any) -> Choice:
    return searching(train_all(cell, [Trial(float(next(COUNTER) + 1), 0)], outcomes), 1)


def other_seed(settings: Any, cell: Any, group: Any, outcomes: Any) -> Choice:
    return searching(train_all(cell, [Trial(1e-3, 7)], outcomes), 1)


def untrained(settings: Any, cell: Any, group: Any, outcomes: Any) -> Choice:
    return Choice((), 0.5)


def whole_grid(settings: Any, cell: Any, group: Any, outcomes: Any) -> Choice:
    rates = settings.learning_rates
    if requests := train_all(cell, [Trial(rate, 0) for rate in rates], outcomes):
        return searching(requests, len(rates))
    return choose(cell, group, outcomes, rates)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (endless, "it still requests runs"),
        (changing, "two calls with equal outcomes differ"),
        (other_seed, "it requests seed 7"),
        (lambda *given: None, r"it returned NoneType, expected a Choice: return searching\(...\) or choose"),
        (untrained, "it chose 0.5, which it did not train"),
        (whole_grid, "it made 4 runs, and runs_per_seed says at most 1"),
    ],
)
def test_searches(function: Callable[..., Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contracts, "_MOST_CALLS", 20)
    spec = SearchSpec(name="mine", summary="mine", target=function, runs_per_seed=lambda settings, rates: 1)
    with pytest.raises(AssertionError, match=message):
        contracts.check_search(spec)


def test_options_of_a_search_that_no_study_could_set() -> None:
    class Deep(SearchOptions):
        depth: int = Field(default=1, description="how deep")

    with pytest.raises(AssertionError, match=r"derive them from fptkit\.Options, and read settings\.search\.options"):
        contracts.check_search(SearchSpec(name="mine", summary="mine", target=untrained, options=Deep))


def nothing(recipe: Any) -> Any:
    return None


def counting(recipe: Any) -> Any:
    return {"train": {"seed": next(COUNTER)}}


@pytest.mark.parametrize(("function", "message"), [(nothing, "returned None"), (counting, "two calls .* differ")])
def test_controls(function: Callable[..., Any], message: str) -> None:
    spec = ControlSpec(name="mine", summary="mine", target=function)
    with pytest.raises(AssertionError, match=message):
        contracts.check_control(spec, load_recipe("bit_xor_gpt2").recipe)


@click.command()
@click.option("--fast", is_flag=True)
def no_help(fast: bool) -> None:
    """It has one."""


@click.command()
def no_docstring() -> None: ...


@pytest.mark.parametrize(
    ("target", "message"),
    [(print, "not a click.Command"), (no_help, "--fast has no help"), (no_docstring, "it has no docstring")],
)
def test_commands(target: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        contracts.check_command(CommandSpec(name="mine", summary="mine", target=target))


def data_set(**fields: Any) -> DataSetSpec:
    given: dict[str, Any] = {"url": "https://x.org/a.csv", "records": {"a": 2}, "extensions": (".csv",)}
    return DataSetSpec(name="mine", summary="mine", archive=False, **{**given, **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"url": "x.org/a.csv"}, "expected https://"),
        ({"sha256": "abc"}, "expected 64 hexadecimal digits"),
        ({"installer": lambda unpacked, to: (to / "a.csv").write_text("x") and {"a": 3}}, "a has 3 records"),
    ],
)
def test_data_sets(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1\n2\n")
    contracts.check_data_set(data_set(), tmp_path / "a.csv")
    with pytest.raises(AssertionError, match=message):
        contracts.check_data_set(data_set(**fields), tmp_path / "a.csv")


class NoSlots:
    slots, threads, description = 0, 1, "none"

    def __init__(self, options: Any, folder: Any, *, preload: Any) -> None: ...

    def wait(self, timeout_s: float) -> list[Any]:
        return ["ended"]

    def stop(self) -> None: ...

    def close(self) -> None: ...


class EndsAtOnce(NoSlots):
    slots = 1


@pytest.mark.parametrize(("target", "message"), [(NoSlots, "slots is 0"), (EndsAtOnce, "before anything was started")])
def test_launchers(target: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        contracts.check_launcher(LauncherSpec(name="mine", summary="mine", target=target))


def wrong_section(content: Any) -> Any:
    return "text"


def changing_section(content: Any) -> ReportSection:
    return ReportSection(title=str(next(COUNTER)))


@pytest.mark.parametrize(("target", "message"), [(wrong_section, "returned str"), (changing_section, "two calls")])
def test_report_sections(target: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        contracts.check_report_section(ReportSectionSpec(name="mine", summary="mine", target=target), {})


@pytest.mark.parametrize("name", ["builtin", "path", "package"])
def test_our_own_sources_of_weights(name: str) -> None:
    spec = load_plugins(selection="").get(WeightSourceSpec, name)
    contracts.check_weight_source(spec, "gpt2_nano" if name == "builtin" else None)


def test_sources_of_weights() -> None:
    other = WeightSourceSpec(name="mine", summary="mine", target=print, known=lambda: [("other:a", "a", "")])
    with pytest.raises(AssertionError, match="which is not an entry of it"):
        contracts.check_weight_source(other)
