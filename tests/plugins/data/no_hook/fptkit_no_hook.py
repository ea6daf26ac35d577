"""A plugin whose author forgot ``@hookimpl``."""

from __future__ import annotations

from fptkit import TaskSpec


def fptkit_tasks() -> list[TaskSpec]:
    return []
