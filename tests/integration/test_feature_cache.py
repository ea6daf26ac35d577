"""The feature cache: the same results as without it, each example once through the backbone, and when it stays off."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from whole_runs import assert_same_tensors, start

from fptkit.engine.cache.store import cache_folder
from fptkit.engine.events import FeaturesComputed
from fptkit.engine.signals import StopRequest
from fptkit.errors import Interrupted
from fptkit.interfaces import Task
from fptkit.model import CrossModalModel
from fptkit.recipe.load import load_recipe

RECIPE = """
task: {name: listops, length: [10, 30], train_size: 40, validation_size: 24, test_size: 24, max_depth: 4}
encoder: {name: symbols}
backbone: {name: random, blocks: 2, width: 32, heads: 2, size: nano, dropout: 0.0}
freezing: {name: output_only}
head: {readout: last}
train:
  {batch_size: 8, max_steps: 20, validate_every: 10, evaluation_batch_size: 16, patience: null, learning_rate: 1e-2}
precision: float32
threads: 1
"""
KEPT = 40 + 24


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Examples of each pass through the frozen part that computes cached features, or trains."""
    sizes: list[int] = []
    hidden = CrossModalModel.hidden

    def count(self: CrossModalModel, inputs: Any, lengths: Any = None) -> Any:
        sizes.append(len(inputs))
        return hidden(self, inputs, lengths)

    monkeypatch.setattr(CrossModalModel, "hidden", count)
    return sizes


class Stopper:
    """Keeps how many features were there after each batch; asks to stop at the first that reaches ``at``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int | None = None) -> None:
        self.done: list[int] = []
        self._at = at
        self._stopped = False
        monkeypatch.setattr(StopRequest, "requested", lambda request: self._asked(request))

    def _asked(self, request: StopRequest) -> bool:
        if self._stopped:
            request.signal_number = 15
        return self._stopped

    def handle(self, event: object) -> None:
        if isinstance(event, FeaturesComputed):
            self.done.append(event.done)
            self._stopped = self._at is not None and event.done >= self._at


def notes(summary: dict[str, Any]) -> list[str]:
    return [note for note in summary["notes"] if note.startswith("feature cache")]


def files() -> list[Path]:
    return sorted(cache_folder().glob("*/features"))


def assert_close(one: Path, other: Path) -> None:
    """Tensors, and metrics on the way, to 1e-5; losses of steps are means, so that rounding is all that differs."""
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-5)
    lines = [(folder / "metrics.jsonl").read_text().splitlines() for folder in (one, other)]
    for left, right in zip(*(map(json.loads, some) for some in lines), strict=True):
        left.pop("examples_per_second", None), right.pop("examples_per_second", None)
        assert left == pytest.approx(right, abs=1e-5)


FACTS = ("parameters", "flops_per_step", "steps", "best_step", "ended_by", "selection")


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("head.readout=mean",),
        ("head.hidden=[16]", "head.dropout=0.2"),
        ("train.data_fraction=0.5",),
        ("train.batch_tokens=120",),
        ("train.training_sample=16",),
        ("backbone={name: random, like: lstm, width: 32, blocks: 1, heads: null, dropout: 0}",),
    ],
)
def test_results_are_those_without_a_cache(recipe: Path, tmp_path: Path, overrides: tuple[str, ...]) -> None:
    with_it = start(recipe, tmp_path / "with", *overrides)
    without = start(recipe, tmp_path / "without", *overrides, "train.feature_cache=never")
    assert notes(without) == []
    assert "pass the frozen part once" in notes(with_it)[0]
    assert_close(tmp_path / "with", tmp_path / "without")
    assert {name: with_it[name] for name in FACTS} == {name: without[name] for name in FACTS}
    for split in ("validation", "test"):
        ours = with_it["metrics"][split] if split == "validation" else with_it["metrics"][split]["test"]
        theirs = without["metrics"][split] if split == "validation" else without["metrics"][split]["test"]
        assert ours == pytest.approx(theirs, abs=1e-5)


def test_bfloat16_differs_by_its_rounding_only(recipe: Path, tmp_path: Path) -> None:
    """Padding and neighbours of an example change the last bits of its features, in bfloat16 too."""
    for name, cache in (("with", "auto"), ("without", "never")):
        start(recipe, tmp_path / name, "precision=bfloat16", f"train.feature_cache={cache}")
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("with", "without"))
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0.02, atol=0.02)


def test_each_example_passes_once_and_another_rate_passes_none(recipe: Path, tmp_path: Path, passed: list[int]) -> None:
    start(recipe, tmp_path / "one", open_test=False)
    first = sum(passed)
    passed.clear()
    start(recipe, tmp_path / "two", "train.learning_rate=3e-3", open_test=False)
    second = sum(passed)
    # Both look at a batch to count parameters, and at two examples to see whether chance is at work; a file that is
    # there is held against two examples more of each split.
    assert first - second == KEPT - 2 * 2
    assert len(files()) == 2


def test_a_rerun_is_the_same_bit_for_bit(recipe: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        start(recipe, tmp_path / name)
    assert_same_tensors(tmp_path / "one", tmp_path / "two")


def test_cached_features_are_what_the_model_gives(recipe: Path, tmp_path: Path) -> None:
    """Against a model that is built again, example by example."""
    from fptkit.engine.build import build
    from fptkit.seeds import generator_for

    loaded = load_recipe(str(recipe))
    start(recipe, tmp_path / "run")
    built = build(loaded.recipe, loaded.registry, torch.device("cpu"))
    built.model.eval()
    found = {}
    for path in files():
        rows = np.fromfile(path, np.float32).reshape(-1, 32)
        found[len(rows)] = rows
    split = built.task.split("train")
    order = np.argsort(-split.token_counts, kind="stable")
    for row, index in enumerate(order.tolist()):
        batch = split.batch([index], generator_for(0, "any"))
        with torch.no_grad():
            tokens = built.model.encoder(batch.inputs)
            expected = built.model.backbone(tokens, batch.lengths)[0, -1]
        np.testing.assert_allclose(found[40][row], expected.numpy(), atol=1e-5)


def test_other_frozen_weights_or_data_get_files_of_their_own(recipe: Path, tmp_path: Path) -> None:
    start(recipe, tmp_path / "one")
    start(recipe, tmp_path / "two", "train.seed=1")
    assert len(files()) == 4
    start(recipe, tmp_path / "three", "task.seed=7")
    assert len(files()) == 6


def test_seeds_of_single_sources_share_what_they_do_not_decide(recipe: Path, tmp_path: Path) -> None:
    start(recipe, tmp_path / "one")
    start(recipe, tmp_path / "order", "train.seeds.order=1")
    assert len(files()) == 2, "another order of the same examples"
    start(recipe, tmp_path / "data", "train.seeds.data=1", "train.data_fraction=0.5")
    assert len(files()) == 3, "other training examples, the same validation"
    start(recipe, tmp_path / "init", "train.seeds.init=1")
    assert len(files()) == 5


def test_options_that_do_not_decide_share_a_file(recipe: Path, tmp_path: Path) -> None:
    recipe.write_text(
        RECIPE.replace(
            "{name: random, blocks: 2, width: 32, heads: 2, size: nano, dropout: 0.0}",
            "{name: lstm, layers: 1, width: 32, dropout: 0.0}",
        )
    )
    start(recipe, tmp_path / "first", "backbone.loop=torch")
    start(recipe, tmp_path / "other", "backbone.loop=auto", "train.feature_cache_gib=1", "train.checkpoint_every=3")
    assert len(files()) == 2
    start(recipe, tmp_path / "another", "backbone.layers=2")
    assert len(files()) == 4


def test_a_stopped_computation_of_features_continues(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passed: list[int]
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        start(recipe, tmp_path / "run", listener=Stopper(patch, at=32))
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "interrupted"
    assert files() == []
    with monkeypatch.context() as patch:
        seen = Stopper(patch)
        start(recipe, tmp_path / "run", resume=True, listener=seen)
    assert seen.done == [40, 56, 64]  # two batches of 16 were there
    start(recipe, tmp_path / "whole", "train.feature_cache=never")
    assert_close(tmp_path / "run", tmp_path / "whole")


def test_a_resumed_run_is_the_same_bit_for_bit(recipe: Path, tmp_path: Path) -> None:
    start(recipe, tmp_path / "parts", pause_at=10)
    start(recipe, tmp_path / "parts", resume=True)
    start(recipe, tmp_path / "whole")
    assert_same_tensors(tmp_path / "parts", tmp_path / "whole")


def test_nothing_is_computed_for_a_run_that_only_opens_its_test(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(recipe, tmp_path / "run", open_test=False)
    for path in files():
        path.unlink()
    seen = Stopper(monkeypatch)
    summary = start(recipe, tmp_path / "run", resume=True, listener=seen)
    assert (summary["status"], seen.done, files()) == ("finished", [], [])


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 4)


def _alter_far_in(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)


def _facts_gone(path: Path) -> None:
    path.with_name("features.json").unlink()


def _facts_cut(path: Path) -> None:
    path.with_name("features.json").write_text('{"format"')


def _gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [_cut, _alter_far_in, _facts_gone, _facts_cut, _gone])
def test_a_damaged_file_is_made_again(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Any
) -> None:
    start(recipe, tmp_path / "one")
    before = [path.read_bytes() for path in files()]
    damage(files()[0])
    seen = Stopper(monkeypatch)
    start(recipe, tmp_path / "two", listener=seen)
    assert seen.done
    assert [path.read_bytes() for path in files()] == before


def test_a_complete_file_of_other_features_is_computed_again(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its digest holds, but the model gives something else, as after a change of code that no key shows."""
    from fptkit.sources.download import file_sha256

    start(recipe, tmp_path / "one")
    before = [path.read_bytes() for path in files()]
    for path in files():
        (np.fromfile(path, np.float32) * 1.1).tofile(path)
        facts = path.with_name("features.json")
        facts.write_text(json.dumps({**json.loads(facts.read_text()), "sha256": file_sha256(path)}))
    seen = Stopper(monkeypatch)
    start(recipe, tmp_path / "two", listener=seen)
    assert seen.done[-1] == KEPT
    assert [path.read_bytes() for path in files()] == before


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("backbone.dropout=0.1",), "--set backbone.dropout=0"),
        (("shuffle_tokens=true",), "shuffle_tokens draws a new order"),
        (("train.max_seconds=60",), "train.max_seconds"),
        (("train.feature_cache_gib=1e-9",), "train.feature_cache_gib is 1e-09"),
        (("train.max_steps=1",), "caching pays off after 64 forward passes"),
        (
            ("task={name: bit_memory, bits: 100}", "encoder.name=linear", "head.readout=auto"),
            "the train split is endless",
        ),
    ],
)
def test_what_prevents_caching_is_reported(recipe: Path, tmp_path: Path, overrides: tuple[str, ...], said: str) -> None:
    (note,) = notes(start(recipe, tmp_path / "run", *overrides))
    assert note.startswith("feature cache off: ")
    assert said in note
    assert files() == []


def test_augmentation_keeps_it_off(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fptkit.tasks.examples import SymbolExamples

    plain = SymbolExamples.batch

    def changed(self: Any, indices: Any, generator: torch.Generator) -> Any:
        torch.rand(1, generator=generator)
        return plain(self, indices, generator)

    monkeypatch.setattr(SymbolExamples, "batch", changed)
    (note,) = notes(start(recipe, tmp_path / "run"))
    assert note == "feature cache off: the examples of the train split are changed at random (augmentation)"


def test_padding_that_is_read_keeps_it_off(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in some protocols of the paper: an example's answer then depends on the longest of its batch."""
    from fptkit.tasks.examples import SymbolExamples
    from fptkit.tasks.listops import task as listops
    from fptkit.tasks.unmasked import UnmaskedExamples

    monkeypatch.setattr(
        listops,
        "_examples",
        lambda some, cut: UnmaskedExamples(SymbolExamples(some.symbols, some.offsets, some.values, max_length=cut)),
    )
    (note,) = notes(start(recipe, tmp_path / "run"))
    assert note == "feature cache off: an example of the train split depends on the longest one in its batch"


def test_a_loss_of_its_own_keeps_it_off(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fptkit.tasks.listops.task import ListOps

    monkeypatch.setattr(ListOps, "loss", lambda self, logits, batch: Task.loss(self, logits, batch), raising=False)
    (note,) = notes(start(recipe, tmp_path / "run"))
    assert "ListOps defines its own loss" in note


def test_a_run_that_trains_more_than_the_head_says_nothing(recipe: Path, tmp_path: Path) -> None:
    assert notes(start(recipe, tmp_path / "run", "freezing.name=fpt", "train.max_steps=2")) == []
    assert files() == []


def test_a_folder_that_cannot_be_used_is_reported(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FPTKIT_CACHE", str(tmp_path / "file"))
    (note,) = notes(start(recipe, tmp_path / "run"))
    assert "choose another with $FPTKIT_CACHE" in note
