"""The hooks a plugin may implement. Each returns a list of records; none takes an argument."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

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
    """Sequence models to freeze."""


@hookspec
def fptkit_encoders() -> list[EncoderSpec]:  # type: ignore[empty-body]
    """Maps from raw tokens to token vectors."""


@hookspec
def fptkit_tasks() -> list[TaskSpec]:  # type: ignore[empty-body]
    """Tasks: data, splits, loss and metrics."""


@hookspec
def fptkit_freezing_policies() -> list[FreezingPolicySpec]:  # type: ignore[empty-body]
    """Tables of the roles that train."""


@hookspec
def fptkit_listeners() -> list[ListenerSpec]:  # type: ignore[empty-body]
    """Followers of a run's events."""


@hookspec
def fptkit_recipes() -> list[RecipeFolderSpec]:  # type: ignore[empty-body]
    """Folders of recipes, found by bare name."""
