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
        tensors: floating-point tensors under names that the library understands; those inside the model's parts are in
            float32.
        outside: names of the others: heads of other tasks, a decoder, or tensors that the library renames.
    """

    tensors: dict[str, Tensor]
    outside: frozenset[str]


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
    buffers = own_names - parameters
    stored = named_as_in_model(folder.tensors(), own_names, folder.entry, prefix=prefix)
    check_not_quantised(stored, folder.entry)
    inside: dict[str, Tensor] = {}
    outside: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        own = name.removeprefix(prefix)
        if own not in parameters and not tensor.is_floating_point():
            continue  # position ids and masks of old files
        if own in buffers:
            inside[name] = tensor.float()  # it may be a mask with infinity
        elif is_inside(own, parts):
            inside[name] = to_float32(name, tensor, folder.entry)
        else:
            outside[name] = tensor
    # The library computes in the dtype of the first tensor.
    return Stored({**inside, **outside}, frozenset(outside))


def check_outside(
    whole: Any, stored: Stored, report: Mapping[str, Any], parts: Collection[str], entry: str
) -> list[str]:
    """Return the names of the tensors of heads and decoders; check those that were of the model after all.

    Args:
        whole: the library's model.
        stored: tensors that it was loaded from.
        report: the library's loading report.
        parts: paths of the modules that the backbone uses.
        entry: the checkpoint, for messages.

    Raises:
        DataError: a tensor that the library renamed and used contains NaN or infinity.
    """
    prefix, unexpected = f"{whole.base_model_prefix}.", frozenset(report["unexpected_keys"])
    for name in stored.outside:
        if not unexpected & {name, name.removeprefix(prefix)}:
            to_float32(name, stored.tensors[name], entry)
    own_names = (name.removeprefix(prefix) for name in sorted(unexpected))
    return [name for name in own_names if not is_inside(name, parts) and not name.endswith(BUFFERS)]


def tied_words(stored: Stored, config: Any, shape: tuple[int, ...]) -> Tensor | None:
    """The language head of a file of tied weights without a word embedding, which equals it; None if there is none.

    Args:
        stored: tensors of the file.
        config: the library's config.
        shape: shape of the word embedding.
    """
    if not getattr(config, "tie_word_embeddings", True):
        return None
    same = [name for name in stored.outside if name.endswith(".weight") and stored.tensors[name].shape == shape]
    return stored.tensors[same[0]].float() if len(same) == 1 else None


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


def check_report(whole: Any, names: set[str], report: Mapping[str, Any], parts: Collection[str], entry: str) -> None:
    """Check that no tensor is missing, unexpected, or of another shape.

    Args:
        whole: the library's model.
        names: names of its parameters that the backbone uses.
        report: the library's loading report.
        parts: paths of the modules that the backbone uses.
        entry: the checkpoint, for messages.

    Raises:
        DataError: a tensor of the backbone is missing, unexpected, or of another shape.
    """
    wrong = [(name, tuple(found), tuple(expected)) for name, found, expected in report["mismatched_keys"]]
    unexpected = [name.removeprefix(f"{whole.base_model_prefix}.") for name in report["unexpected_keys"]]
    report_misfits(
        missing=names & set(report["missing_keys"]),
        wrong=[row for row in wrong if row[0] in names],
        unexpected=[name for name in unexpected if is_inside(name, parts) and not name.endswith(BUFFERS)],
        entry=entry,
    )
