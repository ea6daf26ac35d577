"""How listeners act on a run: they can end training, and add metrics of their own. They touch no figure of the run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fptkit.engine.events import Event
from fptkit.errors import PluginError

PREFIX = "listener."
"""What the split of a line in ``metrics.jsonl`` begins with if a listener added the line."""

_RESERVED = ("step", "split")


@dataclass
class RunActions:
    """What the listeners of a run have asked for so far.

    Args:
        step: training steps done at the event that is handled.
        stop: who asked to end training, and why; empty if nobody did.
        lines: metrics that are not written yet: listener, step, values.
        metrics: the last values that each listener added, by listener.
        dropped: listeners that failed, with the reason.
        notes: lines for the user that are not shown yet.
    """

    step: int = 0
    stop: str = ""
    lines: list[tuple[str, int, dict[str, float]]] = field(default_factory=list)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def at(self, event: Event) -> None:
        """Note how far the run is."""
        self.step = int(getattr(event, "step", self.step))

    def restore(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Take over the metrics that listeners added before a run was resumed.

        Args:
            lines: lines of its metrics file.
        """
        for line in lines:
            if str(line["split"]).startswith(PREFIX):
                values = {name: value for name, value in line.items() if name not in _RESERVED}
                self.metrics.setdefault(str(line["split"]).removeprefix(PREFIX), {}).update(values)

    def drop(self, name: str, why: str) -> None:
        """Record that a listener failed."""
        self.dropped[name] = why
        self.notes.append(f"listener '{name}' failed and is dropped: {why}")

    def facts(self) -> dict[str, dict[str, Any]]:
        """The section of ``summary.json`` by listener; empty if no listener added anything or failed."""
        names = dict.fromkeys([*self.metrics, *self.dropped])
        return {
            name: {
                **({"metrics": dict(self.metrics[name])} if name in self.metrics else {}),
                **({"dropped": self.dropped[name]} if name in self.dropped else {}),
            }
            for name in names
        }


class RunControl:
    """What a listener may do to its run, passed to its target as ``run`` if its record says ``may``.

    Args:
        name: name of the listener, the prefix of what it adds.
        may: what it may do, of ``"stop"`` and ``"metrics"``.
        actions: where its requests are collected; for a test of a listener, leave it out.

    Example:
        >>> import fptkit
        >>> run = fptkit.RunControl("energy")
        >>> run.add_metrics({"watt_hours": 3})
        >>> run.request_stop("the budget of energy is used up")
        >>> run.stop_reason
        "listener 'energy': the budget of energy is used up"
    """

    def __init__(self, name: str, may: Sequence[str] = ("stop", "metrics"), actions: RunActions | None = None) -> None:
        self._name, self._may = name, tuple(may)
        self._actions = RunActions() if actions is None else actions

    @property
    def stop_reason(self) -> str:
        """Who asked to end training, and why; empty if nobody did."""
        return self._actions.stop

    def request_stop(self, reason: str) -> None:
        """Ask to end training, as early stopping does: the best step is restored, and the test splits are evaluated.

        Training ends after the step that is reported, and validates it. The first request counts; the summary says
        ``ended_by: listener`` and the reason under ``stopped_by``.

        Args:
            reason: why, one line for the user.

        Raises:
            PluginError: the record does not say that the listener may stop, or the reason is not text.
        """
        self._allow("stop", "request_stop")
        if not isinstance(reason, str) or not reason.strip():
            raise PluginError(f"listener '{self._name}': request_stop got {reason!r}, expected the reason as text")
        if not self._actions.stop:
            self._actions.stop = f"listener '{self._name}': {' '.join(reason.split())}"

    def add_metrics(self, metrics: Mapping[str, float]) -> None:
        """Add metrics of the listener's own: a line of ``metrics.jsonl`` with the split ``listener.NAME``.

        The last values are also in ``summary.json``, under ``listeners``. They choose no step.

        Args:
            metrics: finite numbers by name.

        Raises:
            PluginError: the record does not say that the listener may add metrics, a name is ``step``, ``split`` or no
                text, or a value is no finite number.
        """
        self._allow("metrics", "add_metrics")
        values = {}
        for name, value in metrics.items():
            if not isinstance(name, str) or not name or name in _RESERVED:
                raise PluginError(f"listener '{self._name}': {name!r} cannot be the name of a metric")
            try:
                number = math.nan if isinstance(value, bool | str) else float(value)
            except (TypeError, ValueError):
                number = math.nan
            if not math.isfinite(number):
                raise PluginError(f"listener '{self._name}': metric '{name}' is {value!r:.60}, not a finite number")
            values[name] = number
        if values:
            self._actions.lines.append((self._name, self._actions.step, values))
            self._actions.metrics.setdefault(self._name, {}).update(values)

    def _allow(self, what: str, method: str) -> None:
        if what not in self._may:
            raise PluginError(
                f"listener '{self._name}': {method} needs may=(\"{what}\",) in its record, ListenerSpec(..., may=...)"
            )
