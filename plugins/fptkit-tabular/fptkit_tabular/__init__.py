"""The hooks of fptkit-tabular. Every command imports this module, so it only has records and light imports."""

from __future__ import annotations

from pathlib import Path

from fptkit import RecipeFolderSpec, TaskSpec, hookimpl


@hookimpl
def fptkit_tasks() -> list[TaskSpec]:
    return [
        TaskSpec(
            name="tabular",
            summary="predict one column of a table from the others: a row is a sequence, a column a token",
            target="fptkit_tabular.task:Tabular",
            options="fptkit_tabular.options:TabularOptions",
            source="one token per column as in Gorishniy et al. 2021 (FT-Transformer)",
        )
    ]


@hookimpl
def fptkit_recipes() -> list[RecipeFolderSpec]:
    folder = Path(__file__).parent / "recipes"
    return [RecipeFolderSpec(name="tabular", summary="recipes of fptkit-tabular", folder=folder)]
