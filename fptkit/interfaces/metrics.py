"""Metrics: numbers computed over a split, with their direction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from fptkit.errors import PluginError, ShapeError
from fptkit.specs.guard import raised_by_plugin

if TYPE_CHECKING:
    import torchmetrics

LOSS = "loss"
"""Name of the mean loss over examples, which every evaluation reports with the task's metrics. Lower is better."""


class Metric(Protocol):
    """Protocol of metrics: one number, accumulated over a split. Metrics of torchmetrics satisfy it.

    Metrics with the attribute ``fraction = True`` have values between 0 and 1, which are shown in percent.

    Attributes:
        higher_is_better: direction of the metric; None if it is not declared.

    Example:
        >>> from fptkit import Metric
        >>> class Largest:
        ...     higher_is_better = True
        ...     def reset(self):
        ...         self.value = float("-inf")
        ...     def update(self, predictions, targets):
        ...         self.value = max(self.value, float(predictions.max()))
        ...     def compute(self):
        ...         return self.value
        ...     def to(self, device):
        ...         return self
        >>> metric: Metric = Largest()
    """

    @property
    def higher_is_better(self) -> bool | None: ...

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Accumulate a batch.

        Shapes: for `Classes` (N, K) and (N,), one row per answer; for `Values` both of the targets' shape.
        """

    def compute(self) -> float | Tensor:
        """Return the value over all accumulated batches, one number."""

    def reset(self) -> None:
        """Discard all accumulated batches."""

    def to(self, device: torch.device) -> Any:
        """Move the metric's state to ``device`` and return the metric."""


class Accuracy:
    """The fraction of correct answers. Subclasses override `right` to define correctness differently.

    Example:
        >>> import fptkit, torch
        >>> metric = fptkit.Accuracy()
        >>> metric.update(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 0]))
        >>> metric.compute()
        0.5
    """

    higher_is_better = True
    fraction = True

    def __init__(self) -> None:
        self._right = torch.zeros((), dtype=torch.int64)
        self._answers = 0

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Accumulate a batch. Shapes: predictions (N, K), targets (N,) int64.

        Raises:
            ShapeError: the shapes do not fit.
        """
        if predictions.shape[:-1] != targets.shape:
            raise ShapeError(
                f"Accuracy: predictions {tuple(predictions.shape)} do not fit targets {tuple(targets.shape)}"
            )
        self._right += self.right(predictions, targets).sum()
        self._answers += targets.numel()

    def right(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return which answers are correct. Shapes: (N, K), (N,) -> (N,) bool."""
        return predictions.argmax(-1) == targets

    def compute(self) -> float:
        """Return the fraction of correct answers; NaN without any answers."""
        if not self._answers:
            return float("nan")
        # Rounded as in older runs, so that a resumed run does not see equal accuracies as different.
        return float(torch.tensor(int(self._right) / self._answers, dtype=torch.float32))

    def reset(self) -> None:
        """See `Metric.reset`."""
        self._right.zero_()
        self._answers = 0

    def to(self, device: torch.device) -> Accuracy:
        """See `Metric.to`."""
        self._right = self._right.to(device)
        return self


class MeanSquaredError:
    """The mean squared error over all numbers of all answers, accumulated in float64.

    Example:
        >>> import fptkit, torch
        >>> metric = fptkit.MeanSquaredError()
        >>> metric.update(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [1.0]]))
        >>> metric.compute()
        2.0
    """

    higher_is_better = False

    def __init__(self) -> None:
        self._sum = torch.zeros((), dtype=torch.float64)
        self._numbers = 0

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Accumulate a batch. Shapes: predictions and targets have the same shape.

        Raises:
            ShapeError: the shapes differ.
        """
        if predictions.shape != targets.shape:
            raise ShapeError(
                f"MeanSquaredError: predictions are {tuple(predictions.shape)}, targets {tuple(targets.shape)}"
            )
        self._sum += (predictions.double() - targets.double()).square().sum()
        self._numbers += targets.numel()

    def compute(self) -> float:
        """Return the mean squared error; NaN without any batches."""
        return float(self._sum) / self._numbers if self._numbers else float("nan")

    def reset(self) -> None:
        """See `Metric.reset`."""
        self._sum.zero_()
        self._numbers = 0

    def to(self, device: torch.device) -> MeanSquaredError:
        """See `Metric.to`."""
        self._sum = self._sum.to(device)
        return self


GivenMetrics: TypeAlias = "Mapping[str, Metric] | torchmetrics.MetricCollection"
"""Return type of `Task.metrics`."""


class _HasMetrics(Protocol):
    def metrics(self) -> GivenMetrics: ...


class Metrics:
    """A task's metrics with one interface for both forms in which tasks return them.

    Args:
        given: a mapping from names to metrics, of torchmetrics or not; or a ``torchmetrics.MetricCollection``.
        task: name of the task, for messages.

    Raises:
        PluginError: ``given`` is something else, or has a value that is not a metric.
    """

    def __init__(self, given: GivenMetrics, task: str) -> None:
        self._task = task
        # A collection splits results and shares state between its metrics, so it is used as one object.
        self._collection: Any = None if isinstance(given, Mapping) else given
        if self._collection is not None and not _has(given, "items", "update", "compute", "reset", "to"):
            raise PluginError(
                f"task {task}: metrics() returns {_kind(given)}; return a mapping from names to metrics, or a "
                "torchmetrics.MetricCollection"
            )
        self._each: dict[str, Any] = dict(given.items())
        self._parts: list[Any] = list(self._each.values()) if self._collection is None else [self._collection]
        for name, metric in self._each.items():
            if (
                not isinstance(name, str)
                or isinstance(metric, type)
                or not _has(metric, "update", "compute", "reset", "to")
            ):
                raise PluginError(
                    f"task {task}: metric {name!r} is {_kind(metric)}; use an object with update(), compute(), "
                    "reset() and to()"
                )
        for module in self._modules():
            # The engine gathers all batches in one process, so torchmetrics must not synchronise.
            module.distributed_available_fn = _never

    @classmethod
    def of(cls, task: _HasMetrics) -> Metrics:
        """Return the metrics of a task.

        Raises:
            PluginError: the task's ``metrics()`` fails or returns something else than metrics.
        """
        name = type(task).__name__
        try:
            given = task.metrics()
        except ImportError as err:
            raise PluginError(f"task {name}: metrics() failed: {err}; pip install 'fptkit[metrics]'") from err
        except (AttributeError, TypeError, ValueError) as err:
            if raised_by_plugin(err):
                raise
            raise PluginError(
                f"task {name}: metrics() failed: {err}. Note that a torchmetrics.MetricCollection does not accept "
                "metrics of fptkit; return a plain mapping, which may have both"
            ) from err
        return cls(given, name)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the metrics, without the loss."""
        return tuple(self._each)

    def check_has(self, name: str) -> None:
        """Check that a metric exists; the loss always does.

        Raises:
            PluginError: there is no such metric.
        """
        names = {*self.names, LOSS}
        if name not in names:
            raise PluginError(f"task {self._task}: unknown best_metric '{name}'; set one of {', '.join(sorted(names))}")

    def direction(self, name: str, said: bool | None = None) -> bool:
        """Return whether higher is better, for a metric or the loss.

        Args:
            name: name of the metric, or ``"loss"``.
            said: direction according to the task; None if it declares none.

        Raises:
            PluginError: there is no such metric, its direction is unknown, or metric and task contradict each other.
        """
        self.check_has(name)
        known = False if name not in self._each else getattr(self._each[name], "higher_is_better", None)
        if known is None and said is None:
            raise PluginError(
                f"task {self._task}: best_metric '{name}' does not declare its direction; set higher_is_better of the "
                "task to True or False"
            )
        if None not in (known, said) and known != said:
            raise PluginError(
                f"task {self._task}: higher_is_better is {said}, but for its best_metric '{name}' "
                f"{'higher' if known else 'lower'} is better; remove higher_is_better from the task"
            )
        return bool(said if known is None else known)

    def is_accuracy(self, name: str) -> bool:
        """Return whether a metric is an accuracy, of fptkit (`Accuracy`) or of torchmetrics."""
        return name in self._each and _is_accuracy(self._each[name])

    def is_fraction(self, name: str) -> bool:
        """Return whether a metric's value is a fraction, between 0 and 1, which is shown in percent."""
        return name in self._each and bool(getattr(self._each[name], "fraction", _is_accuracy(self._each[name])))

    def fresh(self, device: torch.device) -> Metrics:
        """Reset the metrics, move them to a device, and return them."""
        for metric in self._parts:
            metric.to(device)
            metric.reset()
        return self

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Accumulate a batch; see `Metric.update`."""
        for metric in self._parts:
            metric.update(predictions, targets)

    def compute(self) -> dict[str, float]:
        """Return the values over all accumulated batches, by name.

        Raises:
            PluginError: a value is not a single number.
        """
        if self._collection is not None:
            found = self._collection.compute()
        else:
            found = {name: metric.compute() for name, metric in self._each.items()}
        return {name: self._number(name, value) for name, value in found.items()}

    def _number(self, name: str, value: object) -> float:
        if isinstance(value, Tensor) and value.numel() == 1:
            return float(value)
        try:
            if not isinstance(value, (Tensor, Mapping, str)):
                return float(value)  # type: ignore[arg-type]
        except TypeError:
            pass
        raise PluginError(
            f"task {self._task}: metric '{name}' gives {_kind(value)} instead of one number; average it (in "
            "torchmetrics average='macro'), or add a metric for each of its values"
        )

    def _modules(self) -> Iterator[Any]:
        for metric in self._parts:
            if isinstance(metric, nn.Module):
                yield from metric.modules()


def _never() -> bool:
    return False


def _has(value: object, *methods: str) -> bool:
    return all(callable(getattr(value, method, None)) for method in methods)


def _kind(value: object) -> str:
    """Describe a wrong value, for a message."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"a mapping with {', '.join(map(str, value))}"
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def _is_accuracy(metric: object) -> bool:
    # Compared by module name, to avoid importing torchmetrics.
    modules = {kind.__module__ for kind in type(metric).__mro__}
    return isinstance(metric, Accuracy) or "torchmetrics.classification.accuracy" in modules
