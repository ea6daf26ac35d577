"""Every registered head, loss, metric, optimizer, schedule and transform keeps the promises that plugins must keep."""

from __future__ import annotations

import re

import pytest
from torch import Tensor
from torch.nn import functional

from fptkit.api.training_checks import training_checks
from fptkit.engine.training.checks import ANSWERS
from fptkit.interfaces import (
    AnswerKind,
    Classes,
    Labels,
    NextSymbol,
    Ranking,
    TokenClasses,
    TokenValues,
    Values,
)
from fptkit.model import Head, default_readout
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
from fptkit.testing import check_added_metric, check_answer_loss, check_head, check_options

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


KINDS_OF_ANSWERS = [Classes, Values, Labels, TokenClasses, TokenValues, NextSymbol, Ranking]


def test_every_kind_of_answers_has_an_example() -> None:
    assert {type(output) for output in ANSWERS.values()} == set(KINDS_OF_ANSWERS)
    assert all(
        name == re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(output).__name__).lower() for name, output in ANSWERS.items()
    )


@pytest.mark.parametrize("output", ANSWERS.values(), ids=list(ANSWERS))
def test_the_head_and_the_metrics_of_a_kind_keep_their_promises(output: AnswerKind) -> None:
    check_head(lambda kind, width: Head(kind, width, readout=default_readout(kind, causal=True)), output=output)
    for name, metric in output.metrics().items():
        check_added_metric(
            lambda kind, name=name: kind.metrics()[name], output=output, higher_is_better=bool(metric.higher_is_better)
        )


def of_two(predictions: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(predictions, targets, reduction="none")


def all_logits(predictions: Tensor, targets: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(predictions, targets.float(), reduction="none")


def test_a_loss_of_labels() -> None:
    check_answer_loss(lambda output: of_two, output=ANSWERS["labels"])
    with pytest.raises(ValueError, match="must be the same as input size"):
        check_answer_loss(lambda output: all_logits, output=ANSWERS["labels"])
