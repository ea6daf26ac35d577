"""Fetching from a hub on this machine, the manifest, and the check without network."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_layouts import GPT2
from model_hub import Hub, model_hub, use

from fptkit.errors import DataError, SourceError, UsageError
from fptkit.files import read_json
from fptkit.lab.prefetching.manifest import MOST_FILES, Result, check, complete, fetch, read_manifest, write_manifest
from fptkit.lab.prefetching.needs import Loaded, load_all, needs_of
from fptkit.recipe.load import load_installed
from fptkit.sources import data_sets
from fptkit.sources.download import Retries
from fptkit.sources.weights import PACKAGED

STUDY = f"""
tasks:
  bits: {{task: {{name: bit_xor, bits: 3, validation_size: 40, test_size: 50}}, train: {{batch_size: 8, max_steps: 6}}}}
arms:
  pretrained: {{backbone: {{name: gpt2, weights: "hub:{GPT2}"}}}}
  wide: {{backbone: {{name: gpt2, weights: "hub:{GPT2}"}}, encoder: {{name: linear, match_norm: true}}}}
  random: {{backbone: {{name: random, size: nano}}}}
"""
LISTOPS = """
task: {name: listops, source: [lra, generated], train_size: 9, validation_size: 9, test_size: 9, length: [5, 20]}
backbone: {name: random, size: nano}
"""


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return {name: (PACKAGED / "gpt2_nano" / name).read_bytes() for name in ("config.json", "model.safetensors")}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, bytes]) -> Iterator[Hub]:
    monkeypatch.setattr("fptkit.sources.hub.RETRIES", Retries(timeout_s=10, attempts=1, wait_s=0))
    with model_hub() as found:
        use(found.address, monkeypatch, tmp_path / "home", token=None)
        found.put(GPT2, files)
        yield found


def loaded(text: str, folder: Path, *overrides: str) -> Loaded:
    file = folder / "mine.yaml"
    file.write_text(text)
    return load_all(str(file), load_installed([]), overrides=overrides)


def states(results: list[Result]) -> dict[str, str]:
    return {f"{result.need.kind} {result.need.name}": result.state for result in results}


def test_arms_that_share_a_need_name_it_once(tmp_path: Path) -> None:
    data, weights = needs_of(loaded(STUDY, tmp_path).recipes)
    assert (data.kind, data.name, len(data.used_by)) == ("data", "bit_xor", 3)
    assert (weights.kind, weights.name, len(weights.used_by)) == ("weights", "gpt2", 2)
    (other, _) = needs_of(loaded(STUDY, tmp_path, "tasks.bits.task.bits=4").recipes)
    assert other.key != data.key
    assert needs_of(loaded(STUDY, tmp_path, "tasks.bits.train.max_steps=7").recipes)[0].key == data.key


def test_what_was_fetched_is_found_without_network(hub: Hub, tmp_path: Path, files: dict[str, bytes]) -> None:
    study, manifest = loaded(STUDY, tmp_path), tmp_path / "manifest.json"
    assert states(check(study, None)) == {"data bit_xor": "ok", "weights gpt2": "missing"}
    results = fetch(study)
    assert complete(results)
    write_manifest(manifest, study, results)
    weights = next(one for one in read_json(manifest)["needs"] if one["kind"] == "weights")
    assert (weights["source"], weights["stand_in"]) == (f"hub:{GPT2}", False)
    assert weights["revision"] == hub.repositories[GPT2].branches["main"]
    assert {one["name"]: (one["bytes"], one["sha256"]) for one in weights["files"]} == {
        name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in files.items()
    }
    asked = len(hub.requests)
    assert states(check(study, manifest)) == {"data bit_xor": "ok", "weights gpt2": "ok"}
    assert len(hub.requests) == asked


def fetched(tmp_path: Path) -> tuple[Loaded, Path, Path]:
    """A study that was fetched, its manifest, and its file of weights in the cache."""
    study, manifest = loaded(STUDY, tmp_path), tmp_path / "manifest.json"
    results = fetch(study)
    write_manifest(manifest, study, results)
    record = results[1].record
    assert record is not None
    return study, manifest, Path(next(one["path"] for one in record["files"] if one["name"] == "model.safetensors"))


def test_other_or_missing_files_are_found(hub: Hub, tmp_path: Path) -> None:
    study, manifest, weights = fetched(tmp_path)
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + b"x")
    differs = check(study, manifest)[1]
    assert differs.state == "differs"
    assert "model.safetensors is not the file that was fetched" in differs.problem
    weights.unlink()
    missing = check(study, manifest)[1]
    assert (missing.state, missing.record) == ("missing", None)
    assert "this check uses no network" in missing.problem
    assert not complete([missing])


def test_a_fallback_is_not_what_was_fetched(hub: Hub, tmp_path: Path) -> None:
    text = f"task: {{name: bit_xor}}\nbackbone: {{name: gpt2, weights: ['hub:{GPT2}', 'builtin:gpt2_nano']}}\n"
    recipe, manifest = loaded(text, tmp_path), tmp_path / "manifest.json"
    write_manifest(manifest, recipe, fetch(recipe))
    shutil.rmtree(tmp_path / "home")
    result = check(recipe, manifest)[1]
    assert (result.state, "builtin:gpt2_nano is used, but hub:" in result.problem) == ("differs", True)
    without = check(recipe, None)[1]
    assert (without.state, without.problem.startswith(f"hub:{GPT2}: not in the local cache")) == ("fallback", True)
    assert complete([without])


def test_a_changed_recipe_is_not_in_the_manifest(hub: Hub, tmp_path: Path) -> None:
    _, manifest, _ = fetched(tmp_path)
    results = check(loaded(STUDY, tmp_path, "tasks.bits.task.bits=4"), manifest)
    assert [result.state for result in results] == ["differs", "ok"]
    assert "it is not in the manifest" in results[0].problem


def test_data_that_changed(tmp_path: Path) -> None:
    table, manifest = tmp_path / "table.csv", tmp_path / "manifest.json"
    table.write_text("x,label\n" + "".join(f"{n % 7 / 4},{n % 2}\n" for n in range(40)))
    text = f"task: {{name: table, source: 'path:{table}', target: label}}\nbackbone: {{name: random, size: nano}}\n"
    recipe = loaded(text, tmp_path)
    results = fetch(recipe)
    write_manifest(manifest, recipe, results)
    record = results[0].record
    assert record is not None
    assert (record["place"], record["files"][0]["name"]) == (str(tmp_path), "table.csv")
    assert complete(check(recipe, manifest))
    table.write_text(table.read_text() + "41,0\n")
    assert check(recipe, manifest)[0].state == "differs"
    table.unlink()
    assert check(recipe, manifest)[0].state == "missing"


def test_many_files_are_not_listed(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / "many" / label).mkdir(parents=True)
        for number in range(MOST_FILES // 2 + 1):
            (tmp_path / "many" / label / f"{number}.png").write_bytes(picture())
    text = f"task: {{name: images, source: 'path:{tmp_path}/many'}}\nbackbone: {{name: random, size: nano}}\n"
    record = fetch(loaded(text, tmp_path))[0].record
    assert record is not None
    assert (record["files"], record["place"]) == ([], str(tmp_path / "many"))
    assert record["digest"]


def picture() -> bytes:
    import io

    from PIL import Image

    stream = io.BytesIO()
    Image.new("L", (8, 8)).save(stream, "PNG")
    return stream.getvalue()


def test_a_data_set_that_its_task_does_not_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = loaded(LISTOPS, tmp_path)

    def refused(name: str) -> None:
        raise SourceError(f"data set {name}", [("https://x", "the server answers 403")], "Ask for it.")

    def put(name: str) -> None:
        folder = data_sets.data_folder() / name
        folder.mkdir(parents=True)
        for stem in data_sets.find_data_set(name).records:
            (folder / f"{stem}.tsv").write_text("Source\tTarget\n" + "( ( ( [MAX 2 ) 9 ) ] )\t9\n" * 12)

    monkeypatch.setattr(data_sets, "fetch", refused)
    (result,) = fetch(recipe)
    assert (result.state, "the server answers 403" in result.problem) == ("fallback", True)
    monkeypatch.setattr(data_sets, "fetch", put)
    (result,) = fetch(recipe)
    assert (result.state, result.record and result.record["source"]) == ("ok", "lra")
    monkeypatch.setattr(data_sets, "fetch", refused)
    assert fetch(recipe) == [dataclasses.replace(result)]  # it is not fetched again


def test_a_data_set_behind_one_that_is_here_is_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_sets, "fetch", lambda name: pytest.fail("fetched"))
    assert states(fetch(loaded(LISTOPS, tmp_path, "task.source=[generated, lra]"))) == {"data listops": "ok"}


@pytest.mark.parametrize(
    ("change", "error"),
    [({"name": "other"}, DataError), ({"format": 2, "own_digest": None}, UsageError), ({"needs": 3}, DataError)],
)
def test_manifests_that_cannot_be_used(tmp_path: Path, change: dict[str, object], error: type[Exception]) -> None:
    recipe, manifest = loaded(LISTOPS, tmp_path, "task.source=generated"), tmp_path / "manifest.json"
    write_manifest(manifest, recipe, [])
    assert read_manifest(manifest) == {}
    content = {**json.loads(manifest.read_text()), **change}
    manifest.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))
    with pytest.raises(error):
        read_manifest(manifest)


def test_a_manifest_that_cannot_be_written(tmp_path: Path) -> None:
    recipe = loaded(LISTOPS, tmp_path, "task.source=generated")
    with pytest.raises(UsageError, match="cannot be written: No such file"):
        write_manifest(tmp_path / "nothing" / "manifest.json", recipe, [])
