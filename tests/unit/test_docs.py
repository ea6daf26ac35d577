"""The documentation is tested: generated parts are current, everything public is mentioned, links lead somewhere,
recipes load, plugins in it keep their promises, and the quick start runs."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import yaml
from script_files import load_script

from fptkit import errors, testing
from fptkit.cli.main import COMMANDS, cli, main
from fptkit.engine.control import RunControl
from fptkit.lab.pretraining.options import PretrainRecipe
from fptkit.recipe.load import load_model, load_recipe
from fptkit.recipe.models import HeadOptions, Recipe, TrainOptions
from fptkit.registry import HOOKS, load_plugins
from fptkit.specs import BackboneSpec, ComponentSpec, EncoderSpec, ListenerSpec, TaskSpec

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
EXAMPLES = DOCS / "plugins" / "examples"
PAGES = [
    *sorted(DOCS.rglob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "plugins/README.md")),
]


site_map = load_script(DOCS / "site_map.py")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def generator() -> ModuleType:
    """``docs/generate.py`` as a module."""
    spec = importlib.util.spec_from_file_location("fptkit_docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Fenced code of a language in all pages: pairs of place and text."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            yield f"{name_of(page)}:{text[: found.start()].count(chr(10)) + 1}", found[1]


def given(language: str, wanted: str) -> list[Any]:
    """The blocks of a language that match a pattern, as parameters of a test."""
    found = [(place, text) for place, text in blocks(language) if re.search(wanted, text, re.MULTILINE)]
    assert found, f"no {language} block matches {wanted}"
    return [pytest.param(text, id=place) for place, text in found]


# What is generated


COMMAND = """
import fptkit

@fptkit.hookimpl
def fptkit_commands():
    return [fptkit.CommandSpec(name="greet", summary="says hello", target="nowhere:command")]
"""


def test_generated_parts_are_current(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Whatever plugins the process has loaded before."""
    module = generator()
    (tmp_path / "greeting.py").write_text(COMMAND)
    load_plugins([tmp_path / "greeting.py"])
    status = module.main(["--check"])
    assert status == 0, capsys.readouterr().out


def test_generated_parts_do_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    module = generator()
    monkeypatch.setenv("COLUMNS", "40")
    narrow = module.block("help")
    monkeypatch.setenv("COLUMNS", "200")
    assert module.block("help") == narrow


def test_check_names_what_is_out_of_date(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = generator()
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    page.write_text("before\n<!-- generated: rule -->\nold\n<!-- end generated -->\nafter\n")
    monkeypatch.setattr(module, "pages", lambda: [page])
    monkeypatch.setattr(module, "ROOT", tmp_path)
    assert module.main(["--check"]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("docs/page.md: out of date; run python docs/generate.py\n")
    assert "\n-old\n+| field |" in shown
    assert "old" in page.read_text()
    assert module.main([]) == 0
    assert page.read_text().startswith("before\n<!-- generated: rule -->\n| field |")
    assert page.read_text().endswith("|\n<!-- end generated -->\nafter\n")
    assert module.main(["--check"]) == 0


def test_every_marker_is_closed() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert text.count("<!-- generated: ") == text.count("<!-- end generated -->"), name_of(page)


# What must be mentioned


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_section(hook: str) -> None:
    text = text_of("plugins/hooks.md")
    assert f"\n## {hook}\n" in text
    assert f"def {hook}() -> list[{HOOKS[hook].__name__}]" in text


def public_errors() -> list[str]:
    return [
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.FptkitError)
    ]


@pytest.mark.parametrize("name", public_errors())
def test_every_error_is_mentioned(name: str) -> None:
    assert f"| `{name}` |" in text_of("runs.md")


def test_every_exit_status_is_mentioned() -> None:
    section = text_of("runs.md").split("## Exit codes")[1].split("Each error")[0]
    statuses = {getattr(errors, name).exit_code for name in public_errors()}
    assert statuses <= {int(number) for number in re.findall(r"^\| (\d+)", section, re.MULTILINE)}


def test_every_command_has_its_help() -> None:
    text = text_of("cli.md")
    for name in COMMANDS:
        assert f"\n## fptkit {name}\n" in text
    assert "\n## fptkit data fetch\n" in text


@pytest.mark.parametrize("model", [Recipe, HeadOptions, TrainOptions])
def test_every_field_of_a_recipe_is_mentioned(model: type[Any]) -> None:
    text = text_of("recipes.md")
    for field in model.model_fields:
        assert f"| `{field}` |" in text, field


def test_every_component_is_mentioned() -> None:
    text = text_of("components.md")
    registry = load_plugins(selection="")
    for kind in (TaskSpec, EncoderSpec, BackboneSpec):
        for entry in registry.entries(kind):
            assert f"\n### {entry.spec.name}\n" in text
            assert isinstance(entry.spec, ComponentSpec)
            for option in entry.spec.options_model().model_fields:
                assert f"| `{option}` |" in text, (entry.spec.name, option)


def test_every_size_is_as_the_table_says() -> None:
    from fptkit.backbones.options import SIZES

    text = text_of("components.md")
    for name, size in SIZES.items():
        assert f"| `{name}` | {size.blocks} | {size.width:,} | {size.heads} |" in text


def test_every_page_is_on_the_map() -> None:
    sections = [DOCS / "index.md", *(site_map.file_of(section) for section in site_map.sections())]
    linked = {
        (section.parent / link).resolve()
        for section in sections
        for link in re.findall(r"\]\(([^)#\s]+)", section.read_text(encoding="utf-8"))
    }
    for page in (*DOCS.rglob("*.md"), *(DOCS / "notebooks").glob("*.py")):
        if page != DOCS / "index.md" and DOCS / "results" not in page.parents:
            assert page in linked, (
                f"{name_of(page)} is on no page of a section: start, howto, explanation, reference ..."
            )


# Where links lead


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", title).lower()).strip().replace(" ", "-")
        number = 0
        while (unique := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(unique)
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)}: {link}"
        if anchor and target.suffix == ".py":  # lines of code: held true by test_reading_path.py
            assert re.fullmatch(r"L\d+-L\d+", anchor), f"{name_of(page)}: {link}"
        elif anchor:
            assert anchor in anchors(target), f"{name_of(page)}: {link}; there are {sorted(anchors(target))}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_path_of_a_machine(page: Path) -> None:
    assert not re.search(r"(?<![\w.~])/(home|Users|root|tmp|work)/", page.read_text(encoding="utf-8"))


# What is said can be done


# The tutorial's recipe needs its package: tests/plugins/test_tutorial.py runs it.
@pytest.mark.parametrize("text", given("yaml", r"^task:(?! \{name: tones)"))
def test_recipes_load(text: str, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "parity.py", tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text, encoding="utf-8")
    plugins = [tmp_path / "parity.py"] if "name: parity" in text else []
    for profile in (None, *yaml.safe_load(text).get("profiles", {})):
        load_recipe(str(recipe), profile=profile, plugin_files=plugins)


def test_pretraining_recipes_load(tmp_path: Path) -> None:
    for place, text in blocks("yaml"):
        if re.search("^tokenizer:", text, re.MULTILINE):
            path = tmp_path / "recipe.yaml"
            path.write_text(text, encoding="utf-8")
            assert load_model(str(path), PretrainRecipe), place


def commands() -> Iterator[tuple[str, str]]:
    """Each line of a code block that starts the command."""
    for page in PAGES:
        for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            for line in re.sub(r"\s*\\\n\s*", " ", block).splitlines():
                if line.startswith("fptkit ") and "NAME" not in line:
                    yield name_of(page), re.split(r"   +| +> ", line)[0]


@pytest.mark.parametrize(("page", "line"), list(commands()))
def test_commands_are_understood(page: str, line: str) -> None:
    words = shlex.split(line)[1:]
    if words in (["fptkit"], ["--version"]) or words[:1] == ["<->"]:
        return
    command: click.Command = cli
    context = click.Context(cli, info_name="fptkit")
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None, line
        command = found
    command.make_context(str(command.name), words, parent=context)


def plugin_blocks() -> list[Any]:
    return given("python", r"^@hookimpl")


@pytest.mark.parametrize("text", plugin_blocks())
def test_plugins_keep_their_promises(text: str, tmp_path: Path) -> None:
    """Plugins shown in the pages load, and their targets pass the contract checks."""
    file = tmp_path / "shown.py"
    file.write_text(text, encoding="utf-8")
    registry = load_plugins([file], selection="")
    shown = registry.plugins[-1]
    assert shown.status == "loaded"
    for kind in (TaskSpec, BackboneSpec, EncoderSpec, ListenerSpec):
        for entry in registry.entries(kind):
            spec = entry.spec
            if entry.owner is shown and isinstance(spec, ComponentSpec) and not isinstance(spec.target, str):
                testing.check_options(spec)
                check_target(spec, tmp_path)


def check_target(spec: ComponentSpec, folder: Path) -> None:
    from fptkit.interfaces import Symbols, Vectors

    options = spec.options_model()()
    target = spec.resolve()
    if isinstance(spec, TaskSpec):
        testing.check_task(target(options, seed=0, pinned=None))
    elif isinstance(spec, BackboneSpec):
        testing.check_backbone(lambda positions: target(options, positions=positions, seed=0, pinned=None))
    elif isinstance(spec, EncoderSpec):
        kind = Vectors(3) if "vectors" in spec.accepts else Symbols(7)
        testing.check_encoder(lambda: target(options, input=kind, width=16), input=kind, width=16)
    else:
        assert isinstance(spec, ListenerSpec)
        control = {"run": RunControl(spec.name, spec.may)} if spec.may else {}
        assert callable(target(options, folder=folder, **control).handle)


# The quick start


def test_the_quick_start_is_short_and_shown_in_full() -> None:
    text = text_of("plugins/quickstart.md")
    lines = 1  # the command
    ten = (EXAMPLES / "ends.py").read_text(encoding="utf-8")
    assert f"```python\n{ten}```" in text
    assert len([line for line in ten.splitlines() if line.strip()]) == 10
    for name, language in (("parity.py", "python"), ("parity.yaml", "yaml")):
        content = (EXAMPLES / name).read_text(encoding="utf-8")
        assert f"```{language}\n{content}```" in text
        lines += len(content.splitlines())
    assert lines <= 60


def test_the_quick_start_keeps_a_tasks_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test that the page shows, word for word."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    (shown,) = [text for _, text in blocks("python") if "import parity\n" in text]
    names: dict[str, Any] = {}
    exec(shown, names)
    names["test_contract"]()


def test_every_check_is_documented() -> None:
    text = text_of("plugins/testing.md")
    for name, value in vars(testing).items():
        if not name.startswith("_") and getattr(value, "__module__", "") == testing.__name__:
            assert f"`{name}(" in text, name


def test_the_checks_shown_pass() -> None:
    """The tests that the page on testing shows, word for word."""
    (shown,) = [text for place, text in blocks("python") if place.startswith("docs/plugins/testing.md")]
    names: dict[str, Any] = {}
    exec(shown, names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert len(tests) == 4
    for test in tests:
        test()


@pytest.mark.slow
def test_the_ten_lines_run_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(EXAMPLES / "ends.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    pretrained, control = [
        shlex.split(line) for page, line in commands() if page == "docs/plugins/quickstart.md" and "ends.py" in line
    ]
    small = ["train.max_steps=2", "train.validate_every=2", "threads=1", "backbone.blocks=1", "backbone.width=16"]
    small += ["backbone.heads=2"]
    assert control[: len(pretrained)] == pretrained
    words = [*control[1:], *(word for text in small for word in ("--set", text)), "--output", "out", "--quiet"]
    with contextlib.redirect_stdout(io.StringIO()), pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["task"]["name"] == "ends"


@pytest.mark.slow
def test_the_quick_start_runs_and_its_files_are_described(tmp_path: Path) -> None:
    for name in ("parity.py", "parity.yaml"):
        shutil.copy(EXAMPLES / name, tmp_path)
    small = ["backbone.name=random", "backbone.size=nano", "backbone.blocks=1", "backbone.width=16", "backbone.heads=2"]
    small += ["train.max_steps=4", "train.validate_every=2", "train.log_every=2", "threads=1", "task.bits=3"]
    small += ["train.training_sample=4"]
    overrides = [word for text in small for word in ("--set", text)]
    out = io.StringIO()
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(io.StringIO()),
            pytest.raises(SystemExit) as end,
        ):
            main(["run", "parity.yaml", "--plugin", "parity.py", "--output", "out", "--json", *overrides])
    finally:
        os.chdir(before)
    assert end.value.code == 0
    summary = json.loads(out.getvalue())
    assert summary["status"] == "finished"
    assert summary["task"]["name"] == "parity"

    text = text_of("runs.md")
    section = text.split("## summary.json")[1].split("\n## ")[0]
    for key in key_paths(summary):
        assert f"`{key}`" in section, f"summary.json has '{key}', which docs/runs.md does not describe"
    section = text.split("## metrics.jsonl")[1].split("\n## ")[0]
    for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines():
        for key in json.loads(line):
            assert f"`{key}`" in section, f"metrics.jsonl has '{key}', which docs/runs.md does not describe"
    section = text.split("## Files")[1].split("\n## ")[0]
    assert re.fullmatch(r"step-\d{8}", next((tmp_path / "out" / "checkpoints").iterdir()).name)
    for file in (tmp_path / "out").rglob("*"):
        if file.is_file():
            assert f"`{file.name}`" in section, f"a run leaves '{file.name}', which docs/runs.md does not describe"


def key_paths(summary: dict[str, Any]) -> Iterator[str]:
    """Keys of a summary, dotted one level down where each has a meaning of its own."""
    for key, value in summary.items():
        if key in ("task", "backbone", "parameters", "metrics"):
            yield from (f"{key}.{inner}" for inner in value)
        else:
            yield key
