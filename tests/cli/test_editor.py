"""Recipes for editors and the shell: bare overrides, short forms, copies with a schema, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from command_line import TINY, fptkit
from jsonschema import Draft202012Validator

from fptkit.recipe.load import load_recipe
from fptkit.recipe.tree import plain, read_tree


def resolved(*arguments: str, cwd: Path) -> dict[str, object]:
    done = fptkit("show", "recipe", *arguments, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_show_recipe_as_json_is_the_recipe_as_it_would_run(tmp_path: Path) -> None:
    found = resolved("bit_xor_gpt2", cwd=tmp_path)
    assert found["task"]["name"] == "bit_xor"
    assert found["train"]["seed"] == 0
    assert resolved("pretrain_synthetic", cwd=tmp_path)["kind"] == "synthetic"
    study = fptkit("show", "study", "rq1_transfer", "--json", cwd=tmp_path)
    assert "arms" in json.loads(study.stdout)


def test_values_may_follow_the_recipe_without_set(tmp_path: Path) -> None:
    found = resolved("bit_xor_gpt2", "train.max_steps=7", "freezing=full", "--set", "train.seed=2", cwd=tmp_path)
    assert (found["train"]["max_steps"], found["train"]["seed"], found["freezing"]["name"]) == (7, 2, "full")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["run", "bit_xor_gpt2", "full"],
            "unexpected extra argument (full); values of the recipe are given as PATH=VALUE",
        ),
        (["run", "bit_xor_gpt2", "train.lr=1"], "unknown key 'lr'. Did you mean 'learning_rate'?"),
        (["run", "bit_xor_gpt2", "lr=1"], "unknown key 'lr'. Did you mean 'train.learning_rate'?"),
        (["run", "bit_xor_gpt2", "--steps", "many"], "train.max_steps: expected an integer >= 1, got 'many'"),
        (["run", "bit_xor_gpt2", "--seed", "-1"], "train.seed: expected an integer >= 0"),
        (["run", "bit_xor_gpt2", "--device", "gpu"], "device: expected one of auto, cpu, cuda, got 'gpu'"),
        (["run", "rq1_transfer"], "rq1_transfer is a study, not a recipe; run it with: fptkit study rq1_transfer"),
        (
            ["run", "elsewhere/homology_gpt2.yaml"],
            "does not exist, but 'homology_gpt2' is installed: use its name, as in 'fptkit run homology_gpt2'",
        ),
        (
            ["study", "elsewhere/rq1_transfer.yaml"],
            "'rq1_transfer' is installed: use its name, as in 'fptkit study rq1_transfer'",
        ),
        (["run", "bit_xor_gpt2", "--track", "wandbb"], "unknown listener 'wandbb'. Did you mean 'wandb'?"),
        (["copy", "rq1_transfer", "--flat"], "--flat is for recipes, but rq1_transfer is a study"),
        (["copy", "bit_xor_gpt2", "--profile", "smoke"], "--profile needs --flat"),
    ],
)
def test_mistakes_and_what_was_meant(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = fptkit(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_many_names_are_grouped(tmp_path: Path) -> None:
    lines = fptkit("run", "nothing_like_it", cwd=tmp_path).stderr.splitlines()
    assert "  mnist_...: bit_pretrained, full, gpt2, lstm, random, vit" in lines
    assert len(lines) < 15
    assert max(map(len, lines)) < 80


def test_short_forms_are_overrides(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    done = fptkit("run", "tiny.yaml", "--seed", "3", "--steps", "2", "--device", "cpu", "--output", "r", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ran = yaml.safe_load((tmp_path / "r" / "recipe.yaml").read_text())
    assert (ran["train"]["seed"], ran["train"]["max_steps"], ran["device"]) == (3, 2, "cpu")
    assert json.loads((tmp_path / "r" / "summary.json").read_text())["steps"] == 2


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("bit_xor_gpt2", "recipe.schema.json"),
        ("rq1_transfer", "study.schema.json"),
        ("pretrain_bit_memory", "pretrain.schema.json"),
        ("pretrain_language", "pretrain.schema.json"),
        ("pretrain_synthetic", "pretrain.schema.json"),
    ],
)
def test_a_copy_has_its_schema_beside_it(name: str, schema: str, tmp_path: Path) -> None:
    assert fptkit("copy", name, cwd=tmp_path).returncode == 0
    text = (tmp_path / f"{name}.yaml").read_text()
    assert text.splitlines()[0] == f"# yaml-language-server: $schema={schema}"
    assert text.count("yaml-language-server") == 1
    checker = Draft202012Validator(json.loads((tmp_path / schema).read_text()))
    checker.check_schema(checker.schema)
    content = plain(read_tree(text, name, []))  # editors read 1e-3 as a number, as fptkit does; PyYAML does not
    assert list(checker.iter_errors(content)) == []
    assert list(checker.iter_errors({**content, "tran": {}}))


def test_a_flat_copy_is_the_same_recipe_with_every_meaning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert fptkit("copy", "homology_gpt2", "flat.yaml", "--flat", "--profile", "nano").returncode == 0
    text = (tmp_path / "flat.yaml").read_text()
    assert "extends:" not in text
    assert "\n  # early stopping: training ends after this many validations" in text
    flat, whole = load_recipe("flat.yaml").recipe, load_recipe("homology_gpt2", profile="nano").recipe
    assert flat == whole
