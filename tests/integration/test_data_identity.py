"""Data are known by content: what a run keeps of them, and what happens if they are replaced under the same path."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from whole_runs import start

from fptkit.engine.build import build_task
from fptkit.engine.preparation import read_preparation
from fptkit.errors import DataError, PluginError
from fptkit.lab.studies.address import address_of, data_of
from fptkit.recipe.load import load_recipe
from fptkit.registry import load_plugins
from fptkit.sources.identity import file_digest

RECIPE = """
task: {{name: table, source: "path:{data}", target: label}}
backbone: {{name: random, blocks: 1, width: 16, heads: 2, size: nano, dropout: 0.0}}
train: {{batch_size: 8, max_steps: 6, validate_every: 3, patience: null}}
threads: 1
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path / "cache"))


def write_table(path: Path, seed: int = 0) -> Path:
    chance = np.random.default_rng(seed)
    rows = [f"{x:.4f},{'ab'[int(x > 0)]}" for x in chance.normal(size=60)]
    path.write_text("\n".join(["x,label", *rows]))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_table(tmp_path / "t.csv")


@pytest.fixture
def recipe(tmp_path: Path, data: Path) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE.format(data=data))
    return path


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


def test_a_run_keeps_the_digest_of_its_data(tmp_path: Path, recipe: Path, data: Path) -> None:
    found = start(recipe, tmp_path / "run")
    digest = file_digest(data)
    size = data.stat().st_size
    assert found["data"] == {
        "source": f"path:{data}",
        "digest": digest,
        "files": 1,
        "bytes": size,
        "parts": {"t.csv": digest},
    }
    assert found["task"]["source"] == f"path:{data}"
    for file in (tmp_path / "run/model.json", *(tmp_path / "run/checkpoints").glob("*/state.json")):
        assert json.loads(file.read_text())["data"] == {"source": f"path:{data}", "digest": digest}


def test_generated_data_are_known_by_their_definition(tmp_path: Path) -> None:
    path = tmp_path / "g.yaml"
    path.write_text(RECIPE.split("\n", 2)[2].replace("{{", "{").replace("}}", "}") + "task: {name: bit_xor, bits: 3}\n")
    one, two = (start(path, tmp_path / name, f"task.bits={bits}")["data"] for name, bits in (("a", 3), ("b", 4)))
    assert one["source"] == "generated"
    assert one["files"] == 0
    assert one["digest"] != two["digest"]


def test_an_interrupted_run_is_not_resumed_on_other_data(tmp_path: Path, recipe: Path, data: Path) -> None:
    before = start(recipe, tmp_path / "run", pause_at=3)
    old = before["data"]["digest"]
    write_table(data, seed=1)
    with pytest.raises(DataError, match=rf"digest {old}, but the data there now have {file_digest(data)}") as caught:
        start(recipe, tmp_path / "run", resume=True)
    assert caught.value.exit_code == 3
    after = summary(tmp_path / "run")
    assert (after["data"]["digest"], after["data"]["refused"]["digest"]) == (old, file_digest(data))
    write_table(data, seed=0)
    assert start(recipe, tmp_path / "run", resume=True)["status"] == "finished"
    assert "refused" not in summary(tmp_path / "run")["data"]


def test_a_test_is_not_opened_on_other_data(tmp_path: Path, recipe: Path, data: Path) -> None:
    start(recipe, tmp_path / "run", open_test=False)
    write_table(data, seed=1)
    with pytest.raises(DataError, match="start a new run with another --output"):
        start(recipe, tmp_path / "run", resume=True)
    assert summary(tmp_path / "run")["times_tested"] == 0


def test_a_finished_run_is_not_shown_for_other_data_but_for_data_that_are_gone(
    tmp_path: Path, recipe: Path, data: Path
) -> None:
    start(recipe, tmp_path / "run")
    write_table(data, seed=1)
    with pytest.raises(DataError, match="put the original data back"):
        start(recipe, tmp_path / "run", resume=True)
    data.unlink()
    assert start(recipe, tmp_path / "run", resume=True)["status"] == "finished"


def test_data_that_only_the_checkpoint_knows_are_compared_too(tmp_path: Path, recipe: Path, data: Path) -> None:
    start(recipe, tmp_path / "run", pause_at=3)
    (tmp_path / "run/summary.json").unlink()
    write_table(data, seed=1)
    with pytest.raises(DataError, match="its run was trained on"):
        start(recipe, tmp_path / "run", resume=True)


def test_a_run_of_an_earlier_version_is_resumed(tmp_path: Path, recipe: Path, data: Path) -> None:
    start(recipe, tmp_path / "run", pause_at=3)
    for file in (tmp_path / "run/summary.json", *(tmp_path / "run/checkpoints").glob("*/state.json")):
        content = json.loads(file.read_text())
        del content["data"], content["own_digest"]
        file.write_text(json.dumps(content))
    assert start(recipe, tmp_path / "run", resume=True)["status"] == "finished"


def test_a_run_on_data_that_change_while_they_are_read_fails(
    tmp_path: Path, recipe: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fptkit.tasks.table import task

    read = task.read_table

    def read_and_replace(path: Path, *args: Any, **options: Any) -> Any:
        found = read(path, *args, **options)
        write_table(data, seed=2)
        return found

    monkeypatch.setattr(task, "read_table", read_and_replace)
    with pytest.raises(DataError, match=r"t.csv: the file changed while it was read"):
        start(recipe, tmp_path / "run")


def test_other_content_gives_another_address_and_the_old_content_the_old_one(recipe: Path, data: Path) -> None:
    made = load_recipe(str(recipe))
    before = address_of(made.recipe, "code", registry=made.registry)
    write_table(data, seed=1)
    other = address_of(made.recipe, "code", registry=made.registry)
    write_table(data, seed=0)
    assert address_of(made.recipe, "code", registry=made.registry) == before != other


def test_a_study_keeps_to_the_data_it_began_with(recipe: Path, data: Path) -> None:
    made, known = load_recipe(str(recipe)), {}
    before = address_of(made.recipe, "code", registry=made.registry, data=known)
    write_table(data, seed=1)
    assert address_of(made.recipe, "code", registry=made.registry, data=known) == before
    assert data_of(made.recipe, made.registry) not in known.values()


def test_the_preparation_of_a_run_needs_no_data(tmp_path: Path, recipe: Path, data: Path) -> None:
    start(recipe, tmp_path / "run")
    new = shutil.copy(data, tmp_path / "new.csv")
    data.unlink()
    saved = read_preparation(tmp_path / "run", load_plugins(selection=""))
    assert saved.task == "table"
    assert saved.output.names == ("a", "b")
    assert saved.encoder == "features"
    assert saved.preparation is not None
    batch = saved.preparation.prepare(saved.preparation.read([f"path:{new}"]))
    assert len(batch) == 60
    saved.input.faults(batch.inputs, 60, saved.max_tokens)
    with safe_open(tmp_path / "run/model.safetensors", "pt") as tensors:
        assert tensors.get_slice("encoder.weight").get_shape() == [saved.max_tokens, saved.input.channels, 16]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 9}, "has format 9"),
        ({"preparation": {"columns": 3}}, r"preparation\.\w+.* damaged or of another version"),
        ({"output": {"kind": "none"}}, "is not a kind of"),
    ],
)
def test_a_damaged_preparation(tmp_path: Path, recipe: Path, change: dict[str, Any], message: str) -> None:
    start(recipe, tmp_path / "run", "train.max_steps=1", "train.validate_every=1")
    file = tmp_path / "run/preparation.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, **change}))
    with pytest.raises(DataError, match="was altered"):
        read_preparation(tmp_path / "run", load_plugins(selection=""))
    del content["own_digest"]
    file.write_text(json.dumps({**content, **change}))
    with pytest.raises(DataError, match=message):
        read_preparation(tmp_path / "run", load_plugins(selection=""))
    del content["encoder"]
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="lacks 'encoder'"):
        read_preparation(tmp_path / "run", load_plugins(selection=""))
    content |= {"encoder": "features", "task": "bit_xor"}
    file.write_text(json.dumps(content))
    with pytest.raises(PluginError, match="its record does not name the class"):
        read_preparation(tmp_path / "run", load_plugins(selection=""))


def _npz(folder: Path, version: int) -> dict[str, Any]:
    images = np.full((20, 28, 28), version, np.uint8)
    np.savez(folder / "m.npz", x_train=images, y_train=np.arange(20) % 2, x_test=images, y_test=np.arange(20) % 2)
    return {"source": f"path:{folder / 'm.npz'}"}


def _class_folders(folder: Path, version: int) -> dict[str, Any]:
    from PIL import Image

    for place in ("train/a", "train/b", "test/a", "test/b"):
        (folder / place).mkdir(parents=True, exist_ok=True)
        Image.new("L", (28, 28), version).save(folder / place / "1.png")
    return {"source": f"path:{folder}"}


def _records(folder: Path, version: int) -> dict[str, Any]:
    for split in ("train", "valid", "test_family_holdout"):
        records = [{"primary": "M" * (version + 1), "fold_label": n % 2} for n in range(4)]
        (folder / f"remote_homology_{split}.json").write_text(json.dumps(records))
    return {"source": f"path:{folder}"}


def _lmdb(folder: Path, version: int) -> dict[str, Any]:
    import pickle

    import lmdb

    for split in ("train", "valid", "test_family_holdout"):
        path = str(folder / f"remote_homology_{split}.lmdb")
        with lmdb.open(path, map_size=1 << 20) as opened, opened.begin(write=True) as write:
            for n in range(4):
                record = {"primary": "M" * (version + 1), "fold_label": n % 2}
                write.put(str(n).encode(), pickle.dumps(record))
            write.put(b"num_examples", pickle.dumps(4))
    return {"source": f"path:{folder}"}


def _expressions(folder: Path, version: int) -> dict[str, Any]:
    for split in ("train", "validation", "test"):
        lines = [f"{n + version}\t[MAX {n + version} 0 ]" for n in range(5)]
        (folder / f"{split}.tsv").write_text("\n".join(lines))
    return {"source": f"path:{folder}"}


SOURCES = {
    "an npz of pictures": ("mnist", _npz),
    "class folders": ("mnist", _class_folders),
    "protein records": ("remote_homology", _records),
    "an LMDB of records": ("remote_homology", _lmdb),
    "expressions": ("listops", _expressions),
}


@pytest.mark.parametrize("case", SOURCES)
def test_files_of_every_task_identify_its_data(tmp_path: Path, case: str) -> None:
    name, write = SOURCES[case]
    folder = tmp_path / "data"
    folder.mkdir()
    recipe = tmp_path / "r.yaml"
    recipe.write_text(RECIPE.split("\n", 2)[2].replace("{{", "{").replace("}}", "}") + f"task: {{name: {name}}}\n")
    digests = []
    for version in (0, 1, 0):
        if case == "an LMDB of records" and version == 0 and digests:
            continue  # an LMDB written twice is not the same bytes
        source = write(folder, version)["source"]
        made = load_recipe(str(recipe), overrides=[f"task.source={source}"])
        task = build_task(made.recipe, made.registry)
        assert task.source == source
        assert task.data is not None
        assert task.data.digest == data_of(made.recipe, made.registry)
        digests.append(task.data.digest)
    assert digests[0] != digests[1]
    assert digests[2:] in ([], [digests[0]])


@pytest.mark.parametrize("extra", ["notes.txt", ".DS_Store"])
def test_files_that_a_task_does_not_read_do_not_count(tmp_path: Path, extra: str) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(RECIPE.split("\n", 2)[2].replace("{{", "{").replace("}}", "}") + "task: {name: listops}\n")
    made = load_recipe(str(recipe), overrides=[f"task.source={_expressions(tmp_path, 0)['source']}"])
    before = data_of(made.recipe, made.registry)
    (tmp_path / extra).write_text("x")
    assert data_of(made.recipe, made.registry) == before
