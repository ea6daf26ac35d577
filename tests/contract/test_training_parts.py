"""Every registered head, loss, metric, optimizer, schedule and transform keeps the promises that plugins must keep."""

from __future__ import annotations

import pytest

from fptkit.api.training_checks import training_checks
from fptkit.options import Options
from fptkit.registry import load_plugins
from fptkit.specs import (
    ComponentSpec,
    HeadSpec,
    LossSpec,
    MetricSpec,
    OptimizerSpec,
    ScheduleSpec,
    Spec,
    TransformSpec,
)
from fptkit.testing import check_options

REGISTRY = load_plugins(selection="")
KINDS: tuple[type[Spec], ...] = (HeadSpec, LossSpec, MetricSpec, OptimizerSpec, ScheduleSpec, TransformSpec)
OTHERS = {"top_k_accuracy": {"k": 2}}
"""Options that differ from the defaults, where those do not fit the examples of the checks."""


def defaults(spec: ComponentSpec) -> Options:
    return spec.options_model()(**OTHERS.get(spec.name, {}))


SPECS = [entry.spec for kind in KINDS for entry in REGISTRY.entries(kind)]
CHECKS = [
    pytest.param(check, id=f"{spec.kind} {spec.name} {name}")
    for spec in SPECS
    if isinstance(spec, ComponentSpec)
    for name, check in training_checks(spec, defaults).items()
]


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_its_promises(check: object) -> None:
    check()  # type: ignore[operator]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_its_options_are_described(spec: ComponentSpec) -> None:
    check_options(spec)


def test_none_is_left_out() -> None:
    assert {type(spec) for spec in SPECS} == set(KINDS)
    assert len(CHECKS) >= len(SPECS)
