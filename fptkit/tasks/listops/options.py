"""Options of the task ``listops``; in a module of their own so that listings and recipe checks do not import NumPy.

Source of the defaults: google-research/long-range-arena, lra_benchmarks/data/listops.py: 96,000, 2,000 and 2,000
expressions of more than 500 and fewer than 2,000 symbols, ``max_depth`` 10, ``max_args`` 10.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from fptkit.options import ONE_OR_MORE, ONE_OR_MORE_SCHEMA, Options, source_check
from fptkit.specs import limits

SOURCES = "generated, lra, path:DIR"

CUT_OF_FPT2021 = 512
"""Symbols after which the paper's code cuts. Source: kzl/universal-computation, datasets/helpers/listops.py,
max_length."""


def _ascending(span: tuple[int, int]) -> tuple[int, int]:
    if span[0] > span[1]:
        raise ValueError(f"expected [fewest, most], got [{span[0]}, {span[1]}]")
    return span


Source = Annotated[str, AfterValidator(source_check(SOURCES))]
Sources = Annotated[tuple[Source, ...], ONE_OR_MORE, ONE_OR_MORE_SCHEMA]
Length = Annotated[int, Field(ge=4, le=limits.LENGTH)]
Span = Annotated[tuple[Length, Length], AfterValidator(_ascending)]
FileName = Annotated[str, Field(min_length=1)]


class ListOpsFiles(Options):
    """File names in the folder of a ``path:`` source, if they differ from the usual ones."""

    train: FileName | None = Field(default=None, description="file of the training split; null: a usual name")
    validation: FileName | None = Field(default=None, description="file of the validation split; null: a usual name")
    test: FileName | None = Field(default=None, description="file of the test split; null: a usual name")


class ListOpsOptions(Options):
    """Options of the task ``listops``."""

    protocol: Literal["clean", "fpt2021"] = Field(
        default="clean",
        description="clean: brackets kept, separate validation and test, evaluated in full; fpt2021: as in the paper's "
        "code, D1, D2, D4, D6, D7, D20 and D21",
    )
    source: Sources = Field(
        default=("generated",),
        min_length=1,
        description=f"sources of the expressions, of which the first available one is used; any of {SOURCES}",
    )
    train_size: int = Field(
        default=96_000,
        ge=1,
        le=limits.EXAMPLES,
        description="expressions of the training split (source generated)",
    )
    validation_size: int = Field(
        default=2_000,
        ge=1,
        le=limits.EXAMPLES,
        description="expressions of the validation split (source generated, or split off train if a folder has none)",
    )
    test_size: int = Field(
        default=2_000,
        ge=1,
        le=limits.EXAMPLES,
        description="expressions of the test split (source generated)",
    )
    length: Span = Field(
        default=(501, 1999),
        description="minimum and maximum number of symbols of an expression (source generated); an operator with its "
        "bracket is one symbol, the closing bracket another",
    )
    max_depth: int = Field(
        default=10, ge=2, le=100, description="maximum number of levels, including the innermost digits (generated)"
    )
    max_arguments: int = Field(
        default=10, ge=2, le=100, description="maximum number of arguments of an operator; the minimum is 2 (generated)"
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=limits.SEED,
        description="seed of the expressions; the run's own seed does not change the data",
    )
    max_length: int | None = Field(
        default=None,
        ge=1,
        le=limits.LENGTH,
        description="longer expressions are cut to this many symbols, which loses information; null: no limit",
    )
    files: ListOpsFiles = Field(default=ListOpsFiles(), description="file names of a folder that lacks the usual ones")

    @model_validator(mode="after")
    def _lengths_can_be_had(self) -> ListOpsOptions:
        most, argument = 0, 1
        for _ in range(self.max_depth - 1):
            most = 2 + self.max_arguments * argument
            argument = most
        if self.length[0] > most:
            raise ValueError(
                f"length requires at least {self.length[0]:,} symbols, but with max_depth {self.max_depth} and "
                f"max_arguments {self.max_arguments} an expression has at most {most:,}"
            )
        examples = max(self.train_size, self.validation_size, self.test_size)
        limits.refuse_large(examples * self.length[1], "sizes and length")
        return self

    @model_validator(mode="after")
    def _one_cut(self) -> ListOpsOptions:
        if self.protocol == "fpt2021" and self.max_length is not None:
            raise ValueError(
                f"max_length: the protocol fpt2021 always cuts at {CUT_OF_FPT2021} symbols (fault D2); leave it out"
            )
        return self
