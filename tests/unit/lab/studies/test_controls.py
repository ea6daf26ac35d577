"""Control arms: the changes to a reference, the reasons why one is impossible, and that each of them trains."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from fptkit.engine.build import build, build_component
from fptkit.engine.run import RunRequest, run
from fptkit.errors import UnknownNameError
from fptkit.lab.studies.controls import CONTROL_SUMMARIES, control_fragment
from fptkit.lab.studies.options import CONTROLS
from fptkit.recipe.dump import dump_recipe
from fptkit.recipe.load import LoadedRecipe, load_recipe
from fptkit.recipe.models import Recipe
from fptkit.specs import BackboneSpec

NANO = "backbone.weights=builtin:gpt2_nano"
VIT = "backbone.weights=builtin:vit_nano"


def reference(name: str, *overrides: str, profile: str | None = None) -> Recipe:
    return load_recipe(name, profile=profile, overrides=overrides).recipe


def as_overrides(fragment: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in fragment.items():
        if isinstance(value, Mapping):
            yield from as_overrides(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={json.dumps(value)}"


def laid_over(recipe: Recipe, fragment: Mapping[str, Any]) -> LoadedRecipe:
    """The reference, written out, with the fragment over it by a recipe's own rules."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reference.yaml"
        path.write_text(dump_recipe(recipe))
        return load_recipe(str(path), overrides=list(as_overrides(fragment)))


def controlled(name: str, control: str, *overrides: str, profile: str | None = None) -> Recipe:
    """The reference with the control laid over it."""
    recipe = reference(name, *overrides, profile=profile)
    fragment = control_fragment(control, recipe)
    assert not isinstance(fragment, str), fragment
    return laid_over(recipe, fragment).recipe


def reason(name: str, control: str, *overrides: str, profile: str | None = None) -> str:
    found = control_fragment(control, reference(name, *overrides, profile=profile))
    assert isinstance(found, str), found
    return found


def test_every_control_has_a_line_and_is_made() -> None:
    assert tuple(CONTROL_SUMMARIES) == CONTROLS
    recipe = reference("bit_xor_gpt2", NANO)
    assert all(not isinstance(control_fragment(name, recipe), str) for name in CONTROLS)


def test_another_name_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown control 'frozen_randm'\. Did you mean 'frozen_random'"):
        control_fragment("frozen_randm", reference("bit_xor_gpt2"))


def test_it_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from fptkit.recipe.load import load_recipe\n"
        "from fptkit.lab.studies.controls import CONTROLS, control_fragment\n"
        "recipe = load_recipe('bit_xor_gpt2').recipe\n"
        "[control_fragment(name, recipe) for name in CONTROLS]\n"
        "sys.exit(str([heavy for heavy in ('torch', 'numpy', 'scipy', 'transformers') if heavy in sys.modules] or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stderr.strip() == ""


# What each is


def test_frozen_random_differs_in_its_weights_alone() -> None:
    before, after = reference("mnist_gpt2", NANO), controlled("mnist_gpt2", "frozen_random", NANO)
    assert after.backbone.options.init == "random"
    same = after.backbone.options.model_copy(update={"init": "pretrained"})
    assert after.model_copy(update={"backbone": after.backbone.model_copy(update={"options": same})}) == before


def test_frozen_random_freezes_where_the_reference_does_not() -> None:
    assert controlled("bit_xor_gpt2", "frozen_random", NANO, "freezing.name=full").freezing.name == "fpt"
    kept = controlled("bit_xor_gpt2", "frozen_random", NANO, "freezing.name=frozen_norm")
    assert kept.freezing.name == "frozen_norm"
    lstm = controlled("bit_xor_lstm", "frozen_random")
    assert (lstm.freezing.name, lstm.backbone) == ("fpt", reference("bit_xor_lstm").backbone)


def test_unfrozen_random_trains_all() -> None:
    recipe = controlled("bit_xor_vit", "unfrozen_random", VIT)
    assert (recipe.backbone.options.init, recipe.freezing.name) == ("random", "full")
    frozen_in_part = ("freezing.name=full", "freezing.freeze=[norm]")
    assert controlled("bit_xor_random", "unfrozen_random", *frozen_in_part).freezing.options.freeze == ()
    assert controlled("bit_xor_gpt2", "unfrozen_random", NANO, *frozen_in_part).freezing.options.freeze == ()


def test_statistics_only_keeps_the_policy() -> None:
    recipe = controlled("bit_xor_gpt2", "statistics_only", NANO)
    assert (recipe.backbone.options.init, recipe.freezing.name) == ("statistics", "fpt")
    assert recipe.backbone.options.weights == ("builtin:gpt2_nano",)


@pytest.mark.parametrize("control", ["no_backbone", "one_attention_layer"])
@pytest.mark.parametrize(
    ("name", "overrides", "width"),
    [
        ("bit_xor_gpt2", (), 256),  # no hub here: the stand-in gives the width, as it does to the reference
        ("bit_xor_vit", (), 192),
        ("bit_xor_bit_pretrained", (), 256),
        ("bit_xor_lstm", (), 256),
        ("bit_xor_lstm", ("backbone.width=40",), 40),
        ("bit_xor_lstm", ("backbone.size=paper",), 768),
        ("bit_xor_random", (), 256),
        ("bit_xor_random", ("backbone.size=medium",), 1024),
        ("bit_xor_random", ("backbone.width=64",), 64),
        ("bit_xor_random", ("backbone.like=vit",), 192),
        ("bit_xor_random", ("backbone.like=lstm", "backbone.size=base"), 768),
        ("bit_xor_random", ("backbone.like=bert", "backbone.size=large"), 1024),
        ("bit_xor_gpt2", ("backbone.weights=random", "backbone.size=xl"), 1600),
        ("bit_xor_gpt2", ("backbone.weights=[path:nowhere, random]", "backbone.size=large"), 1280),
        (
            "bit_xor_gpt2",
            ("backbone={name: huggingface, weights: random, config: {model_type: llama, hidden_size: 48}}",),
            48,
        ),
    ],
)
def test_what_takes_the_models_place_is_as_wide(
    control: str, name: str, overrides: tuple[str, ...], width: int
) -> None:
    loaded = load_recipe(name, overrides=overrides)
    recipe = controlled(name, control, *overrides)
    spec = loaded.registry.get(BackboneSpec, recipe.backbone.name)
    made = build_component(spec, recipe.backbone.options, positions=10, seed=0, pinned=None)
    assert made.width == width
    assert recipe.freezing.name == "full"
    dropout = getattr(loaded.recipe.backbone.options, "dropout", None)
    assert made.dropout == (0.1 if dropout is None else dropout)


def test_one_attention_layer_drops_attention_weights_as_the_reference_does() -> None:
    for name, overrides, expected in (
        ("bit_xor_gpt2", ("backbone.attention_dropout=0.2",), 0.2),
        ("bit_xor_gpt2", (), 0.0),
        ("bit_xor_lstm", (), 0.0),  # it has no attention
    ):
        recipe = controlled(name, "one_attention_layer", *overrides)
        assert recipe.backbone.options.model_dump()["attention_dropout"] == expected


def test_the_lstm_of_the_papers_code_stays_it() -> None:
    """A control differs from its reference in what it is a control for."""
    options = controlled("bit_xor_lstm", "one_block", "backbone.variant=official").backbone.options.model_dump()
    assert (options["variant"], options["blocks"]["keep"]) == ("official", 1)


@pytest.mark.parametrize(
    ("name", "overrides", "causal"),
    [
        ("mnist_gpt2", (), True),
        ("mnist_lstm", (), True),
        ("mnist_vit", (), False),
        ("mnist_random", (), True),
        ("mnist_random", ("backbone.like=vit",), False),
        ("mnist_random", ("backbone.like=longformer",), False),
    ],
)
def test_the_attention_layer_looks_where_the_model_looks(name: str, overrides: tuple[str, ...], causal: bool) -> None:
    assert controlled(name, "one_attention_layer", *overrides).backbone.options.causal is causal


def test_no_backbone_is_read_at_all_tokens() -> None:
    assert controlled("mnist_gpt2", "no_backbone", NANO, "head.readout=last").head.readout == "mean"
    for readout in ("auto", "mean", "last_k"):
        recipe = controlled("bit_xor_gpt2", "no_backbone", NANO, f"head.readout={readout}")
        assert recipe.head.readout == readout
    assert controlled("mnist_gpt2", "one_attention_layer", NANO, "head.readout=last").head.readout == "last"


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("bit_xor_gpt2", (NANO,)),
        ("bit_xor_gpt2", (NANO, 'backbone.blocks.keep="1:3"')),
        pytest.param("bit_xor_vit", (VIT,), marks=pytest.mark.slow),  # timm takes seconds to import
        ("bit_xor_lstm", ("backbone.loop=torch",)),
        ("bit_xor_random", ()),
    ],
)
def test_one_block_is_one_block_of_the_same_model(name: str, overrides: tuple[str, ...]) -> None:
    loaded = load_recipe(name, overrides=overrides)
    recipe = controlled(name, "one_block", *overrides)
    spec = loaded.registry.get(BackboneSpec, recipe.backbone.name)
    one, whole = (
        build_component(spec, each.backbone.options, positions=10, seed=0, pinned=None)
        for each in (recipe, loaded.recipe)
    )
    assert (one.blocks, one.width) == (1, whole.width)
    assert recipe.freezing.name == "full"
    assert spec.name == "random" or "random" in (recipe.backbone.options.init, *recipe.backbone.options.weights)


def test_the_others() -> None:
    assert controlled("bit_xor_gpt2", "shuffled_tokens", NANO).shuffle_tokens is True
    probe = controlled("bit_xor_gpt2", "output_only", NANO, "freezing.learning_rate_multipliers={norm: 2.0}")
    assert (probe.freezing.name, probe.freezing.options.learning_rate_multipliers) == ("output_only", {})
    synthetic = controlled("bit_xor_gpt2", "synthetic_pretrained")
    assert synthetic.backbone.options.weights == ("builtin:synthetic_nano",)


# Where there is none


@pytest.mark.parametrize(
    ("control", "name", "overrides", "said"),
    [
        ("frozen_random", "bit_xor_random", (), "the reference itself has random, frozen weights"),
        ("frozen_random", "bit_xor_gpt2", ("backbone.weights=random",), "random, frozen weights"),
        ("frozen_random", "bit_xor_gpt2", (NANO, "backbone.init=statistics"), "random, frozen weights"),
        ("unfrozen_random", "bit_xor_full", (), "random weights, all trained"),
        ("unfrozen_random", "bit_xor_lstm", (), "random weights, all trained"),
        ("statistics_only", "bit_xor_random", (), "no pretrained weights to take statistics from"),
        ("no_backbone", "bit_xor_gpt2", ("backbone={name: none}",), "itself has no backbone"),
        ("one_attention_layer", "bit_xor_gpt2", ("backbone={name: attention_layer}",), "itself is one attention layer"),
        ("one_block", "bit_xor_full", ("backbone.blocks=1",), "itself is one random block"),
        ("one_block", "bit_xor_lstm", ("backbone.blocks.keep=1",), "itself is one random block"),
        ("one_block", "bit_xor_gpt2", ("backbone={name: none}",), "backbone 'none' has no option blocks.keep"),
        ("shuffled_tokens", "bit_xor_gpt2", ("shuffle_tokens=true",), "itself shuffles its tokens"),
        ("output_only", "bit_xor_gpt2", ("freezing.name=output_only",), "itself trains only its output layer"),
        ("synthetic_pretrained", "bit_xor_vit", (VIT,), "exist only for gpt2, and the reference is vit"),
        ("synthetic_pretrained", "bit_xor_random", (), "no pretrained weights to replace by synthetic ones"),
        (
            "synthetic_pretrained",
            "bit_xor_gpt2",
            ("backbone.weights=builtin:synthetic_nano",),
            "itself is pretrained on synth",
        ),
        (
            "synthetic_pretrained",
            "bit_xor_gpt2",
            ("backbone.weights=hub:openai-community/gpt2",),
            "have the nano size, and the reference is hub:openai-community/gpt2; pretrain weights of its size",
        ),
    ],
)
def test_there_is_a_reason_where_there_is_no_control(
    control: str, name: str, overrides: tuple[str, ...], said: str
) -> None:
    assert said in reason(name, control, *overrides)


PLUGIN = """
import torch
from pydantic import Field
from fptkit import Backbone, BackboneSpec, Options, ParameterRole, hookimpl


class FixedOptions(Options):
    width: int = Field(default=24, description="width")
    weights: str = Field(default="path:elsewhere", description="a file of its own kind")


class Fixed(Backbone):
    causal = True

    def __init__(self, options, *, positions, seed, pinned=None):
        super().__init__()
        self.width = options.width
        self.norm = torch.nn.LayerNorm(self.width)

    def forward(self, tokens, lengths=None, keep=None):
        hidden = self.norm(tokens)
        return hidden if keep is None else hidden.gather(1, keep[:, :, None].expand(-1, -1, self.width))

    def parameter_roles(self):
        return {name: ParameterRole("norm") for name, _ in self.named_parameters()}


@hookimpl
def fptkit_backbones():
    return [BackboneSpec(name="fixed", summary="it stays", target=Fixed, options=FixedOptions)]
"""


def test_a_plugin_without_the_options_has_those_that_need_none(tmp_path: Path) -> None:
    (tmp_path / "fixed.py").write_text(PLUGIN)
    path = tmp_path / "fixed.yaml"
    path.write_text("plugins: [fixed.py]\ntask: {name: bit_xor}\nbackbone: {name: fixed}\n")
    found = {name: control_fragment(name, load_recipe(str(path)).recipe) for name in CONTROLS}
    assert found["frozen_random"] == "backbone 'fixed' has no option init: random, so its weights cannot be redrawn"
    assert "has no option init: statistics" in found["statistics_only"]
    assert found["unfrozen_random"] == found["frozen_random"]
    assert "no option blocks.keep" in found["one_block"]
    assert "only for gpt2" in found["synthetic_pretrained"]
    there = {name for name, fragment in found.items() if not isinstance(fragment, str)}
    assert there == {"no_backbone", "one_attention_layer", "shuffled_tokens", "output_only"}
    for name in there:
        loaded = laid_over(load_recipe(str(path)).recipe, found[name])
        assert build(loaded.recipe, loaded.registry, torch.device("cpu")).model.backbone.width == 24


# That each trains


SMOKE = ("threads=1", "train.max_steps=2", "train.validate_every=2")


@pytest.mark.slow
@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize(
    "name",
    [
        "bit_xor_gpt2",
        "bit_xor_vit",
        "bit_xor_lstm",
        "bit_memory_gpt2",
        "listops_lstm",
        "mnist_vit",
        "homology_gpt2",
    ],
)
def test_every_control_trains(name: str, control: str, tmp_path: Path) -> None:
    further = {"lstm": ["backbone.loop=torch"], "mnist_vit": ["task.patch_size=7"]}
    overrides = [*SMOKE, *(text for end, texts in further.items() if name.endswith(end) for text in texts)]
    recipe = reference(name, *overrides, profile="smoke")
    fragment = control_fragment(control, recipe)
    if isinstance(fragment, str):
        assert name.endswith(("lstm", "vit"))
        return
    loaded = laid_over(recipe, fragment)
    summary = run(RunRequest(loaded, tmp_path / "run"))
    assert (summary["status"], summary["steps"]) == ("finished", 2)
    trained = summary["parameters"]["trained"] / summary["parameters"]["total"]
    assert (trained == 1) == (loaded.recipe.freezing.name == "full")


TEXT = """
task: {name: text, source: path:a.csv}
backbone: {name: gpt2, weights: builtin:gpt2_nano}
"""


@pytest.mark.parametrize("control", CONTROLS)
def test_controls_of_text_have_the_tokens_and_words_of_the_reference(
    control: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path / "cache"))
    Path("a.csv").write_text("text,label\n" + "\n".join(f"some text {n},{'xy'[n % 2]}" for n in range(40)))
    Path("r.yaml").write_text(TEXT)
    fragment = control_fragment(control, reference("r.yaml"))
    assert not isinstance(fragment, str)
    loaded = laid_over(reference("r.yaml"), fragment)
    built = build(loaded.recipe, loaded.registry, torch.device("cpu"))
    assert built.encoder_name == "word_embeddings"
    assert built.task.notes[2].endswith("tokens of builtin:gpt2_nano (vocabulary of 4,096)")
    assert built.model.encoder.table.weight.shape == (4096, 256)  # type: ignore[union-attr, operator]
