"""Choosing a task by what each one sees; tasks of plugins take part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fptkit.errors import DataError, PluginError, UnknownNameError, UsageError
from fptkit.lab.proposals.choose import choose_task
from fptkit.specs import TaskSpec
from fptkit.tasks.reading.look import Look

Looking = Callable[[Path, Sequence[str]], Any]


def registry_of(looks: Mapping[str, Looking | None]) -> Any:
    """A registry of tasks with these functions ``look``."""
    specs = {name: TaskSpec(name=name, summary=name, target="a.b:c", look=look) for name, look in looks.items()}
    return SimpleNamespace(names=lambda kind: sorted(specs), get=lambda kind, name: specs[name])


def seeing(task: str, score: float, lacking: str = "") -> Looking:
    return lambda place, labels: Look(task, score, f"why {task}", lacking=lacking)


def broken(place: Path, labels: Sequence[str]) -> Look:
    raise DataError(f"{place}: broken")


def test_the_highest_score_wins(tmp_path: Path) -> None:
    looks = {"a": seeing("a", 0.3), "b": seeing("b", 0.8), "none": lambda place, labels: None, "other": None}
    chosen = choose_task(tmp_path, registry_of(looks))
    assert chosen.look.task == "b"
    assert [look.task for look in chosen.others] == ["a"]
    assert choose_task(tmp_path, registry_of(looks), task="a").look.task == "a"


def test_equal_scores_are_the_users_choice(tmp_path: Path) -> None:
    looks = registry_of({"a": seeing("a", 0.8), "b": seeing("b", 0.8), "c": seeing("c", 0.1)})
    with pytest.raises(UsageError, match=r"--task a \(why a\), --task b \(why b\)$"):
        choose_task(tmp_path, looks)


def test_what_is_lacking_comes_with_the_other_tasks(tmp_path: Path) -> None:
    looks = registry_of({"a": seeing("a", 0.8, "which column?"), "b": seeing("b", 0.5)})
    with pytest.raises(UsageError, match=r"which column\?. Or choose another task: --task b"):
        choose_task(tmp_path, looks)


def test_errors_count_only_if_nobody_can_read_the_data(tmp_path: Path) -> None:
    assert choose_task(tmp_path, registry_of({"a": broken, "b": seeing("b", 0.1)})).look.task == "b"
    with pytest.raises(DataError, match="broken"):
        choose_task(tmp_path, registry_of({"a": broken}))


def test_unknown_tasks_and_broken_plugins(tmp_path: Path) -> None:
    looks = registry_of({"a": lambda place, labels: "yes", "other": None})
    with pytest.raises(PluginError, match="look returned str"):
        choose_task(tmp_path, looks)
    with pytest.raises(UnknownNameError, match="known: a"):
        choose_task(tmp_path, looks, task="other")
    with pytest.raises(PluginError, match="look 'nowhere' is not of the form"):
        TaskSpec(name="x", summary="x", target="a.b:c", look="nowhere")


def test_a_place_of_no_task(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the folder is empty"):
        choose_task(tmp_path, registry_of({"a": lambda place, labels: None}))
    (tmp_path / "x.abc").touch()
    with pytest.raises(UsageError, match="no task reads files like these"):
        choose_task(tmp_path, registry_of({"a": lambda place, labels: None}))
