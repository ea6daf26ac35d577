"""Settings of a study file other than its tasks and arms; imports nothing heavy, so that errors appear at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    field_validator,
    model_serializer,
    model_validator,
)

from fptkit.lab.records import CONTROLS as OWN_CONTROLS
from fptkit.options import Options
from fptkit.specs import limits

Rate = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Margin = Annotated[float, Field(gt=0)]

MARGIN = 0.01
"""Default margin for metrics between 0 and 1: 1 point."""

CONTROLS = tuple(OWN_CONTROLS)
"""Names of fptkit's own control arms, in the order of tables; plugins may bring others."""


def _count_as_seeds(value: Any) -> Any:
    """Expand a number n to the seeds 0 to n - 1.

    Raises:
        ValueError: n is above the limit, which is looked at before the seeds are listed.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        return value
    if value > limits.SEEDS:
        raise ValueError(f"at most {limits.SEEDS:,} seeds, got {value:,}")
    return tuple(range(value))


def _kind_of_seeds(value: Any) -> str:
    """Which form seeds have, so that a fault is reported for this form only."""
    return "added" if isinstance(value, (dict, UntilDecided)) else "listed"


def _kind_of_margin(value: Any) -> str:
    return "each" if isinstance(value, dict) else "one"


def _all_controls(value: Any) -> Any:
    if isinstance(value, bool):
        return CONTROLS if value else ()
    return value


class BudgetOptions(Options):
    """Budget of every arm for one training; at most one of the three. Without one, each recipe's own length."""

    model_config = ConfigDict(allow_inf_nan=False)

    steps: int | None = Field(default=None, ge=1, le=limits.STEPS, description="training steps per run")
    seconds: float | None = Field(
        default=None, gt=0, description="seconds of training steps per run; results then depend on the machine"
    )
    flops: float | None = Field(
        default=None, gt=0, description="floating-point operations of training steps per run, forward and backward"
    )

    @model_validator(mode="after")
    def _one_at_most(self) -> BudgetOptions:
        given = [name for name in ("steps", "seconds", "flops") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of steps, seconds and flops, not {' and '.join(given)}")
        return self


class SearchOptions(Options):
    """Learning rate search of a cell. The choice is always made on validation.

    Source: halving: Jamieson and Talwalkar 2016, as in Hyperband's inner loop; optuna: Bergstra et al. 2011 (TPE).
    """

    name: str = Field(
        default="grid",
        description="grid: train every rate to the end; halving: start all rates, continue only the better ones after "
        "each rung; optuna: propose rates one by one between the grid's ends (needs fptkit[optuna]); or a plugin's "
        "(fptkit list searches)",
    )
    seeds: int | None = Field(
        default=None,
        ge=1,
        le=limits.SEEDS,
        description="with choose: common, number of seeds used to search; the others train at the chosen rate only; "
        "null: all",
    )
    keep: int = Field(
        default=2, ge=2, le=limits.RATES, description="halving: one in this many rates continues after each rung"
    )
    rungs: int = Field(
        default=3, ge=2, le=limits.RUNGS, description="halving: number of rungs; the last is the full training"
    )
    trials: int = Field(default=8, ge=1, le=limits.RATES, description="optuna: number of rates to try in each cell")
    options: dict[str, Any] = Field(default={}, description="options of a plugin's search (fptkit show search NAME)")

    @model_serializer(mode="wrap")
    def _without_empty_options(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out empty options, so that studies without them are written as before there were any."""
        written: dict[str, Any] = handler(self)
        return {key: value for key, value in written.items() if key != "options" or value}


class UntilDecided(Options):
    """Seeds are added until every comparison is decided; stopping at any time gives no more false verdicts.

    Source: e-process of a mixture over effect sizes: Perez-Ortiz, Lardy, de Heide and Gruenwald 2024, Annals of
    Statistics 52.
    """

    until: Literal["decided"] = Field(description="decided: add seeds where a comparison is undecided")
    at_least: int = Field(default=3, ge=3, le=limits.SEEDS, description="seeds of every cell before the first look")
    at_most: int = Field(default=20, ge=3, le=limits.SEEDS, description="seeds after which the study ends undecided")

    @model_validator(mode="after")
    def _in_order(self) -> UntilDecided:
        if self.at_most < self.at_least:
            raise ValueError(f"at_most ({self.at_most}) must not be below at_least ({self.at_least})")
        return self


class StudySettings(Options):
    """Settings of a study that can be checked without its recipes."""

    model_config = ConfigDict(allow_inf_nan=False)

    description: str = Field(default="", description="one line for listings and the report's title")
    question: str = Field(default="", description="question that the study answers, for the report")
    plugins: tuple[str, ...] = Field(
        default=(),
        max_length=limits.PLUGIN_FILES,
        description="plugin files that the cells need; relative to the study",
    )
    use_tasks: tuple[str, ...] = Field(
        default=(), max_length=limits.TASKS, description="tasks to use, so that a profile can use fewer; empty: all"
    )
    recipe_profile: str | None = Field(default=None, description="profile of the recipes to use in all cells")
    learning_rates: tuple[Rate, ...] = Field(
        default=(),
        max_length=limits.RATES,
        description="learning rate grid, the same for every arm; empty: each recipe's own rate, no search",
    )
    seeds: Annotated[
        Annotated[tuple[Seed, ...], Field(min_length=1, max_length=limits.SEEDS), Tag("listed")]
        | Annotated[UntilDecided, Tag("added")],
        Discriminator(_kind_of_seeds),
        BeforeValidator(_count_as_seeds, json_schema_input_type=int | list[int] | UntilDecided),
    ] = Field(
        default=(0, 1, 2, 3, 4),
        description="seeds of every cell; a number n means 0 to n - 1; {until: decided, at_least: 3, at_most: 20}: add "
        "seeds until every comparison is decided",
    )
    choose: Literal["per_seed", "common"] = Field(
        default="per_seed",
        description="per_seed: each seed chooses its learning rate on its own validation, so that seeds are "
        "independent repetitions of the whole procedure; common: one rate for all seeds, chosen on mean validation",
    )
    margin: (
        Annotated[
            Annotated[Margin, Tag("one")] | Annotated[dict[str, Margin], Tag("each")], Discriminator(_kind_of_margin)
        ]
        | None
    ) = Field(
        default=None,
        description="differences up to this count as the same: in points for metrics between 0 and 1, else in the "
        "metric's unit; a number, or one for each task; null: 1 point, and none for other metrics",
    )
    vary: tuple[Literal["init", "order", "data"], ...] = Field(
        default=(),
        description="report the noise of each of these sources: it is varied alone, the others keep the first seed",
    )
    data_fractions: Annotated[tuple[Fraction, ...], Field(min_length=1, max_length=limits.FRACTIONS)] = Field(
        default=(1.0,), description="fractions of the training split; each makes separate cells"
    )
    budget: BudgetOptions = Field(default=BudgetOptions(), description="budget of every arm for one training")
    search: SearchOptions = Field(default=SearchOptions(), description="learning rate search")
    reference: str | None = Field(default=None, description="arm that the others are compared with; null: the first")
    comparisons: tuple[tuple[str, str], ...] = Field(
        default=(),
        max_length=limits.COMPARISONS,
        description="pairs of arms [a, b] to compare; empty: every arm with the reference",
    )
    controls: Annotated[
        tuple[str, ...],
        BeforeValidator(_all_controls, json_schema_input_type=bool | list[str]),
    ] = Field(
        default=(),
        max_length=limits.ARMS,
        description="control arms derived from the reference; true: all of fptkit's own (fptkit list controls)",
    )
    targets: dict[str, float] = Field(
        default={},
        description="target validation value for each task; the report shows the steps and FLOPs to reach it",
    )

    @field_validator("learning_rates", "seeds", "data_fractions", "comparisons", "use_tasks", "vary", "controls")
    @classmethod
    def _each_once(cls, values: Any) -> Any:
        if isinstance(values, UntilDecided):
            return values
        twice = sorted(value for value, times in Counter(values).items() if times > 1)
        if twice:
            raise ValueError(f"{', '.join(map(str, twice))} is listed twice; remove one")
        return values

    @property
    def until(self) -> UntilDecided | None:
        """How seeds are added until decided; None for a fixed number."""
        return self.seeds if isinstance(self.seeds, UntilDecided) else None

    @property
    def first_seeds(self) -> tuple[int, ...]:
        """Seeds that every cell starts with: all of a fixed number, else ``at_least``."""
        return tuple(range(self.seeds.at_least)) if isinstance(self.seeds, UntilDecided) else self.seeds

    def reference_among(self, arms: Sequence[str]) -> str:
        """The arm that others are compared with: the first by default."""
        return self.reference or arms[0]

    def margin_on(self, task: str, *, fraction: bool) -> float | None:
        """Differences up to this count as the same, in the unit of the metric's values; None if there is no margin.

        Args:
            task: name of the task.
            fraction: whether the metric is between 0 and 1, so that the setting is in points.
        """
        given = self.margin.get(task) if isinstance(self.margin, dict) else self.margin
        if given is None:
            return MARGIN if fraction else None
        return given / 100 if fraction else given
