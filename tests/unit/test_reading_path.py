"""The reading path in the architecture page: its links lead to what they name, and it can be read in one sitting."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def path() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fptkit_reading_path", DOCS / "reading_path.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_links_lead_to_what_they_name() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    links = re.findall(r"\[`([\w.]+)`\]\(\.\./(fptkit/[\w/]+\.py)#L(\d+)-L(\d+)\)", page)
    assert len(links) >= 10
    for name, file, first, last in links:
        lines = (DOCS.parent / file).read_text(encoding="utf-8").splitlines()
        head = next(line for line in lines[int(first) - 1 :] if re.match(r"\s*(def|class) ", line))
        assert re.match(rf"\s*(def|class) {name.rpartition('.')[2]}\b", head), f"{file}, line {first}: {head}"
        indent = len(head) - len(head.lstrip())
        after = next((line for line in lines[int(last) :] if line.strip()), "")
        assert len(after) - len(after.lstrip()) <= indent, f"{file}: '{name}' does not end at line {last}"


def test_the_path_is_short_enough_to_read(path: ModuleType) -> None:
    assert 300 <= sum(stop.lines for stop in path.stops()) <= path.LIMIT == 1_000


def test_a_definition_that_moved_is_named(path: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path, "PATH", (("engine/run.py", "gone", "nothing"),))
    with pytest.raises(LookupError, match=r"fptkit/engine/run\.py: gone does not exist"):
        list(path.stops())
