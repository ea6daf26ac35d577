"""Options of ``sequences``; in a module of their own so that listings and recipe checks do not import NumPy."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from fptkit.options import ONE_OR_MORE, ONE_OR_MORE_SCHEMA
from fptkit.specs import limits
from fptkit.tasks.reading.options import CellOptions
from fptkit.tasks.table.options import one_character

FASTA = (".fasta", ".fa", ".faa", ".fna", ".ffn", ".fas", ".mfa")
"""Endings of FASTA files."""

TABLES = (".csv", ".tsv", ".tab", ".parquet")
"""Endings of tables."""

RECORDS = (".jsonl", ".ndjson", ".json")
"""Endings of JSON records."""

ENDINGS = (*FASTA, *TABLES, *RECORDS)
"""Endings of the files that are read."""

Columns = Annotated[tuple[str, ...], ONE_OR_MORE, ONE_OR_MORE_SCHEMA]


def check_pattern(pattern: str) -> str:
    """Check a regular expression with a group.

    Raises:
        ValueError: it is not one.
    """
    try:
        groups = re.compile(pattern).groups
    except re.error as err:
        raise ValueError(f"'{pattern}' is not a regular expression: {err}") from err
    if not groups:
        raise ValueError(f"'{pattern}' has no group; put what is the label in parentheses, for example 'fold=(\\S+)'")
    return pattern


def _check_file(entry: str) -> str:
    if not entry.removeprefix("path:").strip() or not entry.startswith("path:"):
        raise ValueError(f"'{entry}' names no file; write path:FILE")
    return entry


class SequenceOptions(CellOptions):
    """Options of the task ``sequences``."""

    problem: Literal["auto", "classification", "labels", "regression", "tagging"] = Field(  # type: ignore[assignment]
        default="auto",
        description="classification: one class per sequence; labels: any of several labels; regression: numbers; "
        "tagging: a label for each symbol. auto: tagging if every label is as long as its sequence of 8 symbols or "
        "more; labels if separator is set, or several targets have 0 and 1 only; regression if the target has "
        "fractional numbers, more than 20 different numbers, or several columns; otherwise classification",
    )
    sequence: str | None = Field(
        default=None, description="column or key of the sequences; null: sequence, seq, smiles or another usual name"
    )
    target: Columns = Field(
        default=(),
        description="column, key or field of the header to predict; several for regression or labels; default: label, "
        "or another usual name",
    )
    header: Annotated[str, AfterValidator(check_pattern)] | None = Field(
        default=None,
        description="regular expression for the headers of FASTA: its group is the label, named groups are fields. "
        "null: fields are written KEY=VALUE, else the label is the last part, after | or white space",
    )
    labels: Annotated[str, AfterValidator(_check_file)] | None = Field(
        default=None,
        description="path:FILE of a table, JSON records or FASTA that has the labels by identifier; null: they are "
        "with the sequences",
    )
    id: str = Field(default="id", description="column of the identifiers; in FASTA the first word of the header")
    alphabet: Literal["read", "dna", "rna", "protein", "smiles", "bytes"] = Field(
        default="read",
        description="the symbols. read: the characters of the training sequences; dna, rna, protein: IUPAC letters "
        "with ambiguity codes, gaps and stop, in any case; smiles: atoms, bonds and rings; bytes: of UTF-8",
    )
    symbol_separator: str | None = Field(
        default=None,
        min_length=1,
        description="what separates the symbols of a sequence, for example ' '; null: nothing, or they are JSON lists",
    )
    unknown: Literal["error", "token"] = Field(
        default="error",
        description="symbols that the alphabet does not have. error: an error; token: all are one further symbol, "
        "which is not trained unless it occurs",
    )
    unlabelled: Columns = Field(
        default=("?",), description="tagging: labels of symbols without a label; they do not count"
    )
    max_length: int | None = Field(
        default=None,
        ge=1,
        le=limits.LENGTH,
        description="longer sequences are cut to their first symbols; null: none is cut",
    )
    delimiter: Annotated[str, AfterValidator(one_character)] | None = Field(
        default=None, description="character between the cells of a table, or the word tab; null: it is found"
    )

    @model_validator(mode="after")
    def _options_fit(self) -> SequenceOptions:
        if self.problem == "tagging" and len(self.target) > 1:
            raise ValueError("tagging has one target; name one")
        if self.alphabet == "bytes" and self.symbol_separator:
            raise ValueError("bytes have no separator; leave symbol_separator out")
        return self
