"""The hooks a plugin may implement. Each returns a list of records; none takes an argument.

Every example is a complete plugin: copy it into a file, and load it with ``--plugin FILE.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

from fptkit.specs.door_hooks import fptkit_commands as fptkit_commands
from fptkit.specs.door_hooks import fptkit_controls as fptkit_controls
from fptkit.specs.door_hooks import fptkit_data_sets as fptkit_data_sets
from fptkit.specs.door_hooks import fptkit_launchers as fptkit_launchers
from fptkit.specs.door_hooks import fptkit_published as fptkit_published
from fptkit.specs.door_hooks import fptkit_report_sections as fptkit_report_sections
from fptkit.specs.door_hooks import fptkit_searches as fptkit_searches
from fptkit.specs.door_hooks import fptkit_weight_sources as fptkit_weight_sources

if TYPE_CHECKING:
    from fptkit.specs import (
        BackboneSpec,
        EncoderSpec,
        FreezingPolicySpec,
        HeadSpec,
        ListenerSpec,
        LossSpec,
        MetricSpec,
        OptimizerSpec,
        RecipeFolderSpec,
        ScheduleSpec,
        TaskSpec,
        TransformSpec,
    )

hookspec = pluggy.HookspecMarker("fptkit")
hookimpl = pluggy.HookimplMarker("fptkit")


@hookspec
def fptkit_backbones() -> list[BackboneSpec]:  # type: ignore[empty-body]
    """Backbones: sequence models to freeze.

    Example::

        from torch import nn

        from fptkit import Backbone, BackboneSpec, ParameterRole, hookimpl, keep_tokens


        class Norm(Backbone):
            \"\"\"The smallest backbone: it does not mix tokens.\"\"\"

            width, causal, blocks = 32, True, 1

            def __init__(self, options, *, positions, seed, pinned):
                super().__init__()
                self.norm = nn.LayerNorm(self.width)

            def forward(self, tokens, lengths=None, keep=None):
                return keep_tokens(self.norm(tokens), keep)

            def parameter_roles(self):
                return {name: ParameterRole("norm", block=0) for name, _ in self.named_parameters()}


        @hookimpl
        def fptkit_backbones():
            return [BackboneSpec(name="norm_only", summary="one layer norm", target=Norm)]
    """


@hookspec
def fptkit_encoders() -> list[EncoderSpec]:  # type: ignore[empty-body]
    """Encoders: maps from raw tokens to token vectors.

    Example::

        from torch import nn

        from fptkit import EncoderSpec, hookimpl


        class Scaled(nn.Module):
            def __init__(self, options, *, input, width):
                super().__init__()
                self.norm, self.map = nn.LayerNorm(input.width), nn.Linear(input.width, width)

            def forward(self, inputs):
                return self.map(self.norm(inputs))


        @hookimpl
        def fptkit_encoders():
            summary = "a linear map of normed tokens"
            return [EncoderSpec(name="scaled", summary=summary, target=Scaled, accepts=("vectors",))]
    """


@hookspec
def fptkit_tasks() -> list[TaskSpec]:  # type: ignore[empty-body]
    """Tasks: data, splits, loss and metrics.

    Example::

        import torch

        from fptkit import ArraySplit, Classes, Task, TaskSpec, Vectors, hookimpl


        class Waves(Task):
            def __init__(self, options, *, seed, pinned):
                self.input, self.output, self.max_tokens = Vectors(4), Classes(2), 8
                self.splits = {name: self.load(number) for number, name in enumerate(("train", "validation", "test"))}

            def load(self, number):  # a real task would read a file
                waves = torch.randn(64, 8, 4, generator=torch.Generator().manual_seed(number))
                return ArraySplit(waves, (waves.mean((1, 2)) > 0).long(), vectors=True)

            def split(self, name):
                return self.splits[name]


        @hookimpl
        def fptkit_tasks():
            return [TaskSpec(name="waves", summary="is the mean above zero?", target=Waves)]
    """


@hookspec
def fptkit_freezing_policies() -> list[FreezingPolicySpec]:  # type: ignore[empty-body]
    """Freezing policies: tables of the roles that train.

    Example::

        from fptkit import FreezingPolicySpec, FreezingRule, hookimpl


        @hookimpl
        def fptkit_freezing_policies():
            trained = [FreezingRule(role="input"), FreezingRule(role="output")]
            rules = (*trained, FreezingRule(role="attention", blocks=(-1,)))
            summary = "attention of the last block trains"
            return [FreezingPolicySpec(name="last_attention", summary=summary, rules=rules)]
    """


@hookspec
def fptkit_listeners() -> list[ListenerSpec]:  # type: ignore[empty-body]
    """Listeners: followers of a run's events.

    Example::

        from fptkit import ListenerSpec, hookimpl
        from fptkit.engine.events import Validated


        class BestFile:
            def __init__(self, options, *, folder):
                self.file = folder / "best.txt"

            def handle(self, event):
                if isinstance(event, Validated) and event.best:
                    self.file.write_text(f"{event.step} {dict(event.metrics)}")


        @hookimpl
        def fptkit_listeners():
            return [ListenerSpec(name="best_file", summary="keeps the best figures in best.txt", target=BestFile)]
    """


@hookspec
def fptkit_recipes() -> list[RecipeFolderSpec]:  # type: ignore[empty-body]
    """Folders of recipes, found by bare name.

    Example::

        from pathlib import Path

        from fptkit import RecipeFolderSpec, hookimpl


        @hookimpl
        def fptkit_recipes():
            folder = Path(__file__).parent / "recipes"
            return [RecipeFolderSpec(name="mine", summary="my experiments", folder=folder)]
    """


@hookspec
def fptkit_heads() -> list[HeadSpec]:  # type: ignore[empty-body]
    """Heads: read-outs of tokens, and the layers that give the answers.

    Example::

        import torch

        from fptkit import Head, HeadSpec, hookimpl


        class Maximum(Head):
            \"\"\"The largest value of each feature over the real tokens.\"\"\"

            def __init__(self, options, *, output, width, hidden, dropout):
                super().__init__(output, width, readout="maximum", hidden=hidden, dropout=dropout)

            def read(self, tokens, lengths):
                if lengths is not None:
                    padding = torch.arange(tokens.shape[1], device=tokens.device) >= lengths[:, None]
                    tokens = tokens.masked_fill(padding[:, :, None], -torch.inf)
                return tokens.amax(1, keepdim=True)


        @hookimpl
        def fptkit_heads():
            summary = "the maximum of all tokens"
            return [HeadSpec(name="maximum", summary=summary, target=Maximum, accepts=("classes", "values"))]
    """


@hookspec
def fptkit_losses() -> list[LossSpec]:  # type: ignore[empty-body]
    """Losses: what training minimises in place of the task's own loss.

    Example::

        from math import log

        from torch.nn.functional import softplus

        from fptkit import LossSpec, hookimpl


        def log_cosh(options, *, output):
            def loss(predictions, targets):
                error = (predictions - targets).abs()
                return error + softplus(-2 * error) - log(2)  # cosh itself overflows

            return loss


        @hookimpl
        def fptkit_losses():
            return [LossSpec(name="log_cosh", summary="log of cosh", target=log_cosh, accepts=("values",))]
    """


@hookspec
def fptkit_optimizers() -> list[OptimizerSpec]:  # type: ignore[empty-body]
    """Optimizers.

    Example::

        import torch
        from pydantic import Field

        from fptkit import Options, OptimizerSpec, hookimpl


        class NadamOptions(Options):
            momentum_decay: float = Field(default=4e-3, ge=0, description="decay of the momentum")


        def nadam(options, *, groups):
            return torch.optim.NAdam(groups, momentum_decay=options.momentum_decay)


        @hookimpl
        def fptkit_optimizers():
            summary = "Adam with Nesterov's momentum"
            return [OptimizerSpec(name="nadam", summary=summary, target=nadam, options=NadamOptions)]
    """


@hookspec
def fptkit_schedules() -> list[ScheduleSpec]:  # type: ignore[empty-body]
    """Schedules: the learning rate over the steps.

    Example::

        from pydantic import Field

        from fptkit import Options, ScheduleSpec, hookimpl


        class StairsOptions(Options):
            every: int = Field(default=100, ge=1, description="steps of a stair")


        def stairs(options, *, steps):
            return lambda step: 0.5 ** (step // options.every)


        @hookimpl
        def fptkit_schedules():
            return [ScheduleSpec(name="stairs", summary="halved in stairs", target=stairs, options=StairsOptions)]
    """


@hookspec
def fptkit_metrics() -> list[MetricSpec]:  # type: ignore[empty-body]
    """Metrics: figures that a recipe adds to those of the task.

    Example::

        from fptkit import MetricSpec, hookimpl


        class Worst:
            \"\"\"The largest absolute error.\"\"\"

            higher_is_better = False

            def __init__(self, options, *, output):
                self.reset()

            def reset(self):
                self.largest = 0.0

            def to(self, device):
                return self

            def update(self, predictions, targets):
                self.largest = max(self.largest, float((predictions - targets).abs().max()))

            def compute(self):
                return self.largest


        @hookimpl
        def fptkit_metrics():
            return [
                MetricSpec(
                    name="worst",
                    summary="the largest absolute error",
                    target=Worst,
                    accepts=("values",),
                    higher_is_better=False,
                    least=0,
                )
            ]
    """


@hookspec
def fptkit_transforms() -> list[TransformSpec]:  # type: ignore[empty-body]
    """Transforms: random changes of training examples (augmentation).

    Example::

        from dataclasses import replace

        import torch

        from fptkit import TransformSpec, hookimpl


        def sign(options, *, input):
            def change(batch, generator):
                signs = torch.randint(0, 2, (len(batch), 1, 1), generator=generator) * 2.0 - 1
                return replace(batch, inputs=batch.inputs * signs)

            return change


        @hookimpl
        def fptkit_transforms():
            summary = "half of the series upside down"
            return [TransformSpec(name="sign", summary=summary, target=sign, accepts=("vectors",))]
    """
