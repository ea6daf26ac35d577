"""One module under two entry points."""

from __future__ import annotations

from fptkit import TaskSpec, hookimpl


@hookimpl
def fptkit_tasks() -> list[TaskSpec]:
    return [TaskSpec(name="aliased_task", summary="given once", target="nowhere:build")]
