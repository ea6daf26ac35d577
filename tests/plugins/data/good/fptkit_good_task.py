"""What the records of the good plugin name; imported only when a recipe uses them."""

from __future__ import annotations

from pydantic import Field

from fptkit import Options


class GoodOptions(Options):
    """Options of the task."""

    size: int = Field(ge=1, description="examples")


class GoodTask:
    """Stands for a task."""
