"""A plugin whose record has a name no recipe can use."""

from __future__ import annotations

from fptkit import TaskSpec, hookimpl


@hookimpl
def fptkit_tasks() -> list[TaskSpec]:
    return [TaskSpec(name="Bad-Name", summary="its name is not lower_snake", target="nowhere:build")]
