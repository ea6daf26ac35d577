"""The text of a proposed recipe is YAML with exactly the chosen values, whatever they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fptkit.lab.proposals.choose import Chosen
from fptkit.lab.proposals.compose import compose
from fptkit.tasks.reading.look import Choice, Look

ODD = [
    "yes",
    "y",
    "1",
    "1e3",
    "null",
    "a: b",
    "#x",
    "[a]",
    "it's",
    '"',
    "ä ö",
    "\u2028",
    "\x85",
    "x\ny",
    "",
    " ",
    "😀",
    "~",
    "-",
]


@pytest.mark.parametrize("text", ODD)
def test_any_text(text: str) -> None:
    look = Look("table", 1.0, f"why {text}", (f"seen {text}",))
    options = {"target": Choice(text, f"or {text}"), "ignore": Choice([text, "a"]), "y": Choice({"k": text})}
    written = compose(Chosen(look), Path("/a b/[c].csv"), command=f"fptkit {text}", options=options, batch_size=4)
    read = yaml.safe_load(written)
    assert read["task"] == {
        "name": "table",
        "source": "path:/a b/[c].csv",
        "target": text,
        "ignore": [text, "a"],
        "y": {"k": text},
    }
    assert read["profiles"] == {"control": {"backbone": {"init": "random"}}}
    assert read["train"]["batch_size"] == 4
