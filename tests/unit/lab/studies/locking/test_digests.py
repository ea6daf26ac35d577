"""Digests of weights and plugins that a study uses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from finished_studies import load

from fptkit.lab.studies.locking import digests
from fptkit.lab.studies.locking.digests import UNKNOWN, of_plugins, of_weights

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
