"""Options of the built-in encoders; light, so that listings and recipe checks load no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fptkit.options import Options

Widths = tuple[Annotated[int, Field(ge=1)], ...]


class LinearOptions(Options):
    """Options of the encoder ``linear``.

    Source of the gain: kzl/universal-computation, ``universal_computation/fpt.py``.
    """

    hidden: Widths = Field(
        default=(), description="widths of hidden layers between the token's numbers and the backbone"
    )
    orthogonal_gain: float = Field(
        default=1.41, gt=0, allow_inf_nan=False, description="scale of the orthogonal draw of the weights"
    )


class SymbolOptions(Options):
    """Options of the encoder ``symbols``."""

    hidden: Widths = Field(
        default=(), description="widths of the embedding and of hidden layers after it; empty: an embedding of width D"
    )
