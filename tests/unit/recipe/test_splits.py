"""A task's random split: whether its seed follows the run's seed of data."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from fptkit.engine.build import build_task
from fptkit.options import Options
from fptkit.recipe.dump import component_mapping
from fptkit.recipe.load import load_recipe
from fptkit.recipe.splits import draws_data, with_split_seed

PLUGIN = """
import fptkit
from fptkit.options import Options
from fptkit.tasks.bits import BitXor


class SplitOptions(Options):
    seed: int | None = None
    time: str | None = None


class MineOptions(Options):
    split: SplitOptions = SplitOptions()
    bits: int = 3


class Mine(BitXor):
    def __init__(self, options, *, seed, pinned):
        from fptkit.tasks.options import BitXorOptions

        super().__init__(BitXorOptions(bits=options.bits), seed=seed)
        self.seed, self.split_seed = seed, options.split.seed


@fptkit.hookimpl
def fptkit_tasks():
    return [fptkit.TaskSpec(name="mine", target=Mine, options=MineOptions, summary="bits")]
"""
RECIPE = """
task: {name: mine}
plugins: [mine.py]
backbone: {name: random, blocks: 1, width: 16, heads: 2, size: nano}
"""


class SplitOptions(Options):
    share: float = 0.2
    seed: int | None = Field(default=None)


class OwnData(Options):
    split: SplitOptions = SplitOptions()


class NamedSplit(Options):
    split: str = "predefined"


@pytest.mark.parametrize(
    ("own", "given", "used"), [(None, None, None), (None, 0, 0), (None, 7, 7), (5, 7, 5), (0, 7, 0)]
)
def test_a_split_follows_unless_it_has_its_own_seed(own: int | None, given: int | None, used: int | None) -> None:
    options = OwnData(split=SplitOptions(share=0.3, seed=own))
    found = with_split_seed(options, given)
    assert found == OwnData(split=SplitOptions(share=0.3, seed=used))
    assert options.split.seed == own, "the recipe's own options are not changed"


@pytest.mark.parametrize("options", [Options(), NamedSplit()])
def test_other_options_are_left_alone(options: Options) -> None:
    assert with_split_seed(options, 3) is options


@pytest.mark.parametrize(
    ("overrides", "seed", "split", "draws"),
    [
        ((), 0, None, True),
        (("train.seed=4",), 4, None, True),
        (("train.seed=4", "train.seeds.data=0"), 0, 0, True),
        (("train.seeds.data=2",), 2, 2, True),
        (("train.seeds.data=2", "task.split.seed=9"), 2, 9, False),
        (("train.seeds.init=2", "task.split.seed=9"), 0, 9, False),
        (("task.split.time=day",), 0, None, False),
        (("train.data_fraction=0.5", "task.split.seed=9"), 0, 9, True),
    ],
)
def test_what_a_task_is_built_with(
    tmp_path: Path, overrides: tuple[str, ...], seed: int, split: int | None, draws: bool
) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "mine.yaml").write_text(RECIPE)
    loaded = load_recipe(str(tmp_path / "mine.yaml"), overrides=overrides)
    task = build_task(loaded.recipe, loaded.registry)
    assert (task.seed, task.split_seed) == (seed, split)  # type: ignore[attr-defined]
    assert draws_data(loaded.recipe.train, component_mapping(loaded.recipe.task)) is draws
