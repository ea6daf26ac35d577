"""The page about reliability says what the campaign and the mutation test wrote: complete, dated, and with reasons."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def campaign() -> dict[str, object]:
    content: dict[str, object] = json.loads((RESULTS / "reliability.json").read_text())
    return content


def test_every_part_of_the_campaign_is_on_the_page(campaign: dict[str, list[dict[str, str]]]) -> None:
    pytest.importorskip("hypothesis")
    from parts import all_parts

    made = {part["name"]: part for part in campaign["parts"]}
    assert made.keys() == {part.name for part in all_parts()}
    assert {name: part["promise"] for name, part in made.items()} == {part.name: part.promise for part in all_parts()}
    assert all(f"`{name}`" in PAGE for name in made)


def test_what_was_broken_is_on_the_page(campaign: dict[str, list[dict[str, dict[str, int]]]]) -> None:
    found = [kind for part in campaign["parts"] for kind in part["faults"]]
    assert all(kind in PAGE for kind in found)
    assert ("No promise was broken." in PAGE) is not bool(found)


def test_figures_have_date_machine_and_versions(campaign: dict[str, object]) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", str(campaign["date"]))
    assert {"date", "command", "machine", "versions", "parts"} == campaign.keys()


def test_every_change_that_lives_has_a_reason() -> None:
    content = json.loads((RESULTS / "mutants.json").read_text())
    without = [f"{one['where']}: {one['change']}" for one in content["living"] if not one["why"]]
    assert not without
    assert len(content["living"]) == sum(file["alive"] for file in content["files"].values())


def test_nine_of_ten_changes_are_noticed() -> None:
    sys.path.append(str(ROOT / "docs"))
    try:
        import reliability
    finally:
        sys.path.remove(str(ROOT / "docs"))
    made, killed = (int(cell.replace(",", "")) for cell in reliability.mutants()[-1][1:3])
    assert killed >= 0.9 * made
