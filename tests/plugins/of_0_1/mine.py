from pathlib import Path

from fptkit import RecipeFolderSpec, hookimpl


@hookimpl
def fptkit_recipes():
    folder = Path(__file__).parent / "recipes"
    return [RecipeFolderSpec(name="mine", summary="my experiments", folder=folder)]
