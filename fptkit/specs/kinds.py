"""The table of the kinds of components, with all names of each kind.

Hooks, sections of recipes, arguments of commands, listings and documentation are made from it. A new kind needs a row
here, its hook in `fptkit.hookspecs` and, if recipes name it, a field of `fptkit.recipe.models.Recipe`.
"""

from __future__ import annotations

from dataclasses import dataclass

from fptkit.specs.base import Spec
from fptkit.specs.components import BackboneSpec, EncoderSpec, ListenerSpec, RecipeFolderSpec, TaskSpec
from fptkit.specs.doors import (
    CommandSpec,
    ControlSpec,
    DataSetSpec,
    LauncherSpec,
    PublishedSpec,
    ReportSectionSpec,
    SearchSpec,
    WeightSourceSpec,
)
from fptkit.specs.freezing import FreezingPolicySpec
from fptkit.specs.training import HeadSpec, LossSpec, MetricSpec, OptimizerSpec, ScheduleSpec, TransformSpec


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of component.

    Args:
        record: class of its records; errors call the kind by its ``kind``.
        hook: hook that returns the records.
        noun: its name on the command line, as in ``fptkit show NOUN NAME``; empty if it is not a component.
        plural: the plural of that, as in ``fptkit list PLURAL``.
        section: key of recipes that names one or several such components; empty if recipes name none.
        many: whether the section is a list of any number of them.
        required: whether every recipe must have the section.
        default: component used if a recipe names none; empty for none, or if the choice is made later.
        decides: whether it can decide the result of a run: then a plugin's counts in the run's address.
    """

    record: type[Spec]
    hook: str
    noun: str = ""
    plural: str = ""
    section: str = ""
    many: bool = False
    required: bool = False
    default: str = ""
    decides: bool = True


KINDS = (
    Kind(record=TaskSpec, hook="fptkit_tasks", noun="task", plural="tasks", section="task", required=True),
    Kind(record=EncoderSpec, hook="fptkit_encoders", noun="encoder", plural="encoders", section="encoder"),
    Kind(
        record=BackboneSpec,
        hook="fptkit_backbones",
        noun="backbone",
        plural="backbones",
        section="backbone",
        default="gpt2",
    ),
    Kind(
        record=FreezingPolicySpec,
        hook="fptkit_freezing_policies",
        noun="policy",
        plural="policies",
        section="freezing",
        default="fpt",
    ),
    # What a training is made of. Left out, each is as it was before it could be named.
    Kind(record=HeadSpec, hook="fptkit_heads", noun="head", plural="heads", section="readout"),
    Kind(record=LossSpec, hook="fptkit_losses", noun="loss", plural="losses", section="loss"),
    Kind(
        record=OptimizerSpec,
        hook="fptkit_optimizers",
        noun="optimizer",
        plural="optimizers",
        section="optimizer",
    ),
    Kind(record=ScheduleSpec, hook="fptkit_schedules", noun="schedule", plural="schedules", section="schedule"),
    Kind(
        record=MetricSpec,
        hook="fptkit_metrics",
        noun="metric",
        plural="metrics",
        section="metrics",
        many=True,
    ),
    Kind(
        record=TransformSpec,
        hook="fptkit_transforms",
        noun="transform",
        plural="transforms",
        section="transforms",
        many=True,
    ),
    Kind(
        record=ListenerSpec,
        hook="fptkit_listeners",
        noun="listener",
        plural="listeners",
        section="listeners",
        many=True,
        decides=False,
    ),
    Kind(record=RecipeFolderSpec, hook="fptkit_recipes", decides=False),
    Kind(record=WeightSourceSpec, hook="fptkit_weight_sources", noun="weight_source", plural="weight_sources"),
    *(
        Kind(record=record, hook=f"fptkit_{plural}", noun=noun, plural=plural, decides=False)
        for record, noun, plural in (
            (DataSetSpec, "data_set", "data_sets"),
            (CommandSpec, "command", "commands"),
            (PublishedSpec, "published", "published"),
            (ControlSpec, "control", "controls"),
            (SearchSpec, "search", "searches"),
            (LauncherSpec, "launcher", "launchers"),
            (ReportSectionSpec, "report_section", "report_sections"),
        )
    ),
)
"""Every kind, in the order of the data flow."""

HOOKS: dict[str, type[Spec]] = {kind.hook: kind.record for kind in KINDS}
"""The record each hook returns."""

NOUNS: dict[str, Kind] = {kind.noun: kind for kind in KINDS if kind.noun}
"""The kinds of components by their noun."""

PLURALS: dict[str, Kind] = {kind.plural: kind for kind in KINDS if kind.plural}
"""The kinds of components by their plural."""


def kind_of(record: type[Spec]) -> Kind:
    """The row of a record class; that of its base for a plugin's subclass.

    Raises:
        KeyError: it is not the record of a kind.
    """
    for kind in KINDS:
        if issubclass(record, kind.record):
            return kind
    raise KeyError(record.__name__)
