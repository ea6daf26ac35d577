"""Runs over grids and mixed inputs: positions, lengths and read-out follow what the encoder makes of the tokens, and
the norm of its output is matched once and then stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fptkit.backbones.gpt2_build import build_gpt2, drawn_embedding_norm, load_gpt2
from fptkit.backbones.options import Gpt2Options
from fptkit.encoders.norm import match_norm
from fptkit.engine.build import build
from fptkit.engine.contracts import check_encoder_width
from fptkit.engine.run import RunRequest, run
from fptkit.errors import FptkitError, PluginError, ShapeError
from fptkit.interfaces import Batch, Encoder, encode
from fptkit.recipe.load import load_recipe
from fptkit.seeds import generator_for
from fptkit.sources.weights import open_weights

PLUGIN = '''
"""Digits as images; digits beside words of several lengths; vectors of several lengths."""
import torch
from sklearn.datasets import load_digits

from fptkit import ArraySplit, Batch, Classes, Encoder, EncoderOptions, EncoderSpec, Grid, Mixed, Options, Symbols, Task
from fptkit import TaskSpec, Values, Vectors, hookimpl
import numpy as np


class Digits(Task):
    def __init__(self, options, *, seed, pinned):
        digits = load_digits()
        self.input, self.output = Grid((8, 8)), Classes(10)
        self.max_tokens = self.input.max_tokens
        order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
        images = torch.tensor(digits.images, dtype=torch.float32)[order, :, :, None] / 16
        targets = torch.tensor(digits.target)[order]
        parts = {"train": slice(0, 1200), "validation": slice(1200, 1500), "test": slice(1500, None)}
        self.splits = {name: ArraySplit(images[part], targets[part], vectors=True) for name, part in parts.items()}

    def split(self, name):
        return self.splits[name]


class Ragged:
    """Examples of several lengths, made from their index."""

    def __init__(self, mixed, outputs):
        self.size, self.mixed, self.outputs = 60, mixed, outputs
        self.token_counts = np.arange(60) % 9 + 4

    def batch(self, indices, generator):
        lengths = torch.tensor(self.token_counts[list(indices)])
        rows = [torch.randn(12, 3, generator=torch.Generator().manual_seed(int(i))) for i in indices]
        values = torch.stack(rows)[:, : int(lengths.max())]
        targets = values[:, 0, :1] if self.outputs == 1 else torch.zeros(len(values), self.outputs, 1)
        if not self.mixed:
            return Batch(values, targets, lengths)
        image = torch.stack(rows)[:, :8, :2].reshape(-1, 4, 4, 1)
        return Batch({"image": image, "words": (values[:, :, 0] > 0).long()}, targets, lengths)


class Sentences(Task):
    def __init__(self, options, *, seed, pinned):
        self.input = Mixed({"image": Grid((4, 4)), "words": Symbols(2)}, tokens={"words": 12})
        self.output, self.max_tokens = Values(1), self.input.max_tokens

    def split(self, name):
        return Ragged(True, 1)


class Waves(Task):
    outputs = 1

    def __init__(self, options, *, seed, pinned):
        self.input, self.output, self.max_tokens = Vectors(3), Values(1, tokens=self.outputs), 12

    def split(self, name):
        return Ragged(False, self.outputs)


class ManyAnswers(Waves):
    outputs = 2


class Silent(torch.nn.Module):
    def __init__(self, options, *, input, width):
        super().__init__()
        self.map = torch.nn.Linear(input.width, width)
        torch.nn.init.zeros_(self.map.weight)
        torch.nn.init.zeros_(self.map.bias)

    def forward(self, inputs):
        return self.map(inputs)


class Understated(Encoder):
    """Declares fewer tokens than it makes."""

    def __init__(self, options, *, input, width):
        super().__init__()
        self.map = torch.nn.Linear(input.width, width)

    @classmethod
    def token_count(cls, options, input, max_tokens):
        return 3

    def forward(self, inputs, lengths=None):
        return self.map(inputs)


@hookimpl
def fptkit_tasks():
    targets = {"digits_grid": Digits, "sentences": Sentences, "waves": Waves, "many_answers": ManyAnswers}
    return [TaskSpec(name=name, summary="x", target=target) for name, target in targets.items()]


@hookimpl
def fptkit_encoders():
    return [EncoderSpec(name="silent", summary="x", target=Silent, options=EncoderOptions, accepts=("vectors",)),
            EncoderSpec(name="understated", summary="x", target=Understated, accepts=("vectors",))]
'''


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "modalities.py"
    path.write_text(PLUGIN)
    return path


def recipe(plugin: Path, task: str, encoder: str, *overrides: str, weights: str = "random") -> Any:
    path = plugin.parent / "recipe.yaml"
    path.write_text(
        f"task: {{name: {task}}}\nencoder: {encoder}\n"
        f"backbone: {{name: gpt2, size: nano, dropout: 0.0, weights: '{weights}', blocks: {{keep: 1}}}}\n"
        "freezing: {name: fpt}\nprecision: float32\nthreads: 1\n"
        "train: {max_steps: 4, validate_every: 2, batch_size: 6, learning_rate: 1e-3}\n"
    )
    return load_recipe(str(path), plugin_files=[plugin], overrides=list(overrides))


def built(plugin: Path, task: str, encoder: str, *overrides: str, weights: str = "random") -> Any:
    loaded = recipe(plugin, task, encoder, *overrides, weights=weights)
    return build(loaded.recipe, loaded.registry, torch.device("cpu"))


MIXED = "{name: mixed, parts: {image: {name: patches2d, patch: 2}}}"


# Positions, lengths, read-out


@pytest.mark.parametrize(
    ("task", "encoder", "positions"),
    [
        ("digits_grid", "null", 4),
        ("digits_grid", "{name: patches2d, patch: 2}", 16),
        ("digits_grid", "{name: conv_stem, channels: [5], kernel: 3}", 16),
        ("waves", "null", 12),
        ("waves", "{name: patches1d, patch: 5}", 3),
        ("waves", "{name: patches1d, patch: 5, stride: 2}", 5),
        ("waves", "{name: conv_stem, channels: [5]}", 6),
        ("sentences", MIXED, 16),
    ],
)
def test_the_position_table_has_as_many_rows_as_there_are_encoded_tokens(
    plugin: Path, task: str, encoder: str, positions: int
) -> None:
    parts = built(plugin, task, encoder)
    assert parts.model.backbone.max_positions == parts.encoded_tokens == positions
    batch = parts.task.split("train").batch(range(9), generator_for(0, "x"))
    check_encoder_width(parts, batch)
    whole = encode(parts.model.encoder, batch.inputs, batch.lengths)[0]
    assert whole.shape[1] == positions, "the longest example reaches every position"


@pytest.mark.parametrize(
    ("task", "encoder"),
    [
        ("waves", "{name: patches1d, patch: 3, stride: 2}"),
        ("waves", "{name: conv_stem, channels: [5]}"),
        ("waves", "{name: patches1d, patch: 3, match_norm: true}"),
        ("sentences", MIXED),
    ],
)
@pytest.mark.parametrize("readout", ["last", "mean"])
def test_padding_never_changes_a_prediction(plugin: Path, task: str, encoder: str, readout: str) -> None:
    parts = built(plugin, task, encoder, f"head.readout={readout}")
    model, split = parts.model.eval(), parts.task.split("train")
    together = split.batch([8, 0, 3, 5], generator_for(0, "x"))
    assert together.lengths is not None
    assert together.lengths.tolist() == [12, 4, 7, 9]
    for row, index in enumerate([8, 0, 3, 5]):
        alone = split.batch([index], generator_for(0, "x"))
        expected = model(alone.inputs, None)
        torch.testing.assert_close(
            model(together.inputs, together.lengths)[row], expected[0], atol=1e-5, rtol=1e-4, msg=f"example {index}"
        )


@pytest.mark.parametrize(
    ("task", "encoder"),
    [
        ("digits_grid", "{name: conv_stem, channels: [5]}"),
        ("waves", "{name: patches1d, patch: 3, match_norm: true}"),
        ("waves", "{name: conv_stem, channels: [5, 6]}"),
        ("waves", "{name: mlp}"),
        ("sentences", MIXED.replace("parts:", "match_norm: true, parts:")),
    ],
)
def test_encoders_stay_on_the_device_of_their_inputs(plugin: Path, task: str, encoder: str) -> None:
    parts = built(plugin, task, encoder)
    batch = parts.task.split("train").batch(range(9), generator_for(0, "x"))
    expected, _ = encode(parts.model.encoder, batch.inputs, batch.lengths)
    moved = batch.to("meta")
    tokens, lengths = encode(parts.model.encoder.to("meta"), moved.inputs, moved.lengths)
    assert (tokens.device.type, tokens.shape) == ("meta", expected.shape)
    assert (lengths is None) is (batch.lengths is None)
    assert lengths is None or lengths.device.type == "meta"


def test_an_example_with_fewer_encoded_tokens_than_answers_is_an_error(plugin: Path) -> None:
    parts = built(plugin, "many_answers", "{name: patches1d, patch: 3}")
    split = parts.task.split("train")
    sound = split.batch([0, 8], generator_for(0, "x"))
    assert parts.model(sound.inputs, sound.lengths).shape == (2, 2, 1)
    parts = built(plugin, "many_answers", "{name: patches1d, patch: 4}")
    with pytest.raises(ShapeError, match="makes 1 tokens per example, but the task reads 2 out; choose shorter"):
        parts.model(sound.inputs, sound.lengths)
    with pytest.raises(ShapeError, match="makes 1 tokens"):
        parts.model(sound.inputs[:, :4], None)


def test_an_encoder_that_makes_more_tokens_than_it_said_is_told(plugin: Path, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"encoder 'understated': it returned .* tokens, but declared at most 3"):
        run(RunRequest(recipe(plugin, "waves", "{name: understated}"), tmp_path / "run"))


@pytest.mark.parametrize(
    ("task", "encoder", "error", "said"),
    [
        ("digits_grid", "{name: linear}", ShapeError, "encoder 'linear' takes vectors, but the task's tokens are grid"),
        ("waves", "{name: patches2d}", ShapeError, "encoder 'patches2d' takes grid, but the task's tokens are vectors"),
        ("digits_grid", "{name: patches2d, patch: 3}", ShapeError, "do not divide the grid of 8 x 8"),
        ("sentences", "{name: symbols}", ShapeError, "takes symbols, but the task's tokens are mixed"),
    ],
)
def test_an_encoder_that_does_not_fit_is_an_error_of_the_recipe(
    plugin: Path, task: str, encoder: str, error: type[FptkitError], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        built(plugin, task, encoder)
    assert caught.value.exit_code == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "encoder"),
    [
        ("digits_grid", "{name: patches2d, patch: [2, 4], match_norm: true}"),
        ("digits_grid", "{name: conv_stem, channels: [6]}"),
        ("waves", "{name: mlp, hidden: [8]}"),
        ("many_answers", "{name: conv_stem, channels: [6], causal: true}"),
        ("sentences", MIXED),
    ],
)
def test_runs_go_through_and_go_on_after_a_stop(plugin: Path, tmp_path: Path, task: str, encoder: str) -> None:
    whole = run(RunRequest(recipe(plugin, task, encoder), tmp_path / "whole"))
    assert whole["status"] == "finished"
    run(RunRequest(recipe(plugin, task, encoder, "train.max_steps=2"), tmp_path / "parts"))
    parts = run(RunRequest(recipe(plugin, task, encoder), tmp_path / "parts", resume=True))
    assert parts["metrics"] == whole["metrics"]


@pytest.mark.slow
def test_frozen_language_weights_read_images_in_patches(plugin: Path, tmp_path: Path) -> None:
    """Digits of 8 x 8 pixels as 16 tokens; a tenth of them would be right by chance."""
    overrides = ("train.max_steps=150", "train.validate_every=150", "train.batch_size=32", "train.learning_rate=3e-3")
    loaded = recipe(plugin, "digits_grid", "{name: patches2d, patch: 2}", *overrides, weights="builtin:gpt2_nano")
    assert run(RunRequest(loaded, tmp_path / "run"))["metrics"]["test"]["test"]["accuracy"] > 0.8


# Norm matching


def mean_row_norm(path: Path) -> float:
    """Mean norm of the word embeddings in a checkpoint, by NumPy."""
    with safe_open(path, "pt") as file:
        table = file.get_tensor("wte.weight").float().numpy().astype(np.float64)
    return float(np.sqrt((table**2).sum(1)).mean())


def nano_folder() -> Path:
    import fptkit

    return Path(fptkit.__file__).parent / "weights" / "gpt2_nano"


def norm_of_training_tokens(parts: Any) -> float:
    """Mean norm of all real encoded tokens of the training split, one example after another."""
    split, norms = parts.task.split("train"), []
    for index in range(split.size):
        batch = split.batch([index], generator_for(0, "x"))
        tokens = encode(parts.model.encoder, batch.inputs, batch.lengths)[0]
        norms += tokens[0].detach().double().norm(dim=-1).tolist()
    return float(np.mean(norms))


def test_a_loaded_gpt2_knows_the_norm_of_its_words(tmp_path: Path) -> None:
    expected = mean_row_norm(nano_folder() / "model.safetensors")
    assert load_gpt2(open_weights("builtin:gpt2_nano")).embedding_norm == pytest.approx(expected, rel=1e-5)
    for name in ("config.json",):
        (tmp_path / name).write_bytes((nano_folder() / name).read_bytes())
    tensors = load_file(nano_folder() / "model.safetensors")
    save_file({k: v for k, v in tensors.items() if k != "wte.weight"}, tmp_path / "model.safetensors")
    assert load_gpt2(open_weights(f"path:{tmp_path}")).embedding_norm is None


@pytest.mark.parametrize("init", ["random", "flat_0.02"])
def test_a_redrawn_gpt2_has_the_norm_of_redrawn_words(init: Any) -> None:
    table = torch.empty(4096, 256).normal_(0, 0.02, generator=torch.Generator().manual_seed(0))
    assert drawn_embedding_norm(256) == pytest.approx(float(table.norm(dim=1).mean()), rel=2e-3)
    assert drawn_embedding_norm(1) == pytest.approx(0.02 * np.sqrt(2 / np.pi))
    for options in (
        Gpt2Options(weights=("builtin:gpt2_nano",), init=init),
        Gpt2Options(weights=("random",), size="nano", init=init),
    ):
        assert build_gpt2(options, positions=4, seed=0).embedding_norm == pytest.approx(drawn_embedding_norm(256))


@pytest.mark.parametrize(
    ("task", "encoder"),
    [("waves", "{name: linear, match_norm: true}"), ("waves", "{name: patches1d, match_norm: true}")],
)
def test_encoded_tokens_get_the_norm_of_the_words(plugin: Path, task: str, encoder: str) -> None:
    parts = built(plugin, task, encoder, weights="builtin:gpt2_nano")
    expected = mean_row_norm(nano_folder() / "model.safetensors")
    # All 60 training examples are within the sample the constant is measured on.
    assert norm_of_training_tokens(parts) == pytest.approx(expected, rel=1e-4)
    plain = built(plugin, task, encoder.replace("true", "false"), weights="builtin:gpt2_nano")
    assert norm_of_training_tokens(plain) != pytest.approx(expected, rel=0.05)
    batch = parts.task.split("train").batch([8], generator_for(0, "x"))
    ratio = encode(parts.model.encoder, batch.inputs, None)[0] / encode(plain.model.encoder, batch.inputs, None)[0]
    torch.testing.assert_close(ratio, torch.full_like(ratio, float(parts.model.encoder.factor)), rtol=1e-4, atol=0)


def test_every_part_of_a_mixed_input_gets_the_norm_of_the_words(plugin: Path) -> None:
    parts = built(plugin, "sentences", MIXED.replace("parts:", "match_norm: true, parts:"), weights="builtin:gpt2_nano")
    expected = mean_row_norm(nano_folder() / "model.safetensors")
    batch = parts.task.split("train").batch(range(60), generator_for(0, "x"))
    encoder = parts.model.encoder
    image = encoder.parts[0](batch.inputs["image"], None).detach()
    words = encoder.parts[1](batch.inputs["words"], None).detach()
    assert batch.mask is not None
    assert float(image.norm(dim=-1).mean()) == pytest.approx(expected, rel=1e-4)
    assert float(words.norm(dim=-1)[batch.mask].mean()) == pytest.approx(expected, rel=1e-4)
    assert encoder.parts[0].factor != encoder.parts[1].factor


def test_the_constant_is_fixed_stored_and_the_same_in_every_build(plugin: Path) -> None:
    encoder = "{name: patches1d, match_norm: true}"
    first, second = (built(plugin, "waves", encoder, weights="builtin:gpt2_nano") for _ in range(2))
    assert torch.equal(first.model.encoder.factor, second.model.encoder.factor)
    assert "encoder.factor" in first.model.state_dict()
    assert all(name != "encoder.factor" for name, _ in first.model.named_parameters())
    trained = {name for group in first.groups for name in group.parameters}
    assert trained >= {"encoder.encoder.map.0.weight", "encoder.encoder.map.0.bias"}


@pytest.mark.parametrize(
    ("encoder", "weights", "said"),
    [
        (
            "{name: linear, match_norm: true}",
            "builtin:bit_memory_nano",
            "'builtin:bit_memory_nano' came without word emb",
        ),
        (
            "{name: silent, match_norm: true}",
            "random",
            "the encoder's tokens have mean norm 0, which cannot be scaled",
        ),
    ],
)
def test_a_norm_that_cannot_be_matched_is_an_error(plugin: Path, encoder: str, weights: str, said: str) -> None:
    with pytest.raises(ShapeError, match=said) as caught:
        built(plugin, "waves", encoder, weights=weights)
    assert caught.value.exit_code == 2


def test_padding_does_not_count_towards_the_norm() -> None:
    class Same(Encoder):
        def forward(self, inputs: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
            return inputs

    tokens = torch.zeros(2, 3, 4)
    tokens[0, :, 0], tokens[1, 0, 0], tokens[1, 1:] = 1.0, 5.0, 1e9
    scaled = match_norm(Same(), Batch(tokens, torch.zeros(2), torch.tensor([3, 1])), 4.0)
    assert float(scaled.factor) == pytest.approx(4.0 / 2.0)  # the real ones have norms 1, 1, 1 and 5


def test_dropout_does_not_count_towards_the_norm() -> None:
    encoder = torch.nn.Dropout(0.9)
    scaled = match_norm(encoder, Batch(torch.ones(2, 3, 4), torch.zeros(2)), 4.0)
    assert float(scaled.factor) == pytest.approx(2.0)
    assert encoder.training
