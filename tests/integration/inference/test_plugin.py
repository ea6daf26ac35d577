"""A plugin's preparation, that of the documentation, is enough to predict, evaluate and embed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command_line import fptkit
from tiny_runs import BACKBONE, REST, lines

from fptkit.inference.trained import load

PAGE = (Path(__file__).parents[3] / "docs" / "plugins" / "hooks.md").read_text(encoding="utf-8")

TASK = """

from fptkit import Task, TaskSpec, hookimpl
from fptkit.options import Options

WORDS = [letter * count for letter in "ab" for count in range(1, 11)]


class Words:
    token_counts = None

    def __init__(self, preparation):
        self.size, self.preparation = len(WORDS), preparation

    def batch(self, indices, generator):
        words = [WORDS[place] for place in indices]
        labels = ["long" if len(word) > 5 else "short" for word in words]
        return self.preparation.prepare(Examples(words, words, {"class": labels}))


class WordTask(Task):
    def __init__(self, options, *, seed, pinned=None):
        self.preparation = Lengths(mean=5.5, classes=("short", "long"))
        self.input, self.output, self.max_tokens = Vectors(1), self.preparation.output, 1

    def split(self, name):
        return Words(self.preparation)


@hookimpl
def fptkit_tasks():
    return [TaskSpec(name="words", summary="is a word long?", target=WordTask, preparation=Lengths)]
"""


def test_the_preparation_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [code] = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "class Lengths" in block]
    Path("words.py").write_text(code + TASK)
    Path("r.yaml").write_text(f"plugins: [words.py]\ntask: {{name: words}}\nbackbone: {BACKBONE}{REST}")
    assert fptkit("run", "r.yaml", "--output", "run").returncode == 0
    Path("new.txt").write_text("a\nbbbbbbbbbbbb\n")
    done = fptkit("predict", "run", "new.txt", "--output", "p.jsonl")
    assert done.returncode == 0, done.stderr
    assert [row["example"] for row in lines(Path("p.jsonl"))] == ["line 1", "line 2"]
    assert {row["class"] for row in lines(Path("p.jsonl"))} <= {"short", "long"}
    assert fptkit("embed", "run", "new.txt", "--output", "e.npy").returncode == 0
    done = fptkit("evaluate", "run", "--split", "test", "--json")
    known = json.loads(Path("run/summary.json").read_text())["metrics"]["test"]["test"]
    assert json.loads(done.stdout)["parts"]["test"]["metrics"] == known
    done = fptkit("evaluate", "run", "--source", "new.txt")
    assert done.returncode == 2
    assert "line 1: no labels as in the training data" in done.stderr
    found = load("run").evaluate(inputs=["a", "bbbbbbbb"], labels={"class": ["short", "long"]})
    assert found.parts["examples"].examples == 2
