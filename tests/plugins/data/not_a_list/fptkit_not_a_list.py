"""A plugin that returns one record instead of a list."""

from __future__ import annotations

from fptkit import TaskSpec, hookimpl


@hookimpl
def fptkit_tasks() -> TaskSpec:
    return TaskSpec(name="alone", summary="not in a list", target="nowhere:build")
