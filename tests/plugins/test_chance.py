"""What plugins draw follows from the seed of the run, whichever generator they use; and vectors stay float32."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import fptkit
from safetensors.torch import load_file

from fptkit.api.plugin_checks import check_plugins
from fptkit.engine.build import build
from fptkit.recipe.load import load_recipe
from fptkit.registry import load_plugins
from fptkit.testing import check_built_twice

PLUGIN = """
import os, random
import numpy as np
import torch
from torch import nn
import fptkit
from fptkit import ParameterRole, keep_tokens


class Space(fptkit.Backbone):
    width, causal, blocks = 8, True, 1

    def __init__(self, options, *, positions, seed, pinned):
        super().__init__()
        self.map = nn.Linear(8, 8)  # torch's global generator
        self.A_log = nn.Parameter(torch.tensor(np.random.rand(8), dtype=torch.float32))
        self.shift = nn.Parameter(torch.full((8,), random.random()))

    def forward(self, tokens, lengths=None, keep=None):
        return keep_tokens(tokens * self.A_log.exp() + self.shift + self.map(tokens), keep)

    def parameter_roles(self):
        return {name: ParameterRole("recurrent", block=0) for name, _ in self.named_parameters()}


class Scaled(nn.Module):
    def __init__(self, options, *, input, width):
        super().__init__()
        self.map = nn.Linear(input.width, width)
        nn.init.constant_(self.map.bias, random.random() + np.random.rand())

    def forward(self, inputs):
        return self.map(inputs)


class Waves(fptkit.Task):
    def __init__(self, options, *, seed, pinned):
        self.input, self.output, self.max_tokens = fptkit.Vectors(4), fptkit.Classes(2), 6

    def split(self, name):
        waves = torch.tensor(np.random.rand(24, 6, 4), dtype=torch.float32)
        return fptkit.ArraySplit(waves, (waves.mean((1, 2)) > 0.5).long(), vectors=True)


@fptkit.hookimpl
def fptkit_tasks():
    return [fptkit.TaskSpec(name="waves", summary="s", target=Waves)]


@fptkit.hookimpl
def fptkit_encoders():
    return [fptkit.EncoderSpec(name="scaled", summary="s", target=Scaled, accepts=("vectors",))]


@fptkit.hookimpl
def fptkit_backbones():
    return [fptkit.BackboneSpec(name="space", summary="s", target=Space)]
"""

RECIPE = """
task: {name: waves}
encoder: {name: scaled}
backbone: {name: space}
freezing: {name: output_only}
train: {batch_size: 8, max_steps: 4, validate_every: 2, patience: null, seed: 1, learning_rate: 1e-2}
device: cpu
plugins: [chance.py]
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FPTKIT_PLUGINS", "")
    Path("chance.py").write_text(PLUGIN)
    Path("r.yaml").write_text(RECIPE)


def unseed() -> None:
    """Another state of all global generators, as in another process."""
    torch.seed()
    np.random.seed()
    random.seed()


def test_two_runs_are_equal_bit_for_bit_and_one_resumes() -> None:
    for output in ("a", "b"):
        unseed()
        done = fptkit("run", "r.yaml", "--output", output, "--quiet")
        assert done.returncode == 0, done.stderr
    first, second = (load_file(f"{output}/model.safetensors") for output in ("a", "b"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    metrics = [json.loads(Path(output, "summary.json").read_text())["metrics"] for output in ("a", "b")]
    assert metrics[0] == metrics[1]
    unseed()
    done = fptkit("run", "r.yaml", "--output", "a", "--resume", "--quiet", "--set", "train.max_steps=6")
    assert done.returncode == 0, done.stderr
    assert json.loads(Path("a/summary.json").read_text())["steps"] == 6


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_only_matrices_are_stored_in_bfloat16(precision: str) -> None:
    loaded = load_recipe("r.yaml", overrides=[f"precision={precision}"])
    built = build(loaded.recipe, loaded.registry, torch.device("cpu"))
    types = {name: parameter.dtype for name, parameter in built.model.backbone.named_parameters()}
    matrix = torch.bfloat16 if precision == "bfloat16" else torch.float32
    assert types == {"map.weight": matrix, "map.bias": torch.float32, "A_log": torch.float32, "shift": torch.float32}


@pytest.mark.parametrize("draw", ["np.random.default_rng().random(8)", "np.frombuffer(os.urandom(8), np.uint8)"])
def test_a_build_that_does_not_follow_from_the_seed_is_found(draw: str) -> None:
    assert check(PLUGIN)["backbone 'space'", "float32"] == ""
    reason = check(PLUGIN.replace("np.random.rand(8)", draw))["backbone 'space'", "float32"]
    assert "two builds with one seed differ in A_log" in reason
    with pytest.raises(AssertionError, match="two builds with one seed differ"):
        check_built_twice(lambda: torch.nn.Linear(int.from_bytes(random.SystemRandom().randbytes(1), "big") + 1, 1))


def check(plugin: str) -> dict[tuple[str, str], str]:
    Path("chance.py").write_text(plugin)
    registry = load_plugins(["chance.py"], selection="")
    return {(one.component, one.check): one.reason for one in check_plugins(registry)}


@pytest.mark.parametrize(
    ("old", "new", "failed", "said"),
    [
        ("self.shift +", "self.shift.half() + self.shift +", [], ""),
        ("self.map(tokens), keep)", "self.map(tokens), keep).half()", ["float32", "bfloat16"], "float16"),
        ("+ self.map(tokens)", "+ float(self.map.weight.detach().numpy().sum()) * tokens", ["bfloat16"], "BFloat16"),
        ("waves.mean((1, 2)) > 0.5", "waves.sum((1, 2)) > 99", [], ""),
        (
            "tokens * self.A_log",
            "(tokens - tokens.mean(0)) * self.A_log",
            ["float32"],
            "differs from the same in a padded",
        ),
        ("return self.map(inputs)", "return self.map(inputs - inputs.mean(0))", ["vectors"], "depends on the others"),
        ("fptkit.Classes(2), 6", "fptkit.Classes(2), 5", ["contract"], "6 tokens exceed max_tokens 5"),
        ('("recurrent", block=0)', '("recurent", block=0)', ["float32"], "is not a role"),
        ("class Waves", "class Waves(): pass\nclass Other", ["contract"], "Waves() takes no arguments"),
    ],
)
def test_the_contracts_of_a_plugin_are_checked(old: str, new: str, failed: list[str], said: str) -> None:
    assert old in PLUGIN
    Path("chance.py").write_text(PLUGIN.replace(old, new))
    done = fptkit("plugins", "--check", "--plugin", "chance.py", "--json")
    results = json.loads(done.stdout)
    assert [one["check"] for one in results if one["result"] == "failed"] == failed, results
    assert done.returncode == (1 if failed else 0)
    assert said in " ".join(one["reason"] for one in results)


def test_one_plugin_is_checked_by_name() -> None:
    done = fptkit("plugins", "--check", "chance", "--plugin", "chance.py")
    assert done.returncode == 0, done.stdout
    assert "bfloat16  ok" in done.stdout
    unknown = fptkit("plugins", "--check", "chanse", "--plugin", "chance.py")
    assert unknown.returncode == 2
    assert "Did you mean 'chance'?" in unknown.stderr


def test_validate_imports_what_a_recipe_needs() -> None:
    assert fptkit("validate", "r.yaml").returncode == 0
    Path("chance.py").write_text(PLUGIN.replace("target=Scaled", 'target="no_such_module:Scaled"'))
    done = fptkit("validate", "r.yaml")
    assert done.returncode == 2
    assert "encoder 'scaled': cannot import 'no_such_module:Scaled'" in done.stderr
