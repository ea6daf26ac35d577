"""The task of a run as far as the run folder describes it: kinds, sizes and preparation, but no examples."""

from __future__ import annotations

from fptkit.engine.preparation import SavedPreparation
from fptkit.errors import UsageError
from fptkit.interfaces import GivenMetrics, Split, Task


class SavedTask(Task):
    """What a model needs to know of its task, without the data.

    Args:
        saved: content of the run's ``preparation.json``.
    """

    def __init__(self, saved: SavedPreparation) -> None:
        self.name = saved.task
        self.input, self.output, self.max_tokens = saved.input, saved.output, saved.max_tokens
        self.default_encoder = saved.encoder
        self.preparation = saved.preparation

    def split(self, name: str) -> Split:
        """Always raises, since a run folder has no examples.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"task '{self.name}': a run folder has no examples of split '{name}'; build the recipe's task")

    def metrics(self) -> GivenMetrics:
        """Return new metrics: those of the preparation, or else of the kind of answers."""
        return self.output.metrics() if self.preparation is None else self.preparation.metrics()
