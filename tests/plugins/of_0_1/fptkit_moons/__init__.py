"""The hooks of fptkit-moons. Every command imports this module, so it only has records and light imports."""

from __future__ import annotations

from pathlib import Path

from fptkit import RecipeFolderSpec, TaskSpec, hookimpl


@hookimpl
def fptkit_tasks() -> list[TaskSpec]:
    return [
        TaskSpec(
            name="moons",
            summary="does a string of bits hold more ones than zeros?",
            target="fptkit_moons.task:Moons",
            options="fptkit_moons.options:MoonsOptions",
        )
    ]


@hookimpl
def fptkit_recipes() -> list[RecipeFolderSpec]:
    return [RecipeFolderSpec(name="moons", summary="recipes of fptkit-moons", folder=Path(__file__).parent / "recipes")]
