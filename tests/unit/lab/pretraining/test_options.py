"""Options of pretraining: what they refuse, and that they load no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pretraining_recipes import language_recipe as make_recipe
from pydantic import ValidationError

from fptkit.lab.pretraining.options import PretrainRecipe


def test_options_load_no_torch() -> None:
    heavy = ("torch", "numpy", "transformers")
    code = f"import sys, fptkit.lab.pretraining.options; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_option_is_described() -> None:
    schema = PretrainRecipe.model_json_schema()
    for model in (schema, *schema["$defs"].values()):
        for name, field in model["properties"].items():
            assert field.get("description"), f"{model['title']}.{name}"


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"max_steps": None}, "training never ends"),
        ({"batch_tokens": 100}, "not a multiple of the sequence length"),
        ({"sequence_lengths": {"tokens": [64], "weights": [1]}}, "longer than model.positions 32"),
        ({"sequence_lengths": {"tokens": [16], "weights": [1, 2]}}, "one weight per length"),
        ({"sequence_lengths": {"tokens": [16], "weights": [0]}}, "not all 0"),
        ({"learning_rate": 1.0}, "Extra inputs"),
    ],
)
def test_options_that_cannot_work(train: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make_recipe(Path("text.txt"), train)


def test_width_must_be_a_multiple_of_heads() -> None:
    with pytest.raises(ValidationError, match="width 32 is not a multiple of heads 3"):
        make_recipe(Path("text.txt"), model={"width": 32, "heads": 3, "positions": 32})
