"""The commands and the Python example of docs/predict.md, as they are written there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("pandas")
pytest.importorskip("pyarrow")

import pandas as pd
from command_line import fptkit
from own_data import PAGES, first_block
from tiny_runs import BACKBONE, REST

PAGE = (PAGES.parent / "predict.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(first_block("index.md", "python"), {})
    birds = pd.read_csv("birds.csv")
    birds.to_csv("labelled_birds.csv", index=False)
    birds.drop(columns="species").head(20).to_csv("new_birds.csv", index=False)
    task = "{name: table, source: path:birds.csv, target: species, ignore: [ring_id]}"
    Path("birds.yaml").write_text(f"task: {task}\nbackbone: {BACKBONE}{REST}")
    commands = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    assert len(commands) >= 7
    for command in commands:
        done = fptkit(*shlex.split(command)[1:])
        assert done.returncode == 0, (command, done.stderr)
    [example] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(example, {})
