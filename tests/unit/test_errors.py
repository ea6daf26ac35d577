"""Messages have a size, whatever the file holds that they quote."""

from __future__ import annotations

import pickle

import pytest

from fptkit.errors import DataError, FptkitError, PluginFault, Problem, RecipeError, UsageError, bounded

ENDLESS = "x" * 300_000


@pytest.mark.parametrize(
    "err",
    [
        DataError(f"a.csv:3: column 'v' has {ENDLESS!r}; correct it"),
        UsageError(f"first line\n{ENDLESS}\nlast line"),
        FptkitError(ENDLESS, 3),
        PluginFault("p", "task 't'", "T.loss", f"raised ValueError: {ENDLESS}", remedy="correct it"),
        RecipeError([Problem("a.yaml:1", "task.name", f"{ENDLESS}; write a name")]),
    ],
    ids=lambda err: type(err).__name__,
)
def test_no_message_is_endless(err: FptkitError) -> None:
    assert len(str(err)) < 5_000
    assert str(pickle.loads(pickle.dumps(err))) == str(err)


def test_beginning_and_end_are_kept() -> None:
    text = str(DataError(f"a.csv:3: column 'v' has {ENDLESS!r}; correct it"))
    assert text.startswith("a.csv:3: column 'v' has 'xxx")
    assert text.endswith("xxx'; correct it")


@pytest.mark.parametrize("text", ["", "one line", "a\n" * 5_000, "y" * 2_000, f"{'z' * 1_999}\n" * 3])
def test_messages_of_short_lines_are_not_changed(text: str) -> None:
    assert bounded(text) == text
