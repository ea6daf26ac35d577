"""Options of the built-in components: defaults and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from fptkit.backbones.options import Gpt2Options, RandomOptions
from fptkit.encoders.options import LinearOptions, SymbolOptions
from fptkit.options import Options
from fptkit.recipe.models import HeadOptions, Pinned, TrainOptions
from fptkit.tasks.options import BitMemoryOptions, BitXorOptions


@pytest.mark.parametrize(
    ("given", "weights"),
    [
        ("random", ("random",)),
        (["random"], ("random",)),
        (("hub:a/b", "path:x"), ("hub:a/b", "path:x")),
        ("hub:openai-community/gpt2@607a30d", ("hub:openai-community/gpt2@607a30d",)),
        ("hub:a/b@refs/pr/1", ("hub:a/b@refs/pr/1",)),
        ("hub:a/b@try--2", ("hub:a/b@try--2",)),
        ("builtin:gpt2_nano", ("builtin:gpt2_nano",)),
        ("path:../a b:c", ("path:../a b:c",)),
    ],
)
def test_weights(given: Any, weights: tuple[str, ...]) -> None:
    assert Gpt2Options(weights=given).weights == weights


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("gpt2", "unknown source of weights 'gpt2'\nallowed: hub:ORG/NAME"),
        ("Random", "unknown source of weights 'Random'"),
        ("https://x", "unknown source of weights"),
        ("hub:gpt2", "'hub:gpt2' is not of the form hub:ORG/NAME"),
        ("hub:", "is not of the form"),
        ("hub:a/b@", "is not of the form"),
        ("hub:a/b c", "is not of the form"),
        ("hub:a--b/c", "is not of the form"),
        ("hub:a/b..c@main", "is not of the form"),
        ("path:", "'path:' names no folder"),
        (
            "builtin:gpt3",
            "unknown built-in weights 'gpt3'\nknown: bit_memory_nano, gpt2_nano, synthetic_nano, vit_nano",
        ),
        ("", "unknown source of weights ''"),
    ],
)
def test_weights_of_another_form(entry: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Gpt2Options(weights=(entry, "random"))
    (error,) = caught.value.errors()
    assert error["loc"] == ("weights", 0)
    assert message in error["msg"]


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (Gpt2Options, {"weights": []}),
        (Gpt2Options, {"dropout": 1}),
        (Gpt2Options, {"size": "huge"}),
        (Gpt2Options, {"init": "flat"}),
        (RandomOptions, {"width": 100, "heads": 3}),
        (RandomOptions, {"heads": 7}),
        (RandomOptions, {"size": "nano", "width": 254}),
        (RandomOptions, {"blocks": 0}),
        (RandomOptions, {"like": "cnn"}),
        (RandomOptions, {"like": "vit", "positions": 9}),
        (LinearOptions, {"hidden": [0]}),
        (LinearOptions, {"orthogonal_gain": float("inf")}),
        (SymbolOptions, {"hidden": [-1]}),
        (BitXorOptions, {"bits": 0}),
        (BitXorOptions, {"strings": 3}),
        (BitXorOptions, {"protocol": "paper"}),
        (BitMemoryOptions, {"bits": 1001}),
        (BitMemoryOptions, {"mask_probability": 1.1}),
        (HeadOptions, {"readout": "first"}),
        (HeadOptions, {"dropout": 1.0}),
        (Pinned, {"precision": "float16"}),
        (TrainOptions, {"learning_rate": 0}),
        (TrainOptions, {"learning_rate": float("inf")}),
        (TrainOptions, {"weight_decay": float("nan")}),
        (TrainOptions, {"adam_betas": (1.0, 0.9)}),
        (TrainOptions, {"seed": 2**63}),
        (TrainOptions, {"patience": 0}),
        (TrainOptions, {"checkpoint_every": 0}),
        (TrainOptions, {"nonsense": 0}),
    ],
)
def test_refused(model: type[Options], values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        model(**values)


def test_taken() -> None:
    assert RandomOptions(width=96, heads=3).width == 96
    assert RandomOptions(size="nano", heads=8).heads == 8
    assert BitMemoryOptions(bits=12, bits_per_token=4).bits == 12
    assert TrainOptions(patience=None, clip_norm=None).patience is None
    assert LinearOptions(hidden=(3, 4)).hidden == (3, 4)


def test_papers_sizes_are_the_defaults() -> None:
    memory = BitMemoryOptions()
    assert (memory.strings, memory.bits, memory.bits_per_token, memory.mask_probability) == (5, 1000, 50, 0.5)
    assert BitXorOptions().bits == 5


@pytest.mark.parametrize(
    "model", [Gpt2Options, RandomOptions, LinearOptions, SymbolOptions, BitXorOptions, BitMemoryOptions]
)
def test_every_option_has_a_description_and_a_default(model: type[Options]) -> None:
    model()
    assert all(field.description for field in model.model_fields.values())
