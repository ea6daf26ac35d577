"""The recipes of fptkit itself: inside the package if installed, next to it in a checkout."""

from __future__ import annotations

from pathlib import Path

from fptkit.hookspecs import hookimpl
from fptkit.specs import RecipeFolderSpec


@hookimpl
def fptkit_recipes() -> list[RecipeFolderSpec]:
    packaged = Path(__file__).parent.parent / "recipes"
    checkout = Path(__file__).parent.parent.parent / "recipes"
    return [
        RecipeFolderSpec(
            name="fptkit",
            summary="the experiments of the paper",
            folder=packaged if packaged.is_dir() else checkout,
        )
    ]
