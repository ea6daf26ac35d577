"""A plugin as it should be: a task with options, and a freezing policy."""

from __future__ import annotations

from fptkit import FreezingPolicySpec, TaskSpec, hookimpl
from fptkit.specs import FreezingRule


@hookimpl
def fptkit_tasks() -> list[TaskSpec]:
    return [
        TaskSpec(
            name="good_task",
            summary="a task of a plugin",
            target="fptkit_good_task:GoodTask",
            options="fptkit_good_task:GoodOptions",
        )
    ]


@hookimpl
def fptkit_freezing_policies() -> list[FreezingPolicySpec]:
    return [FreezingPolicySpec(name="good_policy", summary="norms train", rules=(FreezingRule(role="norm"),))]
