"""The typed records that plugins return: the name, summary, target and options of a component.

A record is cheap: it names its target and its options model as text (``"package.module:Class"``), and both are imported
only when a recipe uses them. A plugin file may give the objects themselves.
"""

from fptkit.specs.base import FPT_PAPER, ComponentSpec, Spec, TargetSpec, resolve_target
from fptkit.specs.components import (
    CLEAN,
    INPUT_KINDS,
    BackboneSpec,
    EncoderSpec,
    ListenerSpec,
    Protocol,
    RecipeFolderSpec,
    TaskProtocol,
    TaskSpec,
)
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
from fptkit.specs.freezing import (
    BLOCK_SLICE,
    OUTSIDE_BLOCKS,
    PARAMETER_KINDS,
    ROLES,
    FreezingPolicySpec,
    FreezingRule,
    FromOption,
)
from fptkit.specs.kinds import HOOKS, KINDS, NOUNS, PLURALS, Kind, kind_of
from fptkit.specs.report import ReportSection, ReportTable
from fptkit.specs.training import HeadSpec, LossSpec, MetricSpec, OptimizerSpec, ScheduleSpec, TransformSpec

__all__ = [
    "BLOCK_SLICE",
    "CLEAN",
    "FPT_PAPER",
    "HOOKS",
    "INPUT_KINDS",
    "KINDS",
    "NOUNS",
    "OUTSIDE_BLOCKS",
    "PARAMETER_KINDS",
    "PLURALS",
    "ROLES",
    "BackboneSpec",
    "ComponentSpec",
    "EncoderSpec",
    "FreezingPolicySpec",
    "FreezingRule",
    "HeadSpec",
    "FromOption",
    "Kind",
    "ListenerSpec",
    "LossSpec",
    "MetricSpec",
    "OptimizerSpec",
    "Protocol",
    "RecipeFolderSpec",
    "ScheduleSpec",
    "Spec",
    "TaskProtocol",
    "TaskSpec",
    "TransformSpec",
    "CommandSpec",
    "ControlSpec",
    "DataSetSpec",
    "LauncherSpec",
    "PublishedSpec",
    "ReportSection",
    "ReportSectionSpec",
    "ReportTable",
    "SearchSpec",
    "WeightSourceSpec",
    "TargetSpec",
    "kind_of",
    "resolve_target",
]
