"""Exports of runs of every format: they load as their README says, in a process without fptkit or without the data."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("pandas")
pytest.importorskip("pyarrow")
pytest.importorskip("scipy")

from command_line import fptkit
from new_files import CASES, Case
from whole_runs import start

from fptkit.engine.build import build
from fptkit.engine.checkpoint import trained_tensors, write_model_files
from fptkit.engine.preparation import read_preparation, write_preparation
from fptkit.errors import CheckpointError
from fptkit.freezing import FreezeProof
from fptkit.inference.exports.form import form_of
from fptkit.inference.saved_task import SavedTask
from fptkit.inference.trained import load
from fptkit.recipe.dump import dump_recipe
from fptkit.recipe.load import load_recipe

pytestmark = pytest.mark.slow

FORMATS = ("table", "images", "arrays", "audio", "series scaled by train", "sequences", "text")
"""A case of each format of users' files."""

HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))

FORBIDDEN = "import sys\nfor name in {names}:\n    sys.modules[name] = None\n"
"""Modules that code must do without."""


SIMULATED = ["task.source=simulated", "threads=1"]


def run_readme(folder: Path, *without: str) -> str:
    """Run the code of a README.md as it is, in a fresh process in its folder; what it printed."""
    (code,) = re.findall(r"^```python\n(.*?)^```", (folder / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORBIDDEN.format(names=without) + code],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """Runs whose training data are gone."""
    base, found = tmp_path_factory.mktemp("cases"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FPTKIT_DATA", str(base / "cache"))
        for number, name in enumerate(FORMATS):
            (base / str(number)).mkdir()
            found[name] = CASES[name](base / str(number))
            for path in found[name].data:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    return found


def exported(run: Path, to: str, folder: Path) -> None:
    """Export a run; check what is printed and written, and run the code of README.md without fptkit."""
    done = fptkit("export", run, "--to", to, "--output", folder, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {path.name for path in folder.iterdir()} == told["files"].keys()
    assert (folder / "preparation.json").read_bytes() == (run / "preparation.json").read_bytes()
    assert all(line in (folder / "README.md").read_text() for line in told["check"])
    printed = run_readme(folder, *(["fptkit"] if to == "torch-export" else ["fptkit", "torch"]))
    assert float(printed.split(":")[1]) <= 1e-4


@pytest.mark.parametrize("name", FORMATS[::2])
def test_programs_load_as_their_readme_says(cases: dict[str, Case], tmp_path: Path, name: str) -> None:
    """And give the logits of the run for what its preparation makes of new files."""
    case = cases[name]
    exported(case.run, "torch-export", tmp_path / "out")
    program = torch.export.load(tmp_path / "out" / "model.pt2").module()
    model = load(case.run, device="cpu")
    for given in model.batches(case.new, batch_size=4):
        inputs, lengths = given.batch.inputs, given.batch.lengths
        assert isinstance(inputs, torch.Tensor)
        tensors = [inputs]
        if model.task.input.varies:
            tensors.append(torch.full((len(inputs),), inputs.shape[1]) if lengths is None else lengths)
        with torch.no_grad():
            expected = model.module(inputs, lengths)
            torch.testing.assert_close(program(*tensors), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not HAS_ONNX, reason="needs the extra export")
@pytest.mark.parametrize("name", ["table", "sequences", "text"])
def test_onnx_loads_as_its_readme_says(cases: dict[str, Case], tmp_path: Path, name: str) -> None:
    exported(cases[name].run, "onnx", tmp_path / "out")


@pytest.mark.parametrize("name", FORMATS)
def test_delta_files_answer_the_same_in_a_new_process(cases: dict[str, Case], tmp_path: Path, name: str) -> None:
    case, folder = cases[name], tmp_path / "out"
    assert fptkit("export", case.run, "--to", "safetensors", "--output", folder).returncode == 0
    delta = tmp_path / "alone.safetensors"
    shutil.copy(folder / "delta.safetensors", delta)
    code = (
        "import sys, numpy as np\nfrom fptkit.inference.trained import load\n"
        "found = load(sys.argv[1], device='cpu').logits('path:' + sys.argv[2])\nnp.save(sys.argv[3], found)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(delta), str(case.new), str(tmp_path / "logits.npy")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    expected = load(case.run, device="cpu").logits(case.new)
    np.testing.assert_array_equal(np.load(tmp_path / "logits.npy"), expected)


def test_delta_files_load_as_their_readme_says(cases: dict[str, Case], tmp_path: Path) -> None:
    assert fptkit("export", cases["text"].run, "--to", "safetensors", "--output", tmp_path / "out").returncode == 0
    assert "CrossModalModel(" in run_readme(tmp_path / "out")


def test_a_delta_file_does_not_say_where_the_data_were(cases: dict[str, Case], tmp_path: Path) -> None:
    case = cases["table"]
    assert fptkit("export", case.run, "--to", "safetensors", "--output", tmp_path / "out").returncode == 0
    assert str(case.run.parent).encode() not in (tmp_path / "out" / "delta.safetensors").read_bytes()


RECIPE = """
task: {name: bit_xor, bits: 3, validation_size: 40, test_size: 50}
backbone: {name: random, size: nano, blocks: 1, width: 16, heads: 2}
train: {batch_size: 8, max_steps: 6, validate_every: 3, patience: null}
threads: 1
"""


@pytest.fixture
def delta(recipe: Path, tmp_path: Path) -> Path:
    start(recipe, tmp_path / "run")
    assert fptkit("export", tmp_path / "run", "--to", "safetensors", "--output", tmp_path / "out").returncode == 0
    return tmp_path / "out" / "delta.safetensors"


def test_another_backbone_is_refused_with_both_digests(delta: Path, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    with safe_open(delta, "pt") as file:
        metadata = file.metadata()
    other = {**metadata, "recipe": metadata["recipe"].replace("\n  seed: 0", "\n  seed: 1")}
    assert other != metadata
    save_file(load_file(delta), tmp_path / "other.safetensors", other)
    with pytest.raises(CheckpointError) as err:
        load(tmp_path / "other.safetensors", device="cpu")
    before = json.loads(metadata["model"])["frozen"]["digest"]
    digests = re.findall(r"\b[0-9a-f]{64}\b", str(err.value))
    assert len(set(digests)) == 2
    assert before in digests
    done = fptkit("export", tmp_path / "other.safetensors", "--to", "safetensors", "--output", tmp_path / "again")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert not (tmp_path / "again").exists()


def test_a_delta_file_can_be_exported_again(delta: Path, tmp_path: Path) -> None:
    done = fptkit("export", delta, "--to", "safetensors", "--output", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    inputs = torch.randint(0, 2, (4, 6, 1)).float()
    one, other = (load(path, device="cpu").logits(inputs) for path in (delta, tmp_path / "again" / delta.name))
    np.testing.assert_array_equal(one, other)


def test_the_default_folder_is_named_after_the_run(delta: Path, tmp_path: Path) -> None:
    done = fptkit("export", delta.parents[1] / "run", "--to", "safetensors", cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "run-safetensors" / "delta.safetensors").is_file()
    done = fptkit("export", delta.parents[1] / "run", "--to", "safetensors", cwd=tmp_path)
    assert done.returncode == 2
    assert "already exists; choose another --output" in done.stderr


def test_an_export_that_does_not_agree_leaves_nothing(
    delta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fptkit.inference.exports.check.TOLERANCE", -1.0)
    for to in ("torch-export", "safetensors"):
        done = fptkit("export", delta, "--to", to, "--output", tmp_path / "none")
        assert done.returncode == 1
        assert f"backbone 'random' as {to}" in done.stderr
        assert "does not agree with the run" in done.stderr
        assert not [path for path in tmp_path.iterdir() if "none" in path.name]


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        (lambda folder: folder / "missing", 2, "there is no such folder"),
        (lambda folder: folder, 2, "holds no run"),
        (lambda folder: folder / "x.txt", 2, "is no delta file of fptkit"),
    ],
)
def test_what_is_no_run(make: object, code: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    done = fptkit("export", make(tmp_path), "--to", "safetensors", "--output", tmp_path / "o")  # type: ignore[operator]
    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert message in done.stderr


def test_a_delta_file_of_gpt2_base_on_cifar10_is_small(tmp_path: Path) -> None:
    """At most 1.1 MB of 85 million numbers, with the same logits in a new process. The weights are random."""
    loaded = load_recipe("cifar10_gpt2", overrides=["backbone.weights=random", "backbone.size=base", *SIMULATED])
    built = build(loaded.recipe, loaded.registry, torch.device("cpu"))
    run, model = tmp_path / "run", built.model.eval()
    run.mkdir()
    pinned = loaded.recipe.pinned.model_copy(update={"precision": built.precision, "weights": "random"})
    (run / "recipe.yaml").write_text(dump_recipe(loaded.recipe.model_copy(update={"pinned": pinned})))
    write_preparation(run, "cifar10", built)
    origin = {"step": 0, "frozen": {"digest": FreezeProof(model).digest}, "data": {}, "fptkit": "0.1.0"}
    write_model_files(run, {"model": trained_tensors(model)}, "model.json", origin)
    assert fptkit("export", run, "--to", "safetensors", "--output", tmp_path / "out").returncode == 0
    assert (tmp_path / "out" / "delta.safetensors").stat().st_size <= 1_100_000
    (images,) = form_of(SavedTask(read_preparation(run, loaded.registry)), model.encoder).draw(2, 64, 0)[:1]
    np.save(tmp_path / "images.npy", images.numpy())
    with torch.no_grad():
        expected = model(images).numpy()
    code = (
        "import sys, numpy as np, torch\nfrom fptkit.inference.trained import load\n"
        "images = torch.from_numpy(np.load(sys.argv[2]))\n"
        "with torch.no_grad():\n    np.save(sys.argv[3], load(sys.argv[1], device='cpu').module(images).numpy())\n"
    )
    places = [tmp_path / "out" / "delta.safetensors", tmp_path / "images.npy", tmp_path / "logits.npy"]
    subprocess.run([sys.executable, "-c", code, *map(str, places)], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "logits.npy"), expected)
