"""A plugin file that brings one record of everything that surrounds runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from pydantic import Field

from fptkit import (
    CommandSpec,
    ControlSpec,
    DataSetSpec,
    LauncherSpec,
    ListenerSpec,
    Options,
    PublishedSpec,
    ReportSection,
    ReportSectionSpec,
    ReportTable,
    RunControl,
    SearchSpec,
    WeightSourceSpec,
    hookimpl,
)
from fptkit.engine.events import Event, StepsDone
from fptkit.errors import UsageError
from fptkit.lab.studies.launchers.base import LauncherOptions
from fptkit.recipe.models import Recipe
from fptkit.sources import Unavailable


def open_shared(place: str) -> Path:
    folder = Path(os.environ.get("SHARED_WEIGHTS", "none")) / place
    if not folder.is_dir():
        raise Unavailable(f"{folder} is not there")
    return folder


def check_shared(place: str) -> None:
    if place != place.lower():
        raise ValueError(f"'{place}' has capitals; names of the group are in lower case")


@hookimpl
def fptkit_weight_sources() -> list[WeightSourceSpec]:
    return [
        WeightSourceSpec(
            name="shared", summary="our checkpoints", target=open_shared, forms=("shared:NAME",), check=check_shared
        )
    ]


@hookimpl
def fptkit_data_sets() -> list[DataSetSpec]:
    return [
        DataSetSpec(
            name="flowers",
            summary="three flowers",
            url=Path(os.environ.get("FLOWERS", "/none/flowers.csv")).as_uri(),
            records={"flowers": 3},
            extensions=(".csv",),
            archive=False,
        )
    ]


@click.command()
@click.option("--fail", is_flag=True, help="End with an error.")
def greet(fail: bool) -> None:
    """Say hello."""
    if fail:
        raise UsageError("greet: nobody is here; leave out --fail")
    click.echo("hello")


@hookimpl
def fptkit_commands() -> list[CommandSpec]:
    return [CommandSpec(name="greet", summary="Say hello.", target=greet)]


@hookimpl
def fptkit_published() -> list[PublishedSpec]:
    return [PublishedSpec(name="ours2030", summary="our paper", file=Path(__file__).with_name("ours2030.yaml"))]


def no_dropout(recipe: Recipe) -> Mapping[str, Any] | str:
    if not getattr(recipe.backbone.options, "dropout", 0):
        return "the reference has no dropout"
    return {"backbone": {"dropout": 0.0}}


@hookimpl
def fptkit_controls() -> list[ControlSpec]:
    return [ControlSpec(name="no_dropout", summary="the same model without dropout", target=no_dropout)]


class AtOptions(Options):
    at: int = Field(default=0, ge=0, description="which rate of the grid")


def one_rate(settings: Any, cell: Any, group: Sequence[int], outcomes: Any) -> Any:
    from fptkit.lab.studies.plan import Trial
    from fptkit.lab.studies.search.choice import choose, searching, train_all

    rate = sorted(settings.learning_rates)[AtOptions.model_validate(settings.search.options).at]
    if requests := train_all(cell, [Trial(rate, seed) for seed in group], outcomes):
        return searching(requests, len(group))
    return choose(cell, group, outcomes, [rate])


def one(settings: Any, rates: int) -> int:
    return 1


@hookimpl
def fptkit_searches() -> list[SearchSpec]:
    return [SearchSpec(name="pick", summary="one rate", target=one_rate, options=AtOptions, runs_per_seed=one)]


class NiceOptions(Options):
    nice: int = Field(default=0, ge=0, description="priority")


class Nothing:
    """A launcher that starts nothing."""

    slots, threads = 1, 1

    def __init__(self, options: LauncherOptions, folder: Path, *, preload: Sequence[str] = ()) -> None:
        assert isinstance(options.own, NiceOptions)
        self.description = f"nothing, {options.own.nice}"

    def start(self, job: Any) -> None: ...

    def wait(self, timeout_s: float) -> list[Any]:
        return []

    def stop(self) -> None: ...

    def close(self) -> None: ...


@hookimpl
def fptkit_launchers() -> list[LauncherSpec]:
    return [LauncherSpec(name="nothing", summary="starts nothing", target=Nothing, options=NiceOptions)]


def took(summary: Mapping[str, Any]) -> ReportSection:
    rows = [["steps", str(summary["steps"])]]
    return ReportSection(title="What it took", tables=[ReportTable(columns=["what", "used"], rows=rows)])


@hookimpl
def fptkit_report_sections() -> list[ReportSectionSpec]:
    return [ReportSectionSpec(name="took", summary="what a run took", target=took, reports=("run",))]


class Goal:
    def __init__(self, options: Options, *, folder: Path, run: RunControl) -> None:
        self.run = run

    def handle(self, event: Event) -> None:
        if isinstance(event, StepsDone):
            self.run.add_metrics({"double_loss": 2 * event.loss})
            if event.step >= 4:
                self.run.request_stop("four steps are enough")


@hookimpl
def fptkit_listeners() -> list[ListenerSpec]:
    return [ListenerSpec(name="goal", summary="ends training", target=Goal, may=("stop", "metrics"))]
