"""``fptkit show``: one component with its options, one recipe, one study, or the figures of one paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from fptkit.cli.completion import component_names
from fptkit.cli.shared import json_option, load_registry, plugin_option, print_json, print_rows
from fptkit.specs import NOUNS, ComponentSpec, EncoderSpec, FreezingPolicySpec, Spec, TaskSpec


@click.command()
@click.argument("kind", type=click.Choice([*NOUNS, "recipe", "study", "published"]))
@click.argument("name", shell_complete=component_names)
@click.option("--profile", help="Of a recipe: show all its settings with this profile, defaults too.")
@json_option
@plugin_option
def show(kind: str, name: str, profile: str | None, as_json: bool, plugin_files: Sequence[Path]) -> None:
    """Show the component NAME of a KIND with all its options, the text of a recipe or study, or the published figures
    of a paper."""
    if profile is not None:
        _show_resolved(kind, name, profile, plugin_files)
        return
    registry = load_registry(plugin_files)
    if kind in ("recipe", "study"):
        from fptkit.recipe.find import find_recipe, find_study, recipe_folders, recipe_texts

        find = find_recipe if kind == "recipe" else find_study
        texts = recipe_texts(find(name, recipe_folders(registry)), registry)
        for number, (path, text) in enumerate(texts):
            heading = f"\n# ---- extends {path}\n" if number else ""
            click.echo(heading + text, nl=False)
        return
    if kind == "published":
        _show_published(name, as_json)
        return
    entry = registry.entry(NOUNS[kind].record, name)
    card = _card(entry.spec, entry.owner.described)
    if as_json:
        print_json(card)
        return
    for label, value in card.items():
        if label not in ("options", "rules", "protocols", "source") and value:
            click.echo(f"{label:<10} {value if isinstance(value, str) else ', '.join(value)}")
    for protocol in card.get("protocols", ()):
        click.echo(f"\nprotocol   {protocol['name']}: {protocol['summary']}")
        for label in ("splits", "faults"):
            if protocol[label]:
                print_rows(protocol[label])
    for label in ("options", "rules"):
        if card.get(label):
            click.echo()
            # What an option decides is noted in its description.
            rows = [{column: value for column, value in row.items() if column != "decides"} for row in card[label]]
            print_rows([{column: str(value) for column, value in row.items()} for row in rows])


def _show_resolved(kind: str, name: str, profile: str, plugin_files: Sequence[Path]) -> None:
    """All settings of a recipe with a profile, as a run with it records them.

    Raises:
        UsageError: it is no recipe.
    """
    from fptkit.errors import UsageError

    if kind != "recipe":
        raise UsageError(f"--profile is for recipes, not for a {kind}; use fptkit show recipe NAME --profile {profile}")
    from fptkit.recipe.dump import dump_recipe
    from fptkit.recipe.load import load_recipe

    loaded = load_recipe(name, profile=profile, plugin_files=plugin_files, registry_loader=load_registry)
    click.echo(dump_recipe(loaded.recipe, [f"{loaded.name}, profile {profile}"]), nl=False)


def _show_published(name: str, as_json: bool) -> None:
    """The tables of one paper; as JSON, each figure with everything known about it."""
    from fptkit.lab.published import load_published, read_in, table_heading, table_notes, table_rows

    published = load_published(name)
    if as_json:
        print_json(published.model_dump(mode="json", exclude={"arms", "labels", "tables"}))
        return
    facts = {
        "name": published.name,
        "paper": f"{published.authors} {published.year}: {published.title}",
        "source": published.source,
        "read in": read_in(published.figures),
        "protocol": f"{published.protocol}: {published.protocol_words}",
        "rates": published.learning_rate_words,
        "seeds": str(published.seeds or "not recorded"),
    }
    for label, value in facts.items():
        click.echo(f"{label:<10} {value}")
    for table in published.tables:
        click.echo(f"\n{table_heading(published, table)}")
        print_rows(table_rows(published, table))
        for note in table_notes(published, table):
            click.echo(f"  {note}")
    click.echo("\nTables of the paper that are not here:")
    for absent in published.absent:
        click.echo(f"  {absent.place} ({absent.title}): {absent.why}")


def _card(spec: Spec, owner: str) -> dict[str, Any]:
    """All fields of a record, as plain data."""
    card: dict[str, Any] = {
        "name": spec.name,
        "summary": spec.summary,
        "plugin": owner,
        "reference": spec.reference,
        "source": spec.reference,  # the former name, which readers of the JSON may use
        "licence": spec.licence,
        "extra": spec.extra,
    }
    if isinstance(spec, TaskSpec):
        card["protocols"] = [
            {
                "name": protocol.name,
                "summary": protocol.summary,
                "splits": [{"split": name, "holds": holds} for name, holds in protocol.splits],
                "faults": [{"fault": number, "what it does here": effect} for number, effect in protocol.faults],
            }
            for protocol in spec.protocols
        ]
    if isinstance(spec, EncoderSpec):
        card["accepts"] = list(spec.accepts)
    if isinstance(spec, FreezingPolicySpec):
        card["rules"] = [
            {
                "trained role": rule.role,
                "blocks": rule.described_blocks,
                "learning rate": f"× {rule.learning_rate_multiplier:g}",
            }
            for rule in spec.rules
        ]
    if isinstance(spec, (ComponentSpec, FreezingPolicySpec)):
        from fptkit.recipe.schema import describe_options

        card["options"] = [asdict(row) for row in describe_options(spec.options_model())]
    return card
