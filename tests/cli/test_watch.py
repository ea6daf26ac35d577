"""``fptkit watch`` without a terminal, and its application with one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from command_line import fptkit


@pytest.fixture
def ended(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "first"
    folder.mkdir(parents=True)
    summary = {"status": "finished", "steps": 20, "max_steps": 20, "metrics": {"test": {"test": {"accuracy": 0.5}}}}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "metrics.jsonl").write_text('{"step": 20, "split": "train", "loss": 0.25}\n')
    return folder


def test_a_pipe_gets_a_line_and_the_command_ends_with_the_run(ended: Path) -> None:
    assert fptkit("watch", ended) == (0, "first: finished, step 20/20, loss 0.2500\n", "")


def test_once_and_json(ended: Path, tmp_path: Path) -> None:
    once = fptkit("watch", "runs/first", "--once", cwd=tmp_path)
    assert once.returncode == 0
    assert "test   accuracy 0.5000" in once.stdout
    (run,) = json.loads(fptkit("watch", ended, "--json").stdout)["runs"]
    assert (run["status"], run["step"], run["losses"], run["seconds_left"]) == ("finished", 20, [0.25], None)


@pytest.mark.parametrize("place", ["nothing_here", "."])
def test_a_place_that_is_no_run(place: str, tmp_path: Path) -> None:
    done = fptkit("watch", place, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")


def test_the_application_shows_the_run_and_quits(ended: Path) -> None:
    pytest.importorskip("textual")
    from textual.widgets import Static

    from fptkit.cli.watch_app import WatchApp

    async def watched() -> str:
        app = WatchApp(ended, every=60)
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
            shown = str(app.query_one("#header", Static).render())
            await pilot.press("q")
        return shown

    assert "1 finished" in asyncio.run(watched())
