"""Metrics: figures over a whole split that know their direction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from fptkit.errors import PluginError, ShapeError

if TYPE_CHECKING:
    import torchmetrics

LOSS = "loss"
"""Name of the mean loss over examples, which every evaluation gives besides the task's metrics. Lower is better."""


class Metric(Protocol):
    """A figure over a whole split. Metrics of torchmetrics have this form.

    An attribute ``fraction = True`` says that its value is between 0 and 1 and is shown in percent.

    Attributes:
        higher_is_better: its direction; None where the metric does not know it.
    """

    @property
    def higher_is_better(self) -> bool | None: ...

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Take in a batch.

        Shapes: for `Classes` (N, K) and (N,), one row per answer; for `Values` both of the targets' shape.
        """

    def compute(self) -> float | Tensor:
        """One number: the figure over all that was taken in."""

    def reset(self) -> None:
        """Forget everything."""

    def to(self, device: torch.device) -> Any:
        """Go on with batches on ``device``. Returns the metric itself."""


class Accuracy:
    """The fraction of answers that are right. Derive from it for accuracies with another rule of what is right."""

    higher_is_better = True
    fraction = True

    def __init__(self) -> None:
        self._right = torch.zeros((), dtype=torch.int64)
        self._answers = 0

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Count right answers. Shapes: predictions (N, K), targets (N,) int64.

        Raises:
            ShapeError: the shapes do not fit.
        """
        if predictions.shape[:-1] != targets.shape:
            raise ShapeError(
                f"Accuracy: predictions {tuple(predictions.shape)} do not fit {tuple(targets.shape)} targets"
            )
        self._right += self.right(predictions, targets).sum()
        self._answers += targets.numel()

    def right(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Which answers are right. Shapes: (N, K), (N,) -> (N,) bool."""
        return predictions.argmax(-1) == targets

    def compute(self) -> float:
        """Right answers over all answers; NaN before the first."""
        if not self._answers:
            return float("nan")
        # Rounded as older runs wrote it: a resumed one must not take equal accuracies for different ones.
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
    """The mean of squared differences over all numbers of all answers, summed in float64."""

    higher_is_better = False

    def __init__(self) -> None:
        self._sum = torch.zeros((), dtype=torch.float64)
        self._numbers = 0

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Add up squared differences. Shapes: predictions and targets alike.

        Raises:
            ShapeError: they differ.
        """
        if predictions.shape != targets.shape:
            raise ShapeError(
                f"MeanSquaredError: predictions are {tuple(predictions.shape)}, targets {tuple(targets.shape)}"
            )
        self._sum += (predictions.double() - targets.double()).square().sum()
        self._numbers += targets.numel()

    def compute(self) -> float:
        """The mean; NaN before the first batch."""
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
"""What `Task.metrics` returns."""


class _HasMetrics(Protocol):
    def metrics(self) -> GivenMetrics: ...


class Metrics:
    """A task's metrics, whichever way the task gives them.

    Args:
        given: a mapping from name to metric, whose metrics may be of torchmetrics or not; or a
            ``torchmetrics.MetricCollection``.
        task: name of the task, for messages.

    Raises:
        PluginError: it is something else, or one of them is no metric.
    """

    def __init__(self, given: GivenMetrics, task: str) -> None:
        self._task = task
        # A collection takes results apart and shares states between its metrics: it is used as a whole.
        self._collection: Any = None if isinstance(given, Mapping) else given
        if self._collection is not None and not _has(given, "items", "update", "compute", "reset", "to"):
            raise PluginError(
                f"task {task}: metrics() gives {_kind(given)}; give a mapping from name to metric, or a "
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
                    f"task {task}: metric {name!r} is {_kind(metric)}; give an object with update(), compute(), "
                    "reset() and to()"
                )
        for module in self._modules():
            # The engine brings all batches to one process: torchmetrics has nothing to synchronise.
            module.distributed_available_fn = _never

    @classmethod
    def of(cls, task: _HasMetrics) -> Metrics:
        """The metrics of a task.

        Raises:
            PluginError: it gives none that can be used.
        """
        name = type(task).__name__
        try:
            given = task.metrics()
        except ImportError as err:
            raise PluginError(f"task {name}: metrics() failed: {err}; pip install 'fptkit[metrics]'") from err
        except (AttributeError, TypeError, ValueError) as err:
            raise PluginError(
                f"task {name}: metrics() failed: {err}. Note that metrics of fptkit do not go into a "
                "torchmetrics.MetricCollection; return a plain mapping, which takes both"
            ) from err
        return cls(given, name)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the metrics. The loss is not among them."""
        return tuple(self._each)

    def check_has(self, name: str) -> None:
        """Raise `PluginError` where there is no such metric; the loss is always there."""
        names = {*self.names, LOSS}
        if name not in names:
            raise PluginError(f"task {self._task}: best_metric '{name}' is none of {', '.join(sorted(names))}")

    def direction(self, name: str, said: bool | None = None) -> bool:
        """Whether more of a metric, or of the loss, is better.

        Args:
            name: which.
            said: what the task says; None where it says nothing.

        Raises:
            PluginError: there is no such metric, nobody knows its direction, or metric and task contradict.
        """
        self.check_has(name)
        known = False if name not in self._each else getattr(self._each[name], "higher_is_better", None)
        if known is None and said is None:
            raise PluginError(
                f"task {self._task}: best_metric '{name}' does not say whether more of it is better; set "
                "higher_is_better of the task to True or False"
            )
        if None not in (known, said) and known != said:
            raise PluginError(
                f"task {self._task}: higher_is_better is {said}, but of its best_metric '{name}' "
                f"{'more' if known else 'less'} is better; leave higher_is_better of the task out"
            )
        return bool(said if known is None else known)

    def is_accuracy(self, name: str) -> bool:
        """Whether a metric is a fraction of right answers, `Accuracy` or one of torchmetrics."""
        return name in self._each and _is_accuracy(self._each[name])

    def is_fraction(self, name: str) -> bool:
        """Whether a metric's value is between 0 and 1 and shown in percent."""
        return name in self._each and bool(getattr(self._each[name], "fraction", _is_accuracy(self._each[name])))

    def fresh(self, device: torch.device) -> Metrics:
        """The same metrics on a device, with nothing taken in."""
        for metric in self._parts:
            metric.to(device)
            metric.reset()
        return self

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Take in a batch; see `Metric.update`."""
        for metric in self._parts:
            metric.update(predictions, targets)

    def compute(self) -> dict[str, float]:
        """The figures over all that was taken in.

        Raises:
            PluginError: one is not a single number.
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
            f"task {self._task}: metric '{name}' gives {_kind(value)}, not one number; average it (in torchmetrics "
            "average='macro'), or make a metric of each of its values"
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
    """What a wrong value is, for a message."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"a mapping with {', '.join(map(str, value))}"
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def _is_accuracy(metric: object) -> bool:
    # By module, so that torchmetrics is not imported just to ask.
    modules = {kind.__module__ for kind in type(metric).__mro__}
    return isinstance(metric, Accuracy) or "torchmetrics.classification.accuracy" in modules
