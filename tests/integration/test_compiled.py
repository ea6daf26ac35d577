"""Compiled training steps: the same results, and nothing lost where it cannot be done."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from whole_runs import Recorder, assert_same, metrics, start

from fptkit.errors import ShapeError
from fptkit.model import CrossModalModel

RECIPE = """
task: {name: bit_xor, bits: 3, validation_size: 40, test_size: 50}
backbone: {name: random, blocks: 2, width: 32, heads: 2, size: nano, dropout: 0.1}
train: {batch_size: 8, max_steps: 6, validate_every: 3, log_every: 1, patience: null, learning_rate: 1e-2}
precision: float32
threads: 1
"""
COMPILE = "train.compile=true"


def use(monkeypatch: pytest.MonkeyPatch, backend: Any) -> None:
    """Compile by this backend from here on, and from nothing."""
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))


@pytest.mark.slow
def test_a_model_that_cannot_be_compiled_runs_as_it_is(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def broken(graph: Any, inputs: Any) -> Any:
        calls.append(graph)
        raise ValueError("no compiler for this")

    use(monkeypatch, broken)
    recorder = Recorder()
    summary = start(recipe, tmp_path / "compiled", COMPILE, listener=recorder)
    plain = start(recipe, tmp_path / "plain")
    assert_same(tmp_path / "compiled", tmp_path / "plain")
    assert len(calls) == 1, "it is tried once"
    (note,) = recorder.notes
    assert note.text.startswith("torch.compile failed; the model runs uncompiled: ")
    assert "no compiler for this" in note.text
    assert (summary["compiled"], plain["compiled"]) == (False, False)


@pytest.mark.slow
def test_a_compiler_that_fails_in_the_backward_pass_loses_nothing(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the forward has drawn dropout already."""
    from torch._dynamo.backends.common import aot_autograd

    def broken(graph: Any, inputs: Any) -> Any:
        raise ValueError("no backward")

    use(monkeypatch, aot_autograd(fw_compiler=lambda graph, inputs: graph.forward, bw_compiler=broken))
    summary = start(recipe, tmp_path / "compiled", COMPILE)
    start(recipe, tmp_path / "plain")
    assert_same(tmp_path / "compiled", tmp_path / "plain")
    assert not summary["compiled"]


def test_compiled_steps_go_through_the_same_engine(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a backend that runs each operation as it is, so that without dropout not even rounding differs."""
    graphs = []

    def plain(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    use(monkeypatch, plain)
    overrides = ("backbone.dropout=0", "train.accumulate=2")
    summary = start(recipe, tmp_path / "compiled", COMPILE, *overrides)
    assert summary["compiled"]
    assert len(graphs) == 1, "one piece of code for all steps"
    start(recipe, tmp_path / "plain", *overrides)
    assert_same(tmp_path / "compiled", tmp_path / "plain")


def test_an_error_of_the_model_itself_is_told_as_it_is(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = CrossModalModel.forward

    def broken(self: CrossModalModel, inputs: Any, lengths: Any = None) -> torch.Tensor:
        if self.training and torch.is_grad_enabled():
            raise ShapeError("three legs")
        return plain(self, inputs, lengths)

    monkeypatch.setattr(CrossModalModel, "forward", broken)
    use(monkeypatch, "eager")
    recorder = Recorder()
    with pytest.raises(ShapeError, match="three legs"):
        start(recipe, tmp_path / "run", COMPILE, listener=recorder)
    assert recorder.notes == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for processors by g++")
def test_compiled_gpt2_gives_the_same_figures(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    # Two of its blocks: one for all tokens, one for those that are read.
    overrides = (
        "backbone={name: gpt2, weights: 'builtin:gpt2_nano', blocks: {keep: 2}, dropout: 0}",
        "train.learning_rate=1e-3",
    )
    recorder = Recorder()
    summary = start(recipe, tmp_path / "compiled", COMPILE, *overrides, listener=recorder)
    assert (summary["compiled"], recorder.notes) == (True, [])
    assert any((tmp_path / "cache").rglob("*.so")), "nothing was compiled"
    start(recipe, tmp_path / "plain", *overrides)
    for ours, theirs in zip(metrics(tmp_path / "compiled"), metrics(tmp_path / "plain"), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)
