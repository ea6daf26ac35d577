"""A plugin that takes a built-in's name, beside one that is free."""

from __future__ import annotations

from fptkit import BackboneSpec, hookimpl


@hookimpl
def fptkit_backbones() -> list[BackboneSpec]:
    return [
        BackboneSpec(name="half_backbone", summary="must not stay", target="nowhere:build"),
        BackboneSpec(name="gpt2", summary="another gpt2", target="nowhere:build"),
    ]
