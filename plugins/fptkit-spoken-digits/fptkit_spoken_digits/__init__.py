"""The hooks of fptkit-spoken-digits. Every command imports this module, so it only has records and light imports."""

from __future__ import annotations

from pathlib import Path

from fptkit import RecipeFolderSpec, TaskSpec, hookimpl


@hookimpl
def fptkit_tasks() -> list[TaskSpec]:
    return [
        TaskSpec(
            name="spoken_digits",
            summary="classify spoken digits: audio as log-mel frames; held-out takes or held-out speakers",
            target="fptkit_spoken_digits.task:SpokenDigits",
            options="fptkit_spoken_digits.options:SpokenDigitsOptions",
            files="fptkit_spoken_digits.find:files",
            source="Free Spoken Digit Dataset, Jakobovski/free-spoken-digit-dataset",
            licence="CC BY-SA 4.0 (recordings)",
        )
    ]


@hookimpl
def fptkit_recipes() -> list[RecipeFolderSpec]:
    folder = Path(__file__).parent / "recipes"
    return [RecipeFolderSpec(name="spoken_digits", summary="recipes of fptkit-spoken-digits", folder=folder)]
