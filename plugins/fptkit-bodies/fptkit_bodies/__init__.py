"""The hooks of fptkit-bodies. Every command imports this module, so it only has records and light imports."""

from __future__ import annotations

from pathlib import Path

from fptkit import RecipeFolderSpec, WeightSourceSpec, hookimpl


@hookimpl
def fptkit_weight_sources() -> list[WeightSourceSpec]:
    return [
        WeightSourceSpec(
            name="bodies",
            summary="GPT-2 of 4 blocks x 256, pretrained on English, on procedures or on a random source",
            target="fptkit_bodies.find:open_body",
            forms=("bodies:NAME",),
            check="fptkit_bodies.find:check_body",
            config="fptkit_bodies.find:body_config",
            known="fptkit_bodies.find:known_bodies",
            reference="made by the recipes body_* of this package with fptkit pretrain",
            licence="MIT",
        )
    ]


@hookimpl
def fptkit_recipes() -> list[RecipeFolderSpec]:
    folder = Path(__file__).parent / "recipes"
    return [RecipeFolderSpec(name="bodies", summary="pretraining recipes of fptkit-bodies", folder=folder)]
