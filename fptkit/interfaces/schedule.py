"""Schedules: the factor on the learning rate over the steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Schedule:
    """Base class of learning rate schedules that follow the validations; others are plain functions of the step.

    Subclasses implement `factor`. One that remembers something between steps also implements `state` and `restore`:
    a resumed run then sees what an uninterrupted one does.

    Example:
        >>> import fptkit
        >>> class Halving(fptkit.Schedule):
        ...     share = 1.0
        ...     def factor(self, step):
        ...         return self.share
        ...     def validated(self, *, improved):
        ...         self.share *= 1.0 if improved else 0.5
        ...     def state(self):
        ...         return {"share": self.share}
        ...     def restore(self, state):
        ...         self.share = state["share"]
        >>> schedule = Halving()
        >>> schedule.validated(improved=False)
        >>> schedule.factor(7), schedule.state()
        (0.5, {'share': 0.5})
    """

    def factor(self, step: int) -> float:
        """Return the factor on every learning rate at a step, 0 or more.

        Args:
            step: its number, from 0.

        Raises:
            NotImplementedError: the subclass does not implement it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement factor({step})")

    def validated(self, *, improved: bool) -> None:
        """Follow a validation.

        Args:
            improved: whether it is the best one so far.
        """

    def state(self) -> dict[str, Any]:
        """Return what it remembers, as values of JSON; empty if it remembers nothing."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave when a checkpoint was saved; empty if that was before the first validation."""
