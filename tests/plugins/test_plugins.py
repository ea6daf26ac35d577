"""Plugins load one by one: fake installed distributions under ``data/``, each put on the path as pip would."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fptkit.cli.shared import load_registry
from fptkit.errors import PluginError, UnknownNameError, UsageError
from fptkit.registry import HOOKS, Plugin, Registry, load_plugins, selection_from_environment
from fptkit.specs import BackboneSpec, EncoderSpec, FreezingPolicySpec, RecipeFolderSpec, TaskSpec

DATA = Path(__file__).parent / "data"

Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put fake distributions on the path; what they import is forgotten afterwards."""
    before = set(sys.modules)

    def put(*names: str) -> None:
        monkeypatch.setattr(sys, "path", [*(str(DATA / name) for name in names), *sys.path])
        importlib.invalidate_caches()

    yield put
    for name in set(sys.modules) - before:
        if name.startswith("fptkit_"):
            del sys.modules[name]


def plugin_named(registry: Registry, name: str) -> Plugin:
    (found,) = [plugin for plugin in registry.plugins if plugin.name == name]
    return found


def test_builtins_enter_by_the_hooks() -> None:
    registry = load_plugins(selection="")
    builtin = registry.plugins[0]
    assert (builtin.name, builtin.origin, builtin.status, builtin.reason) == ("builtin", "builtin", "loaded", "")
    assert {"gpt2", "random"} <= set(registry.names(BackboneSpec))
    assert {"linear", "symbols"} <= set(registry.names(EncoderSpec))
    assert {"bit_memory", "bit_xor", "remote_homology"} <= set(registry.names(TaskSpec))
    assert {"fpt", "full", "output_only"} <= set(registry.names(FreezingPolicySpec))
    assert registry.names(RecipeFolderSpec) == ["fptkit"]
    assert set(builtin.hooks) <= set(HOOKS)


def test_a_good_plugin(install: Install) -> None:
    install("good")
    registry = load_plugins()
    plugin = plugin_named(registry, "good")
    assert (plugin.origin, plugin.distribution, plugin.version) == ("distribution", "fptkit_good", "1.2")
    assert (plugin.status, plugin.reason, plugin.error, plugin.failed) == ("loaded", "", None, False)
    assert plugin.hooks == ("fptkit_freezing_policies", "fptkit_tasks")
    assert plugin.described == "good (fptkit_good 1.2)"
    assert registry.entry(TaskSpec, "good_task").owner is plugin
    assert registry.get(FreezingPolicySpec, "good_policy").rules[0].role == "norm"
    assert "fptkit_good_task" not in sys.modules, "a record's target is imported at first use only"
    spec = registry.get(TaskSpec, "good_task")
    assert spec.options_model().__name__ == "GoodOptions"
    assert spec.resolve().__name__ == "GoodTask"


@pytest.mark.parametrize(
    ("distribution", "reason"),
    [
        ("importerror", "ModuleNotFoundError: No module named 'fptkit_needs_this_and_it_is_not_here'"),
        ("systemexit", "SystemExit: I am a script"),
        ("wrong_signature", "settings"),
        ("unknown_hook", "unknown hook 'fptkit_taks'"),
        ("no_hook", "it implements no fptkit hook; mark its functions with @fptkit.hookimpl"),
        ("wrong_record", "fptkit_tasks returned a BackboneSpec, expected TaskSpec"),
        ("not_a_list", "fptkit_tasks returned TaskSpec, expected a list of TaskSpec"),
        ("bad_record", "task name 'Bad-Name': use lower-case letters, digits and underscores"),
        ("bad_folder", "recipe folder 'half_folder': folder is ['recipes'], expected a path"),
    ],
)
def test_a_broken_plugin_is_recorded_and_stops_nothing(install: Install, distribution: str, reason: str) -> None:
    install(distribution, "good")
    registry = load_plugins()
    plugin = plugin_named(registry, distribution)
    assert plugin.status == "failed"
    assert plugin.failed
    assert reason in plugin.reason
    assert "\n" not in plugin.reason
    assert plugin.error is not None
    assert plugin.distribution == f"fptkit_{distribution}"
    assert plugin_named(registry, "good").status == "loaded"
    assert "good_task" in registry.names(TaskSpec)


@pytest.mark.parametrize("distribution", ["wrong_signature", "unknown_hook", "wrong_record", "duplicate"])
def test_nothing_of_a_half_registered_plugin_stays(install: Install, distribution: str) -> None:
    install(distribution)
    registry = load_plugins()
    everything = [*registry.names(EncoderSpec), *registry.names(BackboneSpec), *registry.names(TaskSpec)]
    assert not [name for name in everything if name.startswith(("half", "not_a"))]


def test_a_broken_plugin_does_not_break_those_after_it(install: Install) -> None:
    install("unknown_hook", "wrong_signature", "noisy", "systemexit", "good")
    status = {plugin.name: plugin.status for plugin in load_plugins().plugins}
    # Sorted by name: the misspelt hook of one must not be blamed on the next.
    assert status["unknown_hook"] == status["wrong_signature"] == status["systemexit"] == "failed"
    assert status["good"] == status["noisy"] == "loaded"


def test_the_failure_is_quoted_when_a_name_is_not_found(install: Install) -> None:
    install("importerror")
    with pytest.raises(UnknownNameError) as caught:
        load_plugins().get(TaskSpec, "bit_xorr")
    assert caught.value.suggestion == "bit_xor"
    assert "plugin importerror did not load: ModuleNotFoundError" in caught.value.note
    assert caught.value.note in str(caught.value)


def test_a_name_taken_from_the_builtins_names_both_owners(install: Install) -> None:
    install("duplicate")
    registry = load_plugins()
    reason = plugin_named(registry, "takes_gpt2").reason
    assert reason == ("backbone 'gpt2' is registered by both fptkit itself and takes_gpt2 (fptkit_duplicate 2.0)")
    assert registry.get(BackboneSpec, "gpt2").summary != "another gpt2"


def test_a_name_taken_from_another_plugin_names_both_owners_with_versions(install: Install) -> None:
    install("duplicate", "good")
    registry = load_plugins()
    reason = plugin_named(registry, "takes_good").reason
    assert reason == (
        "task 'good_task' is registered by both good (fptkit_good 1.2) and takes_good (fptkit_duplicate 2.0)"
    )
    assert registry.get(TaskSpec, "good_task").summary == "a task of a plugin"


def test_one_plugin_name_in_two_distributions(install: Install) -> None:
    install("same_name_b", "same_name_a")
    registry = load_plugins()
    first, second = (plugin for plugin in registry.plugins if plugin.name == "same")
    assert (first.distribution, first.status) == ("fptkit_same_a", "loaded")
    assert (second.distribution, second.status) == ("fptkit_same_b", "failed")
    assert second.reason == (
        "the plugin name 'same' is used by both same (fptkit_same_a 1.0) and same (fptkit_same_b 2.0)"
    )


def test_one_module_under_two_names_is_loaded_once(install: Install) -> None:
    install("aliases")
    registry = load_plugins()
    assert plugin_named(registry, "alias_one").status == "loaded"
    assert plugin_named(registry, "alias_two").reason == "its module is already loaded as plugin 'alias_one'"
    assert registry.names(TaskSpec).count("aliased_task") == 1


def test_what_a_plugin_prints_does_not_reach_stdout(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("noisy")
    assert "noisy_task" in load_plugins().names(TaskSpec)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "noise at import\nnoise in the hook\n"


@pytest.mark.parametrize(
    ("selection", "loaded"),
    [(None, {"good", "noisy"}), ("", set()), ("good", {"good"}), (" noisy , good ,", {"good", "noisy"}), ("x", set())],
)
def test_selection_of_installed_plugins(install: Install, selection: str | None, loaded: set[str]) -> None:
    install("good", "noisy")
    registry = load_plugins(selection=selection)
    for name in ("good", "noisy"):
        plugin = plugin_named(registry, name)
        assert plugin.status == ("loaded" if name in loaded else "blocked")
        assert plugin.reason == ("" if name in loaded else "left out by FPTKIT_PLUGINS")
    assert plugin_named(registry, "builtin").status == "loaded"


def test_a_blocked_plugin_is_not_imported(install: Install) -> None:
    install("systemexit")
    load_plugins(selection="good")
    assert "fptkit_systemexit" not in sys.modules


def test_selection_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FPTKIT_PLUGINS", raising=False)
    assert selection_from_environment() is None
    monkeypatch.setenv("FPTKIT_PLUGINS", "")
    assert selection_from_environment() == ""


ONE_FILE = """
from fptkit import Options, TaskSpec, hookimpl

class MyOptions(Options):
    size: int = 3

class MyTask:
    pass

@hookimpl
def fptkit_tasks():
    return [TaskSpec(name="{name}", summary="in one file", target=MyTask, options=MyOptions)]
"""


def write_plugin(path: Path, name: str = "my_task") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ONE_FILE.format(name=name), encoding="utf-8")
    return path


def test_a_plugin_in_one_file(install: Install, tmp_path: Path) -> None:
    file = write_plugin(tmp_path / "my_plugin.py")
    registry = load_plugins([file], selection="")
    plugin = plugin_named(registry, str(file))
    assert (plugin.origin, plugin.status, plugin.hooks) == ("file", "loaded", ("fptkit_tasks",))
    spec = registry.get(TaskSpec, "my_task")
    assert spec.options_model()().model_dump() == {"size": 3}
    assert spec.resolve().__module__ == "fptkit_plugin_my_plugin"
    assert sys.modules["fptkit_plugin_my_plugin"].MyTask is spec.target


def test_a_file_given_twice_is_loaded_once(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_plugin(tmp_path / "my_plugin.py")
    monkeypatch.chdir(tmp_path)
    registry = load_plugins([file, "my_plugin.py", tmp_path / "." / "my_plugin.py"], selection="")
    assert [plugin.origin for plugin in registry.plugins].count("file") == 1


def test_two_files_of_one_name_do_not_mix(install: Install, tmp_path: Path) -> None:
    files = [write_plugin(tmp_path / folder / "task.py", f"task_{folder}") for folder in ("a", "b")]
    registry = load_plugins(files, selection="")
    modules = {registry.get(TaskSpec, f"task_{folder}").resolve().__module__ for folder in ("a", "b")}
    assert len(modules) == 2
    for module in modules:
        assert sys.modules[module].MyTask.__module__ == module


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"plugin file .*nothing\.py does not exist"):
        load_plugins([tmp_path / "nothing.py"], selection="")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def f(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("x = 1", "it implements no fptkit hook"),
        (ONE_FILE.format(name="bit_xor"), "task 'bit_xor' is registered by both fptkit itself and "),
    ],
)
def test_a_broken_file_is_an_error_that_names_it(install: Install, tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "broken.py"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(PluginError) as caught:
        load_plugins([file], selection="")
    assert str(caught.value).startswith(f"plugin {file}: ")
    assert reason in str(caught.value)
    assert caught.value.__cause__ is not None


def test_a_file_that_failed_leaves_no_module(install: Install, tmp_path: Path) -> None:
    file = tmp_path / "broken_module.py"
    file.write_text("raise RuntimeError('no')", encoding="utf-8")
    with pytest.raises(PluginError):
        load_plugins([file], selection="")
    assert "fptkit_plugin_broken_module" not in sys.modules


def test_a_file_that_is_not_python(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("hello", encoding="utf-8")
    with pytest.raises(PluginError, match="it is not a Python file"):
        load_plugins([file], selection="")


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("raises", "task 'raises': cannot import 'fptkit_broken_module:Options': ZeroDivisionError: broken on purpose"),
        ("absent", "task 'absent': module 'fptkit_broken_options' has no 'Options'"),
        ("no_options", "is not a subclass of fptkit.Options"),
    ],
)
def test_options_that_do_not_import_are_the_plugins_fault(install: Install, task: str, message: str) -> None:
    install("broken_options")
    with pytest.raises(PluginError, match=message.replace("(", r"\(")):
        load_plugins().get(TaskSpec, task).options_model()


def test_the_light_half_loads_no_torch() -> None:
    code = (
        "import sys\n"
        "from fptkit.registry import load_plugins\n"
        "registry = load_plugins(selection='')\n"
        "recipe_first = 'fptkit.recipe.find' in sys.modules\n"
        "from fptkit.recipe.find import list_recipes\n"
        "list_recipes(registry)\n"
        "pydantic_first = 'pydantic' in sys.modules\n"
        "import fptkit.recipe.load, fptkit.recipe.schema, fptkit.recipe.dump\n"
        "heavy = {'torch', 'numpy', 'transformers', 'timm'} & set(sys.modules)\n"
        "print(recipe_first, pydantic_first, sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False []"


def test_a_slow_import_is_reported_and_stops_nothing(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("slow", "good")
    registry = load_plugins()
    assert plugin_named(registry, "slow").slow
    assert not plugin_named(registry, "good").slow
    assert "slow_task" in registry.names(TaskSpec)
    for name in list(sys.modules):
        if name.startswith("fptkit_slow"):
            del sys.modules[name]
    load_registry()
    told = capsys.readouterr()
    assert told.out == ""
    assert "warning: plugin slow (fptkit_slow 0.1) took 0.6 s to import, in every command" in told.err


def test_tracing_reports_what_each_plugin_did(
    install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install("good", "importerror")
    monkeypatch.setenv("FPTKIT_TRACE_PLUGINS", "1")
    load_plugins()
    told = capsys.readouterr()
    lines = {line.split(":")[0]: line for line in told.err.splitlines() if line.startswith("fptkit plugin ")}
    assert told.out == ""
    assert "task bit_xor" in lines["fptkit plugin fptkit itself"]
    good = lines["fptkit plugin good (fptkit_good 1.2)"]
    assert "hooks fptkit_freezing_policies, fptkit_tasks; task good_task, freezing policy good_policy" in good
    assert "failed: ModuleNotFoundError" in next(
        line for name, line in lines.items() if name.startswith("fptkit plugin importerror")
    )
    monkeypatch.setenv("FPTKIT_TRACE_PLUGINS", "0")
    load_plugins(selection="")
    assert capsys.readouterr().err == ""


def test_a_selected_plugin_that_is_not_installed_is_reported(
    install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install("good")
    monkeypatch.setenv("FPTKIT_PLUGINS", "god, good")
    registry = load_registry()
    assert plugin_named(registry, "good").status == "loaded"
    told = capsys.readouterr().err
    assert told.startswith("warning: FPTKIT_PLUGINS names 'god', which is not installed; installed: ")
    assert "good" in told.splitlines()[0].partition("; installed: ")[2]


def test_a_slow_file_is_not_reported_since_it_was_asked_for() -> None:
    assert not Plugin("plug.py", "file", seconds=5.0).slow
    assert Plugin("plug", "distribution", seconds=5.0).slow
