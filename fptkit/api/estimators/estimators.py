"""`FrozenTransformerClassifier` and `FrozenTransformerRegressor`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    RegressorMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_y,
    check_array,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from fptkit.api.estimators.fit import Fitted, MemorySplit, MemoryTask, divide, fit, load_settings, through
from fptkit.api.estimators.inputs import Form, InputPlan, Scaling, form_of, plan_for
from fptkit.interfaces import Classes, Values
from fptkit.specs import EncoderSpec

VALIDATIONS = 20
"""Validations of a training that early stopping does not end."""


class _FrozenTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """What both estimators share."""

    _plan: InputPlan

    def __init__(
        self,
        backbone: str | Mapping[str, Any] = "builtin:gpt2_nano",
        *,
        policy: str | Mapping[str, Any] = "fpt",
        encoder: str | Mapping[str, Any] | None = None,
        learning_rate: float = 3e-3,
        batch_size: int = 32,
        max_steps: int = 300,
        patience: int | None = 5,
        validation_fraction: float = 0.1,
        train: Mapping[str, Any] | None = None,
        precision: str = "float32",
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.backbone = backbone
        self.policy = policy
        self.encoder = encoder
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.train = train
        self.precision = precision
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return the token vectors that the output layer reads: features of the frozen backbone.

        Shapes: (N, D).

        Args:
            X: examples of the form given to `fit`.

        Raises:
            NotFittedError: `fit` was not called.
            ValueError: the examples are of another form or width than in `fit`.
        """
        return self._through(X, embed=True)

    def embed(self, X: Any) -> NDArray[np.float32]:
        """Return the same as `transform`, under the name that `fptkit.load` uses."""
        return self.transform(X)

    def _settings(self, seed: int) -> dict[str, Any]:
        """The recipe of this estimator, without a task."""
        return {
            "backbone": _backbone(self.backbone),
            "freezing": _named(self.policy),
            **({} if self.encoder is None else {"encoder": _named(self.encoder)}),
            "train": {
                "learning_rate": self.learning_rate,
                "batch_size": self.batch_size,
                "max_steps": self.max_steps,
                "patience": self.patience,
                "validate_every": max(1, self.max_steps // VALIDATIONS) if isinstance(self.max_steps, Integral) else 1,
                "seed": seed,
                "feature_cache": "never",
                **(self.train or {}),
            },
            "precision": self.precision,
            "device": self.device,
        }

    def _fit(self, X: Any, form: Form, targets: torch.Tensor, groups: NDArray[np.int64], output: Any) -> None:
        """Train on checked examples."""
        fraction = self.validation_fraction
        if not isinstance(fraction, Real) or not 0 <= fraction < 1:
            raise ValueError(f"validation_fraction is {fraction!r}; it must be a number of at least 0 and below 1")
        chance = check_random_state(self.random_state)
        seed = int(chance.randint(np.iinfo(np.int32).max))
        loaded = load_settings(self._settings(seed))
        encoder = loaded.recipe.encoder
        grid = encoder is None or "grid" in loaded.registry.get(EncoderSpec, encoder.name).accepts
        plan = plan_for(form, X, grid=grid)
        examples = plan.prepare(X)
        rows = divide(groups, fraction, np.random.default_rng(seed))
        splits = {
            name: MemorySplit(examples, targets, some) for name, some in zip(("train", "validation"), rows, strict=True)
        }
        fitted = fit(loaded, MemoryTask(plan, output, splits), verbose=bool(self.verbose))
        self._take(fitted)
        self._plan = plan

    def _take(self, fitted: Fitted) -> None:
        """Set the attributes of a fitted estimator."""
        self.module_ = fitted.model
        self.n_steps_, self.best_step_, self.ended_by_ = fitted.steps, fitted.best_step, fitted.ended_by
        self.history_ = fitted.history
        self._n_features_out = fitted.model.backbone.width

    def _through(self, X: Any, *, embed: bool) -> NDArray[np.float32]:
        check_is_fitted(self)
        examples = self._plan.prepare(self._checked(X))
        return through(self.module_, examples, self.batch_size, embed=embed)

    def _checked(self, X: Any) -> Any:
        """Examples for prediction.

        Raises:
            ValueError: they are of another form or width than in `fit`.
        """
        form = self._plan.form
        if form_of(X) == "texts" or form == "texts":
            if form_of(X) != form:
                raise ValueError(f"X is not of the form given to fit, which was {form}")
            return list(X)
        if form == "ragged":
            return _checked_series(X)
        X = validate_data(self, X, reset=False, dtype=np.float64, allow_nd=True)
        if X.ndim != (2 if form == "table" else 3):
            raise ValueError(f"X has {X.ndim} dimensions; in fit it was a {form}")
        return X

    def _checked_pair(self, X: Any, y: Any, **of_targets: Any) -> tuple[Any, Form, Any]:
        """Training examples, their form, and targets.

        Raises:
            ValueError: they have NaN, another number of rows than targets, or no form that is supported.
        """
        form = form_of(X)
        if form is None:
            X, y = validate_data(self, X, y, dtype=np.float64, allow_nd=True, **of_targets)
            if X.ndim > 3:
                raise ValueError(f"X has {X.ndim} dimensions; give a table (N, F) or series (N, T, F)")
            return X, "table" if X.ndim == 2 else "series", y
        for attribute in ("n_features_in_", "feature_names_in_"):
            if hasattr(self, attribute):  # of an earlier fit
                delattr(self, attribute)
        examples = list(X)
        if form == "ragged":
            examples = _checked_series(examples)
        y = _check_y(
            y, multi_output=of_targets.get("multi_output", False), y_numeric=of_targets.get("y_numeric", False)
        )
        check_consistent_length(examples, y)
        return examples, form, y

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []  # features are float32
        return tags


class FrozenTransformerClassifier(ClassifierMixin, _FrozenTransformer):
    """Classify with a frozen pretrained transformer: encoder, output layer and norms train, the rest stays frozen.

    An estimator in scikit-learn's form, for pipelines and searches. It is trained by the engine of ``fptkit run``: a
    part of the examples is for validation, which chooses the best step and ends training early.

    ``X`` is a table (N, F) of numbers, whose columns become tokens; series (N, T, F), whose steps become tokens; a list
    of (T, F) arrays of unequal length; or a list of texts, whose UTF-8 bytes become tokens. Numbers are centred and
    scaled by training examples. Sparse matrices, missing values and sample weights are not supported.

    Shapes: X (N, F), (N, T, F) or N texts; y (N,); probabilities (N, K); features (N, D).

    Args:
        backbone: the sequence model: sources of GPT-2's weights, such as ``"builtin:gpt2_nano"`` (a small model in the
            package) or ``"hub:openai-community/gpt2"``; the name of a backbone; or a section of a recipe, such as
            ``{"name": "random", "size": "nano"}``.
        policy: the freezing policy: which parameters train; its name, or a section of a recipe.
        encoder: how examples become tokens; its name or section, such as ``{"name": "patches1d", "patch": 8}``; None:
            a map for each column of a table, ``linear`` for series, ``symbols`` for texts.
        learning_rate: learning rate.
        batch_size: examples per step.
        max_steps: steps after which training ends.
        patience: early stopping: validations without improvement after which training ends, of 20 in ``max_steps``;
            None: never.
        validation_fraction: fraction of the examples of each class for validation, in [0, 1). If that is no example,
            training examples are used instead.
        train: further options of a recipe's section ``train``, such as ``{"schedule": {"name": "cosine"}}``.
        precision: ``float32``, ``bfloat16``, ``int8`` or ``auto``, see ``docs/speed.md``.
        device: ``auto``, ``cpu`` or ``cuda``.
        random_state: seed of everything random: an integer, a ``RandomState``, or None for a new one in each fit.
        verbose: above 0, a line on stderr for each validation.

    Attributes:
        classes_: (K,) the classes, sorted.
        module_: the trained model, a torch module.
        n_steps_, best_step_, ended_by_: steps done, the step whose tensors are used, what ended training.
        history_: a row for each validation.
        n_features_in_: F of a table, T of series; not set for texts and series of unequal length.
        feature_names_in_: names of the columns, if ``X`` was a table with names.

    Raises:
        ValueError: ``X`` or ``y`` cannot be used, in `fit` and predictions.
        RecipeError: a parameter is wrong, in `fit`.

    Example:
        >>> import fptkit, numpy
        >>> X = numpy.random.default_rng(0).normal(size=(60, 3))
        >>> y = numpy.where(X[:, 0] > 0, "high", "low")
        >>> model = fptkit.FrozenTransformerClassifier(max_steps=20, random_state=0).fit(X, y)
        >>> model.classes_.tolist(), model.predict_proba(X).shape
        (['high', 'low'], (60, 2))
    """

    def fit(self, X: Any, y: ArrayLike) -> FrozenTransformerClassifier:
        """Train.

        Args:
            X: examples, see the class.
            y: (N,) their classes, numbers or text.

        Raises:
            ValueError: the examples cannot be used, or there is one class only.
            RecipeError: a parameter is wrong.
        """
        X, form, y = self._checked_pair(X, y)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("y has 1 class only; a classifier needs at least 2 classes")
        self._fit(X, form, torch.from_numpy(numbers), numbers, Classes(len(self.classes_)))
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each example.

        Shapes: (N,).

        Args:
            X: examples of the form given to `fit`.

        Raises:
            NotFittedError: `fit` was not called.
            ValueError: the examples are of another form or width than in `fit`.
        """
        best: NDArray[Any] = self._through(X, embed=False).argmax(-1)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class, in the order of ``classes_``.

        Shapes: (N, K).

        Args:
            X: examples of the form given to `fit`.

        Raises:
            NotFittedError: `fit` was not called.
            ValueError: the examples are of another form or width than in `fit`.
        """
        logits = self._through(X, embed=False).astype(np.float64)
        exponentials = np.exp(logits - logits.max(-1, keepdims=True))
        chances: NDArray[np.float64] = exponentials / exponentials.sum(-1, keepdims=True)
        return chances


class FrozenTransformerRegressor(RegressorMixin, _FrozenTransformer):
    """Predict numbers with a frozen pretrained transformer, see `FrozenTransformerClassifier`.

    Targets are centred and scaled by training examples; predictions are in their units.

    Shapes: X (N, F), (N, T, F) or N texts; y (N,) or (N, L); predictions of the shape of y.

    Args:
        backbone, policy, encoder, learning_rate, batch_size, max_steps, patience: as for `FrozenTransformerClassifier`.
        validation_fraction: fraction of all examples.
        train, precision, device, random_state, verbose: as for `FrozenTransformerClassifier`.

    Attributes:
        module_, n_steps_, best_step_, ended_by_, history_: as for `FrozenTransformerClassifier`.
        n_features_in_, feature_names_in_: the same.

    Raises:
        ValueError: ``X`` or ``y`` cannot be used, in `fit` and predictions.
        RecipeError: a parameter is wrong, in `fit`.

    Example:
        >>> import fptkit, numpy
        >>> X = numpy.random.default_rng(0).normal(size=(60, 3))
        >>> model = fptkit.FrozenTransformerRegressor(max_steps=20, random_state=0).fit(X, X[:, 0] + 10)
        >>> model.predict(X[:2]).shape
        (2,)
    """

    def fit(self, X: Any, y: ArrayLike) -> FrozenTransformerRegressor:
        """Train.

        Args:
            X: examples, see the class.
            y: (N,) or (N, L) numbers.

        Raises:
            ValueError: the examples cannot be used.
            RecipeError: a parameter is wrong.
        """
        X, form, y = self._checked_pair(X, y, multi_output=True, y_numeric=True)
        targets = np.asarray(y, np.float64)
        if targets.ndim == 2 and targets.shape[1] == 1:
            targets = column_or_1d(targets, warn=True)
        self._one = targets.ndim == 1
        targets = targets[:, None] if self._one else targets
        self._target_scaling = Scaling.of(targets)
        scaled = torch.from_numpy(self._target_scaling.apply(targets))
        self._fit(X, form, scaled, np.zeros(len(scaled), np.int64), Values(scaled.shape[1]))
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return the numbers predicted for each example.

        Shapes: (N,) or (N, L), as y in `fit`.

        Args:
            X: examples of the form given to `fit`.

        Raises:
            NotFittedError: `fit` was not called.
            ValueError: the examples are of another form or width than in `fit`.
        """
        found = self._through(X, embed=False).astype(np.float64)
        numbers = self._target_scaling.undo(found)
        return numbers[:, 0] if self._one else numbers

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _checked_series(given: Sequence[Any]) -> list[NDArray[np.float64]]:
    """Series of unequal length, as numbers without NaN and infinity."""
    return [check_array(series, dtype=np.float64, input_name=f"X[{row}]") for row, series in enumerate(given)]


def _named(given: str | Mapping[str, Any]) -> Any:
    """A section of a recipe: a name, or the section itself."""
    return {"name": given} if isinstance(given, str) else given


def _backbone(given: str | Mapping[str, Any]) -> Any:
    """The section of the backbone; a source of weights, such as ``builtin:gpt2_nano``, is for GPT-2."""
    if isinstance(given, str) and ":" in given:
        return {"name": "gpt2", "weights": given, "dropout": 0.0}
    return _named(given)
