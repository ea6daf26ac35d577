"""Outcome of a run, as the ledger reports it and searches and tables read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fptkit.files import was_fraction

Status = Literal["waiting", "running", "paused", "validated", "finished", "diverged", "failed", "interrupted", "lost"]
"""waiting: not started; running: in progress; paused: stopped at the requested step; validated: trained but not tested;
finished: tested; diverged: loss or gradient was not finite; failed: ended by another error; interrupted: stopped by a
signal with its state saved; lost: its worker ended without a report."""

ENDED = ("validated", "finished", "diverged", "failed")
"""States in which training has ended."""


@dataclass(frozen=True)
class Outcome:
    """Status and results of one run.

    Args:
        address: digest of resolved recipe and code version, 64 hexadecimal digits.
        status: its status.
        reason: why it failed or diverged.
        step: number of training steps done.
        summary: content of its ``summary.json``, empty if there is none yet.
    """

    address: str
    status: Status = "waiting"
    reason: str = ""
    step: int = 0
    summary: Mapping[str, Any] = field(default_factory=dict)

    @property
    def validation(self) -> float | None:
        """Best value of the selection metric on validation so far; None before the first validation."""
        selection = self.summary.get("selection")
        found = self.summary.get("metrics", {}).get("validation", {})
        return found.get(selection["metric"]) if selection else None

    @property
    def validated_step(self) -> int:
        """Step of the last validation in the summary, 0 before the first.

        Choices use this step: a run may be stopped, with its state saved, before its last step is validated.
        """
        found = self.summary.get("validated_step", self.summary.get("steps", 0))
        return found if isinstance(found, int) else 0

    @property
    def higher_is_better(self) -> bool:
        """Direction of the selection metric."""
        return bool(self.summary.get("selection", {}).get("higher_is_better", True))

    @property
    def fraction(self) -> bool:
        """Whether the selection metric is between 0 and 1 and shown in percent."""
        return self._is_among("fractions")

    @property
    def majority(self) -> float | None:
        """Accuracy of always answering with the most frequent class, on the first test split.

        None if the task does not provide it or the selection metric is not an accuracy.
        """
        split = next(iter(self.summary.get("metrics", {}).get("test", {})), None)
        return self.summary.get("majority_accuracy", {}).get(split) if self._is_among("accuracies") else None

    @property
    def chance(self) -> float | None:
        """Accuracy of guessing; None if unknown or if the selection metric is not an accuracy."""
        return self.summary.get("chance_accuracy") if self._is_among("accuracies") else None

    def _is_among(self, key: str) -> bool:
        metric = self.summary.get("selection", {}).get("metric", "")
        return metric in self.summary[key] if key in self.summary else was_fraction(metric)

    @property
    def over(self) -> bool:
        """Whether training has ended."""
        return self.status in ENDED
