"""A plugin that prints, at import and in its hook."""

from __future__ import annotations

from fptkit import TaskSpec, hookimpl

print("noise at import")


@hookimpl
def fptkit_tasks() -> list[TaskSpec]:
    print("noise in the hook")
    return [TaskSpec(name="noisy_task", summary="works all the same", target="nowhere:build")]
