"""Listeners watch a run: they get copies, and one that fails is dropped."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from fptkit.engine.events import Event, RunStarted, Saving, Validated
from fptkit.engine.listeners import _Guarded, copied
from fptkit.errors import UserInterrupt


class Raises:
    def __init__(self, err: BaseException) -> None:
        self.err, self.calls = err, 0

    def handle(self, event: Event) -> None:
        self.calls += 1
        raise self.err


def test_a_copy_is_equal_and_shares_nothing_that_can_change() -> None:
    metrics, facts = {"loss": 1.0}, {"task": {"name": "t"}, "fractions": ["accuracy"]}
    validated = copied(Validated(1, metrics, best=True))
    started: Any = copied(RunStarted("r", Path("x"), facts, (), 0, 2, 4))
    assert validated == Validated(1, metrics, best=True)
    validated.metrics.clear()  # type: ignore[union-attr]
    started.facts["task"]["name"] = "other"
    started.facts["fractions"].clear()
    assert metrics == {"loss": 1.0}
    assert facts == {"task": {"name": "t"}, "fractions": ["accuracy"]}


@pytest.mark.parametrize(
    "err", [RuntimeError("no"), SystemExit(0), KeyboardInterrupt(), GeneratorExit(), MemoryError()]
)
def test_a_listener_that_fails_is_dropped(err: BaseException) -> None:
    listener = Raises(err)
    guarded = _Guarded("mine", listener)
    with pytest.warns(UserWarning, match=f"listener 'mine' failed and is dropped: {type(err).__name__}"):
        guarded.handle(Saving(1))
    guarded.handle(Saving(2))
    assert listener.calls == 1


def test_also_if_warnings_are_errors(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _Guarded("mine", Raises(RuntimeError("no"))).handle(Saving(1))
    assert "listener 'mine' failed and is dropped: RuntimeError: no" in capsys.readouterr().err


def test_ctrl_c_in_a_listener_ends_the_run() -> None:
    with pytest.raises(UserInterrupt):
        _Guarded("mine", Raises(UserInterrupt())).handle(Saving(1))
