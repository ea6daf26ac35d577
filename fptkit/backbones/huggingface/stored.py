"""The tensors of a checkpoint for a model of transformers, which renames those of old versions itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from fptkit.backbones.tensors import (
    BUFFERS,
    check_not_quantised,
    is_inside,
    named_as_in_model,
    report_misfits,
    to_float32,
)
from fptkit.errors import DataError
from fptkit.sources.weights import WeightFolder


@dataclass(frozen=True)
class Stored:
    """The tensors of a checkpoint.

    Args:
        tensors: floating-point tensors under names that the library understands; those of the model are in float32.
        heads: names of those outside the model's parts: heads of other tasks, a decoder.
    """

    tensors: dict[str, Tensor]
    heads: tuple[str, ...]


def read_stored(folder: WeightFolder, whole: PreTrainedModel) -> Stored:
    """Read the tensors of a checkpoint.

    Args:
        folder: the opened checkpoint.
        whole: the library's model for its config, with all its parts; it may be on the meta device.

    Raises:
        DataError: a tensor of the model is quantised, or contains NaN or infinity.
    """
    prefix, own_names = f"{whole.base_model_prefix}.", frozenset(whole.state_dict())
    parts = {name.partition(".")[0] for name in own_names}
    parameters = {name for name, _ in whole.named_parameters(remove_duplicate=False)}
    stored = named_as_in_model(folder.tensors(), own_names, folder.entry, prefix=prefix)
    check_not_quantised(stored, folder.entry)
    tensors: dict[str, Tensor] = {}
    heads: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        own = name.removeprefix(prefix)
        if own not in parameters and not tensor.is_floating_point():
            continue  # position ids and masks of old files
        if is_inside(own, parts):
            tensors[name] = to_float32(name, tensor, folder.entry)
        else:
            heads[name] = tensor
    if tied := _tied_words(tensors, heads, whole):
        words, head = tied
        tensors[words] = to_float32(head, heads[head], folder.entry)
    # Heads come last: the library computes in the dtype of the first tensor.
    return Stored({**tensors, **heads}, tuple(heads))


def _tied_words(tensors: Collection[str], heads: Mapping[str, Tensor], whole: Any) -> tuple[str, str] | None:
    """Names of a missing word embedding and of the language head that equals it, in a file of tied weights; or None."""
    if not getattr(whole.config, "tie_word_embeddings", True):
        return None
    words = whole.get_input_embeddings().weight
    names = {name for name, parameter in whole.named_parameters(remove_duplicate=False) if parameter is words}
    if any(name.removeprefix(f"{whole.base_model_prefix}.") in names for name in tensors):
        return None
    same = [name for name, head in heads.items() if name.endswith(".weight") and head.shape == words.shape]
    return (min(names), same[0]) if names and len(same) == 1 else None


def check_extent(sequence_model: PreTrainedModel, tensors: Mapping[str, Tensor], entry: str) -> None:
    """Compare a model's size with the file before allocating it: a wrong config.json could exhaust the memory.

    Raises:
        DataError: the model has more parameters than the file.
    """
    needed = sum(parameter.numel() for parameter in sequence_model.parameters())
    held = sum(tensor.numel() for tensor in tensors.values())
    if needed > held:
        raise DataError(
            f"{entry}: its config.json describes a model of {needed:,} parameters, but the file contains {held:,}"
        )


def check_report(whole: Any, names: set[str], report: Mapping[str, Any], entry: str) -> None:
    """Check that no tensor is missing, unexpected, or of another shape.

    Args:
        whole: the library's model.
        names: names of its parameters that the backbone uses.
        report: the library's loading report.
        entry: the checkpoint, for messages.

    Raises:
        DataError: a tensor of the backbone is missing, unexpected, or of another shape.
    """
    wrong = [(name, tuple(found), tuple(expected)) for name, found, expected in report["mismatched_keys"]]
    parts = {name for name, _ in whole.named_children()}
    unexpected = [name.removeprefix(f"{whole.base_model_prefix}.") for name in report["unexpected_keys"]]
    report_misfits(
        missing=names & set(report["missing_keys"]),
        wrong=[row for row in wrong if row[0] in names],
        unexpected=[name for name in unexpected if is_inside(name, parts) and not name.endswith(BUFFERS)],
        entry=entry,
    )
