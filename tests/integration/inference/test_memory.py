"""Examples in memory instead of files, and what is said about those that do not fit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pandas")

import numpy as np
import pandas as pd
from new_files import CASES

from fptkit.errors import DataError, UsageError
from fptkit.inference.trained import TrainedModel, load

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[TrainedModel, Path]]:
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FPTKIT_DATA", str(tmp_path_factory.mktemp("cache")))
        for name in ("table", "arrays", "forecast scaled by window", "sequences", "text as bytes"):
            case = CASES[name](tmp_path_factory.mktemp("case"))
            found[name] = (load(case.run), case.new)
    return found


def same(models: dict[str, tuple[TrainedModel, Path]], name: str, contents: Any) -> None:
    model, new = models[name]
    found, expected = model.predict(contents), model.predict(new)
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(found, expected, rtol=1e-12)  # strides decide in which order NumPy adds
    else:
        np.testing.assert_array_equal(found, expected)


def test_rows_of_a_table(models: dict[str, tuple[TrainedModel, Path]]) -> None:
    frame = pd.read_csv(models["table"][1])
    same(models, "table", frame.to_dict("records"))
    same(models, "table", frame[["size", "place"]].to_numpy().tolist())
    same(models, "table", [[None if math.isnan(size) else size, place] for size, place in frame.to_numpy().tolist()])
    model = models["table"][0]
    for rows, message in (
        ([{"size": 3}], "example 1: no column 'place'; expected size, place"),
        ([[3.0, "wood"], [3.0]], r"example 2: \[3\.0\] is no row of 2 cells: size, place"),
        (["wood"], "example 1: 'wood' is no row of 2 cells"),
        ([["large", "wood"]], "column 'size' has numbers, but here 'large'"),
        ([3], "not what the training data have"),
    ):
        with pytest.raises(DataError, match=message):
            model.predict(rows)
    with pytest.raises(UsageError, match=r"a table of pandas; .*to_dict\('records'\)"):
        model.predict(frame)


def test_arrays_and_lists(models: dict[str, tuple[TrainedModel, Path]]) -> None:
    x = np.load(models["arrays"][1])["x"]
    same(models, "arrays", x)
    same(models, "arrays", list(x))
    same(models, "arrays", x.tolist())
    with pytest.raises(DataError, match=r"example 1: an array of shape \(2,\); expected \(5\)"):
        models["arrays"][0].predict([[1.0, 2.0]])


def test_series(models: dict[str, tuple[TrainedModel, Path]]) -> None:
    series = pd.read_csv(models["forecast scaled by window"][1])[["load", "heat"]].to_numpy()
    same(models, "forecast scaled by window", [series])
    same(models, "forecast scaled by window", [series.tolist()])
    with pytest.raises(DataError, match="example 1: 1 channels, but the training data have 2"):
        models["forecast scaled by window"][0].predict([series[:, 0]])


def test_texts(models: dict[str, tuple[TrainedModel, Path]]) -> None:
    reviews = pd.read_json(models["text as bytes"][1], lines=True)["review"].tolist()
    same(models, "text as bytes", reviews)
    letters = models["sequences"][1].read_text().split("\n")[1::2]
    same(models, "sequences", letters)
    for given, message in (([3], "not what the training data have"), (["ACGJ"], "unknown symbol 'J'")):
        with pytest.raises(DataError, match=message):
            models["sequences"][0].predict(given)


@pytest.mark.parametrize("given", [None, 3, "one text"])
def test_what_is_no_list(models: dict[str, tuple[TrainedModel, Path]], given: Any) -> None:
    with pytest.raises(UsageError, match="give a list of contents"):
        models["sequences"][0].predict(given)
