"""The field's words are used: phrases to avoid do not occur in what users read, and the terms to use do.

`AVOID` is the table of phrases, each with a better one. `PLACES` says where they are looked for.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from fptkit.cli.main import COMMANDS, cli

ROOT = Path(__file__).parent.parent.parent

AVOID = (
    ("torch's operations in any case", "always uses torch's own operations"),
    ("are to work on", "apply"),
    ("is to work on", "applies"),
    ("can be had", "available"),
    ("cannot be had", "unavailable"),
    ("they are had", "compiled, or cached, or loaded"),
    ("the business of", "callers define, or: is up to"),
    ("what stands between", "the operations between"),
    ("stays shut", "is not evaluated"),
    ("processes of this run have parted", "the process group was closed"),
    ("left no word", "died without reporting an error"),
    ("there is nothing left to cut", "a single example per micro-batch"),
    ("what an example takes", "the size of an example"),
    ("has no whole", "is endless"),
    ("without end", "endless, endlessly"),
    ("it pays from", "pays off after"),
    ("what it would save", "say what changes"),
    ("stand in for", "are a fallback for"),
    ("stands in for", "is a fallback for"),
    ("nobody counts with", "abandoned"),
    ("with the word of all", "report every run"),
    ("is told", "is reported"),
    ("are told", "are reported"),
    ("was told", "was given, or: was reported"),
    ("told all at once", "reported together"),
    ("told so far", "emitted so far"),
    ("tells of", "describes"),
    ("the line they stand in", "with line numbers"),
    ("the line it stands in", "with its line number"),
    ("what is not there is computed", "compute missing rows"),
    ("is waited for", "wait for"),
    ("the very same as", "differs from"),
    ("is at work in", "is in use by"),
    ("goes on behind", "continues after"),
    ("goes on from", "continues from, resumes from"),
    ("that goes on", "that resumes"),
    ("as the schedule had it", "the scheduled learning rate"),
    ("parts a step's batch is cut into", "micro-batches per step (gradient accumulation)"),
    ("parts a batch is cut into", "micro-batches (gradient accumulation)"),
    ("come together block by block", "shard over processes (FSDP2)"),
    ("text no file system takes", "not a valid path"),
    ("straight story", "shared steps"),
    ("who runs the workers", "backend that starts runs"),
    ("runs at a time", "concurrent runs"),
    ("one a processor", "one per core"),
    ("divided up", "cores / workers"),
    ("foretell", "predict"),
    ("foretold", "predicted"),
    ("where the first is there", "if the first is available"),
    ("drawn anew", "re-initialised, or: generated again"),
    ("counted anew", "counted from zero"),
    ("loops of our own", "C kernels"),
)
"""Pairs of a phrase, in lower case and with single spaces, and what to write instead."""

TERMS = (
    "gradient accumulation",
    "micro-batch",
    "early stopping",
    "patience",
    "mixed precision",
    "throughput",
    "pooling",
    "read-out",
    "learning rate search",
    "hyperparameter",
    "fallback (stand-in)",
    "cached",
    "available",
    "unavailable",
    "report",
    "print",
    "warn",
    "worker",
    "process group",
    "rank 0",
    "fraction",
    "shard",
)
"""The field's terms, which users search for."""


def hand_written(text: str) -> str:
    """A page without its generated parts, its code, and what a term was called formerly; as many lines as before."""

    def emptied(found: re.Match[str]) -> str:
        return "\n" * found[0].count("\n")

    for pattern in (r"<!-- generated: .*? -->.*?<!-- end generated -->", r"^(`{3,})\w*\n.*?^\1$", r"\(formerly: .*?\)"):
        text = re.sub(pattern, emptied, text, flags=re.MULTILINE | re.DOTALL)
    return text


def page_texts() -> Iterator[tuple[str, str]]:
    """The hand-written parts of the documentation."""
    names = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "plugins/README.md")
    pages = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "plugins").glob("*/README.md"), *(ROOT / name for name in names)]
    for page in sorted(pages):
        yield page.relative_to(ROOT).as_posix(), hand_written(page.read_text(encoding="utf-8"))


def recipe_texts() -> Iterator[tuple[str, str]]:
    """Recipes and studies, comments included."""
    for file in sorted((ROOT / "recipes").rglob("*.yaml")):
        yield file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")


def help_texts() -> Iterator[tuple[str, str]]:
    """What ``--help`` prints for every command."""
    context = click.Context(cli, info_name="fptkit", **cli.context_settings)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        yield from _help(command, f"fptkit {name}", context)


def _help(command: click.Command, name: str, parent: click.Context) -> Iterator[tuple[str, str]]:
    context = click.Context(command, info_name=name.split()[-1], parent=parent, **command.context_settings)
    yield f"{name} --help", command.get_help(context)
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            yield from _help(found, f"{name} {inner}", context)


def source_texts() -> Iterator[tuple[str, str]]:
    """Every string in the package's code: docstrings, messages, descriptions."""
    for file in sorted((ROOT / "fptkit").rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        strings = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        yield file.relative_to(ROOT).as_posix(), "\n\n".join(str(node.value) for node in strings)


PLACES: tuple[Callable[[], Iterator[tuple[str, str]]], ...] = (
    page_texts,
    recipe_texts,
    help_texts,
    source_texts,
)
"""Where phrases to avoid are looked for: each gives pairs of a name and a text."""


def faults(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, phrase and better phrase of each phrase to avoid; a phrase may go over a line's end."""
    lowered = text.lower()
    for phrase, better in AVOID:
        pattern = r"\b" + r"\s+(?:# ?|> ?)?".join(map(re.escape, phrase.split())) + r"\b"
        for found in re.finditer(pattern, lowered):
            yield lowered[: found.start()].count("\n") + 1, phrase, better


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_phrases_to_avoid_do_not_occur(place: Callable[[], Iterator[tuple[str, str]]]) -> None:
    found = [
        f"{name}:{line}: '{phrase}'; better: {better}"
        for name, text in place()
        for line, phrase, better in faults(text)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("term", TERMS)
def test_the_terms_of_the_field_occur(term: str) -> None:
    texts = [" ".join(text.lower().split()) for _, text in (*page_texts(), *help_texts())]
    assert any(term in text for text in texts)


def test_every_term_is_in_the_glossary() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").lower()
    for term in ("gradient accumulation", "micro-batch", "early stopping", "mixed precision", "throughput", "pooling"):
        assert f"| {term}" in text, term


def test_a_phrase_is_found_over_the_end_of_a_line() -> None:
    assert next(faults("first\nIt cannot be\nhad here."))[:2] == (2, "cannot be had")
    assert next(faults("# faults are\n# told here"))[1] == "are told"
    assert not list(faults("It is untold, and they are soldiers."))


def test_generated_parts_code_and_former_names_are_left_out() -> None:
    page = "<!-- generated: x -->\nis told\n<!-- end generated -->\n```sh\nis told\n```\n(formerly: is told)\nis told"
    assert [line for line, _, _ in faults(hand_written(page))] == [8]


def test_each_phrase_is_written_as_it_is_looked_for() -> None:
    phrases = [phrase for phrase, _ in AVOID]
    assert len(set(phrases)) == len(phrases)
    assert all(phrase == " ".join(phrase.lower().split()) for phrase in phrases)
