"""A plugin whose hook wants an argument that no hook gets; another of its hooks is fine."""

from __future__ import annotations

from fptkit import EncoderSpec, TaskSpec, hookimpl


@hookimpl
def fptkit_encoders() -> list[EncoderSpec]:
    return [EncoderSpec(name="half_encoder", summary="must not stay", target="nowhere:build", accepts=("vectors",))]


@hookimpl
def fptkit_tasks(settings: object) -> list[TaskSpec]:
    return []
