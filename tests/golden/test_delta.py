"""A delta file of format 1 loads, and its model answers as on the day it was written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fptkit.inference.trained import load

HERE = Path(__file__).parent


def test_a_delta_file_of_format_1_answers_the_same(tmp_path: Path) -> None:
    expected = json.loads((HERE / "delta_1.json").read_text())
    model = load(HERE / "delta_1.safetensors", device="cpu")
    (tmp_path / "new.csv").write_text(expected["new"])
    assert list(model.classes) == expected["classes"]
    assert model.predict(tmp_path / "new.csv").tolist() == expected["predicted"]
    np.testing.assert_allclose(model.logits(tmp_path / "new.csv"), expected["logits"], rtol=0, atol=1e-5)
    assert model.origin["frozen"]["digest"] == expected["digest"]


def test_it_is_small() -> None:
    assert (HERE / "delta_1.safetensors").stat().st_size <= 100_000
