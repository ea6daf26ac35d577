"""One of two distributions that call their plugin by the same name."""

from __future__ import annotations

from fptkit import TaskSpec, hookimpl


@hookimpl
def fptkit_tasks() -> list[TaskSpec]:
    return [TaskSpec(name="same_b", summary="of distribution b", target="nowhere:build")]
