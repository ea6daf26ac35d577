"""A plugin whose folder of recipes is no path."""

from __future__ import annotations

from fptkit import RecipeFolderSpec, hookimpl


@hookimpl
def fptkit_recipes() -> list[RecipeFolderSpec]:
    return [RecipeFolderSpec(name="half_folder", summary="its folder is a list", folder=["recipes"])]  # type: ignore[arg-type]
