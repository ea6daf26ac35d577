"""Seeds of single sources of randomness: each decides what it names and nothing else, and together they decide all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from whole_runs import Recorder, assert_same, start, tensors

from fptkit.engine.checkpoint import trained_tensors
from fptkit.engine.setup import prepare, training_batches
from fptkit.errors import Interrupted, RecipeError, UsageError
from fptkit.recipe.load import load_recipe

SMALL = "backbone: {name: random, blocks: 1, width: 16, heads: 2, size: nano, dropout: 0.1}\nthreads: 1\n"
TRAIN = "max_steps: 8, validate_every: 4, log_every: 1, patience: null, learning_rate: 1e-2, training_sample: 20"
RECIPE = f"""
task: {{name: mnist, source: [digits], augment: true}}
head: {{hidden: [8], dropout: 0.2}}
train: {{batch_size: 8, data_fraction: 0.1, {TRAIN}}}
shuffle_tokens: true
{SMALL}
"""
SAMPLED = f"""
task: {{name: bit_xor, bits: 3, protocol: fpt2021}}
train: {{batch_size: 8, {TRAIN}}}
{SMALL}
"""
LENGTHS = f"""
task: {{name: remote_homology, source: [simulated], simulated: {{folds: 2, length: [10, 60]}}}}
train: {{batch_size: 8, batch_tokens: 300, data_fraction: 0.5, {TRAIN}}}
{SMALL}
"""
NAMES = ("init", "order", "data")


@pytest.fixture(params=[RECIPE, SAMPLED, LENGTHS], ids=["images", "sampled", "lengths"])
def any_recipe(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "any.yaml"
    path.write_text(request.param)
    return path


def apart(seed: int, **seeds: int) -> list[str]:
    return [f"train.seed={seed}", *(f"train.seeds.{name}={own}" for name, own in seeds.items())]


def test_the_three_seeds_decide_everything(any_recipe: Path, tmp_path: Path) -> None:
    start(any_recipe, tmp_path / "one", *apart(1))
    start(any_recipe, tmp_path / "three", *apart(0, init=1, order=1, data=1))
    assert_same(tmp_path / "one", tmp_path / "three")


@pytest.mark.parametrize("name", NAMES)
def test_one_apart_is_the_other_two_apart_the_other_way_round(any_recipe: Path, tmp_path: Path, name: str) -> None:
    """So nothing follows ``train.seed`` alone."""
    start(any_recipe, tmp_path / "own", *apart(0, **{name: 1}))
    start(any_recipe, tmp_path / "others", *apart(1, **dict.fromkeys(set(NAMES) - {name}, 0)))
    assert_same(tmp_path / "own", tmp_path / "others")


def test_each_decides_what_it_names(recipe: Path) -> None:
    def made(*overrides: str) -> tuple[dict[str, torch.Tensor], torch.Tensor, list[int]]:
        """The trained tensors before the first step; the first batch; the examples that are used."""
        loaded = load_recipe(str(recipe), overrides=overrides)
        prepared = prepare(loaded.recipe, loaded.registry, torch.device("cpu"))
        task = prepared.built.task
        batches, fraction = training_batches(loaded.recipe, task, task.split("train"))
        tensors = {name: tensor.detach().clone() for name, tensor in trained_tensors(prepared.built.model).items()}
        return tensors, batches.batch(0).inputs, fraction.members.tolist()  # type: ignore[attr-defined]

    def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
        return all(torch.equal(one[name], other[name]) for name in one)

    zero, one = made(*apart(0)), made(*apart(1))
    assert not same(zero[0], one[0])
    init, order, data = (made(*apart(0, **{name: 1})) for name in NAMES)
    assert same(init[0], one[0]), "the very tensors of seed 1"
    assert same(order[0], zero[0])
    assert same(data[0], zero[0])
    assert init[2] == order[2] == zero[2] != data[2] == one[2]
    assert torch.equal(init[1], zero[1])
    assert not torch.equal(order[1], zero[1])
    assert not torch.equal(data[1], zero[1])


@pytest.mark.parametrize("name", NAMES)
def test_each_changes_the_result(recipe: Path, tmp_path: Path, name: str) -> None:
    start(recipe, tmp_path / "zero")
    summary = start(recipe, tmp_path / "own", *apart(0, **{name: 1}))
    zero, own = tensors(tmp_path / "zero"), tensors(tmp_path / "own")
    assert any(not torch.equal(zero[key], own[key]) for key in zero)
    assert summary["seed"] == 0
    assert summary["seeds"] == {**dict.fromkeys(NAMES, 0), name: 1}


def test_no_seed_changes_what_is_tested(recipe: Path) -> None:
    def tested(*overrides: str) -> torch.Tensor:
        loaded = load_recipe(str(recipe), overrides=overrides)
        split = prepare(loaded.recipe, loaded.registry, torch.device("cpu")).built.task.split("test")
        return split.batch(range(split.size or 0), torch.Generator()).targets

    assert torch.equal(tested(), tested(*apart(0, init=1, order=2, data=3)))


@pytest.mark.parametrize("stop_at", [2, 5])
def test_an_interrupted_run_resumes_exactly(any_recipe: Path, tmp_path: Path, stop_at: int) -> None:
    overrides = apart(4, init=1, order=2, data=3)
    start(any_recipe, tmp_path / "whole", *overrides)
    with pytest.raises(Interrupted):
        start(any_recipe, tmp_path / "parts", *overrides, listener=Recorder(stop_at))
    start(any_recipe, tmp_path / "parts", *overrides, resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")
    start(tmp_path / "parts" / "recipe.yaml", tmp_path / "again")
    assert_same(tmp_path / "whole", tmp_path / "again")


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_has_the_same_seeds(recipe: Path, tmp_path: Path, name: str) -> None:
    start(recipe, tmp_path / "run", *apart(0, **{name: 1}))
    with pytest.raises(UsageError, match=rf"it differs in train\.seeds\.{name}"):
        start(recipe, tmp_path / "run", *apart(0, **{name: 2}), resume=True)
    with pytest.raises(UsageError, match=rf"it differs in train\.seeds\.{name}"):
        start(recipe, tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.seeds.init=-1", "train.seeds.init: expected an integer >= 0"),
        ("train.seeds.order=1.5", "train.seeds.order: expected an integer"),
        ("train.seeds.dropout=1", "train.seeds: unknown key 'dropout'.\n"),
        ("train.seeds=3", "train.seeds: expected a mapping"),
    ],
)
def test_bad_seeds_are_located(recipe: Path, override: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(recipe), overrides=[override])
    assert message in str(caught.value)
