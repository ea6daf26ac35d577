"""Inputs of several named parts: declared, batched, encoded one after another, and refused if they do not fit."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from fptkit.encoders.choice import check_accepts, default_encoder, encoded_tokens, find_encoder
from fptkit.encoders.linear import LinearEncoder
from fptkit.encoders.mixed import MixedEncoder
from fptkit.encoders.options import LinearOptions, MixedOptions, Patches2dOptions
from fptkit.encoders.records import fptkit_encoders
from fptkit.errors import PluginError, RecipeError, ShapeError, UnknownNameError, UsageError
from fptkit.interfaces import Batch, Classes, Encoder, Grid, Mixed, Symbols, Task, Values, Vectors, check_batch
from fptkit.interfaces import check_task_declarations as check_declarations
from fptkit.recipe.load import load_recipe
from fptkit.registry import load_plugins
from fptkit.testing import check_encoder

KIND = Mixed({"image": Grid((4, 6), 2), "who": Vectors(3), "words": Symbols(9)}, tokens={"who": 1, "words": 7})


def options(**parts: Any) -> MixedOptions:
    return MixedOptions.model_validate({"parts": parts})


SMALL = options(image={"name": "patches2d", "patch": 2})


def inputs(count: int = 3, words: int = 7) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.randn((count, 4, 6, 2), generator=generator),
        "who": torch.randn((count, 1, 3), generator=generator),
        "words": torch.randint(0, 9, (count, words), generator=generator),
    }


# What a task declares


def test_tokens_of_the_parts_and_of_all() -> None:
    assert [KIND.tokens_of(name) for name in KIND.parts] == [24, 1, 7]
    assert (KIND.max_tokens, KIND.last, Grid((4, 6)).max_tokens) == (32, "words", 24)
    assert pickle.loads(pickle.dumps(KIND)) == KIND


@pytest.mark.parametrize(
    ("parts", "tokens", "said"),
    [
        ({}, {}, "at least one part"),
        ({"a": Classes(2)}, {}, "part 'a' is Classes"),
        ({1: Vectors(2)}, {1: 2}, "part 1 is Vectors"),
        ({"a": KIND}, {}, "part 'a' is Mixed"),
        ({"a": Vectors(2)}, {}, "tokens has no parts; expected all parts except grids: a"),
        ({"a": Vectors(2), "g": Grid((2, 2))}, {"a": 1, "g": 4}, "tokens has a, g; expected.*: a$"),
        ({"a": Vectors(2)}, {"a": 0}, "tokens of part 'a' are 0"),
    ],
)
def test_a_mixed_input_that_cannot_be_is_refused(parts: Any, tokens: Any, said: str) -> None:
    with pytest.raises(ShapeError, match=said):
        Mixed(parts, tokens)


class Pairs(Task):
    """A task over the mixed input."""

    def __init__(self, input: Any = KIND, *, max_tokens: int | None = None, output: Any = None) -> None:
        self.input, self.output = input, output or Classes(2)
        self.max_tokens = input.max_tokens if max_tokens is None else max_tokens


@pytest.mark.parametrize("kind", [KIND, Grid((4, 6))])
def test_max_tokens_are_those_of_the_input(kind: Any) -> None:
    check_declarations(Pairs(kind))
    with pytest.raises(PluginError, match=f"'max_tokens' is 5, but its input has {kind.max_tokens} raw tokens"):
        check_declarations(Pairs(kind, max_tokens=5))


# Batches


def test_a_mixed_batch_moves_and_masks_its_last_part() -> None:
    batch = Batch(inputs(), torch.zeros(3, dtype=torch.int64), torch.tensor([7, 2, 1]))
    assert len(batch) == 3
    assert batch.mask is not None
    assert batch.mask.sum(1).tolist() == [7, 2, 1]
    moved = batch.to("meta")
    assert {name: part.device.type for name, part in moved.inputs.items()} == dict.fromkeys(batch.inputs, "meta")
    assert moved.lengths is not None
    assert moved.lengths.device.type == "meta"


def test_sound_batches_pass() -> None:
    targets = torch.zeros(3, dtype=torch.int64)
    check_batch(Pairs(), Batch(inputs(), targets, torch.tensor([7, 2, 1])), 3, where="here")
    check_batch(Pairs(), Batch(inputs(words=4), targets), 3, where="here")
    check_batch(Pairs(Grid((4, 6), 2)), Batch(inputs()["image"], targets), 3, where="here")


def replaced(name: str, tensor: Tensor) -> dict[str, Tensor]:
    return {**inputs(), name: tensor}


GIVEN = inputs()


@pytest.mark.parametrize(
    ("given", "lengths", "said"),
    [
        (
            GIVEN["image"],
            None,
            "inputs are a Tensor, expected a mapping with the parts image, who, words in this order",
        ),
        ({"who": GIVEN["who"], "image": GIVEN["image"], "words": GIVEN["words"]}, None, "inputs are who, image, words"),
        ({"image": GIVEN["image"]}, None, "inputs are image, expected"),
        (replaced("who", torch.zeros(3, 2, 3)), None, "part 'who': 2 tokens exceed max_tokens 1"),
        (replaced("who", torch.zeros(2, 1, 3)), None, "part 'who': expected 3 examples, got 2"),
        (replaced("image", torch.zeros(3, 6, 4, 2)), None, r"part 'image': the grids are \(6, 4, 2\)"),
        (replaced("image", torch.full((3, 4, 6, 2), torch.nan)), None, "part 'image': inputs have NaN"),
        (replaced("image", torch.zeros(3, 4, 6, 2).double()), None, "part 'image': grids are torch.float64"),
        (replaced("words", torch.full((3, 7), 9)), None, "part 'words': a symbol is not below 9"),
        (replaced("words", torch.zeros(3, 0, dtype=torch.int64)), None, "part 'words': the examples have no token"),
        (GIVEN, torch.tensor([7, 0, 1]), "an example has no tokens"),
        (GIVEN, torch.tensor([8, 1, 1]), "a length exceeds"),
        (GIVEN, torch.tensor([1, 1]), r"lengths are \(2,\), expected \(3,\)"),
    ],
)
def test_a_batch_that_is_not_as_declared_is_an_error(given: Any, lengths: Tensor | None, said: str) -> None:
    with pytest.raises(ShapeError, match=f"here: {said}"):
        check_batch(Pairs(), Batch(given, torch.zeros(3, dtype=torch.int64), lengths), 3, where="here")


def test_a_part_that_is_not_the_last_has_one_length() -> None:
    kind = Mixed({"sound": Vectors(2), "words": Symbols(9)}, tokens={"sound": 5, "words": 7})
    given = {"sound": torch.zeros(3, 4, 2), "words": inputs()["words"]}
    with pytest.raises(ShapeError, match="part 'sound' has 4 tokens, but 5 are declared; only the last part may vary"):
        check_batch(Pairs(kind), Batch(given, torch.zeros(3, dtype=torch.int64)), 3, where="here")


@pytest.mark.parametrize(
    "kind", [Grid((4, 6), 2), Mixed({"words": Symbols(9), "image": Grid((4, 6), 2)}, {"words": 7})]
)
def test_a_grid_has_no_lengths(kind: Any) -> None:
    given = inputs()
    held = {"words": given["words"], "image": given["image"]} if isinstance(kind, Mixed) else given["image"]
    with pytest.raises(ShapeError, match="lengths must be None for a grid"):
        check_batch(Pairs(kind), Batch(held, torch.zeros(3, dtype=torch.int64), torch.ones(3).long()), 3, where="here")


def test_read_out_tokens_may_come_from_every_part() -> None:
    targets = torch.zeros(3, 26, 1)
    check_batch(Pairs(output=Values(1, tokens=26)), Batch(inputs(), targets, torch.tensor([7, 2, 1])), 3, where="here")
    with pytest.raises(ShapeError, match="an example has 26 tokens, but 27 are read out"):
        check_batch(Pairs(output=Values(1, tokens=27)), Batch(inputs(), targets, torch.tensor([7, 2, 1])), 3, where="h")


# Encoding


def test_parts_have_their_own_encoders_and_learned_vectors() -> None:
    encoder = MixedEncoder(SMALL, input=KIND, width=16)
    given, lengths = inputs(), torch.tensor([7, 2, 4])
    image, who, words = encoder.parts
    vectors = encoder.part_vectors
    assert isinstance(who, LinearEncoder)
    encoded = encoder(given, lengths)
    assert encoded.shape == (3, 6 + 1 + 7, 16)
    torch.testing.assert_close(encoded[:, :6], image(given["image"]) + vectors[0])
    torch.testing.assert_close(encoded[:, 6:7], who(given["who"]) + vectors[1])
    torch.testing.assert_close(encoded[:, 7:], words(given["words"]) + vectors[2])
    assert encoder.encoded_lengths(lengths).tolist() == [14, 9, 11]
    assert len({tuple(vector.tolist()) for vector in vectors}) == 3


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (KIND, SMALL),
        (
            Mixed({"meta": Vectors(2), "wave": Vectors(3)}, {"meta": 2, "wave": 33}),
            options(wave={"name": "conv_stem", "channels": [5]}, meta={"name": "mlp"}),
        ),
        (
            Mixed({"wave": Vectors(3), "image": Grid((4, 6))}, {"wave": 33}),
            options(wave={"name": "patches1d"}, image={"name": "conv_stem", "channels": [4]}),
        ),
        (Mixed({"only": Symbols(5)}, {"only": 20}), options()),
        (Mixed({"forward.x": Symbols(5), "train": Vectors(2)}, {"forward.x": 2, "train": 20}), options()),
    ],
)
def test_mixed_encoders_keep_their_promises(kind: Mixed, given: MixedOptions) -> None:
    tokens = MixedEncoder.token_count(given, kind, kind.max_tokens)
    check_encoder(lambda: MixedEncoder(given, input=kind, width=16), input=kind, width=16, token_count=tokens)


class Wandering(Encoder):
    """A mixed encoder that lets a part's padding through."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = MixedEncoder(SMALL, input=KIND, width=16)

    def encoded_lengths(self, lengths: Tensor) -> Tensor:
        return self.inner.encoded_lengths(lengths)

    def forward(self, inputs: dict[str, Tensor], lengths: Tensor | None = None) -> Tensor:
        encoded: Tensor = self.inner(inputs, lengths)
        return encoded + inputs["words"].float().mean(1)[:, None, None]


def test_a_mixed_encoder_that_reads_padding_is_found() -> None:
    with pytest.raises(AssertionError, match="an example alone differs from the same in a padded batch"):
        check_encoder(Wandering, input=KIND, width=16)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (options(sound={"name": "linear"}), ShapeError, "names 'sound', but the task's parts are image, who, words"),
        (options(who={"name": "symbols"}), ShapeError, "encoder 'symbols' takes symbols, but part 'who' is vectors"),
        (options(image={"name": "linear"}), ShapeError, "encoder 'linear' takes vectors, but part 'image' is grid"),
        (options(image={"name": "patches2d", "patch": 5}), ShapeError, "do not divide the grid of 4 x 6"),
        (options(who={"name": "nowhere"}), UnknownNameError, "unknown encoder 'nowhere'"),
    ],
)
def test_parts_that_do_not_fit_are_an_error(given: MixedOptions, error: type[Exception], said: str) -> None:
    for call in (
        lambda: MixedEncoder(given, input=KIND, width=16),
        lambda: MixedEncoder.token_count(given, KIND, KIND.max_tokens),
    ):
        with pytest.raises(error, match=said):
            call()


RECIPE = """
task: {name: bit_xor}
encoder: {name: mixed, parts: {image: PART}}
"""


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("{name: patches2d, patsch: 4}", "encoder 'patches2d': patsch: Extra inputs"),
        ("{name: conv_stem, kernel: 1}", "stride 2 is above kernel 1"),
        ("{name: linear, match_norm: true}", "set match_norm of the encoder mixed instead"),
        ("{name: mixed}", "a part cannot itself be mixed"),
        ("{patch: 4}", "name"),
        ("7", "expected a mapping"),
    ],
)
def test_options_of_parts_are_checked_with_the_recipe(tmp_path: Path, part: str, said: str) -> None:
    path = tmp_path / "mixed.yaml"
    path.write_text(RECIPE.replace("PART", part))
    with pytest.raises(RecipeError, match=r"mixed.yaml:3") as caught:
        load_recipe(str(path))
    assert said in str(caught.value)


PLUGIN = """
import torch
from pydantic import Field
from fptkit import EncoderOptions, EncoderSpec, hookimpl

class Doubling(torch.nn.Module):
    def __init__(self, options, *, input, width):
        super().__init__()
        self.map = torch.nn.Linear(input.width, width)
        self.times = options.times
    def forward(self, inputs): return self.times * self.map(inputs)

class DoublingOptions(EncoderOptions):
    times: float = Field(default=2.0, description="factor")

@hookimpl
def fptkit_encoders():
    return [EncoderSpec(name="doubling", summary="x", target=Doubling, options=DoublingOptions, accepts=("vectors",)),
            EncoderSpec(name="nothing", summary="x", target=lambda *a, **k: None, accepts=("vectors",))]
"""


def test_a_part_may_take_the_encoder_of_a_plugin(tmp_path: Path) -> None:
    file = tmp_path / "doubling.py"
    file.write_text(PLUGIN)
    registry = load_plugins([file], selection="")
    given = options(image={"name": "patches2d", "patch": 2}, who={"name": "doubling", "times": 3})
    encoder = MixedEncoder(given, input=KIND, width=16, registry=registry)
    assert encoder.parts[1].times == 3
    assert encoder(inputs()).shape == (3, 14, 16)
    spec = find_encoder("mixed", registry)
    assert encoded_tokens(spec, given, KIND, KIND.max_tokens, registry=registry) == 14
    wrong = options(who={"name": "doubling", "time": 3})
    with pytest.raises(UsageError, match=r"encoder\.parts\.who: encoder 'doubling': time: Extra inputs"):
        MixedEncoder(wrong, input=KIND, width=16, registry=registry)
    nothing = options(image={"name": "patches2d", "patch": 2}, who={"name": "nothing"})
    with pytest.raises(PluginError, match="encoder 'nothing': expected a torch module, got a NoneType"):
        MixedEncoder(nothing, input=KIND, width=16, registry=registry)


# The encoder that is taken


def test_every_kind_has_a_default_encoder_that_takes_it_and_no_other() -> None:
    kinds = {"linear": Vectors(2), "symbols": Symbols(2), "patches2d": Grid((4, 4)), "mixed": KIND}
    for name, kind in kinds.items():
        assert default_encoder(kind) == name
        check_accepts(find_encoder(name, None), kind)
        for other in kinds.values():
            if other is not kind:
                with pytest.raises(ShapeError, match=f"encoder '{name}' takes .*, but the task's tokens are "):
                    check_accepts(find_encoder(name, None), other)


def test_a_target_without_token_count_keeps_the_number(tmp_path: Path) -> None:
    file = tmp_path / "doubling.py"
    file.write_text(PLUGIN)
    registry = load_plugins([file], selection="")
    spec = find_encoder("doubling", registry)
    assert encoded_tokens(spec, spec.options_model()(), Vectors(2), 17) == 17
    assert encoded_tokens(find_encoder("linear", None), LinearOptions(), Vectors(2), 17) == 17
    assert encoded_tokens(find_encoder("patches2d", None), Patches2dOptions(), Grid((8, 4)), 32) == 2


@pytest.mark.parametrize("said", [0, 2.5, None])
def test_an_invalid_token_count_is_an_error(said: Any) -> None:
    from dataclasses import replace

    class Odd(nn.Module):
        @staticmethod
        def token_count(options: Any, input: Any, max_tokens: int) -> Any:
            return said

    with pytest.raises(PluginError, match=f"its token_count gave {said}, expected an integer"):
        encoded_tokens(replace(find_encoder("linear", None), target=Odd), LinearOptions(), Vectors(2), 17)


# What the page shows

PAGE = Path(__file__).parents[3] / "docs" / "encoders.md"


def shown_sections() -> list[dict[str, Any]]:
    return [
        yaml.safe_load(text)["encoder"]
        for text in re.findall(r"^```yaml\n(encoder:.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    ]


@pytest.mark.parametrize("section", shown_sections(), ids=lambda section: section["name"])
def test_encoder_sections_of_the_page_are_sound(section: dict[str, Any]) -> None:
    given = {key: value for key, value in section.items() if key != "name"}
    find_encoder(section["name"], None).options_model().model_validate(given)


def test_the_page_describes_every_encoder_and_kind() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for spec in fptkit_encoders():
        assert f"`{spec.name}`" in text
    assert len(shown_sections()) >= 4
    for name in ("Vectors", "Symbols", "Grid", "Mixed"):
        assert f"`{name}(" in text
