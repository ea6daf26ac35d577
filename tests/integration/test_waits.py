"""A step and an evaluation on an accelerator read no number from the device, which would make the host wait for it.

Here the model runs on a CPU, where reading costs nothing; what would wait on an accelerator raises instead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fptkit.backbones.vit import model as of_timm
from fptkit.engine import evaluate as evaluation
from fptkit.engine.memory import Pieces
from fptkit.interfaces import Batch
from fptkit.lab.benchmarking.prepare import Prepared, prepare
from fptkit.numerics import kernels
from fptkit.recipe.load import load_recipe

READING = {"_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "_unique2", "unique_consecutive"}
"""torch's operations that need a number, or the number of results, on the host."""


class NoWaits(TorchDispatchMode):
    """Raises where an accelerator would be waited for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        chosen = args[1] if name in ("index", "index_put", "index_put_") else ()
        by_mask = any(isinstance(one, Tensor) and one.dtype == torch.bool for one in chosen)
        assert name not in READING, f"{name} waits"
        assert not by_mask, f"{name} by a mask waits"
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def no_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on an accelerator, and nothing may be read."""

    def refuse(tensor: Tensor, *_: Any) -> Any:
        raise AssertionError("a tensor becomes a list or an array")

    with monkeypatch.context() as patch, NoWaits():
        patch.setattr(kernels, "run_on", lambda tensor: False)
        patch.setattr(of_timm, "may_read", lambda tensor: False)
        patch.setattr("fptkit.model.may_read", lambda tensor: False)
        for name in ("tolist", "numpy"):
            patch.setattr(Tensor, name, refuse)
        yield


TEXT = """
task: {task}
backbone: {backbone}
train: {{batch_size: 4, max_steps: 4, accumulate: 2}}
precision: bfloat16
device: cpu
threads: 1
"""
BITS = "{name: bit_xor, bits: 3, validation_size: 8, test_size: 8}"
PROTEINS = "{name: remote_homology, source: simulated, simulated: {folds: 12, length: [20, 40]}}"
NANO = "name: gpt2, weights: random, size: nano, blocks: {keep: 1}"
BODIES = {
    "gpt2": f"{{{NANO}}}",
    "vit": "{name: vit, weights: random, size: nano, blocks: {keep: 1}}",
    "bert": "{name: bert, weights: random, size: nano, blocks: {keep: 1}}",
    "prefix": f"{{{NANO}, positions: {{kind: learned}}, prefix: {{kind: learned, tokens: 2}}}}",
}


def prepared_run(folder: Path, task: str, backbone: str, *overrides: str) -> Prepared:
    path = folder / "recipe.yaml"
    path.write_text(TEXT.format(task=task, backbone=backbone))
    return prepare(load_recipe(str(path), overrides=overrides))


def step_and_evaluate(prepared: Prepared, own: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step and an evaluation of a batch do after their batches were copied to the device."""
    step, parts = prepared.trainer.training_step, prepared.built
    step._set_rates(0.5)
    with no_waits(monkeypatch):
        step._gradients(own, len(own), 2)
        step._update()
    parts.model.eval()
    account = evaluation._account_of(parts.task, torch.device("cpu"))
    with no_waits(monkeypatch), torch.no_grad():
        account.add(evaluation._predict(parts.model, parts.task, own, Pieces()))
    assert account.values()["loss"] > 0


@pytest.mark.parametrize("body", list(BODIES))
def test_lengths_and_masks_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    prepared = prepared_run(tmp_path, PROTEINS, BODIES[body])
    coming = (prepared.batches.batch(step).without_idle_lengths() for step in range(100))
    step_and_evaluate(prepared, next(batch for batch in coming if batch.lengths is not None), monkeypatch)


def test_nothing_is_drawn_on_the_host_to_shuffle_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = prepared_run(tmp_path, BITS, BODIES["gpt2"], "shuffle_tokens=true")
    step_and_evaluate(prepared, prepared.batches.batch(0), monkeypatch)


@pytest.mark.parametrize(
    "reading",
    [
        lambda numbers: float(numbers.sum()),
        lambda numbers: bool((numbers > 0).any()),
        lambda numbers: numbers[numbers > 0],
        lambda numbers: numbers.unique(),
        lambda numbers: numbers.tolist(),
        lambda numbers: torch.where(numbers > 0),
    ],
)
def test_what_waits_is_found(monkeypatch: pytest.MonkeyPatch, reading: Any) -> None:
    """The test itself, which must not pass in silence."""
    numbers = torch.tensor([1.0, -1.0])
    with pytest.raises(AssertionError), no_waits(monkeypatch):
        reading(numbers)
