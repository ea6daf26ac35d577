"""A plugin that returns a backbone where a task is asked for."""

from __future__ import annotations

from fptkit import BackboneSpec, hookimpl


@hookimpl
def fptkit_backbones() -> list[BackboneSpec]:
    return [BackboneSpec(name="half_backbone", summary="must not stay", target="nowhere:build")]


@hookimpl
def fptkit_tasks() -> list[BackboneSpec]:
    return [BackboneSpec(name="not_a_task", summary="a backbone", target="nowhere:build")]
