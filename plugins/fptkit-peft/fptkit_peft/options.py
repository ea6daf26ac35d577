"""Options of the adapters. Does not import torch or peft, so that recipe checks are fast."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from fptkit.freezing.options import FreezingOptions

AdaptedRole = Literal["attention", "feed_forward"]


class Ia3Options(FreezingOptions):
    """Options of (IA)³: the matrices that are adapted.

    Source: the roles are fptkit's; peft selects modules by name.
    """

    roles: tuple[AdaptedRole, ...] = Field(
        default=("attention", "feed_forward"),
        min_length=1,
        description="roles whose matrices are adapted; the backbone must have all of them",
    )

    @field_validator("roles")
    @classmethod
    def _once_each(cls, roles: tuple[AdaptedRole, ...]) -> tuple[AdaptedRole, ...]:
        if len(set(roles)) < len(roles):
            raise ValueError("duplicate role; list each role once")
        return roles


class LoraOptions(Ia3Options):
    """Options of LoRA and DoRA: rank and scale of the low-rank updates.

    Source: Hu et al. 2022, section 4.1, and the defaults of peft's ``LoraConfig``. Difference: by default peft adapts
    only attention; here feed-forward is adapted too, as Dettmers et al. 2023 (arXiv 2305.14314, section 4) found
    necessary.
    """

    rank: int = Field(
        default=8, ge=1, description="rank r of the update, which adds r * (inputs + outputs) parameters per matrix"
    )
    alpha: float = Field(default=8.0, gt=0, allow_inf_nan=False, description="the update is multiplied by alpha / rank")
    adapter_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="dropout probability of the input of the updates"
    )
