"""A plugin that takes the name another plugin uses."""

from __future__ import annotations

from fptkit import TaskSpec, hookimpl


@hookimpl
def fptkit_tasks() -> list[TaskSpec]:
    return [TaskSpec(name="good_task", summary="another good_task", target="nowhere:build")]
