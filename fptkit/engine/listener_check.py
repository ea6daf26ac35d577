"""The contract check of listeners. Public in `fptkit.testing`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fptkit.engine.events import Event, Listener, RunEnded, RunStarted, Saving, SplitTested, StepsDone, Validated


def check_listener(listener: Listener) -> None:
    """Check a listener: it handles every event of a short run, in order, and returns nothing.

    Args:
        listener: built for a folder that exists.
    """
    name = type(listener).__name__
    facts: dict[str, Any] = {"task": {"name": "check"}, "backbone": {"name": "check"}, "seed": 0}
    facts |= {"selection": {"metric": "accuracy", "higher_is_better": True}, "fractions": ["accuracy"]}
    metrics = {"loss": 0.5, "accuracy": 0.75}
    events: list[Event] = [
        RunStarted("check", Path("runs/check"), facts, ("a note",), step=0, max_steps=2, batch_size=4),
        StepsDone(step=1, loss=0.7, examples_per_second=10.0),
        Validated(step=1, metrics=metrics, best=True),
        Saving(step=1),
        StepsDone(step=2, loss=0.6, examples_per_second=10.0),
        Validated(step=2, metrics=metrics, best=False),
        Saving(step=2),
        SplitTested(split="test", step=1, metrics=metrics),
        RunEnded({**facts, "status": "finished", "metrics": {"validation": metrics, "test": {"test": metrics}}}),
    ]
    for event in events:
        # Declared as object, since type checkers take the declared return type, None, for granted.
        handle: Callable[[Event], object] = listener.handle
        assert handle(event) is None, f"{name}: handle({type(event).__name__}) returned something; it must return None"
