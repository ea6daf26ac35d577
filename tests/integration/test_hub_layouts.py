"""Whole runs on weights and data in the layouts of the paper's sources, fetched from servers on this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Done, fptkit
from hub_layouts import (
    GPT2,
    VIT_GOOGLE,
    VIT_TIMM,
    gpt2,
    gpt2_in_parts,
    gpt2_pickled,
    lra_archive,
    tape_archive,
    vit_of_timm,
    vit_of_transformers,
)
from model_hub import Fault, Hub, model_hub, use

from fptkit.sources.data_sets import DATA_SETS
from fptkit.sources.download import Retries

RECIPE = """
task: {name: bit_xor, bits: 3, validation_size: 16, test_size: 16}
backbone: {name: gpt2, weights: "hub:openai-community/gpt2"}
freezing: {name: fpt}
train: {batch_size: 8, max_steps: 4, validate_every: 2, patience: null}
threads: 1
"""

PROTEINS = """
task: {name: remote_homology, source: tape}
encoder: {name: symbols}
backbone: {name: gpt2, weights: "hub:openai-community/gpt2"}
train: {batch_size: 8, max_steps: 4, validate_every: 2, patience: null}
threads: 1
"""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub of models that also serves archives."""
    monkeypatch.setattr("fptkit.sources.hub.RETRIES", Retries(timeout_s=10, attempts=2, wait_s=0))
    monkeypatch.setenv("no_proxy", "*")
    with model_hub() as found:
        use(found.address, monkeypatch, tmp_path / "home", token=None)
        yield found


def run(folder: Path, *settings: str, recipe: str = RECIPE, output: str = "run") -> tuple[Done, dict[str, Any]]:
    """How `fptkit run` ended, and the summary of the run."""
    (folder / "mine.yaml").write_text(recipe)
    given = [part for setting in settings for part in ("--set", setting)]
    done = fptkit("run", folder / "mine.yaml", "--output", folder / output, *given)
    summary = folder / output / "summary.json"
    return done, json.loads(summary.read_text()) if summary.is_file() else {}


def test_gpt2_at_a_revision_online_and_then_offline(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.put(GPT2, gpt2(seed=1))
    hub.put(GPT2, gpt2(seed=0), "v1")
    entry = f"backbone.weights=hub:{GPT2}@v1"
    done, first = run(tmp_path, entry, output="first")
    assert done.returncode == 0, done.stderr
    assert first["backbone"]["weights"] == f"hub:{GPT2}@v1"
    assert (first["backbone"]["blocks"], first["backbone"]["width"], first["backbone"]["stand_in"]) == (2, 16, False)
    done, other = run(tmp_path, output="other")
    assert done.returncode == 0, done.stderr
    assert other["metrics"] != first["metrics"]  # another revision, other weights

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    before = len(hub.requests)
    done, again = run(tmp_path, entry, output="again")
    assert done.returncode == 0, done.stderr
    assert again["metrics"] == first["metrics"]
    assert len(hub.requests) == before


def test_the_layouts_of_gpt2_give_the_same_model(hub: Hub, tmp_path: Path) -> None:
    """One file or two with an index; a pickle is refused, and the message has the command that converts it."""
    hub.put("me/whole", gpt2())
    hub.put("me/parts", gpt2_in_parts())
    hub.put("me/pickle", gpt2_pickled())
    _, whole = run(tmp_path, "backbone.weights=hub:me/whole", output="whole")
    _, parts = run(tmp_path, "backbone.weights=hub:me/parts", output="parts")
    assert whole["metrics"] == parts["metrics"]
    done, _ = run(tmp_path, "backbone.weights=hub:me/pickle", output="pickle")
    assert done.returncode == 3
    said = " ".join(done.stderr.split())
    assert "it holds pytorch_model.bin, a pickle file, which could run code and is not read; convert it with" in said
    assert not hub.asked("pytorch_model.bin")


def test_a_fallback_names_the_reason(hub: Hub, tmp_path: Path) -> None:
    hub.put(GPT2, gpt2())
    hub.repositories[GPT2].gated = "login"
    done, summary = run(tmp_path, f"backbone.weights=[hub:{GPT2}, builtin:gpt2_nano]", "train.max_steps=2")
    assert done.returncode == 0, done.stderr
    assert (summary["backbone"]["weights"], summary["backbone"]["stand_in"]) == ("builtin:gpt2_nano", True)
    assert "requires a login: ask for access at" in " ".join(done.stderr.split())


def test_a_vision_transformer_in_timms_layout_and_in_transformers(hub: Hub, tmp_path: Path) -> None:
    hub.put(VIT_TIMM, vit_of_timm())
    hub.put(VIT_GOOGLE, vit_of_transformers())
    done, summary = run(tmp_path, f"backbone={{name: vit, weights: 'hub:{VIT_TIMM}'}}", output="timm")
    assert done.returncode == 0, done.stderr
    assert (summary["backbone"]["blocks"], summary["backbone"]["width"]) == (2, 16)
    done, _ = run(tmp_path, f"backbone={{name: vit, weights: 'hub:{VIT_GOOGLE}'}}", output="wrong")
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert "model_type 'vit', a model of transformers: use it with backbone.name huggingface" in said
    done, summary = run(tmp_path, f"backbone={{name: huggingface, weights: 'hub:{VIT_GOOGLE}'}}", output="google")
    assert done.returncode == 0, done.stderr
    assert (summary["backbone"]["blocks"], summary["backbone"]["width"]) == (2, 16)


def with_records(name: str, counts: dict[str, int], monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Pretend that a data set has so many records."""
    data_set = DATA_SETS[name]
    table = {**DATA_SETS, name: type(data_set)(**{**vars(data_set), "records": counts})}
    for module in (*modules, "fptkit.sources.data_sets"):  # last, since the others take their table from it
        monkeypatch.setattr(f"{module}.DATA_SETS", table)


@pytest.fixture
def tape(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of TAPE's archive in its LMDB form, with a few records."""
    pytest.importorskip("lmdb")
    counts = {stem: 30 - 3 * number for number, stem in enumerate(DATA_SETS["remote_homology"].records)}
    tasks = ("fptkit.tasks.homology.install", "fptkit.tasks.homology.task")
    with_records("remote_homology", counts, monkeypatch, *tasks)
    work = tmp_path / "work"
    work.mkdir()
    hub.archives["remote_homology.tar.gz"] = tape_archive(counts, work)
    return f"{hub.address}/archives/remote_homology.tar.gz"


def test_tapes_archive_interrupted_resumed_and_trained_on(
    hub: Hub, tape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put(GPT2, gpt2())
    archive = hub.archives["remote_homology.tar.gz"]
    done, _ = run(tmp_path, recipe=PROTEINS, output="early")
    assert done.returncode == 3
    assert "fptkit data fetch remote_homology" in done.stderr

    hub.faults = [Fault("archives", after=1000), Fault("archives", status=503, times=9)]
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between attempts
    done = fptkit("data", "fetch", "remote_homology", "--url", tape)
    assert done.returncode == 3
    assert "1,000 bytes are kept; the same command continues from there" in done.stderr
    hub.faults = []
    done = fptkit("data", "fetch", "remote_homology", "--url", tape, "--sha256", "0" * 64)
    assert done.returncode != 0
    assert "is not the expected one and was removed" in done.stderr
    digest = hashlib.sha256(archive).hexdigest()
    hub.faults = [Fault("archives", status=502)]
    done = fptkit("data", "fetch", "remote_homology", "--url", tape, "--sha256", digest)
    assert done.returncode == 0, done.stderr
    assert "bytes=1000-" in " ".join(hub.ranges)

    before = len(hub.requests)
    done, summary = run(tmp_path, recipe=PROTEINS)
    assert done.returncode == 0, done.stderr
    assert (summary["task"]["source"], summary["task"]["stand_in"]) == ("tape", False)
    assert not [request for request in hub.requests[before:] if "archives" in request]


EXPRESSIONS = """
task: {name: listops, source: [lra, generated], train_size: 32, validation_size: 16, test_size: 16, length: [10, 30]}
encoder: {name: symbols}
backbone: {name: random, size: nano, blocks: 1, width: 16, heads: 2}
train: {batch_size: 8, max_steps: 4, validate_every: 2, patience: null}
threads: 1
"""


def test_long_range_arenas_archive_interrupted_resumed_and_trained_on(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"basic_train": 24, "basic_val": 8, "basic_test": 8}
    hub.archives["lra_release.gz"] = lra_archive(counts)
    address = f"{hub.address}/archives/lra_release.gz"
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between attempts
    done, summary = run(tmp_path, recipe=EXPRESSIONS, output="early")
    assert (summary["task"]["source"], summary["task"]["stand_in"]) == ("generated", True)
    assert "fetch them: fptkit data fetch listops" in " ".join(done.stderr.split())

    done = fptkit("data", "fetch", "listops", "--url", address)
    assert done.returncode != 0
    assert "basic_train.tsv: 24 expressions, Long Range Arena's has 96,000" in done.stderr
    with_records("listops", counts, monkeypatch, "fptkit.tasks.listops.install")
    hub.faults = [Fault("archives", after=100), Fault("archives", status=503, times=9)]
    assert fptkit("data", "fetch", "listops", "--url", address).returncode == 3
    hub.faults = []
    done = fptkit("data", "fetch", "listops", "--url", address)
    assert done.returncode == 0, done.stderr
    assert hub.ranges[-1].endswith("bytes=100-")

    done, summary = run(tmp_path, recipe=EXPRESSIONS)
    assert done.returncode == 0, done.stderr
    assert (summary["task"]["source"], summary["task"]["stand_in"]) == ("lra", False)
    assert summary["data"]["files"] == 3
    folder = next(Path(path).parent for path in tmp_path.parent.rglob("basic_val.tsv.gz"))
    assert not list(folder.rglob("*new_aan*"))
