"""What surrounds runs can come from a plugin: listed, shown, validated, completed and reported like a built-in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from fptkit import registry
from fptkit.api import surrounding_checks
from fptkit.api.plugin_checks import check_plugins
from fptkit.cli.main import cli
from fptkit.engine.build import build
from fptkit.engine.request import RunRequest
from fptkit.engine.run import run
from fptkit.errors import DataError, PluginError, RecipeError, UnknownNameError, UsageError
from fptkit.lab.reporting.of_plugins import of_run, sections
from fptkit.lab.studies.address import address_of
from fptkit.lab.studies.launchers.base import LauncherOptions
from fptkit.lab.studies.launchers.choose import make_launcher, parse_options
from fptkit.lab.studies.load import load_study
from fptkit.lab.studies.locking.digests import of_plugins
from fptkit.lab.studies.search import most_runs, search_of
from fptkit.recipe.load import load_recipe
from fptkit.registry import Registry, load_plugins
from fptkit.sources.data_sets import fetch
from fptkit.sources.weights import PACKAGED, open_config, open_weights
from fptkit.specs import KINDS, NOUNS, Spec

FILE = Path(__file__).parent / "data" / "doors.py"

BROUGHT = {
    "weight_source": "shared",
    "data_set": "flowers",
    "command": "greet",
    "published": "ours2030",
    "control": "no_dropout",
    "search": "pick",
    "launcher": "nothing",
    "report_section": "took",
    "listener": "goal",
}
"""What the file brings, by kind."""

SMALL = ["task.bits=3", "task.validation_size=16", "task.test_size=16", "train.batch_size=4", "backbone.dropout=0.1"]


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The registry with the file, in use."""
    monkeypatch.setattr(registry, "_IN_USE", [])
    return load_plugins([FILE], selection="")


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a checkpoint for ``shared:nano``."""
    shutil.copytree(PACKAGED / "gpt2_nano", tmp_path / "shared" / "nano")
    monkeypatch.setenv("SHARED_WEIGHTS", str(tmp_path / "shared"))
    return tmp_path


def fptkit(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def loaded(*overrides: str) -> Any:
    return load_recipe("bit_xor_gpt2", plugin_files=[FILE], overrides=[*SMALL, *overrides])


@pytest.mark.parametrize(("noun", "name"), BROUGHT.items())
def test_it_is_listed_shown_and_suggested(noun: str, name: str) -> None:
    rows = json.loads(fptkit("list", NOUNS[noun].plural, "--json", "--plugin", str(FILE)).output)
    (row,) = [row for row in rows if row["name"] == name]
    assert row["plugin"] == str(FILE)
    shown = fptkit("show", noun, name, "--plugin", str(FILE))
    assert name in shown.output
    wrong = fptkit("show", noun, f"{name}x", "--plugin", str(FILE)).exception
    assert isinstance(wrong, UnknownNameError)
    assert f"Did you mean '{name}'?" in str(wrong)


@pytest.mark.parametrize("noun", [noun for noun in BROUGHT if noun != "listener"])
def test_every_kind_of_fptkits_own_comes_by_the_same_hook(noun: str, doors: Registry) -> None:
    owners = {entry.owner.origin for entry in doors.entries(NOUNS[noun].record)}
    assert owners == ({"file"} if noun == "report_section" else {"builtin", "file"})


@pytest.mark.parametrize(
    ("arguments", "incomplete", "expected"),
    [
        (["show", "launcher"], "no", "nothing"),
        (["show", "weight_source"], "sh", "shared"),
        (["data", "fetch"], "fl", "flowers"),
        (["study", "x", "--search"], "pi", "pick"),
        (["study", "x", "--launcher"], "no", "nothing"),
        (["report", "x", "--against"], "ou", "ours2030"),
        ([], "gre", "greet"),
    ],
)
def test_names_are_completed(
    arguments: list[str], incomplete: str, expected: str, doors: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fptkit.cli.completion.installed", lambda: doors)
    found = ShellComplete(cli, {}, "fptkit", "_FPTKIT_COMPLETE").get_completions(arguments, incomplete)
    assert expected in [item.value for item in found]


def test_weights_are_opened_checked_and_counted_in_the_address(shared: Path) -> None:
    recipe = loaded("backbone.weights=shared:nano").recipe
    assert open_config("shared:nano") == open_config("builtin:gpt2_nano")
    opened = open_weights("shared:nano")
    assert (opened.entry, len(opened.tensors())) == ("shared:nano", len(open_weights("builtin:gpt2_nano").tensors()))
    address = address_of(recipe, "code", registry=load_plugins([FILE], selection=""))
    changed = FILE.read_text().replace("our checkpoints", "other checkpoints")
    other = shared / "doors.py"
    other.write_text(changed)
    assert address != address_of(recipe, "code", registry=load_plugins([other], selection=""))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("shard:nano", "did you mean 'shared:'?"),
        ("shared:NANO", "'NANO' has capitals"),
        ("shared:", "'shared:' names no place; write shared:NAME"),
        ("nothing", "shared:NAME, random"),
    ],
)
def test_entries_of_weights_are_validated(entry: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        loaded(f"backbone.weights={entry}")
    assert message in str(caught.value)


def test_a_plugins_entry_needs_the_plugin() -> None:
    with pytest.raises(RecipeError, match="unknown source of weights 'shared:nano'"):
        load_recipe("bit_xor_gpt2", overrides=["backbone.weights=shared:nano"])


def test_a_recipe_is_built_with_the_plugins_it_was_read_with(shared: Path) -> None:
    """Another recipe that was read in between does not take them away."""
    first = loaded("backbone.weights=shared:nano")
    load_recipe("bit_xor_gpt2")
    assert build(first.recipe, first.registry, torch.device("cpu")).model.backbone.weights == "shared:nano"


def test_a_data_set_of_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_IN_USE", [])
    monkeypatch.setenv("FLOWERS", str(tmp_path / "flowers.csv"))
    (tmp_path / "flowers.csv").write_text("a\n1\n2\n3\n")
    source = tmp_path / "again.py"  # executed anew, with the address in the environment
    source.write_text(FILE.read_text())
    load_plugins([source], selection="")
    monkeypatch.setattr("fptkit.sources.data_sets.download", _copied)
    found = fetch("flowers", folder=tmp_path / "here")
    assert (found.state, found.files["flowers"].read_text()) == ("fetched", "a\n1\n2\n3\n")
    assert found.manifest["records"] == {"flowers": 3}


def _copied(address: str, archive: Path, **_: object) -> Any:
    shutil.copyfile(Path(address.removeprefix("file://")), archive)
    return type("Loaded", (), {"sha256": "0" * 64, "size": archive.stat().st_size})()


def test_a_command_is_carried_out_and_its_errors_are_ours(doors: Registry) -> None:
    assert fptkit("greet").output == "hello\n"
    assert isinstance(fptkit("greet", "--fail").exception, UsageError)
    assert "Did you mean 'greet'?" in fptkit("greett").output
    text = fptkit("--help").output
    assert text.index("schema") < text.index("Commands of plugins:") < text.index("greet  Say hello.")


def test_the_example_of_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_IN_USE", [])
    example = Path(__file__).parents[2] / "docs" / "plugins" / "examples" / "best.py"
    assert len(example.read_text().splitlines()) <= 60
    found = load_plugins([example], selection="")
    assert {one.result for one in check_plugins(found, "best")} == {"ok"}
    assert "holds no runs" in str(fptkit("best", str(tmp_path)).exception)
    for name, higher, value in (("a", True, 0.5), ("b", True, 0.75), ("c", True, None)):
        (tmp_path / name).mkdir()
        selection = {"metric": "accuracy", "higher_is_better": higher}
        metrics = {"validation": {} if value is None else {"accuracy": value}}
        summary = {"selection": selection, "metrics": metrics, "best_step": 3}
        (tmp_path / name / "summary.json").write_text(json.dumps(summary))
    rows = json.loads(fptkit("best", str(tmp_path), "--json").output)
    assert [(row["run"], row["value"]) for row in rows] == [("b", 0.75), ("a", 0.5)]
    assert fptkit("best", str(tmp_path)).output.splitlines()[0].split() == ["0.7500", "step", "3", "b"]


def test_help_imports_no_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_IN_USE", [])
    file = tmp_path / "far.py"
    file.write_text(
        "import fptkit\n"
        "@fptkit.hookimpl\n"
        "def fptkit_commands():\n"
        "    return [fptkit.CommandSpec(name='far', summary='Far away.', target='no_such_module:command')]\n"
    )
    load_plugins([file], selection="")
    assert "far" in fptkit("--help").output
    completed = ShellComplete(cli, {}, "fptkit", "_FPTKIT_COMPLETE").get_completions([], "fa")
    assert [item.value for item in completed] == ["far"]
    assert "cannot import 'no_such_module:command'" in str(fptkit("far").exception)


def test_a_target_that_is_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_IN_USE", [])
    file = tmp_path / "plain.py"
    file.write_text(
        "import fptkit\n"
        "@fptkit.hookimpl\n"
        "def fptkit_commands():\n"
        "    return [fptkit.CommandSpec(name='plain', summary='No command.', target=print)]\n"
    )
    load_plugins([file], selection="")
    assert "expected a click.Command" in str(fptkit("plain").exception)


def test_fptkits_own_commands_cannot_be_replaced(tmp_path: Path) -> None:
    file = tmp_path / "run.py"
    file.write_text(
        "import fptkit\n"
        "@fptkit.hookimpl\n"
        "def fptkit_commands():\n"
        "    return [fptkit.CommandSpec(name='run', summary='Mine.', target=print)]\n"
    )
    with pytest.raises(PluginError, match="command 'run' is registered by both fptkit itself and"):
        load_plugins([file], selection="")


def test_a_control_and_a_search_in_a_study() -> None:
    study = load_study(
        "bit_xor_gpt2",
        plugin_files=[FILE],
        controls=["no_dropout", "one_block"],
        overrides=[*SMALL, "learning_rates=[1e-4,1e-3]", "search.name=pick", "search.options.at=1"],
    )
    assert study.arm_summaries["no_dropout"] == "the same model without dropout"
    (cell,) = [cell for cell in study.cells if cell.name.arm == "no_dropout"]
    assert cell.loaded.recipe.backbone.options.dropout == 0  # type: ignore[attr-defined]
    assert {"search pick", "control no_dropout"} <= of_plugins(study).keys()
    assert (search_of(study.settings).name, most_runs(study.settings)) == ("pick", 1)
    assert study.settings.model_dump()["search"]["options"] == {"at": 1}


def test_options_of_a_search_are_written_only_if_there_are_some() -> None:
    """Plans and results of studies without them stay what they were."""
    settings = load_study("bit_xor_gpt2").settings
    assert "options" not in settings.model_dump(mode="json")["search"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("controls=[no_dropouts]", "unknown control 'no_dropouts'. Did you mean 'no_dropout'?"),
        ("search.name=pic", "unknown search 'pic'. Did you mean 'pick'?"),
        ("search={name: pick, options: {att: 1}}", "search.options: unknown"),
        ("search={name: pick, options: {at: -1}}", "search.options.at"),
        ("search={name: grid, options: {at: 1}}", "search.options: unknown"),
    ],
)
def test_names_and_options_in_a_study_are_validated(override: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_study("bit_xor_gpt2", plugin_files=[FILE], overrides=["learning_rates=[1e-4,1e-3]", override])
    assert message in str(caught.value)


def test_controls_true_means_those_of_fptkit() -> None:
    study = load_study("bit_xor_gpt2", plugin_files=[FILE], overrides=["controls=true"])
    assert "no_dropout" not in study.arms
    assert "one_block" in study.arms


def test_a_launcher_with_options(doors: Registry, tmp_path: Path) -> None:
    options = LauncherOptions("nothing", given=parse_options(["nice=3"]))
    assert make_launcher(options, tmp_path).description == "nothing, 3"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (LauncherOptions("nothin"), "Did you mean 'nothing'?"),
        (LauncherOptions("nothing", given={"nic": "3"}), "--launcher-option nic"),
        (LauncherOptions("nothing", given={"nice": "x"}), "--launcher-option nice"),
        (LauncherOptions("local", given={"nice": "3"}), "options of launcher 'local': none"),
    ],
)
def test_launchers_are_validated(options: LauncherOptions, message: str, doors: Registry, tmp_path: Path) -> None:
    with pytest.raises((UsageError, UnknownNameError)) as caught:
        make_launcher(options, tmp_path)
    assert message in str(caught.value)


def test_launcher_options_have_a_form() -> None:
    with pytest.raises(UsageError, match="expected NAME=VALUE, got 'nice'"):
        parse_options(["nice"])
    with pytest.raises(UsageError, match="nice is given twice"):
        parse_options(["nice=1", "nice=2"])


def test_a_run_that_a_listener_ends_and_reports_on(doors: Registry, tmp_path: Path) -> None:
    overrides = ["listeners=[{name: goal}]", "train.max_steps=20", "train.log_every=1", "train.validate_every=10"]
    weights = "backbone.weights=builtin:gpt2_nano"
    ended = run(RunRequest(loaded(*overrides, weights), tmp_path / "ended"))
    assert (ended["ended_by"], ended["steps"], ended["status"]) == ("listener", 4, "finished")
    assert ended["stopped_by"] == "listener 'goal': four steps are enough"
    lines = [json.loads(line) for line in (tmp_path / "ended" / "metrics.jsonl").read_text().splitlines()]
    own = [line for line in lines if line["split"] == "listener.goal"]
    losses = [line["loss"] for line in lines if line["split"] == "train"]
    assert [line["double_loss"] for line in own] == [2 * loss for loss in losses]
    assert ended["listeners"] == {"goal": {"metrics": {"double_loss": own[-1]["double_loss"]}}}
    again = run(RunRequest(loaded(*overrides, weights), tmp_path / "ended", resume=True))
    assert again["steps"] == 4

    plain = run(RunRequest(loaded(*overrides[1:], "train.max_steps=4", weights), tmp_path / "plain"))
    assert plain["metrics"] == ended["metrics"]
    assert not {"stopped_by", "listeners"} & plain.keys()

    (section,) = sections(of_run(ended, doors))
    assert (section.key, section.tables[0].rows[0][1].text) == ("plugin-took", "4")


def test_a_listener_that_may_stop_counts_in_the_address(doors: Registry) -> None:
    plain, stopping = loaded().recipe, loaded("listeners=[{name: goal}]").recipe
    assert address_of(plain, "code", registry=doors) != address_of(stopping, "code", registry=doors)


def test_the_contracts_of_the_file_hold(doors: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fptkit.api.surrounding_checks._example", lambda: {"run": {"steps": 4}})
    checked = list(check_plugins(doors, "doors"))
    assert {one.result for one in checked} == {"ok"}, [one for one in checked if one.result != "ok"]
    assert len(checked) > len(BROUGHT)


@pytest.mark.slow
def test_the_example_of_reports_is_that_of_a_run_and_its_study() -> None:
    found = surrounding_checks._example()
    assert found["run"]["status"] == "finished"
    assert found["study"]["runs"]


def test_damaged_figures_do_not_hide_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "doors.py"
    file.write_text(FILE.read_text())
    (tmp_path / "ours2030.yaml").write_text("name: other\n")
    rows = {row["name"]: row for row in json.loads(fptkit("list", "published", "--json", "--plugin", str(file)).output)}
    assert rows["ours2030"]["status"] == "damaged"
    assert rows["fpt2021"]["figures"] > 0
    assert isinstance(fptkit("show", "published", "ours2030", "--plugin", str(file)).exception, DataError)


def test_every_kind_has_a_word_or_no_record_of_its_own() -> None:
    assert {kind.noun for kind in KINDS} >= BROUGHT.keys()
    assert all(issubclass(NOUNS[noun].record, Spec) for noun in BROUGHT)
    assert isinstance(cli, click.Group)
