"""``fptkit list``: what is available, by kind."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from fptkit.cli.shared import json_option, load_registry, plugin_option, print_json, print_rows
from fptkit.registry import Registry
from fptkit.specs import PLURALS, PublishedSpec, Spec, TaskProtocol


@click.command("list")
@click.argument("kind", type=click.Choice([*PLURALS, "weights", "recipes", "studies"]))
@json_option
@plugin_option
def list_(kind: str, as_json: bool, plugin_files: Sequence[Path]) -> None:
    """List what is available of a KIND, with the plugin each entry comes from."""
    registry = load_registry(plugin_files)
    listers: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "weights": _weights,
        "recipes": lambda: _recipes(registry),
        "studies": lambda: _studies(registry),
        "published": lambda: _published(registry),
    }
    rows = listers[kind]() if kind in listers else component_rows(registry, PLURALS[kind].record)
    if as_json:
        print_json(rows)
    elif rows:
        columns = ("group", "name", "summary", "profiles", "status", "plugin")
        shown = [column for column in columns if column in rows[0]]
        print_rows(_under_headings([{column: _text(row[column]) for column in shown} for row in rows]))
    else:
        click.echo(f"no {kind}", err=True)


def _under_headings(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """On a terminal a group is a heading with its entries indented; in a pipe it is repeated in every row, for grep."""
    if not sys.stdout.isatty() or "group" not in rows[0]:
        return rows
    shown: list[dict[str, str]] = []
    for group, members in itertools.groupby(rows, key=lambda row: row["group"]):
        shown.append({column: group if column == "name" else "" for column in rows[0] if column != "group"})
        for row in members:
            own = {column: value for column, value in row.items() if column != "group"}
            shown.append({**own, "name": f"  {row['name']}"})
    return shown


_CODE = ("check", "config", "known", "installer", "runs_per_seed")
"""Fields of records that name further code."""


def component_rows(registry: Registry, kind: type[Spec]) -> list[dict[str, Any]]:
    """Every record of a kind as plain data; the reference also as ``source``, its former name."""
    return [
        {
            **{
                field.name: _plain(getattr(entry.spec, field.name))
                for field in fields(entry.spec)
                if field.name not in ("target", "options", "rules", *_CODE)
            },
            "source": entry.spec.reference,
            "plugin": "builtin" if entry.owner.origin == "builtin" else entry.owner.described,
        }
        for entry in registry.entries(kind)
    ]


def _plain(value: Any) -> Any:
    """A record's field as JSON; protocols by name only, since `fptkit show` prints the rest."""
    if isinstance(value, tuple):
        return [item.name if isinstance(item, TaskProtocol) else item for item in value]
    return str(value) if isinstance(value, Path) else value


def _weights() -> list[dict[str, Any]]:
    from fptkit.sources.weights import known_weights

    return known_weights()


def _recipes(registry: Registry) -> list[dict[str, Any]]:
    from fptkit.recipe.find import list_recipes

    return [
        {
            "group": recipe.task or {"pretrain": "pretraining"}.get(recipe.kind, recipe.kind),
            "name": recipe.name,
            "kind": recipe.kind,
            "task": recipe.task,
            "backbone": recipe.backbone,
            "freezing": recipe.freezing,
            "summary": recipe.problem or recipe.description,
            "profiles": list(recipe.profiles),
            "path": str(recipe.path),
            "plugin": "builtin" if recipe.owner == "fptkit itself" else recipe.owner,
        }
        for recipe in list_recipes(registry)
    ]


def _studies(registry: Registry) -> list[dict[str, Any]]:
    from fptkit.recipe.find import list_studies

    return [
        {
            "name": study.name,
            "summary": study.problem or study.description,
            "profiles": list(study.profiles),
            "path": str(study.path),
            "plugin": "builtin" if study.owner == "fptkit itself" else study.owner,
        }
        for study in list_studies(registry)
    ]


def _published(registry: Registry) -> list[dict[str, Any]]:
    from fptkit.errors import DataError

    rows = []
    for entry in registry.entries(PublishedSpec):
        plugin = "builtin" if entry.owner.origin == "builtin" else entry.owner.described
        try:
            rows.append({**_paper(entry.spec.name), "plugin": plugin})
        except DataError as err:
            rows.append({"name": entry.spec.name, "summary": str(err), "status": "damaged", "plugin": plugin})
    return rows


def _paper(name: str) -> dict[str, Any]:
    from fptkit.lab.published import load_published, read_in

    paper = load_published(name)
    return {
        "name": paper.name,
        "summary": f"{paper.authors} {paper.year}: {paper.title} ({len(paper.figures)} figures)",
        "source": paper.source,
        "protocol": paper.protocol,
        "tasks": list(paper.tasks),
        "figures": len(paper.figures),
        "status": f"read in {read_in(paper.figures)}",
    }


def _text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, (list, tuple)) else str(value)
