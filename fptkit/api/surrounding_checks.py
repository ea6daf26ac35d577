"""The contract checks of what surrounds runs, for ``fptkit plugins --check``."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from fptkit import testing
from fptkit.lab.studies.load import load_study
from fptkit.recipe.load import load_recipe
from fptkit.registry import Registry
from fptkit.specs import (
    CommandSpec,
    ComponentSpec,
    ControlSpec,
    DataSetSpec,
    LauncherSpec,
    PublishedSpec,
    ReportSectionSpec,
    SearchSpec,
    Spec,
    WeightSourceSpec,
)

_REFERENCE = "bit_xor_gpt2"
"""The shipped recipe that controls are laid over, and that reports are made of."""


def around_checks(spec: Spec, registry: Registry) -> dict[str, Callable[[], object]]:
    """The checks of a record, by name; none for a kind that is not checked here."""
    options: dict[str, Callable[[], object]] = {}
    if isinstance(spec, ComponentSpec):
        options = {"options": partial(testing.check_options, spec)}
    match spec:
        case WeightSourceSpec():
            return {"contract": partial(testing.check_weight_source, spec)}
        case DataSetSpec():
            return {"contract": partial(testing.check_data_set, spec)}
        case CommandSpec():
            return {"help": partial(testing.check_command, spec)}
        case PublishedSpec():
            return {"figures": partial(testing.check_published, spec)}
        case ControlSpec():
            return {"contract": partial(_check_control, spec, registry), "study": partial(_check_arm, spec, registry)}
        case SearchSpec():
            return {**options, "contract": partial(testing.check_search, spec)}
        case LauncherSpec():
            return {**options, "contract": partial(testing.check_launcher, spec)}
        case ReportSectionSpec():
            return {report: partial(_check_section, spec, report) for report in spec.reports}
    return {}


def _check_control(spec: ControlSpec, registry: Registry) -> None:
    testing.check_control(spec, load_recipe(_REFERENCE, registry_loader=registry.extended).recipe)


def _check_arm(spec: ControlSpec, registry: Registry) -> None:
    """The control's recipe can be read, with the plugins that are loaded."""
    load_study(_REFERENCE, controls=[spec.name], registry_loader=registry.extended)


def _check_section(spec: ReportSectionSpec, report: str) -> None:
    testing.check_report_section(spec, _example()[report])


@functools.lru_cache(maxsize=1)
def _example() -> Mapping[str, Mapping[str, Any]]:
    """The content of a report of a study and of a run, from a study of one short run."""
    from fptkit.api.studies import study
    from fptkit.files import SUMMARY, read_json
    from fptkit.lab.studies.results import run_folder

    with tempfile.TemporaryDirectory() as place:
        found = study(_REFERENCE, profile="smoke", seeds=1, ledger=place, quiet=True)
        run = run_folder(found.ledger, found.results.runs[0].address)
        return {"study": found.results.model_dump(mode="json"), "run": read_json(run / SUMMARY)}
