"""Options of ``text``; in a module of their own so that listings and recipe checks do not import NumPy."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from fptkit.backbones.options import WeightEntries
from fptkit.options import ONE_OR_MORE, ONE_OR_MORE_SCHEMA
from fptkit.specs import limits
from fptkit.tasks.reading.options import CellOptions
from fptkit.tasks.table.options import one_character

TABLES = (".csv", ".tsv", ".tab", ".parquet")
"""Endings of tables."""

RECORDS = (".jsonl", ".ndjson", ".json")
"""Endings of JSON records."""

DOCUMENTS = (".txt",)
"""Endings of files that are one text each, in class folders."""

ENDINGS = (*TABLES, *RECORDS, *DOCUMENTS)
"""Endings of the files that are read."""

Columns = Annotated[tuple[str, ...], ONE_OR_MORE, ONE_OR_MORE_SCHEMA]


class TextOptions(CellOptions):
    """Options of the task ``text``."""

    text: str | None = Field(
        default=None, description="column or key of the texts; null: text, sentence, review or another usual name"
    )
    target: Columns = Field(
        default=(),
        description="column or key to predict; several for regression or labels; default: label, or another usual "
        "name. Files .txt have the name of their class folder",
    )
    tokenizer: WeightEntries | None = Field(
        default=None,
        description="weights with the tokenizer.json to use, the first available ones; null: the backbone's own",
    )
    bytes: bool = Field(default=False, description="read texts as bytes of UTF-8, without a tokenizer")
    begin: str | None = Field(
        default=None, min_length=1, description="token before each text, such as <|endoftext|> or [CLS]; null: none"
    )
    end: str | None = Field(
        default=None, min_length=1, description="token after each text, such as <|endoftext|> or [SEP]; null: none"
    )
    max_length: int | None = Field(
        default=None,
        ge=1,
        le=limits.LENGTH,
        description="longer texts are cut to their first tokens, begin and end included; null: none",
    )
    delimiter: Annotated[str, AfterValidator(one_character)] | None = Field(
        default=None, description="character between the cells of a table, or the word tab; null: it is found"
    )
    header: bool = Field(
        default=True, description="whether the first line of a table has column names; false: they are 1, 2, ..."
    )

    @model_validator(mode="after")
    def _options_fit(self) -> TextOptions:
        for name in ("tokenizer", "begin", "end"):
            if self.bytes and getattr(self, name) is not None:
                raise ValueError(f"{name} has no effect on bytes; leave it or bytes out")
        further = sum(token is not None for token in (self.begin, self.end))
        if self.max_length is not None and self.max_length <= further:
            raise ValueError(f"max_length {self.max_length} leaves no room for text between begin and end; raise it")
        return self
