"""A plugin with a misspelt hook beside a good one."""

from __future__ import annotations

from fptkit import EncoderSpec, TaskSpec, hookimpl


@hookimpl
def fptkit_encoders() -> list[EncoderSpec]:
    return [EncoderSpec(name="half_encoder", summary="must not stay", target="nowhere:build", accepts=("vectors",))]


@hookimpl
def fptkit_taks() -> list[TaskSpec]:
    return []
