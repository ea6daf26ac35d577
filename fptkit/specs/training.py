"""Records of what a training is made of: transforms, heads, losses, metrics, optimizers and schedules."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from fptkit.errors import PluginError
from fptkit.specs.base import ComponentSpec
from fptkit.specs.components import INPUT_KINDS


@dataclass(frozen=True, kw_only=True)
class _ForAnswers(ComponentSpec):
    """A component that fits some kinds of answers only.

    Args:
        accepts: kinds of answers it fits, by the names of their classes in ``lower_snake``: ``"classes"``,
            ``"values"``, ``"labels"``, ``"token_classes"``, ``"token_values"``, ``"next_symbol"``, ``"ranking"``, or a
            plugin's.

    Raises:
        PluginError: ``accepts`` is empty, or not a tuple or list of names.
    """

    accepts: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._make_tuple("accepts", str, "kinds of answers, such as 'classes', 'values' and 'token_classes'")
        if not self.accepts or not all(name.isidentifier() and name.islower() for name in self.accepts):
            raise PluginError(
                f"{self}: accepts is {self.accepts!r}; name one or several kinds of answers, such as 'classes', "
                "'values' and 'token_classes'"
            )


@dataclass(frozen=True, kw_only=True)
class HeadSpec(_ForAnswers):
    """A head, which reads tokens out (pooling) and gives the answers. Target:
    ``(options, *, output, width, hidden, dropout) -> fptkit.Head``.

    ``output`` is the task's kind of answers, ``width`` is the backbone's D, and ``hidden`` and ``dropout`` are those of
    the recipe's section ``head``, for the layers before the output layer.

    Example:
        >>> import fptkit
        >>> spec = fptkit.HeadSpec(name="max", summary="maximum", target="my_package.head:Max", accepts=("classes",))
        >>> str(spec)
        "head 'max'"
    """

    kind: ClassVar[str] = "head"


@dataclass(frozen=True, kw_only=True)
class LossSpec(_ForAnswers):
    """A loss. Target: ``(options, *, output) -> function``.

    The function maps ``(predictions, targets)`` to one loss for each answer, without taking a mean, in the shape of the
    targets. For classes, also at every token, it gets one row for each answer that counts, (N, K) and (N,); for labels
    the logits of absent and present, (N, 2) and (N,); for values both in the shape of the targets. Padding, and tokens
    and labels that are not known, never reach it.

    Example:
        >>> import fptkit
        >>> spec = fptkit.LossSpec(name="hinge", summary="hinge", target="my_package.loss:Hinge", accepts=("classes",))
        >>> str(spec)
        "loss 'hinge'"
    """

    kind: ClassVar[str] = "loss"


@dataclass(frozen=True, kw_only=True)
class MetricSpec(_ForAnswers):
    """A metric that a recipe adds to the task's own. Target: ``(options, *, output) -> fptkit.Metric``.

    Its attribute ``chance``, if it has one, is the value of guessing without having learned anything.

    Args:
        higher_is_better: its direction.
        least: smallest value it can have; None if there is none.
        most: largest value it can have; None if there is none.

    Raises:
        PluginError: ``higher_is_better`` is neither True nor False, or ``least`` and ``most`` are no range.

    Example:
        >>> import fptkit
        >>> spec = fptkit.MetricSpec(
        ...     name="top2", summary="among the two best", target="my_package.top:Top", accepts=("classes",),
        ...     higher_is_better=True, least=0, most=1,
        ... )
        >>> spec.range
        '0 to 1'
    """

    kind: ClassVar[str] = "metric"

    higher_is_better: bool
    least: float | None = None
    most: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.higher_is_better, bool):
            raise PluginError(f"{self}: higher_is_better is {self.higher_is_better!r}, expected True or False")
        for label in ("least", "most"):
            value = getattr(self, label)
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if value is not None and not number:
                raise PluginError(f"{self}: {label} is {value!r}, expected a number, or None")
        if self.least is not None and self.most is not None and not self.least < self.most:
            raise PluginError(f"{self}: least is {self.least}, which is not below most, {self.most}")

    @property
    def range(self) -> str:
        """The values it can have, in words."""
        least, most = ("any" if bound is None else f"{bound:g}" for bound in (self.least, self.most))
        return f"{least} to {most}"


@dataclass(frozen=True, kw_only=True)
class OptimizerSpec(ComponentSpec):
    """An optimizer. Target: ``(options, *, groups) -> torch.optim.Optimizer``.

    ``groups`` are the trained parameters as torch takes them: a list of mappings with ``params``, ``lr``, the learning
    rate of the group, and ``roles``, the role of each parameter. At every step fptkit sets ``lr`` of each group of the
    optimizer to its first value times the factor of the schedule, and calls ``step()`` without a closure. What the
    optimizer remembers must be in its ``state`` and in numbers of its groups: checkpoints hold these.

    Example:
        >>> import fptkit
        >>> str(fptkit.OptimizerSpec(name="lion", summary="sign of momentum", target="my_package.lion:build"))
        "optimizer 'lion'"
    """

    kind: ClassVar[str] = "optimizer"


@dataclass(frozen=True, kw_only=True)
class ScheduleSpec(ComponentSpec):
    """A learning rate schedule. Target: ``(options, *, steps) -> function or fptkit.Schedule``.

    ``steps`` is the last step of training at the latest. The function maps the number of a step, from 0, to the factor
    on every learning rate at that step. A `fptkit.Schedule` also follows the validations.

    Args:
        needs_last_step: true if the factor depends on ``steps``; then ``train.max_seconds``, which makes the last step
            unknown, is refused.

    Raises:
        PluginError: ``needs_last_step`` is neither True nor False.

    Example:
        >>> import fptkit
        >>> str(fptkit.ScheduleSpec(name="stairs", summary="halved in stairs", target="my_package.stairs:Stairs"))
        "schedule 'stairs'"
    """

    kind: ClassVar[str] = "schedule"

    needs_last_step: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.needs_last_step, bool):
            raise PluginError(f"{self}: needs_last_step is {self.needs_last_step!r}, expected True or False")


@dataclass(frozen=True, kw_only=True)
class TransformSpec(ComponentSpec):
    """A transform, which changes training examples at random (augmentation). Target:
    ``(options, *, input) -> function``.

    ``input`` is the task's kind of input. The function maps ``(batch, generator)`` to a `fptkit.Batch` that the task
    could have given. The generator, which follows from the seed and the step, is its only source of randomness.

    Args:
        accepts: input kinds it can take, of ``"vectors"``, ``"symbols"``, ``"grid"`` and ``"mixed"``.

    Raises:
        PluginError: ``accepts`` is empty, names another kind, or is not a tuple or list.

    Example:
        >>> import fptkit
        >>> spec = fptkit.TransformSpec(
        ...     name="jitter", summary="shifts", target="my_package.jitter:Jitter", accepts=("vectors",)
        ... )
        >>> str(spec)
        "transform 'jitter'"
    """

    kind: ClassVar[str] = "transform"

    accepts: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        kinds = ", ".join(INPUT_KINDS)
        self._make_tuple("accepts", str, f"input kinds, of {kinds}")
        if not self.accepts or not set(self.accepts) <= set(INPUT_KINDS):
            raise PluginError(f"{self}: accepts is {self.accepts!r}; name one or several of {kinds}")
