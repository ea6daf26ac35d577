"""What a study file holds besides its tasks and arms; light, so that a wrong study is told at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from fptkit.options import Options

Rate = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Fraction = Annotated[float, Field(gt=0, le=1)]

CONTROLS = (
    "frozen_random",
    "unfrozen_random",
    "statistics_only",
    "no_backbone",
    "one_attention_layer",
    "one_block",
    "shuffled_tokens",
    "output_only",
    "synthetic_pretrained",
)
"""Names of the control arms, in the order of tables; what each is, see `fptkit.lab.studies.controls`."""


def _count_as_seeds(value: Any) -> Any:
    """A number n stands for the seeds 0 to n - 1."""
    return tuple(range(value)) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else value


def _all_controls(value: Any) -> Any:
    if isinstance(value, bool):
        return CONTROLS if value else ()
    return value


class BudgetOptions(Options):
    """What every arm may spend on one training; one of the three at most. Without any, each recipe's own length."""

    model_config = ConfigDict(allow_inf_nan=False)

    steps: int | None = Field(default=None, ge=1, description="training steps of every run")
    seconds: float | None = Field(
        default=None, gt=0, description="seconds of training steps of every run; results then depend on the machine"
    )
    flops: float | None = Field(
        default=None, gt=0, description="floating-point operations of every run's training steps, forward and backward"
    )

    @model_validator(mode="after")
    def _one_at_most(self) -> BudgetOptions:
        given = [name for name in ("steps", "seconds", "flops") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of steps, seconds and flops, not {' and '.join(given)}")
        return self


class SearchOptions(Options):
    """How the learning rate of a cell is looked for. The choice is always made on validation.

    Source: halving: Jamieson and Talwalkar 2016, as Hyperband's inner loop has it; optuna: Bergstra et al. 2011 (TPE).
    """

    name: Literal["grid", "halving", "optuna"] = Field(
        default="grid",
        description="grid: every rate to the end; halving: all rates start, the better share of them goes on at each "
        "rung; optuna: rates between the grid's ends are proposed one after the other (needs fptkit[optuna])",
    )
    seeds: int | None = Field(
        default=None,
        ge=1,
        description="seeds the rate is looked for with; the others train at the chosen rate only; null: all",
    )
    keep: int = Field(default=2, ge=2, description="halving: one in so many rates goes on at each rung")
    rungs: int = Field(default=3, ge=2, description="halving: rungs, the last of them the whole length of the training")
    trials: int = Field(default=8, ge=1, description="optuna: rates tried in each cell")


class StudySettings(Options):
    """The part of a study that needs no recipe to be checked."""

    model_config = ConfigDict(allow_inf_nan=False)

    description: str = Field(default="", description="one line for listings and the report's title")
    question: str = Field(default="", description="what the study asks, for the report")
    plugins: tuple[str, ...] = Field(
        default=(), description="plugins in single files the cells need; relative to the study"
    )
    use_tasks: tuple[str, ...] = Field(
        default=(), description="which of the tasks are studied, so that a profile can take fewer; empty: all"
    )
    recipe_profile: str | None = Field(default=None, description="profile of the recipes that cells are made with")
    learning_rates: tuple[Rate, ...] = Field(
        default=(), description="the grid, the same for every arm; empty: each recipe's own rate, and nothing to choose"
    )
    seeds: Annotated[
        tuple[Seed, ...], Field(min_length=1), BeforeValidator(_count_as_seeds, json_schema_input_type=int | list[int])
    ] = Field(default=(0, 1, 2), description="seeds of every cell; a number n stands for 0 to n - 1")
    data_fractions: Annotated[tuple[Fraction, ...], Field(min_length=1)] = Field(
        default=(1.0,), description="shares of the training split, each a cell of its own"
    )
    budget: BudgetOptions = Field(default=BudgetOptions(), description="what every arm may spend on one training")
    search: SearchOptions = Field(default=SearchOptions(), description="how the learning rate is looked for")
    reference: str | None = Field(default=None, description="arm the others are compared with; null: the first")
    comparisons: tuple[tuple[str, str], ...] = Field(
        default=(), description="pairs of arms [a, b] to compare instead; empty: every arm with the reference"
    )
    controls: Annotated[
        tuple[Literal[CONTROLS], ...],  # type: ignore[valid-type]
        BeforeValidator(_all_controls, json_schema_input_type=bool | list[str]),
    ] = Field(default=(), description="control arms derived from the reference; true: all of them")
    targets: dict[str, float] = Field(
        default={}, description="for each task, the validation value whose first reaching is timed in steps and FLOPs"
    )

    @field_validator("learning_rates", "seeds", "data_fractions", "comparisons", "use_tasks")
    @classmethod
    def _each_once(cls, values: Sequence[Any]) -> Sequence[Any]:
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"{', '.join(map(str, twice))} stands there twice")
        return values
