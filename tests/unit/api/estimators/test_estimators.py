"""The estimators: scikit-learn's own checks, the forms of inputs, and that they are the engine's training."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from fptkit.api.estimators.estimators import FrozenTransformerClassifier, FrozenTransformerRegressor
from fptkit.errors import RecipeError

TINY = {"name": "random", "size": "nano", "blocks": 1, "width": 16, "heads": 2, "dropout": 0.0}

Classifier, Regressor = FrozenTransformerClassifier, FrozenTransformerRegressor


def table(rows: int = 60, columns: int = 4, seed: int = 0) -> tuple[Any, Any]:
    X = np.random.default_rng(seed).normal(size=(rows, columns))
    return X, np.where(X[:, 0] + X[:, 1] > 0, "high", "low")


def few(kind: type[Any] = Classifier, **settings: Any) -> Any:
    return kind(TINY, **{"max_steps": 10, "random_state": 0, **settings})


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Classifier, Regressor])
def test_scikit_learns_checks_pass(kind: type[Any]) -> None:
    estimator = kind(TINY, policy="full", learning_rate=2e-2, max_steps=50, train={"validate_every": 25})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = check_estimator(estimator)
    missed = {check["check_name"] for check in done if check["status"] != "passed"}
    assert missed <= {"check_array_api_input"}  # it needs another library
    assert len(done) > 50


@pytest.mark.slow
def test_the_packaged_backbone_learns_what_a_linear_model_cannot() -> None:
    X = np.random.default_rng(0).normal(size=(240, 3))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    found = Classifier(random_state=0, max_steps=120, patience=None).fit(X[:160], y[:160])
    assert found.score(X[160:], y[160:]) > 0.8
    assert found.module_.backbone.weights == "builtin:gpt2_nano"


def test_only_the_policys_parameters_train_and_the_best_step_is_used() -> None:
    X, y = table()
    found = few(policy="output_only", learning_rate=0.3, max_steps=40).fit(X, y)
    trained = {name for name, parameter in found.module_.named_parameters() if parameter.requires_grad}
    assert {name.partition(".")[0] for name in trained} == {"head"}
    losses = {row["step"]: row["loss"] for row in found.history_}
    assert losses[found.best_step_] == min(losses.values())
    assert found.n_steps_ >= found.best_step_


def test_probabilities_belong_to_the_classes() -> None:
    X, y = table()
    found = few(policy="full", learning_rate=1e-2, max_steps=60).fit(X, y)
    chances = found.predict_proba(X)
    np.testing.assert_allclose(chances.sum(1), 1)
    assert (found.classes_[chances.argmax(1)] == found.predict(X)).all()
    assert found.score(X, y) > 0.8


@pytest.mark.parametrize("kind", [Classifier, Regressor])
def test_a_fit_repeats_and_leaves_torchs_generator(kind: type[Any], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    X, y = table()
    y = y if kind is Classifier else X[:, 0]
    torch.manual_seed(7)
    first = few(kind).fit(X, y)
    assert torch.equal(torch.rand(4), torch.rand(4, generator=torch.Generator().manual_seed(7)))
    second, other = few(kind).fit(X, y), few(kind, random_state=1).fit(X, y)
    assert (first.transform(X) == second.transform(X)).all()
    assert (first.transform(X) != other.transform(X)).any()
    assert list(tmp_path.iterdir()) == []


def test_a_result_does_not_depend_on_the_other_examples() -> None:
    X, y = table()
    found = few().fit(X, y)
    together = found.predict_proba(X)
    assert (together[::-1] == found.predict_proba(X[::-1])).all()
    assert all((found.predict_proba(X[row : row + 1]) == together[row]).all() for row in (0, 31, 59))


def test_threads_do_not_disturb_each_other() -> None:
    X, y = table()
    expected = few().fit(X, y).transform(X)
    found = joblib.Parallel(3, backend="threading")(
        joblib.delayed(lambda: few().fit(X, y).transform(X))() for _ in "abcd"
    )
    assert all((one == expected).all() for one in found)


def test_a_pickle_and_joblib_keep_everything(tmp_path: Path) -> None:
    X, y = table()
    found = few().fit(X, y)
    joblib.dump(found, tmp_path / "model.joblib")
    for again in (pickle.loads(pickle.dumps(found)), joblib.load(tmp_path / "model.joblib")):
        assert (again.predict_proba(X) == found.predict_proba(X)).all()
    assert not hasattr(clone(found), "module_")


def test_columns_are_scaled_and_constant_ones_do_no_harm() -> None:
    X, y = table()
    X = np.hstack([X, np.full((len(X), 1), 3.0)])
    plain = few().fit(X, y).predict_proba(X)
    moved = X * np.array([1e6, 1e-6, 1, 1, 1]) + np.array([0, 0, 1e3, 0, 0])
    np.testing.assert_allclose(few().fit(moved, y).predict_proba(moved), plain, atol=1e-3)
    assert np.isfinite(few().fit(X * 1e200, y).predict_proba(X * 1e200)).all()


def test_targets_keep_their_units_and_their_shape() -> None:
    X, _ = table(80)
    y = 1000 + 50 * X[:, :2]
    found = few(Regressor, policy="full", learning_rate=1e-2, max_steps=200).fit(X, y)
    assert found.predict(X).shape == (80, 2)
    assert found.score(X, y) > 0.8
    assert few(Regressor).fit(X, y[:, 0]).predict(X).shape == (80,)


def test_series_and_their_steps() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = rng.normal(size=(60, 12, 2)) + y[:, None, None]
    found = few(policy="full", learning_rate=1e-2, max_steps=60).fit(X, y)
    assert found.score(X, y) > 0.9
    assert found.transform(X).shape == (60, 16)
    patched = few(encoder={"name": "patches1d", "patch": 4}).fit(X, y)
    assert patched.predict(X).shape == (60,)
    with pytest.raises(ValueError, match=r"X\[0\] has shape \(12, 3\)"):
        found.predict(np.zeros((2, 12, 3)))
    with pytest.raises(ValueError, match="features"):
        found.predict(np.zeros((2, 13, 2)))
    with pytest.raises(ValueError, match="it was a series"):
        found.predict(np.zeros((2, 12)))
    with pytest.raises(ValueError, match="4 dimensions"):
        few().fit(np.zeros((4, 2, 2, 2)), [0, 1, 0, 1])


def test_series_of_unequal_length_equal_those_alone() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    X = [rng.normal(size=(3 + row % 5, 2)) + y[row] for row in range(40)]
    found = few(policy="full", learning_rate=1e-2, max_steps=60).fit(X, y)
    assert found.score(X, y) > 0.8
    alone = np.concatenate([found.predict_proba([series]) for series in X])
    np.testing.assert_allclose(found.predict_proba(X), alone, atol=1e-5)  # padding changes rounding only
    assert not hasattr(found, "n_features_in_")
    with pytest.raises(ValueError, match=r"X\[1\] has shape \(8, 2\); expected 1 to 7 steps of 2 numbers"):
        found.predict([np.zeros((3, 2)), np.zeros((8, 2))])
    with pytest.raises(ValueError, match="1, 2 numbers per step"):
        few().fit([np.zeros((3, 2)), np.zeros((2, 1))], [0, 1])
    with pytest.raises(ValueError, match="NaN"):
        found.predict([np.full((3, 2), np.nan), np.zeros((2, 2))])


def test_texts_are_read_as_bytes() -> None:
    texts = ["good ☀", "bad", "very good", "so bad", "good", "bad, bad"] * 5
    y = ["yes", "no"] * 15
    found = few(policy="full", learning_rate=1e-2, max_steps=60).fit(texts, y)
    assert found.score(texts, y) == 1
    assert (found.predict(np.array(texts)) == found.predict(pd.Series(texts))).all()
    longest = max(len(text.encode()) for text in texts)
    cut = "good" * 20
    assert (found.predict_proba([cut]) == found.predict_proba([cut[:longest]])).all()
    with pytest.raises(ValueError, match=r"X\[1\] is an empty text"):
        found.predict(["good", ""])
    with pytest.raises(ValueError, match="was texts"):
        found.predict(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="inconsistent numbers"):
        few().fit(texts, y[:-1])
    with pytest.raises(ValueError, match="was table"):
        few().fit(*table()).predict(texts)


def test_names_of_columns_are_kept_and_compared() -> None:
    X, y = table()
    frame = pd.DataFrame(X, columns=list("abcd"))
    found = few().fit(frame, y)
    assert found.feature_names_in_.tolist() == list("abcd")
    assert found.get_feature_names_out()[0] == "frozentransformerclassifier0"
    with pytest.raises(ValueError, match="feature names should match"):
        found.predict(frame.rename(columns={"a": "z"}))
    assert clone(found).set_output(transform="pandas").fit_transform(frame, y).shape == (60, 16)


def test_a_search_and_a_pipeline() -> None:
    X, y = table()
    search = GridSearchCV(
        make_pipeline(StandardScaler(), few()), {"frozentransformerclassifier__policy": ["fpt", "full"]}, cv=2
    )
    assert search.fit(X, y).best_params_.keys() == {"frozentransformerclassifier__policy"}


def test_numbers_of_numpy_are_parameters_too() -> None:
    X, y = table()
    settings = {"max_steps": 40, "batch_size": 8, "learning_rate": 0.01, "validation_fraction": 0.2, "patience": 3}
    numbers = {name: np.array([value])[0] for name, value in settings.items()}
    plain, given = few(**settings).fit(X, y), few(**numbers).fit(X, y)
    assert given.history_ == plain.history_
    assert (given.predict_proba(X) == plain.predict_proba(X)).all()


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5])
def test_few_examples_are_enough(fraction: float) -> None:
    X, y = np.eye(4), ["a", "b", "c", "c"]
    assert few(validation_fraction=fraction).fit(X, y).predict(X).shape == (4,)


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"policy": "ftp"}, RecipeError, "unknown freezing policy 'ftp'"),
        ({"backbone": "gpt3"}, RecipeError, "unknown backbone 'gpt3'"),
        ({"encoder": {"name": "linear", "width": 3}}, RecipeError, "unknown key 'width'"),
        ({"max_steps": 0}, RecipeError, "expected an integer >= 1"),
        ({"max_steps": "many"}, RecipeError, "expected an integer"),
        ({"train": {"learning_rat": 1}}, RecipeError, "Did you mean 'learning_rate'"),
        ({"validation_fraction": 1.0}, ValueError, "below 1"),
        ({"validation_fraction": None}, ValueError, "is None; it must be a number"),
        ({"precision": "float16"}, RecipeError, "precision"),
    ],
)
def test_wrong_parameters(settings: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Classifier(**{"backbone": TINY, **settings}).fit(*table())


@pytest.mark.parametrize(
    ("X", "y", "error", "text"),
    [
        (scipy.sparse.eye(4).tocsr(), [0, 1, 0, 1], TypeError, "[Ss]parse"),
        (np.full((4, 2), np.nan), [0, 1, 0, 1], ValueError, "NaN"),
        (np.zeros((4, 2)), [0, 0, 0, 0], ValueError, "at least 2 classes"),
        (np.zeros((4, 2)), [0.5, 0.1, 0.2, 0.3], ValueError, "continuous"),
        (np.zeros(4), [0, 1, 0, 1], ValueError, "2D array"),
        (np.zeros((0, 2)), [], ValueError, "0 sample"),
    ],
)
def test_wrong_examples(X: Any, y: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        few().fit(X, y)


def test_verbose_prints_validations_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    few().fit(*table())
    assert capsys.readouterr() == ("", "")
    few(verbose=1, patience=None).fit(*table())
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("validation: loss") == 10
