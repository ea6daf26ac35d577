"""Options of a recipe's section ``task``. Does not import torch, so that recipe checks are fast."""

from __future__ import annotations

from fptkit import Options
from pydantic import Field


class MoonsOptions(Options):
    """Options of the task ``moons``."""

    bits: int = Field(default=15, ge=1, description="bits of a string, one per token")
    validation_size: int = Field(default=512, ge=1, description="examples of the validation split")
    test_size: int = Field(default=2048, ge=1, description="examples of the test split")
