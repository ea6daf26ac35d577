"""Write the generated parts of the documentation, from the live registry, models, hooks and commands.

``python docs/generate.py`` rewrites them in place; ``--check`` writes nothing, lists the files that are out of date and
exits with 1. A generated part is between two comments::

    <!-- generated: NAME ARGUMENT -->
    ...
    <!-- end generated -->

The result does not depend on the terminal or on installed plugins, and torch is not imported: the classes of
`fptkit.interfaces`, which need torch, are parsed as text.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import difflib
import inspect
import os
import re
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import click
import yaml
from pydantic import BaseModel

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
if str(ROOT) not in sys.path:  # as a script, describe the checkout that it belongs to
    sys.path.insert(0, str(ROOT))
if str(DOCS) not in sys.path:
    sys.path.append(str(DOCS))

import answer_pages  # noqa: E402
import reading_path  # noqa: E402
import reliability  # noqa: E402
import token_models  # noqa: E402

from fptkit import errors, hookspecs, specs  # noqa: E402
from fptkit.api.packages import published_packages  # noqa: E402
from fptkit.backbones.huggingface.families import KNOWN, REFUSED  # noqa: E402
from fptkit.cli.main import COMMANDS, cli  # noqa: E402
from fptkit.cli.subcommands import CommandWithSubcommands  # noqa: E402
from fptkit.engine import events  # noqa: E402
from fptkit.freezing.options import FreezingOptions  # noqa: E402
from fptkit.lab.benchmarking.hours import ASSUMED  # noqa: E402
from fptkit.lab.pretraining.options import PretrainRecipe  # noqa: E402
from fptkit.lab.published import content_rows, load_published, table_heading, table_notes, table_rows  # noqa: E402
from fptkit.lab.reporting.footnotes import Footnotes  # noqa: E402
from fptkit.lab.reproduction import tables as reproduction  # noqa: E402
from fptkit.lab.reproduction.plan import plan  # noqa: E402
from fptkit.lab.studies.options import StudySettings  # noqa: E402
from fptkit.recipe.models import SECTIONS, HeadOptions, Pinned, Recipe, TrainOptions  # noqa: E402
from fptkit.recipe.schema import OptionRow, describe_options  # noqa: E402
from fptkit.registry import load_plugins  # noqa: E402
from fptkit.specs import limits  # noqa: E402
from fptkit.tasks.arrays.options import ArraysOptions  # noqa: E402
from fptkit.tasks.audio.options import AudioOptions  # noqa: E402
from fptkit.tasks.own_images.options import ImagesOptions  # noqa: E402
from fptkit.tasks.reading.options import SplitOptions  # noqa: E402
from fptkit.tasks.sequences.options import SequenceOptions  # noqa: E402
from fptkit.tasks.series.options import SeriesOptions  # noqa: E402
from fptkit.tasks.table.options import TableOptions  # noqa: E402
from fptkit.tasks.text.options import TextOptions  # noqa: E402

WIDTH = 100
"""Width of the help texts in columns, independent of the terminal."""

REGISTRY = load_plugins(selection="")
"""Built-in components only, without plugins that a developer has installed."""

_BLOCK = re.compile(r"(<!-- generated: (?P<name>[^\n]*?) -->\n).*?(<!-- end generated -->)", re.DOTALL)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; bars inside a cell are escaped, line breaks become spaces."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(header), "|" + "---|" * len(header), *map(line, rows)])


def options_table(rows: Iterable[OptionRow]) -> str:
    """Return a table of options, as ``fptkit show`` prints them."""
    cells = [(f"`{row.name}`", row.type, code(row.default), tidy(row.description)) for row in rows]
    return table(("option", "takes", "default", "meaning"), cells) if cells else "It takes no options."


def code(text: str) -> str:
    """Format text as code; empty text stays empty."""
    return f"`{text}`" if text else ""


def tidy(text: str) -> str:
    """Convert a docstring's text to Markdown: double backticks become single ones."""
    return text.replace("``", "`")


def lead(documented: object) -> str:
    """Return a docstring up to its first section (``Args:``, ``Raises:`` ...), as Markdown."""
    text = inspect.getdoc(documented) or "" if not isinstance(documented, str) else inspect.cleandoc(documented)
    paragraphs: list[str] = []
    for paragraph in text.split("\n\n"):
        if re.match(r"(Args|Attributes|Example|Raises|Returns|Shapes|Source|Checked|Differences)\b.*:", paragraph):
            break
        paragraphs.append(" ".join(paragraph.split()))
    return tidy("\n\n".join(paragraphs))


def described(docstring: str, section: str) -> dict[str, str]:
    """Return the entries of a docstring's section, ``name: text``, with their continuation lines joined."""
    found: dict[str, str] = {}
    lines = inspect.cleandoc(docstring).splitlines()
    if f"{section}:" not in lines:
        return found
    name = ""
    for line in lines[lines.index(f"{section}:") + 1 :]:
        if line and not line.startswith(" "):
            break
        if entry := re.fullmatch(r"    (\w+): (.*)", line):
            name = entry[1]
            found[name] = entry[2]
        elif name and line.strip():
            found[name] += " " + line.strip()
    return {name: tidy(text) for name, text in found.items()}


def fields_table(record: type) -> str:
    """Return a table of a dataclass's fields, described by its docstring and those of its bases."""
    meaning: dict[str, str] = {}
    for base in reversed(record.__mro__):
        meaning |= described(base.__dict__.get("__doc__") or "", "Args")
    rows = []
    for field in dataclasses.fields(record):
        missing = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        default = "required" if missing else code(repr(field.default).replace("'", '"'))
        rows.append((f"`{field.name}`", code(str(field.type)), default, meaning.get(field.name, "")))
    return table(("field", "type", "default", "meaning"), rows)


def attributes_table(name: str) -> str:
    """Return a table of a class of `fptkit.interfaces`, read from its docstrings without importing torch."""
    files = sorted((ROOT / "fptkit" / "interfaces").glob("*.py"))
    nodes = [node for file in files for node in ast.parse(file.read_text(encoding="utf-8")).body]
    (found,) = [node for node in nodes if isinstance(node, ast.ClassDef) and node.name == name]
    rows = described(ast.get_docstring(found) or "", "Attributes").items()
    methods = [
        (f"`{node.name}({', '.join(a.arg for a in node.args.args[1:])})`", lead(ast.get_docstring(node) or ""))
        for node in found.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]
    return table(("attribute or method", "meaning"), [*((f"`{key}`", text) for key, text in rows), *methods])


def components(kind: type[specs.Spec]) -> str:
    """Return sections for all built-in components of a kind, with their options or rules."""
    parts = []
    for entry in REGISTRY.entries(kind):
        spec = entry.spec
        facts = [f"*{label}:* {value}" for label, value in _facts(spec) if value]
        parts += [f"### {spec.name}", f"{spec.summary[:1].upper()}{spec.summary[1:]}.", "  \n".join(facts)]
        if isinstance(spec, specs.ComponentSpec):
            parts.append(options_table(describe_options(spec.options_model())))
        if isinstance(spec, specs.FreezingPolicySpec):
            parts.append(_rules(spec))
    return "\n\n".join(part for part in parts if part)


def _facts(spec: specs.Spec) -> Iterator[tuple[str, str]]:
    if isinstance(spec, specs.TaskSpec):
        yield "protocols", ", ".join(code(protocol.name) for protocol in spec.protocols)
    yield "takes", ", ".join(getattr(spec, "accepts", ()))
    if isinstance(spec, specs.MetricSpec):
        yield "better", "higher" if spec.higher_is_better else "lower"
        yield "range", spec.range
    yield "reference", spec.reference
    yield "licence", spec.licence
    yield "needs", spec.extra


def _rules(spec: specs.FreezingPolicySpec) -> str:
    if spec.free_form:
        return "Its rules are those that the recipe sets under `train`."
    rows = [
        (
            f"`{rule.role}`",
            rule.described_kind,
            rule.described_blocks,
            rule.described_rate,
            "yes" if rule.required else "no",
        )
        for rule in spec.rules
    ]
    return table(("trained role", "kind", "blocks", "learning rate", "must be there"), rows)


def hook(name: str) -> str:
    """Return the description of a hook: its signature and its record's fields."""
    function = getattr(hookspecs, name)
    record = specs.HOOKS[name]
    signature = f"@fptkit.hookimpl\ndef {name}{inspect.signature(function)}: ..."
    signature = signature.replace("'", "")
    return "\n\n".join(
        [
            lead(function),
            f"```python\n{signature}\n```",
            f"**{record.__name__}.** {lead(record)}",
            fields_table(record),
        ]
    )


def example(name: str) -> str:
    """Return the example in a hook's docstring, a complete plugin."""
    code = (inspect.getdoc(getattr(hookspecs, name)) or "").partition("Example::\n")[2]
    return f"```python\n{textwrap.dedent(code).strip()}\n```"


def error_table() -> str:
    """Return a table of all public errors with their exit status."""
    rows = []
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.FptkitError):
            status = "130 or 143" if value is errors.Interrupted else str(value.exit_code)
            rows.append((f"`{name}`", status, lead(value).split("\n\n")[0]))
    return table(("error", "exit status", "meaning"), rows)


def event_tables() -> str:
    """Return tables of all events with their fields."""
    parts = []
    for value in vars(events).values():
        if isinstance(value, type) and dataclasses.is_dataclass(value) and value.__module__ == events.__name__:
            parts += [f"**{value.__name__}.** {lead(value)}", _event_fields(value)]
    return "\n\n".join(parts)


def _event_fields(event: type) -> str:
    meaning = described(event.__doc__ or "", "Args")
    rows = [(f"`{f.name}`", code(str(f.type)), meaning.get(f.name, "")) for f in dataclasses.fields(event)]
    return table(("field", "type", "meaning"), rows)


def command_pages() -> str:
    """Return the help texts of the command and of each subcommand."""
    parts = []
    for path, text in help_texts():
        parts += [f"## {path}", f"```text\n{text}\n```"]
    return "\n\n".join(parts)


def help_texts() -> Iterator[tuple[str, str]]:
    """Yield pairs of command and help text, groups before their subcommands."""
    names = cli.context_settings["help_option_names"]
    context = click.Context(
        cli, info_name="fptkit", terminal_width=WIDTH, max_content_width=WIDTH, help_option_names=names
    )
    yield "fptkit", cli.get_help(context)
    for name in COMMANDS:
        yield from _help_of(cli.get_command(context, name), name, context)


def _help_of(command: click.Command | None, name: str, parent: click.Context) -> Iterator[tuple[str, str]]:
    assert command is not None, name
    names = parent.help_option_names
    context = click.Context(
        command, parent, name, terminal_width=WIDTH, max_content_width=WIDTH, help_option_names=names
    )
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            yield from _help_of(command.get_command(context, inner), inner, context)
    if isinstance(command, CommandWithSubcommands):
        for inner in command.subcommands:
            yield from _help_of(command.subcommand(inner), f"{name} {inner}", parent)


def command_list() -> str:
    """Return a table with one line per command."""
    return table(("command", "what it does"), [(f"`fptkit {name}`", text) for name, (_, text) in COMMANDS.items()])


def file_block(path: str) -> str:
    """Return a file of ``docs/`` as a code block."""
    language = {".py": "python", ".yaml": "yaml"}[Path(path).suffix]
    return f"```{language}\n{(DOCS / path).read_text(encoding='utf-8').rstrip()}\n```"


def published_tables(name: str) -> str:
    """Return the tables of one paper, with notes."""
    published = load_published(name)
    parts = []
    for name_of_table in published.tables:
        rows = table_rows(published, name_of_table)
        parts.append(f"**{table_heading(published, name_of_table)}**")
        parts.append(table(tuple(rows[0]), [tuple(row.values()) for row in rows]))
        parts.append("\n".join(f"- {note}" for note in table_notes(published, name_of_table)))
    return "\n\n".join(part for part in parts if part)


def published_content(name: str) -> str:
    """Return which tables of one paper are here, which are not, and why."""
    rows = content_rows(load_published(name))
    return table(tuple(rows[0]), [tuple(row.values()) for row in rows])


MODELS: dict[str, type[BaseModel]] = {
    "Recipe": Recipe,
    "HeadOptions": HeadOptions,
    "TrainOptions": TrainOptions,
    "Pinned": Pinned,
    "PretrainRecipe": PretrainRecipe,
    "StudySettings": StudySettings,
    "FreezingOptions": FreezingOptions,
    "AudioOptions": AudioOptions,
    "SeriesOptions": SeriesOptions,
    "SplitOptions": SplitOptions,
    "SequenceOptions": SequenceOptions,
    "ArraysOptions": ArraysOptions,
    "ImagesOptions": ImagesOptions,
    "TableOptions": TableOptions,
    "TextOptions": TextOptions,
}
SECTION_MODELS = ("head", "train", "pinned")
"""Sections of a recipe with separate tables."""


def fields_of(name: str) -> str:
    """Return a table of a model's options; for `Recipe`, of its own keys only."""
    rows = describe_options(MODELS[name])
    if name == "Recipe":
        order = ["description", "plugins", *SECTIONS, *SECTION_MODELS]
        order += [field for field in Recipe.model_fields if field not in order]
        own = {row.name: row for row in rows if "." not in row.name}
        rows = [_as_section(own[field]) for field in order]
    return options_table(rows)


def _as_section(row: OptionRow) -> OptionRow:
    """Rewrite the row of a key that names a component, whose type says little to readers."""
    kind = next((kind for kind in specs.KINDS if kind.section == row.name), None)
    if kind is None:
        return row
    keys = ", ".join(["name: ...", *(FreezingOptions.model_fields if kind.record is specs.FreezingPolicySpec else ())])
    section = f"section `{{{keys}}}`"
    if kind.many:
        return dataclasses.replace(row, type=f"list of sections `{{{keys}}}`", default="[]")
    if kind.required:
        return dataclasses.replace(row, type=f"{section}, required", default="")
    if kind.default:
        return dataclasses.replace(row, type=section, default=f"{{name: {kind.default}}}")
    return dataclasses.replace(row, type=f"{section} or null", default="null")


@cache
def _plans() -> list[reproduction.Planned]:
    return [reproduction.Planned(job, REGISTRY) for job in plan()]


def reproduction_sums() -> str:
    """Return the hours of the plan by paper, what they assume, and how much fits into some budgets."""
    rows = reproduction.sums(_plans())
    fit = ", ".join(f"{reproduction.within(_plans(), hours)} in {hours:,}" for hours in (1, 10, 100, 1000))
    assumed = ASSUMED.assumption(recurrent=True)
    paragraph = (
        f"GPU hours are estimates, {assumed}; what must be made first is left out. "
        f"Jobs that fit into so many hours, the cheapest first: {fit}."
    )
    paragraph = textwrap.fill(paragraph, 120)
    return f"{table(tuple(rows[0]), [tuple(row.values()) for row in rows])}\n\n{paragraph}"


def reproduction_table(paper: str, name: str) -> str:
    """Return the plan for one table of a paper; what differs for many figures is numbered below it."""
    published = load_published(paper)
    rows = reproduction.figure_rows(_plans(), paper, name)
    noted = Footnotes([text for row in rows for text in row["what differs"].splitlines()], least=2)
    for row in rows:
        texts = row["what differs"].splitlines()
        marks = " ".join(filter(None, map(noted.mark, texts)))
        row["what differs"] = "; ".join(filter(None, [marks, *map(noted.beside, texts)]))
        row["job"] = f"`{row['job']}`"
    heading = f"**{published.tables[name].place}: {published.tables[name].title}**"
    notes = "\n".join(f"- {note}" for note in noted.notes)
    return f"{heading}\n\n{table(tuple(rows[0]), [tuple(row.values()) for row in rows])}\n\n{notes}"


def reproduction_commands(paper: str) -> str:
    """Return the command of every job of a paper, below its name, and before them what is needed first."""
    lines: list[str] = []
    jobs = [planned.job for planned in _plans() if planned.job.paper == paper]
    for need in dict.fromkeys(need for job in jobs for need in job.needs):
        arguments = [part.replace("{folder}", reproduction.FOLDER) for part in need.arguments]
        lines += [f"# first: {need.name}", shlex.join(["fptkit", *arguments])]
    for job in jobs:
        lines += [f"# {job.name}", job.command(reproduction.FOLDER)]
    return "\n".join(["```sh", *lines, "```"])


def reading_path_table() -> str:
    """Return a table of the reading path, with links to the lines."""
    path = list(reading_path.stops())
    rows = [
        (f"[`{stop.name}`](../{stop.file}#L{stop.first}-L{stop.last})", f"`{stop.file}`", stop.what, str(stop.lines))
        for stop in path
    ]
    total = sum(stop.lines for stop in path)
    return table(("read", "file", "content", "lines"), [*rows, ("total", "", "", str(total))])


ARCHITECTURES = ROOT / "tests" / "unit" / "backbones" / "huggingface" / "architectures.yaml"
"""The families of transformers that a test tries."""


def architectures(group: str) -> str:
    """Return the model types of a group, and a table of those that have something special."""
    families = yaml.safe_load(ARCHITECTURES.read_text("utf-8"))[group]
    remarks = {kind: "; ".join(_remarks(kind, families[kind])) for kind in sorted(families)}
    plain = ", ".join(f"`{kind}`" for kind, text in remarks.items() if not text)
    paragraph = "\n".join(
        textwrap.wrap(f"{len(remarks)} model types work. Without remarks: {plain}.", 120, break_on_hyphens=False)
    )
    rows = [(f"`{kind}`", text) for kind, text in remarks.items() if text]
    return f"{paragraph}\n\n{table(('model type', 'remarks'), rows)}" if rows else paragraph


def _remarks(kind: str, family: dict[str, object]) -> Iterator[str]:
    if "enter" in family:
        yield "token vectors enter behind the projection of its words, if these are narrower"
    if family.get("apart"):
        yield "padding changes its output, so that lengths run separately"
    if not family.get("zeros", True):
        yield "gradients for tokens of exact zeros, or their norm, are not finite: use it with trained positions"
    if not family.get("norms", True):
        yield "its norms have no parameters, so that `fpt` finds none to train: choose a policy without them"
    if "bfloat16" in family:
        yield "bfloat16 changes outputs by more than 2 %"
    if family.get("draws"):
        yield "draws random numbers in training, so that features are not cached"
    if kind in KNOWN and KNOWN[kind].note:
        yield KNOWN[kind].note


def refused_architectures() -> str:
    """Return the model types that are refused, why, and what would work."""
    return table(("model type", "why, and what would work"), [(f"`{kind}`", REFUSED[kind]) for kind in sorted(REFUSED)])


def limits_table() -> str:
    """All limits, in the groups of the module."""
    rows = [(limit.group, limit.what, f"{limit:,}") for limit in limits.LIMITS]
    return table(("of", "at most", "limit"), rows)


def packages() -> str:
    """The published packages of plugins, and the versions of fptkit that they were tested with."""
    heading = ("package", "version", "tested with fptkit", "adds")
    rows = [
        (
            f"[{one.name}](../../plugins/{one.name}/README.md)",
            one.version,
            ", ".join(one.tested_with),
            "; ".join(f"{noun} {', '.join(f'`{name}`' for name in names)}" for noun, names in one.adds.items()),
        )
        for one in published_packages()
    ]
    return table(heading, rows)


BLOCKS: dict[str, Callable[..., str]] = {
    "packages": packages,
    "limits": limits_table,
    "architectures": architectures,
    "refused_architectures": refused_architectures,
    "fields": fields_of,
    "components": lambda kind: components(specs.PLURALS[kind].record),
    "hook": hook,
    "reading_path": reading_path_table,
    "example": example,
    "rule": lambda: fields_table(specs.FreezingRule),
    "roles": lambda: ", ".join(f"`{role}`" for role in specs.ROLES),
    "attributes": attributes_table,
    "errors": error_table,
    "events": event_tables,
    "commands": command_list,
    "help": command_pages,
    "file": file_block,
    "published": published_tables,
    "published_content": published_content,
    "reproduction_sums": reproduction_sums,
    "reproduction": reproduction_table,
    "reproduction_commands": reproduction_commands,
    "answers": answer_pages.page_text,
    "answers_headlines": lambda: table(
        ("question", "difference in points [95 %]", "study"), answer_pages.headline_rows()
    ),
    "answers_summary": lambda: table(("study", "question", "decided", "core-hours"), answer_pages.summary_rows()),
    "bodies": lambda: table(("model type", "part", "positions", "padding"), token_models.bodies()),
    "refused_bodies": lambda: table(("model type", "why", "instead"), token_models.refused_bodies()),
    "timm": lambda: table(("module", "for example", "positions", "padding"), token_models.timm()),
    "refused_timm": lambda: table(("module", "why"), token_models.refused_timm()),
    "promises": lambda: table(("promise", "part", "tries", "broken", "date"), reliability.promises()),
    "promises_made": reliability.circumstances,
    "promises_broken": reliability.broken,
    "promises_kinds": lambda: table(("part", "tries by kind", "largest values"), reliability.kinds()),
    "mutants": lambda: table(("file", "tried", "noticed", "share", "not tried"), reliability.mutants()),
    "mutants_made": reliability.mutants_made,
    "mutants_living": lambda: table(("where", "change", "why no test notices it"), reliability.living()),
}


SHOWN = 20
"""Lines of difference that ``--check`` shows of a page."""


def pages() -> list[Path]:
    """Return all pages that may have generated parts."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def block(name: str) -> str:
    """Return the content of the generated part ``name``, which may include arguments."""
    kind, *arguments = name.split()
    if kind not in BLOCKS:
        raise SystemExit(f"unknown generated part '{name}'; known: {', '.join(BLOCKS)}")
    return BLOCKS[kind](*arguments)


def render(text: str) -> str:
    """Return a page with up-to-date generated parts."""
    return _BLOCK.sub(lambda found: f"{found[1]}{block(found['name'])}\n{found[3]}", text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the generated parts; return the exit status."""
    parser = argparse.ArgumentParser(description="Write the generated parts of the documentation.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is out of date")
    check = parser.parse_args(arguments).check
    os.environ["COLUMNS"] = str(WIDTH)
    REGISTRY.use()  # help lists the commands of the plugins that were loaded or used last
    stale = [(path, fresh) for path in pages() if (fresh := render(text := path.read_text("utf-8"))) != text]
    stale += answer_pages.stale_pictures(DOCS / "results")
    for path, fresh in stale:
        print(f"{path.relative_to(ROOT)}: {'out of date; run python docs/generate.py' if check else 'written'}")
        if check:
            before = path.read_text("utf-8").split("\n") if path.exists() else []
            print(*[*difflib.unified_diff(before, fresh.split("\n"), lineterm="", n=0)][:SHOWN], sep="\n")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(fresh, "utf-8")
    return int(bool(stale and check))


if __name__ == "__main__":
    sys.exit(main())
