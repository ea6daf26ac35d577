"""fptkit: frozen pretrained transformers for any modality, compared fairly.

The names below are the public interface: what runs, trains and loads models from Python, and what plugin authors need.
Each is imported on first use, since some need torch, and ``import fptkit`` and the listings of the command line must be
fast.
"""

from __future__ import annotations

# No import of typing or importlib here: until a command handles Ctrl-C, as little as possible may happen.
TYPE_CHECKING = False

__version__ = "0.1.0"

if TYPE_CHECKING:  # the same names as in the table below, for type checkers and editors; a test compares the two
    from fptkit.api.estimators.estimators import FrozenTransformerClassifier as FrozenTransformerClassifier
    from fptkit.api.estimators.estimators import FrozenTransformerRegressor as FrozenTransformerRegressor
    from fptkit.api.runs import RunResult as RunResult
    from fptkit.api.runs import build as build
    from fptkit.api.runs import run as run
    from fptkit.api.studies import StudyResult as StudyResult
    from fptkit.api.studies import study as study
    from fptkit.api.training import TrainResult as TrainResult
    from fptkit.api.training import train as train
    from fptkit.backbones.options import PositionOptions as PositionOptions
    from fptkit.backbones.options import PrefixOptions as PrefixOptions
    from fptkit.encoders.options import EncoderOptions as EncoderOptions
    from fptkit.engine.build import Built as Built
    from fptkit.freezing.options import FreezingOptions as FreezingOptions
    from fptkit.hookspecs import hookimpl as hookimpl
    from fptkit.inference.trained import TrainedModel as TrainedModel
    from fptkit.inference.trained import load as load
    from fptkit.interfaces import IGNORED as IGNORED
    from fptkit.interfaces import Accuracy as Accuracy
    from fptkit.interfaces import Backbone as Backbone
    from fptkit.interfaces import Batch as Batch
    from fptkit.interfaces import Classes as Classes
    from fptkit.interfaces import Encoder as Encoder
    from fptkit.interfaces import Examples as Examples
    from fptkit.interfaces import Grid as Grid
    from fptkit.interfaces import MeanSquaredError as MeanSquaredError
    from fptkit.interfaces import Metric as Metric
    from fptkit.interfaces import Mixed as Mixed
    from fptkit.interfaces import ParameterRole as ParameterRole
    from fptkit.interfaces import Preparation as Preparation
    from fptkit.interfaces import SampledEvaluation as SampledEvaluation
    from fptkit.interfaces import Shown as Shown
    from fptkit.interfaces import Split as Split
    from fptkit.interfaces import Symbols as Symbols
    from fptkit.interfaces import Task as Task
    from fptkit.interfaces import TokenClasses as TokenClasses
    from fptkit.interfaces import Values as Values
    from fptkit.interfaces import Vectors as Vectors
    from fptkit.interfaces import keep_tokens as keep_tokens
    from fptkit.options import Decides as Decides
    from fptkit.options import Options as Options
    from fptkit.specs import BackboneSpec as BackboneSpec
    from fptkit.specs import EncoderSpec as EncoderSpec
    from fptkit.specs import FreezingPolicySpec as FreezingPolicySpec
    from fptkit.specs import FreezingRule as FreezingRule
    from fptkit.specs import ListenerSpec as ListenerSpec
    from fptkit.specs import Protocol as Protocol
    from fptkit.specs import RecipeFolderSpec as RecipeFolderSpec
    from fptkit.specs import TaskProtocol as TaskProtocol
    from fptkit.specs import TaskSpec as TaskSpec
    from fptkit.tasks.generated import ArraySplit as ArraySplit
    from fptkit.tasks.generated import GeneratedTask as GeneratedTask

_HOMES = {
    "fptkit.api.runs": ("RunResult", "build", "run"),
    "fptkit.api.studies": ("StudyResult", "study"),
    "fptkit.api.training": ("TrainResult", "train"),
    "fptkit.api.estimators.estimators": ("FrozenTransformerClassifier", "FrozenTransformerRegressor"),
    "fptkit.engine.build": ("Built",),
    "fptkit.inference.trained": ("TrainedModel", "load"),
    "fptkit.hookspecs": ("hookimpl",),
    "fptkit.specs": (
        "BackboneSpec",
        "EncoderSpec",
        "FreezingPolicySpec",
        "FreezingRule",
        "ListenerSpec",
        "Protocol",
        "RecipeFolderSpec",
        "TaskProtocol",
        "TaskSpec",
    ),
    "fptkit.options": ("Decides", "Options"),
    "fptkit.backbones.options": ("PositionOptions", "PrefixOptions"),
    "fptkit.encoders.options": ("EncoderOptions",),
    "fptkit.freezing.options": ("FreezingOptions",),
    "fptkit.interfaces": (
        "Accuracy",
        "Backbone",
        "Batch",
        "Classes",
        "Encoder",
        "Examples",
        "Grid",
        "IGNORED",
        "MeanSquaredError",
        "Metric",
        "Mixed",
        "ParameterRole",
        "Preparation",
        "SampledEvaluation",
        "Shown",
        "Split",
        "Symbols",
        "Task",
        "TokenClasses",
        "Values",
        "Vectors",
        "keep_tokens",
    ),
    "fptkit.tasks.generated": ("ArraySplit", "GeneratedTask"),
}
"""The public names, by module."""

_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME_OF)]  # noqa: PLE0604  # strings, all of them


def __getattr__(name: str) -> object:
    if name in _HOME_OF:
        import importlib

        found: object = getattr(importlib.import_module(_HOME_OF[name]), name)
        return found
    raise AttributeError(f"module 'fptkit' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
