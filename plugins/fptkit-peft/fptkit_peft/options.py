"""What a recipe may say of the adapters. Loads no torch and no peft."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from fptkit.freezing.options import FreezingOptions

AdaptedRole = Literal["attention", "feed_forward"]


class Ia3Options(FreezingOptions):
    """Which matrices are adapted.

    Source: roles are fptkit's; peft chooses modules by their names.
    """

    roles: tuple[AdaptedRole, ...] = Field(
        default=("attention", "feed_forward"),
        min_length=1,
        description="roles whose matrices are adapted; every one must be there",
    )

    @field_validator("roles")
    @classmethod
    def _once_each(cls, roles: tuple[AdaptedRole, ...]) -> tuple[AdaptedRole, ...]:
        if len(set(roles)) < len(roles):
            raise ValueError("a role is named twice")
        return roles


class LoraOptions(Ia3Options):
    """Size and strength of low-rank updates.

    Source: Hu et al. 2022, section 4.1, and the defaults of peft's ``LoraConfig``; peft adapts attention alone by
    default, here feed-forward is adapted too, as Dettmers et al. 2023 (arXiv 2305.14314, section 4) found necessary.
    """

    rank: int = Field(default=8, ge=1, description="rank r of the update: r * (inputs + outputs) numbers a matrix")
    alpha: float = Field(default=8.0, gt=0, allow_inf_nan=False, description="the update is multiplied by alpha / rank")
    adapter_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="probability of dropping a number of an update's input, in training"
    )
