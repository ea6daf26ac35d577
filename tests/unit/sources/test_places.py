"""Where the data of a recipe are, before and after a task opens them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import Field

from fptkit.errors import DataError, PluginError
from fptkit.options import Options
from fptkit.sources.places import TaskData, data_digest
from fptkit.specs import TaskSpec


class Sourced(Options):
    source: tuple[str, ...] = ("generated",)
    extra: Path | None = None
    inner: Mapping[str, str] = Field(default={})


class Plain(Options):
    bits: int = 3


def spec(**fields: object) -> TaskSpec:
    return TaskSpec(name="mine", summary="s", target="a:b", **fields)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path / "cache"))


def file(path: Path, text: str = "x") -> Path:
    path.write_text(text)
    return path


def test_content_under_the_same_path_decides(tmp_path: Path) -> None:
    path = file(tmp_path / "a.csv", "one")
    options = Sourced(source=(f"path:{path}",))
    before = data_digest(spec(), options)
    assert before == data_digest(spec(), Sourced(source=(f"path:{file(tmp_path / 'copy.csv', 'one')}",)))
    file(path, "two")
    assert data_digest(spec(), options) not in ("", before)


def test_generated_data_have_no_files_and_are_known_by_their_definition() -> None:
    assert data_digest(spec(), Plain()) == ""
    found = TaskData(spec(), Plain()).identity("generated")
    assert found.source == "generated"
    assert found.files == 0
    assert found != TaskData(spec(), Plain(bits=4)).identity("generated")


def test_only_the_source_that_was_opened_counts(tmp_path: Path) -> None:
    one, two = (file(tmp_path / name, name) for name in "ab")
    options = Sourced(source=(f"path:{tmp_path / 'absent'}", f"path:{one}", f"path:{two}"))
    data = TaskData(spec(), options)
    assert data.identity(f"path:{two}").parts.keys() == {"b"}
    assert data.identity(f"path:{one}").digest == TaskData(spec(), options, f"path:{one}").identity("other").digest
    assert data.identity(f"path:{tmp_path / 'absent'}").files == 0


def test_paths_anywhere_in_the_options_count(tmp_path: Path) -> None:
    path = file(tmp_path / "a")
    for options in (Sourced(extra=path), Sourced(inner={"x": f"path:{path}"})):
        assert data_digest(spec(), options) == data_digest(spec(), Sourced(source=(f"path:{path}",)))


def test_a_task_that_names_no_source_gets_that_of_its_files(tmp_path: Path) -> None:
    path = file(tmp_path / "a")
    assert TaskData(spec(), Sourced(source=(), extra=path)).stated_source("generated") == f"path:{path}"
    assert TaskData(spec(), Sourced(source=(f"path:{path}",))).stated_source("generated") == f"path:{path}"
    assert TaskData(spec(), Sourced(source=("generated", f"path:{path}"))).stated_source("generated") == "generated"
    assert TaskData(spec(), Plain()).stated_source("generated") == "generated"
    assert TaskData(spec(), Sourced(extra=path)).stated_source("tape") == "tape"


def test_a_record_may_say_which_files_count(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv", "notes.md"):
        file(tmp_path / name)
    options = Sourced(source=(f"path:{tmp_path}", "named"))
    csv = spec(files=lambda options, entry: sorted(tmp_path.glob("*.csv")) if entry == "named" else [])
    data = TaskData(csv, options)
    assert data.identity("named").parts.keys() == {"a.csv", "b.csv"}
    assert data.identity(f"path:{tmp_path}").files == 0


def test_a_pattern_stands_for_its_files(tmp_path: Path) -> None:
    for name in ("a1.csv", "a2.csv", "b.csv"):
        file(tmp_path / name, name)
    found = TaskData(spec(), Sourced(source=(f"path:{tmp_path}/a*.csv",))).identity("x")
    assert found.parts.keys() == {"a1.csv", "a2.csv"}


def test_parts_that_are_not_files(tmp_path: Path) -> None:
    data = TaskData(spec(), Sourced(source=(f"path:{file(tmp_path / 'a')}",)))
    one, two = (data.identity(f"path:{tmp_path / 'a'}", {"hub": value}) for value in ("1", "2"))
    assert one.digest != two.digest
    assert one.facts()["other_parts"] == ["hub"]


def test_a_file_that_is_replaced_while_the_task_reads_it(tmp_path: Path) -> None:
    path = file(tmp_path / "a", "one")
    data = TaskData(spec(), Sourced(source=(f"path:{path}",)))
    file(path, "other")
    with pytest.raises(DataError, match="changed while it was read"):
        data.identity(f"path:{path}")


def test_a_wrong_function_is_reported() -> None:
    with pytest.raises(PluginError, match=r"task 'mine': files must take \(options, entry\)"):
        TaskData(spec(files=lambda: ()), Sourced(source=("x",)))
