"""The word embeddings of a checkpoint: the table that turns the tokens of its tokenizer into token vectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fptkit.backbones.tensors import to_float32
from fptkit.errors import DataError
from fptkit.sources.decoding import SAFETENSORS, decoding
from fptkit.sources.formats import SINGLE
from fptkit.sources.weights import WeightFolder, shards_of


@dataclass(frozen=True)
class Words:
    """The word embeddings of a checkpoint, before they are read.

    Args:
        entry: the checkpoint, for messages.
        file: the file that has them.
        name: name of their tensor in it.
        shape: (V, D), tokens of the vocabulary and numbers per token.
        scale: factor that the model applies to them.
    """

    entry: str
    file: Path
    name: str
    shape: tuple[int, int]
    scale: float = 1.0

    def read(self) -> Tensor:
        """Read them. Shapes: -> (V, D) float32.

        Raises:
            DataError: they contain NaN or infinity.
        """
        return self._rows(slice(None))

    def row(self, token: int) -> Tensor:
        """Read one of them. Shapes: -> (D,) float32.

        Raises:
            DataError: it contains NaN or infinity.
        """
        return self._rows(slice(token, token + 1))[0]

    def _rows(self, chosen: slice) -> Tensor:
        from safetensors import safe_open

        with decoding(self.file, SAFETENSORS, where=self.entry), safe_open(self.file, framework="pt") as opened:
            stored = opened.get_slice(self.name)[chosen]
        table = to_float32(self.name, stored, self.entry)
        return table if self.scale == 1 else table * self.scale


def find_words(folder: WeightFolder) -> Words:
    """Find the word embeddings of a checkpoint; a file of tied weights may have only the language head, which equals
    them.

    Args:
        folder: the opened checkpoint.

    Raises:
        DataError: there are none, or the file is not readable.
    """
    names, scale, tied = _names_in_model(folder)
    stored = _stored(folder)
    found = [each for each in stored if _ends_with(each.name, names)]
    if not found and tied:
        found = [each for each in stored if _ends_with(each.name, ("lm_head.weight", "cls.predictions.decoder.weight"))]
    width = next((len(each.shape) for each in found), 0)
    if not found or width != 2:
        raise DataError(
            f"{folder.entry}: it has no word embeddings ({', '.join(names)}); use weights that come with them, or the "
            "encoder symbols"
        )
    first = min(found, key=lambda each: len(each.name))
    return Words(folder.entry, first.file, first.name, (first.shape[0], first.shape[1]), scale)


@dataclass(frozen=True)
class _Stored:
    """A tensor in a file: where it is, its name there, and its shape."""

    file: Path
    name: str
    shape: tuple[int, ...]


def _stored(folder: WeightFolder) -> list[_Stored]:
    from safetensors import safe_open

    shards = [SINGLE] if folder.file.name == SINGLE else shards_of(folder.file, folder.entry)
    found = []
    for name in shards:
        file = folder.file.with_name(name)
        with decoding(file, SAFETENSORS, where=folder.entry), safe_open(file, framework="pt") as opened:
            shapes = {key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118
        found += [_Stored(file, key, shape) for key, shape in shapes.items()]
    return found


def _names_in_model(folder: WeightFolder) -> tuple[Sequence[str], float, bool]:
    """Names of the table in the model of a config.json, its scale, and whether the language head equals it."""
    config: dict[str, Any] = folder.config
    tied = bool(config.get("tie_word_embeddings", True))
    if config.get("model_type") == "gpt2":
        return ("wte.weight",), 1.0, tied
    if "model_type" not in config:
        raise DataError(f"{folder.entry}: its model is no language model, so it has no word embeddings")
    from fptkit.backbones.huggingface.load import describe_words, make_config

    names, scale = describe_words(make_config(config, folder.entry), folder.entry)
    return names, scale, tied


def _ends_with(name: str, endings: Iterable[str]) -> bool:
    """Whether a name is one of the endings, or ends with it after a dot."""
    return any(name == ending or name.endswith(f".{ending}") for ending in endings)
