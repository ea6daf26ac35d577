"""A plugin that loads, with records whose options do not."""

from __future__ import annotations

from fptkit import TaskSpec, hookimpl


@hookimpl
def fptkit_tasks() -> list[TaskSpec]:
    return [
        TaskSpec(name="raises", summary="module raises", target="a:b", options="fptkit_broken_module:Options"),
        TaskSpec(name="absent", summary="module lacks it", target="a:b", options="fptkit_broken_options:Options"),
        TaskSpec(name="no_options", summary="not a model", target="a:b", options="fptkit_broken_options:fptkit_tasks"),
    ]
