"""Contract checks of what surrounds runs, for `fptkit.testing`: sources of weights, data sets, parts of studies.

Each raises ``AssertionError`` with a message that says which promise is broken.
"""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fptkit.lab.studies.options import SearchOptions, StudySettings
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.plan import CellName, Trial
from fptkit.lab.studies.search.choice import Choice
from fptkit.options import Options
from fptkit.recipe.models import Recipe, TrainOptions
from fptkit.specs import (
    CommandSpec,
    ControlSpec,
    DataSetSpec,
    LauncherSpec,
    PublishedSpec,
    ReportSection,
    ReportSectionSpec,
    SearchSpec,
    WeightSourceSpec,
    resolve_target,
)

_MOST_CALLS = 1000
"""Calls after which a search that still has requests is taken to be endless."""

_STEPS = 100


def check_weight_source(spec: WeightSourceSpec, place: str | None = None) -> None:
    """Check a source of weights: its functions import, and what it lists are entries of its own.

    Args:
        spec: its record.
        place: a place to open, too; its check must accept it, and its config must be that of the opened checkpoint.
            Each tensor is loaded. None: nothing is opened.
    """
    assert callable(spec.resolve()), f"{spec}: its target cannot be called"
    check, config, known = (_function(spec, label) for label in ("check", "config", "known"))
    for row in known() if known else ():
        assert [type(text) for text in row] == [str, str, str], f"{spec}: known gives {row!r}, not three texts"
        assert row[0].startswith(f"{spec.name}:"), f"{spec}: known lists '{row[0]}', which is not an entry of it"
    if place is None:
        return
    if check:
        check(place)
    from fptkit.sources.weights import opened

    folder = opened(spec, place)
    assert folder.config, f"{spec}: the config of '{place}' is empty"
    assert folder.tensors(), f"{spec}: '{place}' has no tensors"
    if config:
        assert dict(config(place)) == folder.config, f"{spec}: config gives another content than the opened checkpoint"


def check_data_set(spec: DataSetSpec, archive: Path | None = None) -> None:
    """Check a data set: its address, its digest, and that its installer imports.

    Args:
        spec: its record.
        archive: an archive as its address would give it, which is installed into a temporary folder; None for none.
    """
    assert re.match(r"(https?|file)://", spec.url), f"{spec}: its url is '{spec.url}', expected https://..."
    digest = re.fullmatch(r"([0-9a-fA-F]{64})?", spec.sha256)
    assert digest, f"{spec}: sha256 is '{spec.sha256}', expected 64 hexadecimal digits or nothing"
    installer = _function(spec, "installer")
    assert installer is None or callable(installer), f"{spec}: its installer cannot be called"
    if archive is None:
        return
    from fptkit.sources.data_sets import files_in, install

    with tempfile.TemporaryDirectory() as folder:
        counts = install(spec, archive, Path(folder), {})
        found = files_in(spec, Path(folder))
    missing = sorted(set(spec.records) - set(found))
    assert not missing, f"{spec}: after its installation there is no {missing[0]}"
    wrong = [stem for stem, count in spec.records.items() if counts.get(stem) != count]
    assert not wrong, f"{spec}: {wrong[0]} has {counts.get(wrong[0])} records, its record says {spec.records[wrong[0]]}"


def check_command(spec: CommandSpec) -> None:
    """Check a command: it is one of click, has a help text, also for each option, and prints it."""
    import click
    from click.testing import CliRunner

    command = spec.resolve()
    assert isinstance(command, click.Command), f"{spec}: its target is {type(command).__name__}, not a click.Command"
    assert command.help, f"{spec}: it has no docstring, which is its help text"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{spec}: option {parameter.opts[0]} has no help"
    done = CliRunner().invoke(command, ["--help"])
    assert done.exit_code == 0, f"{spec}: --help ends with status {done.exit_code}: {done.exception!r}"


def check_published(spec: PublishedSpec) -> None:
    """Check published figures: the file is valid, has the record's name, and holds a figure."""
    from fptkit.lab.published.load import read_paper

    assert read_paper(spec).figures, f"{spec}: {spec.file} holds no figures"


def check_control(spec: ControlSpec, recipe: Recipe) -> Mapping[str, Any] | str:
    """Check a control on a reference: it gives keys or a reason, the same twice, and does not change the recipe.

    Args:
        spec: its record.
        recipe: the reference's recipe.

    Returns:
        The keys to lay over the recipe, or the reason why the reference has no such control.
    """
    control, before = spec.resolve(), recipe.model_dump(mode="json")
    found = control(recipe)
    valid = isinstance(found, Mapping) or (isinstance(found, str) and bool(found.strip()))
    assert valid, f"{spec}: it returned {found!r:.80}, expected keys of a recipe or a reason"
    assert control(recipe) == found, f"{spec}: two calls with one recipe differ"
    assert recipe.model_dump(mode="json") == before, f"{spec}: it changed the recipe that it got"
    result: Mapping[str, Any] | str = found
    return result


@dataclass(frozen=True)
class _Cell:
    """A cell of a study that exists only here."""

    name: CellName
    train: TrainOptions
    draws_data: bool = False


def check_search(spec: SearchSpec, options: Mapping[str, Any] | None = None) -> float:
    """Check a search on a simulated study: it ends, is a pure function, and keeps to its number of runs.

    Args:
        spec: its record.
        options: its options, as under ``search.options`` of a study.

    Returns:
        The rate that it chose where 1e-3 is the best of 1e-4, 1e-3, 1e-2 and 1e-1.
    """
    model = spec.options_model()
    assert model is SearchOptions or not issubclass(model, SearchOptions), (
        f"{spec}: its options derive from SearchOptions, so no study can set them; derive them from fptkit.Options, "
        "and read settings.search.options"
    )
    rates = (1e-4, 1e-3, 1e-2, 1e-1)
    search = SearchOptions(name=spec.name, options=dict(options or {}))
    settings = StudySettings(learning_rates=rates, seeds=(0,), search=search)
    cell = _Cell(CellName("task", "arm"), TrainOptions(max_steps=_STEPS, validate_every=10, learning_rate=1e-3))
    function, outcomes = spec.resolve(), dict[Trial, Outcome]()
    for _ in range(_MOST_CALLS):
        choice = function(settings, cell, (0,), dict(outcomes))
        assert isinstance(choice, Choice), (
            f"{spec}: it returned {type(choice).__name__}, expected a Choice: return searching(...) or choose(...)"
        )
        assert function(settings, cell, (0,), dict(outcomes)) == choice, f"{spec}: two calls with equal outcomes differ"
        if not choice.requests:
            break
        for request in choice.requests:
            assert request.trial.seed == 0, f"{spec}: it requests seed {request.trial.seed}, which is not in its group"
            outcomes[request.trial] = _simulated(request.trial, request.until_step or _STEPS)
    else:
        raise AssertionError(f"{spec}: after {_MOST_CALLS} calls it still requests runs")
    runs_per_seed = _function(spec, "runs_per_seed")
    most = len(rates) if runs_per_seed is None else runs_per_seed(settings, len(rates))
    assert len(outcomes) <= most, f"{spec}: it made {len(outcomes)} runs, and runs_per_seed says at most {most}"
    trained = {trial.learning_rate for trial in outcomes}
    assert choice.rate in trained, f"{spec}: it chose {choice.rate}, which it did not train"
    rate: float = choice.rate
    return rate


def _simulated(trial: Trial, steps: int) -> Outcome:
    """The outcome of a run whose validation is best at the rate 1e-3."""
    import math

    quality = 1 / (1 + abs(math.log10(trial.learning_rate) + 3))
    summary = {
        "status": "validated" if steps >= _STEPS else "paused",
        "selection": {"metric": "score", "higher_is_better": True},
        "metrics": {"validation": {"score": quality * steps / _STEPS}},
        "steps": steps,
        "validated_step": steps,
        "times_tested": 0,
    }
    return Outcome("a" * 64, "validated" if steps >= _STEPS else "paused", step=steps, summary=summary)


def check_launcher(spec: LauncherSpec, options: Options | None = None) -> None:
    """Check a launcher without starting a run: it is built, has what the study asks for, and can be stopped.

    Args:
        spec: its record.
        options: its own options; None: the defaults.
    """
    from fptkit.lab.studies.launchers.base import LauncherOptions

    own = spec.options_model()() if options is None else options
    with tempfile.TemporaryDirectory() as folder:
        launcher = spec.resolve()(LauncherOptions(spec.name, workers=1, threads=1, own=own), Path(folder), preload=())
        for name in ("slots", "threads"):
            value = getattr(launcher, name, None)
            counted = isinstance(value, int) and value >= 1
            assert counted, f"{spec}: {name} is {value!r}, expected a number, at least 1"
        text = getattr(launcher, "description", None)
        described = isinstance(text, str) and bool(text)
        assert described, f"{spec}: description is {text!r}, expected a line of text"
        ended = launcher.wait(0.0)
        assert not ended, f"{spec}: wait gives {ended!r:.80} before anything was started"
        launcher.stop()
        launcher.close()


def check_report_section(spec: ReportSectionSpec, content: Mapping[str, Any]) -> ReportSection | None:
    """Check a section of reports: it gives a section or None, the same twice, from a copy that it may change.

    Args:
        spec: its record.
        content: of ``results.json`` of a study, or of ``summary.json`` of a run.

    Returns:
        The section.
    """
    section = spec.resolve()
    made = section(copy.deepcopy(dict(content)))
    assert made is None or isinstance(made, ReportSection), (
        f"{spec}: it returned {type(made).__name__}, expected fptkit.ReportSection or None"
    )
    assert section(copy.deepcopy(dict(content))) == made, f"{spec}: two calls with equal content differ"
    return made


def _function(spec: Any, label: str) -> Callable[..., Any] | None:
    value = getattr(spec, label)
    found: Callable[..., Any] | None = None if value is None else resolve_target(value, wanted_by=spec)
    assert found is None or callable(found), f"{spec}: {label} cannot be called"
    return found
