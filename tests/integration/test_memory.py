"""Memory that runs out: the step is taken again in parts, as if it had been so from the start, and nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torchrun_runs import PLUGINS
from whole_runs import RECIPE as TINY
from whole_runs import Recorder, assert_same, metrics, start

from fptkit.backbones.gpt2 import Gpt2Backbone
from fptkit.errors import PluginFault, TrainingError
from fptkit.lab.benchmarking.prepare import prepare
from fptkit.recipe.load import load_recipe

RECIPE = TINY + "precision: float32\n"
NORMED = '''
import torch
from fptkit import EncoderSpec, hookimpl


class Normed(torch.nn.Module):
    """Changes buffers in every forward in training: two in place, one by putting another tensor there."""

    def __init__(self, options, *, input, width):
        super().__init__()
        self.map, self.norm = torch.nn.Linear(input.width, width, bias=False), torch.nn.BatchNorm1d(width)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, inputs):
        if self.training:
            self.seen = self.seen / 2 + len(inputs)
        return self.norm(self.map(inputs).transpose(1, 2)).transpose(1, 2)


@hookimpl
def fptkit_encoders():
    return [EncoderSpec(name="normed", target=Normed, accepts=("vectors",), summary="with a batch norm")]
'''


class Memory:
    """Takes so many examples through GPT-2 at once and no more, with and without gradients.

    Attributes:
        with_gradient: examples that fit where gradients are kept.
        without: examples that fit where none are.
        after: training passes from which on the limit holds.
        refused: sizes of what did not fit.
        error: what is raised.
    """

    def __init__(self) -> None:
        self.with_gradient = self.without = 10**6
        self.after = self.passes = 0
        self.refused: list[int] = []
        self.error: Callable[[], Exception] = lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate.")

    def use(self, backbone: Gpt2Backbone, examples: int) -> None:
        limit = self.with_gradient if torch.is_grad_enabled() else self.without
        self.passes += backbone.training
        if examples > limit and self.passes >= self.after:
            self.refused.append(examples)
            raise self.error()


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    found, plain = Memory(), Gpt2Backbone.forward

    def forward(self: Gpt2Backbone, tokens: torch.Tensor, *further: Any) -> torch.Tensor:
        hidden = plain(self, tokens, *further)  # draws dropout before it fails
        found.use(self, len(tokens))
        return hidden

    monkeypatch.setattr(Gpt2Backbone, "forward", forward)
    return found


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "normed.py").write_text(NORMED)
    (tmp_path / "ordered.py").write_text(PLUGINS["ordered.py"])
    path = tmp_path / "tiny.yaml"
    path.write_text("plugins: [normed.py, ordered.py]\n" + RECIPE)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("further", [(), ("encoder.name=normed",)], ids=["dropout", "batch norm"])
def test_a_step_that_does_not_fit_is_taken_in_parts(
    recipe: Path, tmp_path: Path, memory: Memory, further: tuple[str, ...]
) -> None:
    whole = start(recipe, tmp_path / "parts", *further, "train.accumulate=4")
    recorder = Recorder()
    memory.with_gradient = 2
    cut = start(recipe, tmp_path / "cut", *further, listener=recorder)
    assert_same(tmp_path / "cut", tmp_path / "parts")
    assert (cut["accumulate"], cut["parts"], cut["evaluation_parts"], whole["parts"]) == (1, 4, 1, 4)
    assert cut["flops_per_step"] == whole["flops_per_step"]  # counted with fewer examples
    assert memory.refused == [8, 4, 8, 4]  # counting, then the first step
    assert [(note.step, note.text.partition(";")[0]) for note in recorder.notes] == [(0, "out of memory")] * 2
    assert "--set train.accumulate=4" in recorder.notes[-1].text
    memory.with_gradient = 8
    start(recipe, tmp_path / "whole", *further)
    assert metrics(tmp_path / "whole") != metrics(tmp_path / "cut"), "another number of parts draws other dropout"


@pytest.mark.slow
def test_the_gradient_in_parts_is_that_of_the_whole_batch(recipe: Path, tmp_path: Path, memory: Memory) -> None:
    overrides = ("backbone.dropout=0", "train.learning_rate=1e-3")
    start(recipe, tmp_path / "whole", *overrides)
    memory.with_gradient, memory.after = 3, 14
    assert start(recipe, tmp_path / "cut", *overrides)["parts"] == 4
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    for name, tensor in whole.items():
        torch.testing.assert_close(cut[name], tensor, rtol=0, atol=1e-5)
    for ours, theirs in zip(metrics(tmp_path / "whole"), metrics(tmp_path / "cut"), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


@pytest.mark.slow
def test_a_run_that_is_cut_off_after_the_change_goes_on_alike(recipe: Path, tmp_path: Path, memory: Memory) -> None:
    """What remembers is the checkpoint: the part that goes on has memory enough for whole batches."""
    memory.with_gradient, memory.after = 4, 14
    whole = start(recipe, tmp_path / "whole", "encoder.name=normed")
    assert memory.refused == [8]
    memory.passes = 0
    with pytest.raises(PluginFault, match="killed"):  # with code of a plugin in use, its author is asked to look
        start(recipe, tmp_path / "cut", "encoder.name=normed", listener=Recorder(fail_at=16))
    assert {path.name for path in (tmp_path / "cut" / "checkpoints").iterdir()} >= {"step-00000013"}
    memory.with_gradient = 8
    assert start(recipe, tmp_path / "cut", "encoder.name=normed", resume=True)["parts"] == 2
    assert_same(tmp_path / "cut", tmp_path / "whole")
    assert whole["parts"] == 2


@pytest.mark.slow
def test_a_checkpoint_that_knows_no_parts_takes_those_of_the_recipe(recipe: Path, tmp_path: Path) -> None:
    start(recipe, tmp_path / "whole", "train.accumulate=4")
    start(recipe, tmp_path / "parts", "train.accumulate=4", pause_at=10)
    state = tmp_path / "parts" / "checkpoints" / "step-00000010" / "state.json"
    content = json.loads(state.read_text())
    assert content["state"].pop("parts") == 4
    del content["own_digest"]
    state.write_text(json.dumps(content))
    assert start(recipe, tmp_path / "parts", "train.accumulate=4", resume=True)["parts"] == 4
    assert_same(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.slow
def test_batches_that_memory_does_not_hold_are_evaluated_in_pieces(
    recipe: Path, tmp_path: Path, memory: Memory
) -> None:
    overrides = ("task.name=ordered", "train.max_steps=10", "train.evaluation_batch_size=20")
    start(recipe, tmp_path / "whole", *overrides)
    memory.without = 7
    recorder = Recorder()
    summary = start(recipe, tmp_path / "pieces", *overrides, listener=recorder)
    assert (summary["parts"], summary["evaluation_parts"]) == (1, 4)
    assert memory.refused == [20, 10], "tried once, and remembered for the test split"
    assert [note.text.partition(";")[0] for note in recorder.notes] == ["out of memory in an evaluation"]
    assert {"order", "accuracy", "loss"} <= metrics(tmp_path / "pieces")[-1].keys()
    for ours, theirs in zip(metrics(tmp_path / "whole"), metrics(tmp_path / "pieces"), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)


@pytest.mark.slow
def test_kept_features_are_computed_in_pieces(recipe: Path, tmp_path: Path, memory: Memory) -> None:
    text = "task: {name: mnist, source: [digits], patch_size: 4, train_size: 64}\n" + "\n".join(RECIPE.split("\n")[2:])
    recipe.write_text(text.replace("dropout: 0.1", "dropout: 0.0"))
    overrides = ("freezing.name=output_only", "train.max_steps=40", "train.evaluation_batch_size=32")
    memory.without = 10
    summary = start(recipe, tmp_path / "pieces", *overrides)
    assert any(note.startswith("feature cache: ") for note in summary["notes"]), summary["notes"]
    assert 32 in memory.refused
    memory.without = 10**6
    start(recipe, tmp_path / "whole", *overrides, "train.feature_cache=never")
    for ours, theirs in zip(metrics(tmp_path / "whole"), metrics(tmp_path / "pieces"), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("with_gradient", "without", "after", "where"),
    [
        (0, 10**6, 0, "out of memory with a single example"),
        (0, 10**6, 6, "step 5: out of memory with a single example per micro-batch"),
        (8, 0, 5, "out of memory with a single example in an evaluation"),
    ],
)
def test_a_single_example_that_does_not_fit_ends_the_run(
    recipe: Path, tmp_path: Path, memory: Memory, with_gradient: int, without: int, after: int, where: str
) -> None:
    memory.with_gradient, memory.without, memory.after = with_gradient, without, after
    with pytest.raises(TrainingError) as caught:
        start(recipe, tmp_path / "run")
    text = str(caught.value)
    assert text.startswith(where)
    assert "reduce the example size" in text
    assert text.endswith("The allocator says: CUDA out of memory. Tried to allocate.")
    assert 1 in memory.refused
    if after:
        assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "failed"


def test_another_error_is_not_taken_for_it(recipe: Path, tmp_path: Path, memory: Memory) -> None:
    memory.with_gradient, memory.after = 4, 3
    memory.error = lambda: RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        start(recipe, tmp_path / "run")
    assert memory.refused == [8]


def test_a_measurement_says_what_to_set(recipe: Path, memory: Memory) -> None:
    prepared = prepare(load_recipe(str(recipe)))
    prepared.step(0)
    memory.with_gradient = 4
    with pytest.raises(TrainingError, match=r"CUDA out of memory.*a higher train\.accumulate \(now 1\)"):
        prepared.step(1)


REAL = """
import resource, sys
from pathlib import Path
from fptkit.engine.events import Noted, StepsDone
from fptkit.engine.run import RunRequest, run
from fptkit.recipe.load import load_recipe


class Narrow:
    def handle(self, event):
        if isinstance(event, StepsDone) and event.step == 2:
            # All that a step needs was allocated once, and given back where it is large.
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + {room} * 2**20, resource.RLIM_INFINITY))
        if isinstance(event, Noted):
            print("NOTE", event.text)


summary = run(RunRequest(load_recipe(sys.argv[1]), Path(sys.argv[2]), listeners=[Narrow()]))
print("PARTS", summary["parts"], summary["status"])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the size of a process is read from /proc")
def test_memory_that_really_runs_out(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_text(
        "task: {name: bit_memory, bits: 2000, bits_per_token: 50, validation_size: 8, test_size: 8}\n"
        "backbone: {name: random, blocks: 2, width: 256, heads: 4, size: nano, dropout: 0.1}\n"
        "train: {batch_size: 64, max_steps: 4, validate_every: 2, log_every: 1, patience: null}\n"
        "precision: float32\nthreads: 1\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", REAL.format(room=ROOM), str(path), str(tmp_path / "run")],
        # Left to itself, glibc keeps freed tensors as gaps of its heap, more or fewer of them from run to run.
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "NOTE out of memory; from the next step each batch passes in 2 micro-batches" in done.stdout, done.stdout
    assert "finished" in done.stdout


ROOM = 150
"""MiB a process may grow by. A step of the recipe takes about three times as much, a sixteenth of a step less."""
