"""`fptkit.run` and `fptkit.build` do what the commands do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import fptkit
from fptkit.errors import RecipeError, UsageError
from fptkit.files import find_json

TINY: dict[str, Any] = {
    "task": {"name": "bit_xor", "bits": 3, "validation_size": 40, "test_size": 50},
    "backbone": {"name": "random", "blocks": 1, "width": 16, "heads": 2, "size": "nano"},
    "train": {"batch_size": 8, "max_steps": 6, "validate_every": 3, "log_every": 3},
    "threads": 1,
}


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_run_is_that_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    from fptkit.engine.run import RunRequest, run
    from fptkit.recipe.load import load_recipe

    loaded = load_recipe(TINY, overrides=["train.learning_rate=0.01"])
    summary = run(RunRequest(loaded, Path("engine")))
    result = fptkit.run(TINY, output="mine", train={"learning_rate": 0.01}, quiet=True)
    assert capsys.readouterr() == ("", "")
    assert result.folder == Path("mine")
    assert result.metrics == {
        "validation": summary["metrics"]["validation"],
        "test": summary["metrics"]["test"]["test"],
    }
    assert result.summary == find_json(Path("mine/summary.json"))
    assert [row["split"] for row in result.history()] == ["train", "validation", "train", "validation", "test"]
    model = result.load()
    assert model.module.training is False
    assert model.folder == Path("mine")


def test_progress_goes_to_stderr_and_the_folder_has_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    result = fptkit.run(TINY)
    assert result.folder.parent == Path("runs")
    assert result.folder.name.startswith("bit_xor_random-")
    said = capsys.readouterr()
    assert said.out == ""
    assert "step 6/6  validation: accuracy" in said.err


def test_a_run_is_resumed_and_tested_later() -> None:
    first = fptkit.run(TINY, output="mine", test=False, quiet=True)
    assert (first.status, list(first.metrics)) == ("validated", ["validation"])
    with pytest.raises(UsageError, match="holds a run already"):
        fptkit.run(TINY, output="mine", quiet=True)
    assert fptkit.run(TINY, output="mine", resume=True, quiet=True).status == "finished"
    with pytest.raises(UsageError, match="resume needs output"):
        fptkit.run(TINY, resume=True)


def test_nothing_is_left_of_a_recipe_with_faults() -> None:
    with pytest.raises(RecipeError):
        fptkit.run(TINY, train={"max_stepz": 3})
    assert list(Path().iterdir()) == []


def test_a_metric_on_training_examples_comes_first() -> None:
    result = fptkit.run(TINY, quiet=True, **{"train.training_sample": 10})
    assert list(result.metrics) == ["train", "validation", "test"]


def test_a_result_is_shown_as_a_table_and_as_one_line() -> None:
    result = fptkit.run(TINY, output="a<b>", quiet=True)
    shown = result._repr_html_()
    assert shown.count("<tr>") == 3
    assert "a&lt;b&gt;" in shown
    assert repr(result).startswith("RunResult(folder=")
    assert "\n" not in repr(result)


def test_plugins_are_files(tmp_path: Path) -> None:
    Path("mine.py").write_text(
        "from fptkit import Classes, GeneratedTask, TaskSpec, Vectors, hookimpl\n"
        "import torch\n"
        "class Ones(GeneratedTask):\n"
        "    input, output, max_tokens = Vectors(1), Classes(2), 2\n"
        "    def draw(self, count, generator):\n"
        "        return torch.zeros(count, 2, 1), torch.ones(count, dtype=torch.int64)\n"
        "@hookimpl\n"
        "def fptkit_tasks():\n"
        "    return [TaskSpec(name='ones', summary='always one', target=Ones)]\n"
    )
    result = fptkit.run({**TINY, "task": {"name": "ones"}}, plugins=["mine.py"], quiet=True)
    assert result.summary["task"]["name"] == "ones"


def test_built_parts_have_the_policy_applied() -> None:
    built = fptkit.build(TINY, freezing={"name": "output_only"}, device="cpu")
    assert isinstance(built, fptkit.Built)
    (group,) = built.groups
    assert {name for name, parameter in built.model.named_parameters() if parameter.requires_grad} == set(
        group.parameters
    )
    batch = built.task.split("test").batch([0, 1], torch.Generator())
    assert built.model(batch.inputs, batch.lengths).shape[0] == 2
    assert list(Path().iterdir()) == []
