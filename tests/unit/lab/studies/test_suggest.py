"""The suggested study runs as printed: with the recipe, profile, overrides and plugins of the run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest
from command_line import fptkit

from fptkit.lab.studies.suggest import Suggestion, control_study
from fptkit.recipe.load import load_recipe

PRETRAINED = """
task: {name: bit_xor, bits: 3}
backbone: {name: gpt2, weights: builtin:gpt2_nano}
train: {learning_rate: 1e-3, max_steps: 20, validate_every: 10, seed: 7}
"""

PLUGIN = """
from fptkit import FreezingPolicySpec, FreezingRule, hookimpl

@hookimpl
def fptkit_freezing_policies():
    return [FreezingPolicySpec(name="mine", summary="s", rules=(FreezingRule(role="output"),))]
"""


def suggested(
    recipe: str, *, profile: str | None = None, overrides: Sequence[str] = (), plugin_files: Sequence[Path] = ()
) -> Suggestion | None:
    loaded = load_recipe(recipe, profile=profile, overrides=overrides, plugin_files=plugin_files)
    return control_study(loaded, recipe, profile=profile, overrides=overrides, plugin_files=plugin_files)


def planned(found: Suggestion, folder: Path) -> str:
    """What the command plans, typed as it was printed."""
    words = shlex.split(found.command)
    assert words[0] == "fptkit"
    done = fptkit(*words[1:], "--dry-run", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "skipped" not in done.stdout
    return done.stdout


@pytest.mark.parametrize("recipe", ["bit_xor_gpt2", "cifar10_vit", "listops_lstm", "homology_bit_pretrained"])
@pytest.mark.parametrize("profile", [None, "smoke"])
def test_a_shipped_recipe(recipe: str, profile: str | None, tmp_path: Path) -> None:
    found = suggested(recipe, profile=profile)
    if recipe == "listops_lstm":
        assert found is None, "its weights are random already"
        return
    assert found is not None
    end = f" --profile {profile}" if profile else ""
    assert found.command == f"fptkit study {recipe}{end} --controls=frozen_random"
    assert f"{found.runs} runs, {found.runs} to do" in planned(found, tmp_path)


@pytest.mark.parametrize(
    "overrides",
    [
        ["train.seed=3"],
        ["train.seed=3", "train.max_steps=7", "train.validate_every=7"],
        ["task={bits: 4, test_size: 9}", "description=a b 'c' $HOME"],
        ["train.learning_rate=3e-4"],
        ["head.readout=mean"],
        ["train.data_fraction=0.5", "train.patience=3"],
    ],
)
def test_overrides_are_quoted_and_the_seed_is_left_out(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my recipe.yaml").write_text(PRETRAINED)
    monkeypatch.chdir(tmp_path)
    found = suggested("my recipe.yaml", overrides=overrides)
    assert found is not None
    words = shlex.split(found.command)
    assert [words[n + 1] for n, word in enumerate(words) if word == "--set"] == [
        text for text in overrides if not text.startswith("train.seed")
    ]
    assert "10 runs" in planned(found, tmp_path)


def test_a_model_that_trains_throughout_is_compared_with_one_that_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "r.yaml").write_text(PRETRAINED)
    monkeypatch.chdir(tmp_path)
    found = suggested("r.yaml", overrides=["freezing.name=full"])
    assert found is not None
    assert "unfrozen_random" in planned(found, tmp_path)


def test_plugin_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r.yaml").write_text(PRETRAINED + "freezing: {name: mine}\n")
    (tmp_path / "mine.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    found = suggested("r.yaml", plugin_files=[Path("mine.py")])
    assert found is not None
    assert "--plugin mine.py" in found.command
    planned(found, tmp_path)


@pytest.mark.parametrize(
    "overrides",
    [
        ["backbone.init=random"],
        ["backbone.weights=random", "backbone.size=nano"],
        ["train={seed: 3, max_steps: 5, validate_every: 5}"],
    ],
)
def test_nothing_is_suggested_that_could_not_be_run(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "r.yaml").write_text(PRETRAINED)
    monkeypatch.chdir(tmp_path)
    assert suggested("r.yaml", overrides=overrides) is None
