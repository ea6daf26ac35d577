"""The base of every options model: immutable, and a key it does not know is an error."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """Options of a component, as the recipe's section gives them (without ``name``).

    Give each field a type, a default where there is a sensible one, and a ``Field(description=...)`` with the unit;
    ``fptkit show`` prints them and the recipe loader checks them with file and line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
