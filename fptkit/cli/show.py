"""``fptkit show``: one component with its options, one recipe, one study, or the figures of one paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fptkit.cli.completion import component_names
from fptkit.cli.shared import json_option, load_registry, plugin_option, print_json, print_rows, recipe_options
from fptkit.specs import NOUNS, ComponentSpec, EncoderSpec, FreezingPolicySpec, Spec, TaskSpec

if TYPE_CHECKING:
    from fptkit.recipe.load import LoadedRecipe


@click.command()
@click.argument("kind", type=click.Choice([*NOUNS, "recipe", "study", "published"]))
@click.argument("name", shell_complete=component_names)
@recipe_options
@json_option
@plugin_option
def show(
    kind: str, name: str, profile: str | None, overrides: Sequence[str], as_json: bool, plugin_files: Sequence[Path]
) -> None:
    """Show the component NAME of a KIND with all its options, the text of a recipe or study, or the published figures
    of a paper.

    With --profile or --set, a recipe is shown as it would run: with every option, and what its protocol does.
    """
    if profile is not None or overrides:
        _show_resolved(kind, name, profile, overrides, plugin_files, as_json=as_json)
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


def _show_resolved(
    kind: str,
    name: str,
    profile: str | None,
    overrides: Sequence[str],
    plugin_files: Sequence[Path],
    *,
    as_json: bool,
) -> None:
    """A recipe with every option, as it would run."""
    from fptkit.errors import UsageError
    from fptkit.recipe.dump import dump_recipe, recipe_mapping
    from fptkit.recipe.load import load_recipe

    if kind != "recipe":
        instead = f"use fptkit show recipe NAME --profile {profile or 'PROFILE'}"
        if kind == "study":
            instead = f"for a study: fptkit study {name} --dry-run with the same options"
        raise UsageError(f"show {kind}: --profile and --set are for recipes; {instead}")
    loaded = load_recipe(
        name, profile=profile, overrides=overrides, plugin_files=plugin_files, registry_loader=load_registry
    )
    if as_json:
        print_json(recipe_mapping(loaded.recipe))
        return
    chosen = [f"profile {profile}"] if profile is not None else []
    title = ", ".join([loaded.name, *chosen, *overrides])
    click.echo(dump_recipe(loaded.recipe, [title, *_protocol_lines(loaded)]), nl=False)


def _protocol_lines(loaded: LoadedRecipe) -> list[str]:
    """What the task's protocol does, and what its other protocols would do."""
    task = loaded.recipe.task
    chosen = getattr(task.options, "protocol", "clean")
    lines = []
    for protocol in loaded.registry.get(TaskSpec, task.name).protocols:
        if protocol.faults:
            own = protocol.name == chosen
            does = f"protocol {chosen} does:" if own else f"protocol {chosen}; with task.protocol={protocol.name}:"
            lines += [does, *(f"  {number:<4}{effect}" for number, effect in protocol.faults)]
    return lines


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
