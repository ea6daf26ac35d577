"""The tables of ``docs/reliability.md``, from what the campaign of faults and the mutation testing wrote."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
CAMPAIGN = RESULTS / "reliability.json"
"""Written by ``python tests/campaign --figures docs/results/reliability.json``."""

MUTANTS = RESULTS / "mutants.json"
"""Written by ``python tests/campaign/mutants.py``."""

Rows = Sequence[tuple[str, ...]]


def promises() -> Rows:
    """A row for each promise: the part that tests it, how often, and how often it was broken."""
    content = _read(CAMPAIGN)
    return [
        (
            part["promise"],
            f"`{part['name']}`",
            f"{part['made']:,} {part['tries']}",
            f"{sum(part['faults'].values()):,}",
            content["date"],
        )
        for part in content["parts"]
    ]


def circumstances() -> str:
    """Command, machine and versions of the figures, and which parts are not complete."""
    content = _read(CAMPAIGN)
    machine, versions = content["machine"], content["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [
        f"`{content['command']}`, on {content['date']}, {machine['processor']} ({machine['cores']} cores, "
        f"{machine['system']}), {named}."
    ]
    partial = [part for part in content["parts"] if part["share"] < 1]
    if partial:
        shares = ", ".join(f"`{part['name']}` {part['share']:.0%}" for part in partial)
        lines.append(f"Of the planned trials of these parts, a share was made in the time: {shares}.")
    return " ".join(lines)


def kinds() -> Rows:
    """A row for each part, with its tries by kind and the largest values measured."""
    rows = []
    for part in _read(CAMPAIGN)["parts"]:
        counts = ", ".join(f"{name} {count:,}" for name, count in part["counts"].items())
        largest = ", ".join(f"{name} {value:g}" for name, value in part["largest"].items())
        rows.append((f"`{part['name']}`", counts, largest))
    return rows


def broken() -> str:
    """What was found, by part; a sentence if it is nothing."""
    found = [
        f"- `{part['name']}`: {kind} ({count:,} times)"
        for part in _read(CAMPAIGN)["parts"]
        for kind, count in part["faults"].items()
    ]
    return "\n".join(found) or "No promise was broken."


def mutants() -> Rows:
    """A row for each file of the honest core: changes that were tried, those that a test noticed, and the rest."""
    files = _read(MUTANTS)["files"]
    sums = {key: sum(counts[key] for counts in files.values()) for key in ("killed", "alive", "not tried")}
    return [
        _mutants_row(name, counts)
        for name, counts in {**{f"`{file}`": files[file] for file in files}, "together": sums}.items()
    ]


def _mutants_row(name: str, counts: dict[str, int]) -> tuple[str, ...]:
    tried = counts["killed"] + counts["alive"]
    share = f"{counts['killed'] / tried:.1%}" if tried else ""
    return name, f"{tried:,}", f"{counts['killed']:,}", share, f"{counts['not tried']:,}"


def mutants_made() -> str:
    """Tool, date and tests of the figures."""
    content = _read(MUTANTS)
    return f"{content['tool']}, on {content['date']}, with the tests of `[tool.mutmut]` in `pyproject.toml`."


def living() -> Rows:
    """A row for each change that no test notices, and why."""
    return [(f"`{one['where']}`", f"`{one['change']}`", one["why"]) for one in _read(MUTANTS)["living"]]


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
