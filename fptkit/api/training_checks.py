"""The contract checks of the parts of a training, for ``fptkit plugins --check``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from fptkit import testing
from fptkit.engine.component import build_component
from fptkit.engine.training.checks import ANSWERS
from fptkit.interfaces import Grid, InputKind, Symbols, Vectors
from fptkit.options import Options
from fptkit.specs import (
    ComponentSpec,
    HeadSpec,
    LossSpec,
    MetricSpec,
    OptimizerSpec,
    ScheduleSpec,
    TransformSpec,
)

Check = Callable[[], object]

INPUTS: Mapping[str, InputKind] = {
    "vectors": Vectors(3),
    "symbols": Symbols(7),
    "grid": Grid(size=(12, 12), channels=3),
}
"""The input that a component is checked with, by kind; a mixed one has no example."""


class Skipped(Exception):
    """A check that cannot be made, with the reason."""


def training_checks(spec: ComponentSpec, defaults: Callable[[ComponentSpec], Options]) -> dict[str, Check]:
    """The checks of a part of training, by name; none for other records.

    Args:
        spec: its record.
        defaults: gives the default options of a record, or raises `Skipped`.
    """
    return dict(_checks(spec, lambda: defaults(spec)))


def _checks(spec: ComponentSpec, options: Callable[[], Options]) -> Iterator[tuple[str, Check]]:
    match spec:
        case OptimizerSpec():
            yield (
                "steps",
                lambda: testing.check_optimizer(lambda groups: build_component(spec, options(), groups=groups)),
            )
        case ScheduleSpec():
            yield "steps", lambda: testing.check_schedule(lambda steps: build_component(spec, options(), steps=steps))
        case HeadSpec() | LossSpec() | MetricSpec():
            for kind in spec.accepts:
                yield kind, partial(_check_for_answers, spec, kind, options)
        case TransformSpec():
            for kind in spec.accepts:
                yield kind, partial(_check_transform, spec, kind, options)


def _check_for_answers(spec: HeadSpec | LossSpec | MetricSpec, kind: str, options: Callable[[], Options]) -> None:
    if kind not in ANSWERS:
        raise Skipped(f"answers of the kind {kind} have no example; check it in a test of your own")
    output = ANSWERS[kind]
    build = partial(build_component, spec, options())
    if isinstance(spec, HeadSpec):
        testing.check_head(lambda out, width: build(output=out, width=width, hidden=(), dropout=0.0), output=output)
    elif isinstance(spec, LossSpec):
        testing.check_answer_loss(lambda out: build(output=out), output=output)
    else:
        direction = spec.higher_is_better
        testing.check_added_metric(lambda out: build(output=out), output=output, higher_is_better=direction)


def _check_transform(spec: TransformSpec, kind: str, options: Callable[[], Options]) -> None:
    if kind not in INPUTS:
        raise Skipped("a mixed input has no example; check it in a test of your own, with fptkit.testing")
    testing.check_transform(partial(_built_for, spec, options()), input=INPUTS[kind])


def _built_for(spec: TransformSpec, options: Options, input: InputKind) -> Callable[..., object]:
    built: Callable[..., object] = build_component(spec, options, input=input)
    return built
