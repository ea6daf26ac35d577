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
        ListenerSpec,
        RecipeFolderSpec,
        TaskSpec,
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
