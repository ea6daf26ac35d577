"""Compiled training steps, and batches made ahead: the same results, and nothing lost where it cannot be done."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fptkit.engine.batches import BatchesAhead, TrainingBatches
from fptkit.engine.events import Event, Noted
from fptkit.engine.run import RunRequest, run
from fptkit.errors import ShapeError
from fptkit.interfaces import Batch, Classes, Task, Vectors
from fptkit.model import CrossModalModel
from fptkit.recipe.load import load_recipe

TEXT = """
task: {name: bit_xor, bits: 3, validation_size: 40, test_size: 50}
backbone: {name: random, blocks: 2, width: 32, heads: 2, size: nano, dropout: 0.1}
train: {batch_size: 8, max_steps: 6, validate_every: 3, log_every: 1, patience: null, learning_rate: 1e-2}
precision: float32
threads: 1
"""
COMPILE = "train.compile=true"


class Recorder:
    """Keeps notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def handle(self, event: Event) -> None:
        if isinstance(event, Noted):
            self.notes.append(event.text)


def start(folder: Path, *overrides: str, listener: Recorder | None = None) -> Any:
    path = folder.parent / "recipe.yaml"
    path.write_text(TEXT)
    loaded = load_recipe(str(path), overrides=overrides)
    return run(RunRequest(loaded, folder, listeners=[listener] if listener else []))


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "examples_per_second"} for line in lines]


def assert_same(one: Path, other: Path) -> None:
    """Bit for bit."""
    assert metrics(one) == metrics(other)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours.keys() | theirs.keys())


def use(monkeypatch: pytest.MonkeyPatch, backend: Any) -> None:
    """Compile by this backend from here on, and from nothing."""
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))


def test_a_model_that_cannot_be_compiled_runs_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def broken(graph: Any, inputs: Any) -> Any:
        calls.append(graph)
        raise ValueError("no compiler for this")

    use(monkeypatch, broken)
    recorder = Recorder()
    summary = start(tmp_path / "compiled", COMPILE, listener=recorder)
    plain = start(tmp_path / "plain")
    assert_same(tmp_path / "compiled", tmp_path / "plain")
    assert len(calls) == 1, "it is tried once"
    (note,) = recorder.notes
    assert note.startswith("torch.compile failed; the model runs uncompiled: ")
    assert "no compiler for this" in note
    assert (summary["compiled"], plain["compiled"]) == (False, False)


def test_a_compiler_that_fails_in_the_backward_pass_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the forward has drawn dropout already."""
    from torch._dynamo.backends.common import aot_autograd

    def broken(graph: Any, inputs: Any) -> Any:
        raise ValueError("no backward")

    use(monkeypatch, aot_autograd(fw_compiler=lambda graph, inputs: graph.forward, bw_compiler=broken))
    summary = start(tmp_path / "compiled", COMPILE)
    start(tmp_path / "plain")
    assert_same(tmp_path / "compiled", tmp_path / "plain")
    assert not summary["compiled"]


def test_compiled_steps_go_through_the_same_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a backend that runs each operation as it is, so that without dropout not even rounding differs."""
    graphs = []

    def plain(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    use(monkeypatch, plain)
    overrides = ("backbone.dropout=0", "train.accumulate=2")
    summary = start(tmp_path / "compiled", COMPILE, *overrides)
    assert summary["compiled"]
    assert len(graphs) == 1, "one piece of code for all steps"
    start(tmp_path / "plain", *overrides)
    assert_same(tmp_path / "compiled", tmp_path / "plain")


def test_an_error_of_the_model_itself_is_told_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = CrossModalModel.forward

    def broken(self: CrossModalModel, inputs: Any, lengths: Any = None) -> torch.Tensor:
        if self.training and torch.is_grad_enabled():
            raise ShapeError("three legs")
        return plain(self, inputs, lengths)

    monkeypatch.setattr(CrossModalModel, "forward", broken)
    use(monkeypatch, "eager")
    recorder = Recorder()
    with pytest.raises(ShapeError, match="three legs"):
        start(tmp_path / "run", COMPILE, listener=recorder)
    assert recorder.notes == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for processors by g++")
def test_compiled_gpt2_gives_the_same_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    # Two of its blocks: one for all tokens, one for those that are read.
    overrides = (
        "backbone={name: gpt2, weights: 'builtin:gpt2_nano', blocks: {keep: 2}, dropout: 0}",
        "train.learning_rate=1e-3",
    )
    recorder = Recorder()
    summary = start(tmp_path / "compiled", COMPILE, *overrides, listener=recorder)
    assert (summary["compiled"], recorder.notes) == (True, [])
    assert any((tmp_path / "cache").rglob("*.so")), "nothing was compiled"
    start(tmp_path / "plain", *overrides)
    for ours, theirs in zip(metrics(tmp_path / "compiled"), metrics(tmp_path / "plain"), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


class Numbers(Task):
    """Ten examples whose targets are their indices; keeps which batches were made."""

    def __init__(self) -> None:
        self.input, self.output, self.max_tokens = Vectors(1), Classes(10), 1
        self.size, self.token_counts = 10, None
        self.made: list[list[int]] = []

    def batch(self, indices: Any, generator: torch.Generator) -> Batch:
        self.made.append(list(indices))
        return Batch(torch.rand(len(indices), 1, 1, generator=generator), torch.tensor(indices))


def test_batches_made_ahead_are_the_same_and_made_once() -> None:
    task, pinned = Numbers(), []

    def pin(batch: Batch) -> Batch:
        pinned.append(batch)
        return batch

    batches = TrainingBatches(task, task, 4, 0)
    plain = [batches.batch(step) for step in range(5)]
    task.made.clear()
    ahead = BatchesAhead(batches, pin=pin)
    for step in range(4):
        own, whole = ahead.take(step)
        assert own is pinned[step]
        assert whole == len(plain[step])
        assert own.inputs.equal(plain[step].inputs)
        ahead.prepare(step + 1)
        assert len(task.made) == step + 2
    assert ahead.take(2)[0].inputs.equal(plain[2].inputs), "another step than the one that was prepared"
    assert ahead.take(4)[0].inputs.equal(plain[4].inputs)


def test_on_processors_nothing_is_made_ahead() -> None:
    task = Numbers()
    ahead = BatchesAhead(TrainingBatches(task, task, 4, 0), rank=1, count=2)
    own, whole = ahead.take(0)
    ahead.prepare(1)
    assert len(task.made) == 1
    assert own is not None
    assert (own.targets.tolist(), whole) == (task.made[0][2:], 4)


def test_a_batch_is_pinned_tensor_by_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    batch = Batch({"a": torch.zeros(2, 3), "b": torch.ones(2)}, torch.zeros(2), torch.ones(2)).pinned()
    assert [part.unique().tolist() for part in batch.inputs.values()] == [[1], [2]]
    assert (batch.targets.tolist(), batch.lengths.tolist()) == ([1, 1], [2, 2])
    assert Batch(torch.zeros(1), torch.zeros(1)).pinned().lengths is None
