"""Recipes for several processes, and what starts them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from torchrun_runs import torchrun, write_recipe


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Writes a recipe by its name and returns its path."""
    return partial(write_recipe, tmp_path)


@pytest.fixture
def start(tmp_path: Path) -> Any:
    """Starts runs in several processes, and waits for their end."""
    return partial(torchrun, tmp_path)
