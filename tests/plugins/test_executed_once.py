"""A plugin file is executed once in a process, a file of a recipe is parsed once for a command, and one registry serves
it: by whatever path the plugin is named, and however many recipes and profiles a command looks at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from command_line import fptkit

from fptkit import registry as registry_module
from fptkit.errors import PluginError, RecipeError, UsageError, UserInterrupt
from fptkit.lab.studies.address import address_of
from fptkit.lab.studies.load import load_study
from fptkit.recipe import extends
from fptkit.recipe.load import load_recipe
from fptkit.registry import Registry, load_plugins
from fptkit.specs import TaskSpec

COUNTED = """
import os
from pathlib import Path
from fptkit import GeneratedTask, Classes, TaskSpec, Vectors, hookimpl

with open(Path(__file__).with_suffix(".log"), "a") as log:
    log.write(f"{{os.getpid()}}\\n")

class Above(GeneratedTask):
    input, output, max_tokens = Vectors(2), Classes(2), 4

    def draw(self, count, generator):
        import torch
        tokens = torch.randn((count, 4, 2), generator=generator)
        return tokens, (tokens.mean((1, 2)) > 0).long()

@hookimpl
def fptkit_tasks():
    return [TaskSpec(name="{name}", summary="counted", target=Above)]
"""

RECIPE = """
{plugins}
task: {{name: counted}}
backbone: {{name: random, size: nano, blocks: 1, width: 16, heads: 2}}
train: {{batch_size: 4, max_steps: 2, validate_every: 2}}
threads: 1
profiles:
  smoke: {{train: {{seed: 1}}}}
  other: {{train: {{seed: 2}}}}
"""

STUDY = """
plugins: [counted.py]
tasks:
  counted: {extends: mine}
arms:
  a: {}
  b: {backbone: {name: random, blocks: 2}}
budget: {steps: 2}
seeds: 1
profiles:
  more: {seeds: 2}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "counted.py").write_text(COUNTED.format(name="counted"))
    (tmp_path / "mine.yaml").write_text(RECIPE.format(plugins="plugins: [counted.py]"))
    (tmp_path / "plain.yaml").write_text(RECIPE.format(plugins=""))
    (tmp_path / "link.py").symlink_to("counted.py")
    (tmp_path / "linked.yaml").write_text(RECIPE.format(plugins="plugins: [link.py, ./counted.py]"))
    (tmp_path / "study.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FPTKIT_PLUGINS", "")
    return tmp_path


def executions(folder: Path) -> Counter[str]:
    """How often each process executed the plugin."""
    log = folder / "counted.log"
    return Counter(log.read_text().split() if log.exists() else [])


def called(*arguments: str) -> str:
    """The command in this process; its stdout."""
    done = fptkit(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


COMMANDS = [
    ["validate", "plain.yaml", "--plugin", "counted.py"],
    ["validate", "mine.yaml", "linked.yaml", "study.yaml", "--plugin", "link.py"],
    ["study", "study.yaml", "--dry-run"],
    ["study", "plain.yaml", "--dry-run", "--controls", "--plugin", "./counted.py"],
    ["list", "tasks", "--plugin", "counted.py"],
    ["show", "task", "counted", "--plugin", "counted.py"],
    ["schema", "--plugin", "counted.py"],
    ["plugins", "--plugin", "counted.py", "--plugin", "link.py"],
    ["copy", "plain.yaml", "copied.yaml", "--plugin", "counted.py"],
    ["run", "linked.yaml", "--output", "run", "--quiet", "--plugin", "counted.py"],
    ["bench", "mine.yaml", "--steps", "1", "--repeats", "1", "--plugin", "link.py"],
    ["validate", "mine.yaml", "--estimate"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_command_executes_a_plugin_once_and_loads_one_registry(
    folder: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[object] = []
    entry_points = registry_module._entry_points
    monkeypatch.setattr(registry_module, "_entry_points", lambda: (loads.append(1), entry_points())[1])
    called(*arguments)
    assert list(executions(folder).values()) == [1]
    assert len(loads) == 1


@pytest.mark.parametrize(
    "arguments", [command for command in COMMANDS if command[0] in ("run", "validate", "study")], ids=" ".join
)
def test_a_command_parses_each_file_once(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: Counter[str] = Counter()
    read_tree = extends.read_tree
    monkeypatch.setattr(
        extends, "read_tree", lambda text, source, faults: (parsed.update([source]), read_tree(text, source, faults))[1]
    )
    called(*arguments)
    files = {Path(argument).resolve() for argument in arguments if argument.endswith(".yaml")}
    for file in files & {Path(name).resolve() for name in parsed}:
        count = sum(number for name, number in parsed.items() if Path(name).resolve() == file)
        # A recipe that a study beside it extends is a base there: read for itself, and for what extends it.
        extended = file.name == "mine.yaml" and "study.yaml" in arguments
        assert count == 1 + extended, parsed


@pytest.mark.slow
@pytest.mark.parametrize("launched", [["--workers", "1", "--threads", "1"]])
def test_a_study_executes_a_plugin_once_in_each_process(folder: Path, launched: list[str]) -> None:
    command = [sys.executable, "-m", "fptkit", "study", "study.yaml", "--profile", "more", *launched]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=folder)
    assert done.returncode == 0, done.stderr
    runs = [json.loads(path.read_text())["status"] for path in folder.glob("studies/runs/*/summary.json")]
    assert runs == ["finished"] * 4
    counts = executions(folder)
    assert set(counts.values()) == {1}, counts
    # The study itself, and a worker for each part of a run: training, and where it is apart the opening of the test.
    assert 1 + 4 <= len(counts) <= 1 + 8


@pytest.mark.slow
def test_a_run_resumed_and_pretraining_execute_it_once(folder: Path) -> None:
    def run(*arguments: str) -> None:
        (folder / "counted.log").unlink(missing_ok=True)
        done = subprocess.run([sys.executable, "-m", "fptkit", *arguments], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert list(executions(folder).values()) == [1], arguments

    run("run", "mine.yaml", "--output", "out", "--no-test", "--quiet")
    run("run", "out/recipe.yaml", "--output", "out", "--resume", "--quiet", "--plugin", "link.py")
    (folder / "pretrain.yaml").write_text("kind: task\nextends: [mine]\nbackbone: {name: random, like: gpt2}\n")
    run("pretrain", "pretrain.yaml", "--output", "model", "--quiet", "--plugin", "counted.py")


def test_many_loads_in_one_process_execute_it_once(folder: Path) -> None:
    for _ in range(2):
        recipe = load_recipe("linked.yaml", plugin_files=["counted.py"]).recipe
        load_study("study.yaml")
        load_plugins([folder / "counted.py", "link.py"], selection="")
        address_of(recipe, "code")
    assert list(executions(folder).values()) == [1]
    # However it was named, the recipe names it by one path.
    assert recipe.plugins == (str(folder / "counted.py"),)


def test_a_file_that_changed_is_executed_again(folder: Path) -> None:
    file = folder / "counted.py"
    first = load_plugins([file], selection="")
    file.write_text(COUNTED.format(name="changed"))  # of the same length, within a second
    assert load_plugins([file], selection="").get(TaskSpec, "changed")
    assert first.get(TaskSpec, "counted"), "what was loaded before stays as it was"
    file.write_text(COUNTED.format(name="counted"))
    again = load_plugins([file], selection="").get(TaskSpec, "counted")
    assert list(executions(folder).values()) == [2], "the first content was executed before"
    assert vars(sys.modules[again.resolve().__module__])["Above"] is again.target
    assert not list(folder.glob("__pycache__/counted*"))


@pytest.mark.parametrize(
    ("text", "reason"), [("raise RuntimeError('no')", "RuntimeError: no"), ("raise SystemExit(3)", "SystemExit: 3")]
)
def test_an_error_is_the_same_when_asked_again(folder: Path, text: str, reason: str) -> None:
    logged = "with open('counted.log', 'a') as log:\n    log.write('x\\n')\n"
    (folder / "broken.py").write_text(logged + text)
    said = set()
    for _ in range(3):
        with pytest.raises(PluginError) as caught:
            load_plugins([folder / "broken.py"], selection="")
        said.add(str(caught.value))
    assert said == {f"plugin {folder / 'broken.py'}: {reason} (at broken.py:3: {text})"}
    assert executions(folder) == {"x": 1}
    assert "fptkit_plugin_broken" not in sys.modules


def test_ctrl_c_while_a_plugin_is_executed_is_not_remembered(folder: Path) -> None:
    (folder / "slow.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)")
    # SIGINT is ignored where the tests run in the background of a script.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for _ in range(2):
            with pytest.raises(UserInterrupt):
                load_plugins([folder / "slow.py"], selection="")
    finally:
        signal.signal(signal.SIGINT, before)
    assert "fptkit_plugin_slow" not in sys.modules


# Extending a registry


def test_an_extended_registry_leaves_the_first_as_it_was(folder: Path) -> None:
    first = load_plugins(selection="")
    second = first.extended([folder / "counted.py"])
    assert "counted" in second.names(TaskSpec)
    assert "counted" not in first.names(TaskSpec)
    assert len(second.plugins) == len(first.plugins) + 1
    assert second.extended(["link.py", folder / "counted.py"]) is second, "it has that file already"
    assert first.extended([]) is first


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise RuntimeError('no')", "RuntimeError: no"),
        (COUNTED.format(name="bit_xor"), "task 'bit_xor' is registered by both fptkit itself and"),
        (COUNTED.format(name="fresh").replace("fptkit_tasks", "fptkit_taks"), "unknown hook 'fptkit_taks'"),
        (COUNTED.format(name="fresh").replace('summary="counted"', 'summary=""'), "the summary is empty"),
    ],
)
def test_a_failed_extension_changes_nothing(folder: Path, text: str, reason: str) -> None:
    (folder / "broken.py").write_text(text)
    first = load_plugins(selection="")
    names, plugins = first.names(TaskSpec), list(first.plugins)
    for _ in range(2):
        with pytest.raises(PluginError) as caught:
            first.extended([folder / "counted.py", folder / "broken.py"])
        assert reason in str(caught.value)
        assert (first.names(TaskSpec), first.plugins) == (names, plugins)
    assert "counted" in first.extended([folder / "counted.py"]).names(TaskSpec)


def test_recipes_with_plugins_of_one_name_are_validated_together(folder: Path) -> None:
    """Each recipe extends the command's registry for itself: their plugins do not meet."""
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "counted.py").write_text(COUNTED.format(name="counted"))
        (folder / name / "mine.yaml").write_text(RECIPE.format(plugins="plugins: [counted.py]"))
    assert called("validate", "a/mine.yaml", "b/mine.yaml").count("ok, with profiles smoke, other") == 2


def test_a_resumed_run_takes_a_plugin_that_moved(folder: Path) -> None:
    called("run", "mine.yaml", "--output", "out", "--no-test", "--quiet")
    os.rename("counted.py", "moved.py")
    (folder / "mine.yaml").write_text(RECIPE.format(plugins="plugins: [moved.py]"))
    called("run", "mine.yaml", "--output", "out", "--resume", "--quiet")
    assert json.loads((folder / "out" / "summary.json").read_text())["status"] == "finished"


# Paths no file system takes

UNUSABLE = {"zero": '"a\\0b.py"', "long": "x" * 5000, "loop": "loop.py"}


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_path_is_a_fault_of_its_entry(folder: Path, name: str) -> None:
    (folder / "loop.py").symlink_to("loop.py")
    (folder / "odd.yaml").write_text(RECIPE.format(plugins=f"plugins:\n  - counted.py\n  - {UNUSABLE[name]}"))
    (folder / "over.yaml").write_text("extends: odd\n")
    for recipe in ("odd.yaml", "over.yaml"):
        with pytest.raises(RecipeError) as caught:
            load_recipe(recipe)
        (problem,) = caught.value.problems
        assert (problem.where, problem.path) == ("odd.yaml:4", "plugins[1]")
        assert "is not a usable path" in problem.message or "does not exist" in problem.message
        assert len(problem.message) < 300


def test_an_unusable_path_of_the_command_line() -> None:
    Path("loop.py").symlink_to("loop.py")
    for path in ("a\0b.py", "x" * 5000, "loop.py"):
        with pytest.raises(UsageError, match=r"is not a usable path|does not exist"):
            load_plugins([path], selection="")


def test_a_registry_made_by_hand_can_be_extended(folder: Path) -> None:
    assert Registry().extended([folder / "counted.py"]).names(TaskSpec) == ["counted"]
