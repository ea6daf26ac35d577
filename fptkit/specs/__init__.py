"""The typed records that plugins return: the name, summary, target and options of a component.

A record is cheap: it names its target and its options model as text (``"package.module:Class"``), and both are imported
only when a recipe uses them. A plugin file may give the objects themselves.
"""

from fptkit.specs.base import FPT_PAPER, ComponentSpec, Spec, resolve_target
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
    "FromOption",
    "Kind",
    "ListenerSpec",
    "Protocol",
    "RecipeFolderSpec",
    "Spec",
    "TaskProtocol",
    "TaskSpec",
    "kind_of",
    "resolve_target",
]
