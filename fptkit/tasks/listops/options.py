"""Options of the task ``listops``; light, so that listings and recipe checks load no numbers.

Source of the defaults: google-research/long-range-arena, lra_benchmarks/data/listops.py: 96,000, 2,000 and 2,000
expressions of more than 500 and fewer than 2,000 symbols, ``max_depth`` 10, ``max_args`` 10.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from fptkit.options import ONE_OR_MORE, ONE_OR_MORE_SCHEMA, Options, source_check

SOURCES = "generated, path:DIR"

CUT_OF_FPT2021 = 512
"""Symbols that the paper's code keeps. Source: kzl/universal-computation, datasets/helpers/listops.py, max_length."""


def _ascending(span: tuple[int, int]) -> tuple[int, int]:
    if span[0] > span[1]:
        raise ValueError(f"expected [fewest, most], got [{span[0]}, {span[1]}]")
    return span


Source = Annotated[str, AfterValidator(source_check(SOURCES))]
Sources = Annotated[tuple[Source, ...], ONE_OR_MORE, ONE_OR_MORE_SCHEMA]
Span = Annotated[tuple[Annotated[int, Field(ge=4)], Annotated[int, Field(ge=4)]], AfterValidator(_ascending)]
FileName = Annotated[str, Field(min_length=1)]


class ListOpsFiles(Options):
    """Names of the files in the folder of a ``path:`` source, where they are none of the usual ones."""

    train: FileName | None = Field(default=None, description="file of the training split; null looks for usual names")
    validation: FileName | None = Field(
        default=None, description="file of the validation split; null looks for usual names"
    )
    test: FileName | None = Field(default=None, description="file of the test split; null looks for usual names")


class ListOpsOptions(Options):
    """Options of the task ``listops``."""

    protocol: Literal["clean", "fpt2021"] = Field(
        default="clean",
        description="clean: brackets kept, own validation and test, evaluated whole; fpt2021: as the paper's code, "
        "faults D1, D2, D4, D6 and D7 included",
    )
    source: Sources = Field(
        default=("generated",),
        min_length=1,
        description=f"where the expressions come from, the first available is taken; any of {SOURCES}",
    )
    train_size: int = Field(default=96_000, ge=1, description="expressions of the training split (source generated)")
    validation_size: int = Field(
        default=2_000,
        ge=1,
        description="expressions of the validation split (source generated, or cut from train where a folder has none)",
    )
    test_size: int = Field(default=2_000, ge=1, description="expressions of the test split (source generated)")
    length: Span = Field(
        default=(501, 1999),
        description="fewest and most symbols of an expression (source generated); an operator with its bracket is one "
        "symbol, the closing bracket another",
    )
    max_depth: int = Field(
        default=10, ge=2, le=100, description="levels of an expression, the innermost digits included (generated)"
    )
    max_arguments: int = Field(
        default=10, ge=2, le=100, description="most arguments of an operator; the fewest are 2 (generated)"
    )
    seed: int = Field(default=0, ge=0, description="draws the expressions; the run's own seed does not change the data")
    max_length: int | None = Field(
        default=None,
        ge=1,
        description="symbols kept of a longer expression: its first ones, which loses what follows; null keeps all",
    )
    files: ListOpsFiles = Field(default=ListOpsFiles(), description="file names of a folder with other than usual ones")

    @model_validator(mode="after")
    def _lengths_can_be_had(self) -> ListOpsOptions:
        most, argument = 0, 1
        for _ in range(self.max_depth - 1):
            most = 2 + self.max_arguments * argument
            argument = most
        if self.length[0] > most:
            raise ValueError(
                f"length asks for at least {self.length[0]:,} symbols, but with max_depth {self.max_depth} and "
                f"max_arguments {self.max_arguments} an expression has at most {most:,}"
            )
        return self

    @model_validator(mode="after")
    def _one_cut(self) -> ListOpsOptions:
        if self.protocol == "fpt2021" and self.max_length is not None:
            raise ValueError(
                f"max_length: the protocol fpt2021 cuts at {CUT_OF_FPT2021} symbols itself (fault D2); leave it out"
            )
        return self
