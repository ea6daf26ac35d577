"""Contract checks of every registered entry; new components are included automatically."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from fptkit import testing
from fptkit.backbones.gpt2_build import random_gpt2
from fptkit.backbones.huggingface.build import build_huggingface
from fptkit.backbones.huggingface.options import HuggingFaceOptions
from fptkit.backbones.options import Gpt2Sizes, RandomOptions
from fptkit.backbones.random import build_random
from fptkit.encoders.choice import encoded_tokens
from fptkit.engine.run import RunRequest, run
from fptkit.errors import FreezingError
from fptkit.interfaces import (
    KIND_NAMES,
    Accuracy,
    Backbone,
    Batch,
    Classes,
    Grid,
    InputKind,
    Mixed,
    ParameterRole,
    Symbols,
    Task,
    Vectors,
    keep_tokens,
)
from fptkit.recipe.find import list_recipes
from fptkit.recipe.load import load_recipe
from fptkit.registry import load_plugins
from fptkit.sources.identity import file_digest
from fptkit.sources.tokenizers import find_tokenizer
from fptkit.specs import BackboneSpec, ComponentSpec, EncoderSpec, FreezingPolicySpec, TaskSpec

REGISTRY = load_plugins(selection="")

SMALL: dict[str, dict[str, Any]] = {
    "bit_memory": {"bits": 40, "bits_per_token": 10, "validation_size": 9, "test_size": 9},
    "bit_xor": {"validation_size": 9, "test_size": 9},
    "remote_homology": {"source": "simulated", "simulated": {"folds": 3, "length": [20, 40]}},
    "cifar10": {"source": "simulated", "patch_size": 8, "simulated": {"train": 40, "validation": 10, "test": 10}},
    "cifar10_lra": {"source": "simulated", "patch_size": 8, "simulated": {"train": 40, "validation": 10, "test": 10}},
    "listops": {"length": [10, 60], "max_depth": 4, "train_size": 40, "validation_size": 9, "test_size": 9},
    "mnist": {"source": "digits", "patch_size": 7, "train_size": 100},
    "attention_layer": {"width": 32, "heads": 2},
    "none": {"width": 32},
    "lstm": {"layers": 2, "width": 32, "loop": "torch"},
    "vit": {"weights": "random", "size": "nano", "blocks": {"keep": 2}},
    "bert": {"weights": "random", "size": "nano", "blocks": {"keep": 2}},
    "t5_encoder": {"weights": "random", "size": "nano", "blocks": {"keep": 2}},
    "longformer": {"weights": "random", "size": "nano", "blocks": {"keep": 2}, "attention_window": 16},
    "huggingface": {
        "weights": "random",
        "config": {
            "model_type": "llama",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "vocab_size": 8,
        },
    },
    "gpt2": {"weights": "random", "size": "nano"},
    "custom": {"train": [{"role": "norm"}, {"role": "output"}]},
    "random": {"size": "nano", "blocks": 2, "width": 32, "heads": 2},
}
"""Options that make entries fast; other entries are checked with their defaults."""


OF_EACH_CODE = ("gpt2", "vit", "lstm", "huggingface", "attention_layer")
"""One backbone of each implementation: the others differ from these in their weights only."""


def small_table(folder: Path) -> dict[str, Any]:
    rows = [f"{n % 7},{'abc'[n % 3]},2020-01-{n % 28 + 1:02d},{'xy'[n % 2]}" for n in range(60)]
    (folder / "t.csv").write_text("\n".join(["a,b,day,label", *rows]))
    return {"source": f"path:{folder / 't.csv'}", "target": "label"}


def small_sequences(folder: Path) -> dict[str, Any]:
    rows = [f">s{n} {'xy'[n % 2]}\n{'ACGT' * (n % 3 + 1)}{'ACGT'[n % 4]}" for n in range(60)]
    (folder / "s.fasta").write_text("\n".join(rows))
    return {"source": f"path:{folder / 's.fasta'}", "alphabet": "dna"}


def small_texts(folder: Path) -> dict[str, Any]:
    rows = [f"some {'abc'[n % 3] * (n % 5)} text {n},{'xy'[n % 2]}" for n in range(60)]
    (folder / "t.csv").write_text("\n".join(["text,label", *rows]))
    return {"source": f"path:{folder / 't.csv'}", "tokenizer": "builtin:gpt2_nano"}


def small_audio(folder: Path) -> dict[str, Any]:
    for number in range(30):
        (folder / "ab"[number % 2]).mkdir(exist_ok=True)
        with wave.open(str(folder / "ab"[number % 2] / f"{number}.wav"), "wb") as clip:
            clip.setparams((1, 2, 8000, 0, "NONE", ""))
            clip.writeframes(bytes((number * step) % 251 for step in range(1000 + 200 * number)))
    return {"source": f"path:{folder}", "rate": 8000}


def small_series(folder: Path) -> dict[str, Any]:
    steps = [(n, t) for n in range(40) for t in range(5 + n % 4)]
    rows = [f"{n},{t},{(n * t) % 7},{'' if t == 3 else n % 5},{'xy'[n % 2]}" for n, t in steps]
    (folder / "s.csv").write_text("\n".join(["id,time,a,b,label", *rows]))
    return {"source": f"path:{folder / 's.csv'}"}


def small_images(folder: Path) -> dict[str, Any]:
    for number in range(40):
        path = folder / "pictures" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (6 * number, 3, number)).save(path)
    return {"source": f"path:{folder / 'pictures'}"}


def small_arrays(folder: Path) -> dict[str, Any]:
    steps = np.arange(40.0)[:, None, None] + np.arange(12)[:, None]
    np.savez(folder / "a.npz", x=steps, y=np.arange(40) % 2, lengths=np.arange(40) % 11 + 1)
    return {"source": f"path:{folder / 'a.npz'}"}


OWN_DATA = {
    "arrays": small_arrays,
    "audio": small_audio,
    "images": small_images,
    "sequences": small_sequences,
    "series": small_series,
    "table": small_table,
    "text": small_texts,
}
"""Tasks that read users' files: each writes a small one and gives the options that read it."""


def options(spec: ComponentSpec, folder: Path | None = None) -> Any:
    own = OWN_DATA[spec.name](folder) if spec.name in OWN_DATA and folder is not None else {}
    return spec.options_model().model_validate(SMALL.get(spec.name, own))


def specs(kind: type) -> list[Any]:
    return [entry.spec for entry in REGISTRY.entries(kind)]


def by_name(spec: Any) -> str:
    return spec.name


@pytest.mark.parametrize("kind", [TaskSpec, BackboneSpec, EncoderSpec])
def test_options_are_documented_and_targets_import(kind: type) -> None:
    for spec in specs(kind):
        testing.check_options(spec)


@pytest.mark.parametrize("spec", specs(BackboneSpec), ids=by_name)
def test_backbones(spec: BackboneSpec) -> None:
    small = options(spec)
    testing.check_backbone(lambda count: spec.resolve()(small, positions=count, seed=0, pinned=None), options=small)


DEEP_SIZES = {"hidden_size": 32, "num_hidden_layers": 30, "num_attention_heads": 4, "intermediate_size": 64}
DEEP: dict[str, dict[str, Any]] = {
    "bloom": {"n_layer": 30, "n_head": 4},
    "esm": {"position_embedding_type": "rotary", "pad_token_id": 1, "mask_token_id": 3},
    "gemma3_text": {"head_dim": 8, "num_key_value_heads": 2},
    "gpt_neox": {},
    "llama": {},
    "mistral": {"head_dim": 8, "num_key_value_heads": 2},
    "qwen3": {"head_dim": 8, "num_key_value_heads": 2},
}
"""Models without a position table, with what each needs beside the common sizes."""


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["none", "bos", "learned"])
@pytest.mark.parametrize("kind", DEEP)
def test_deep_models_without_a_table_have_finite_gradients_at_zero_tokens(kind: str, prefix: str) -> None:
    config = {"model_type": kind, "vocab_size": 9, **DEEP_SIZES, **DEEP[kind]}
    deep = HuggingFaceOptions(weights="random", config=config, prefix={"kind": prefix})
    testing.check_finite(lambda count: build_huggingface(deep, positions=count, seed=0), tokens=3, options=deep)


@pytest.mark.slow
@pytest.mark.parametrize("init", ["random", "flat_0.02"])
@pytest.mark.parametrize("like", ["gpt2", "vit", "bert", "t5_encoder", "longformer", "lstm"])
def test_deep_random_models_have_finite_gradients_at_zero_tokens(like: str, init: str) -> None:
    # An LSTM of the paper has three layers; in a deeper one gradients grow without end, zero tokens or not.
    sizes = {"blocks": 3} if like == "lstm" else {"blocks": 30, "heads": 4}
    deep = RandomOptions(like=like, size="nano", width=32, init=init, **sizes)
    testing.check_finite(lambda count: build_random(deep, positions=count, seed=0), tokens=3, options=deep)


def test_a_deep_llama_has_finite_gradients_at_zero_tokens_only_with_positions() -> None:
    config = {"model_type": "llama", "vocab_size": 9, **DEEP_SIZES}
    usual = HuggingFaceOptions(weights="random", config=config)
    testing.check_finite(lambda count: build_huggingface(usual, positions=count, seed=0), tokens=3, options=usual)
    deep = HuggingFaceOptions(weights="random", config=config, positions={"kind": "none"})
    with pytest.raises(AssertionError, match=r"tokens of up to 0e\+00 in float32 give a gradient of .* not finite"):
        testing.check_finite(lambda count: build_huggingface(deep, positions=count, seed=0), tokens=3, options=deep)


@pytest.mark.parametrize("spec", specs(TaskSpec), ids=by_name)
def test_tasks(spec: TaskSpec, tmp_path: Path) -> None:
    testing.check_task(spec.resolve()(options(spec, tmp_path), seed=0, pinned=None))


@pytest.mark.parametrize(
    "kind",
    [Vectors(3), Symbols(7), Grid((8, 8), 2), Mixed({"image": Grid((4, 4)), "words": Symbols(7)}, {"words": 9})],
    ids=lambda kind: KIND_NAMES[type(kind)],
)
@pytest.mark.parametrize("spec", specs(EncoderSpec), ids=by_name)
def test_encoders(spec: EncoderSpec, kind: InputKind) -> None:
    if KIND_NAMES[type(kind)] not in spec.accepts:
        return
    width, further = 16, {"registry": REGISTRY} if isinstance(kind, Mixed) else {}
    if spec.name == "word_embeddings":  # for the tokens of its weights, in the width of these
        kind = Symbols(4096, vocabulary=file_digest(find_tokenizer("builtin:gpt2_nano")))
        width, further = 256, {"weights": "builtin:gpt2_nano"}
    tokens = encoded_tokens(spec, options(spec), kind, getattr(kind, "max_tokens", 50), registry=REGISTRY)
    testing.check_encoder(
        lambda: spec.resolve()(options(spec), input=kind, width=width, **further),
        input=kind,
        width=width,
        token_count=tokens,
    )


def run_pair(task: str, backbone: str, policy: str, folder: Path) -> dict[str, Any]:
    """Two steps, offline, on one thread."""
    path = folder / "pair.yaml"
    (folder / "data").mkdir()
    small = OWN_DATA[task](folder / "data") if task in OWN_DATA else SMALL.get(task, {})
    encoder = "encoder: {name: symbols}\n" if task == "text" else ""  # random backbones have no words
    path.write_text(
        f"task: {{name: {task}, {_flow(small)}}}\n{encoder}"
        f"backbone: {{name: {backbone}, {_flow(SMALL.get(backbone, {}))}}}\n"
        f"freezing: {{name: {policy}, {_flow(SMALL.get(policy, {}))}}}\n"
        "train: {max_steps: 2, validate_every: 2, batch_size: 4}\nthreads: 1\n"
    )
    return run(RunRequest(load_recipe(str(path)), folder / "run"))


def pairs() -> Iterator[Any]:
    """Every task with every backbone; users' files, which give the same kinds of input, with one of each code."""
    for task in specs(TaskSpec):
        for backbone in specs(BackboneSpec):
            if task.name not in OWN_DATA or backbone.name in OF_EACH_CODE:
                yield pytest.param(task, backbone, id=f"{task.name}-{backbone.name}")


@pytest.mark.slow
@pytest.mark.parametrize(("task", "backbone"), list(pairs()))
def test_every_task_trains_on_every_backbone(task: TaskSpec, backbone: BackboneSpec, tmp_path: Path) -> None:
    summary = run_pair(task.name, backbone.name, "fpt", tmp_path)
    assert summary["status"] == "finished"
    assert summary["parameters"]["reached"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [s for s in specs(BackboneSpec) if s.name in OF_EACH_CODE], ids=by_name)
@pytest.mark.parametrize("policy", specs(FreezingPolicySpec), ids=by_name)
def test_every_policy_trains_on_every_backbone_or_says_which_roles_there_are(
    policy: FreezingPolicySpec, backbone: BackboneSpec, tmp_path: Path
) -> None:
    small = options(backbone)
    roles = {role.role for role in backbone.resolve()(small, positions=10, seed=0).parameter_roles().values()}
    lacking = [rule.role for rule in policy.rules if rule.required and rule.role not in {*roles, *ALWAYS_THERE}]
    if lacking:
        with pytest.raises(FreezingError, match=f"'{lacking[0]}'.*touches no parameter of this model. Roles here: "):
            run_pair("bit_xor", backbone.name, policy.name, tmp_path)
        return
    summary = run_pair("bit_xor", backbone.name, policy.name, tmp_path)
    assert summary["status"] == "finished"
    assert summary["parameters"]["reached"] > 0


ALWAYS_THERE = ("input", "output", "all")
"""Roles every model has, whatever its backbone."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe", [r for r in list_recipes(REGISTRY) if r.kind == "run"], ids=lambda recipe: recipe.name
)
def test_every_recipe_runs_in_its_smoke_profile(recipe: Any, tmp_path: Path) -> None:
    overrides = ["train.max_steps=2", "train.validate_every=2", "threads=1"]
    summary = run(RunRequest(load_recipe(str(recipe.path), profile="smoke", overrides=overrides), tmp_path / "run"))
    assert summary["status"] == "finished"


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (TaskSpec, "bit_memory bit_xor cifar10 cifar10_lra listops mnist remote_homology"),
        (BackboneSpec, "attention_layer bert gpt2 huggingface longformer lstm none random t5_encoder vit"),
        (
            FreezingPolicySpec,
            "custom fpt fpt_attention fpt_feed_forward fpt_last_attention frozen_norm full input_output "
            "output_norm output_norm_input output_only",
        ),
    ],
)
def test_every_experiment_of_the_paper_can_be_named(kind: type, names: str) -> None:
    assert set(names.split()) <= set(REGISTRY.names(kind))


def test_there_is_a_recipe_for_every_task_and_arm() -> None:
    tasks = ("bit_memory", "bit_xor", "listops", "mnist", "cifar10", "cifar10_lra", "homology")
    arms = ("gpt2", "random", "vit", "lstm", "full", "bit_pretrained")
    names = {recipe.name for recipe in list_recipes(REGISTRY) if recipe.kind == "run"}
    assert {f"{task}_{arm}" for task in tasks for arm in arms} <= names


def _flow(values: dict[str, Any]) -> str:
    import json

    return ", ".join(f"{key}: {json.dumps(value)}" for key, value in values.items())


@pytest.mark.parametrize("recipe", [r for r in list_recipes(REGISTRY) if r.kind == "run"], ids=lambda r: r.name)
def test_every_recipe_loads_in_every_profile(recipe: Any) -> None:
    assert set(recipe.profiles) >= {"smoke", "paper"}
    for profile in (None, *recipe.profiles):
        load_recipe(str(recipe.path), profile=profile)
    text = recipe.path.read_text()
    assert text.startswith("#"), "a recipe opens with how to launch it"
    assert f"fptkit run {recipe.name}" in text


# That the checks can fail: a component that breaks one promise each.


class Leaky(Backbone):
    """Declares causal and is not."""

    width, blocks, causal = 4, 1, True

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(4)

    def forward(self, tokens: Any, lengths: Any = None, keep: Any = None) -> Any:
        hidden = self.norm(tokens) + tokens.mean(1, keepdim=True)
        return hidden if keep is None else hidden.gather(1, keep[:, :, None].expand(-1, -1, 4))

    def parameter_roles(self) -> Any:
        return {}


def test_a_leaky_backbone_is_found() -> None:
    with pytest.raises(AssertionError, match="differs from the same in a padded batch"):
        testing.check_backbone(lambda positions: Leaky())


class NoEpsilon(Backbone):
    """Divides by the length of a token, without a smallest length."""

    width, blocks, causal = 4, 0, True

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        return keep_tokens(tokens / tokens.norm(dim=-1, keepdim=True) * self.scale, keep)

    def parameter_roles(self) -> dict[str, ParameterRole]:
        return {"scale": ParameterRole("norm", None)}


class SteepAtZero(NoEpsilon):
    """Its output is finite for a zero token, but its gradient is not."""

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        return keep_tokens(tokens.abs().sqrt() * self.scale, keep)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (NoEpsilon, "NoEpsilon: tokens of up to 0e.00 in float32 give an output that is not finite"),
        (
            SteepAtZero,
            "SteepAtZero: tokens of up to 0e.00 in float32 give a gradient of the tokens that is not finite, or",
        ),
    ],
)
def test_numbers_that_are_not_finite_are_found(kind: type[Backbone], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        testing.check_backbone(lambda positions: kind())


def test_missing_roles_are_found() -> None:
    def build(positions: int) -> Backbone:
        backbone = random_gpt2(Gpt2Sizes(1, 8, 2, 16), positions=positions, seed=0)
        roles = backbone.parameter_roles()
        backbone.parameter_roles = lambda: {name: role for name, role in roles.items() if name != "wpe.weight"}
        return backbone

    with pytest.raises(AssertionError, match=r"differ in \['wpe\.weight'\]"):
        testing.check_backbone(build)


class Coin(Task):
    """A task of one coin; subclasses below break it."""

    def __init__(self) -> None:
        self.input, self.output, self.max_tokens = Vectors(1), Classes(2), 1
        self.size: int | None = 10
        self.token_counts = None

    def split(self, name: str) -> Any:
        return self

    def batch(self, indices: Any, generator: torch.Generator) -> Batch:
        coins = torch.arange(10)[list(indices)] % 2
        return Batch(coins[:, None, None].float(), coins)


class Blunt(Accuracy):
    higher_is_better = None  # type: ignore[assignment]


class PerClass(Accuracy):
    def compute(self) -> torch.Tensor:  # type: ignore[override]
        return torch.zeros(3)


class Percent(Accuracy):
    def compute(self) -> float:
        return 100.0


class NeverFresh(Accuracy):
    resets = 0

    def reset(self) -> None:
        self.resets += 1

    def compute(self) -> float:
        return 1 / self.resets


def with_metric(metric: Accuracy) -> dict[str, Any]:
    return {"metrics": lambda: {"odd": metric}, "best_metric": "odd"}


def test_a_sound_task_passes() -> None:
    testing.check_task(Coin())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_tokens": 0}, "1 tokens exceed max_tokens 0"),
        ({"input": Vectors(2)}, r"tokens have \(1,\) numbers, but the task declares 2"),
        (
            {"batch": lambda i, g: replace(Coin().batch(i, g), targets=torch.full((8,), 5))},
            "a target is not below 2",
        ),
        ({"output": Classes(2, tokens=3)}, "an example has 1 tokens, but 3 are read out"),
        ({"output": Classes(2, per_token=3)}, r"targets are \(8,\), expected \(8, 1, 3\)"),
        ({"test_splits": "test"}, "test_splits is 'test', expected a tuple of names"),
        ({"input": None}, "'input' is None, expected Vectors or Symbols"),
        ({"batch": lambda indices, generator: (1, 2)}, "expected a fptkit.Batch, got a tuple"),
        (
            {"batch": lambda indices, generator: replace(Coin().batch(indices, generator), inputs=torch.ones(8))},
            r"inputs have shape \(8,\), expected 3 dimensions",
        ),
        (
            {"batch": lambda i, g: replace(Coin().batch(i, g), inputs=torch.full((8, 1, 1), float("nan")))},
            "inputs have NaN or infinity",
        ),
        ({"size": None}, "must have a size"),
        ({"best_metric": "f1"}, "unknown best_metric 'f1'; set one of accuracy, loss"),
        ({"higher_is_better": "yes"}, "higher_is_better is 'yes', expected True, False or None"),
        ({"chance_accuracy": 50}, "chance_accuracy is 50, expected a number from 0 to 1, or None"),
        ({"chance_accuracy": float("nan")}, "chance_accuracy is nan, expected a number from 0 to 1"),
        ({"chance_accuracy": "0.5"}, "chance_accuracy is '0.5', expected a number from 0 to 1"),
        ({"higher_is_better": False}, "for its best_metric 'accuracy' higher is better"),
        (with_metric(Blunt()), "'odd' does not declare its direction"),
        (with_metric(PerClass()), r"'odd' gives a tensor of shape \(3,\) instead of one number"),
        (with_metric(Percent()), "'odd' says it is a fraction, but gives 100"),
        (with_metric(NeverFresh()), r"'odd' gives 1.0, and after reset\(\) 0.5"),
        (
            {"batch": lambda indices, generator: replace(Coin().batch(indices, generator), inputs=torch.rand(8, 1, 1))},
            "the same generator state gave another batch",
        ),
        ({"loss": lambda logits, batch: logits.sum().detach()}, "the loss does not depend on the logits"),
        ({"loss": lambda logits, batch: 0.5}, "the loss is a float, expected a tensor"),
        ({"loss": lambda logits, batch: logits}, "the loss has shape .*, expected a scalar"),
    ],
)
def test_a_broken_task_is_found(change: dict[str, Any], said: str) -> None:
    task = Coin()
    for name, value in change.items():
        setattr(task, name, value)
    with pytest.raises(AssertionError, match=said):
        testing.check_task(task)
