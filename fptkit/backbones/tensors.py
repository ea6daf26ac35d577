"""How the tensors of a file become those of a model: one set of rules for every architecture.

- Names: a common prefix of wrappers (``module.``, ``transformer.``) is removed, and ``gamma`` and ``beta`` of old files
  become ``weight`` and ``bias``.
- Numbers: every floating-point dtype becomes float32; NaN and infinity are errors, and so are quantised weights.
- A tensor outside the model's own parts belongs to the head of another task or to a decoder: it is not used, and a
  note says so.
- Any other tensor must fit: one that is missing, of another shape, or unknown inside the model's parts is an error.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fptkit.errors import DataError

BUFFERS = ("position_ids", "token_type_ids", "inv_freq", "masked_bias", "attn.bias", "attention.bias")
"""Suffixes of tensor names in old files that are not parameters: current models compute these tensors."""

_OLD_NAMES = {"gamma": "weight", "beta": "bias"}
"""Names of a norm's scale and shift in files converted from TensorFlow."""


@dataclass(frozen=True)
class Selected:
    """The tensors of a file, sorted by use.

    Args:
        used: tensors of the model, in float32.
        heads: names of the tensors outside the model: heads of other tasks, a decoder.
    """

    used: dict[str, Tensor]
    heads: tuple[str, ...]


def select_tensors(
    stored: Mapping[str, Tensor],
    expected: Mapping[str, tuple[int, ...]],
    *,
    parts: Collection[str],
    replaced: tuple[str, ...],
    entry: str,
) -> Selected:
    """Sort the tensors of a file by use, and check those that the model needs.

    Args:
        stored: tensors of the file, under the model's names (see `named_as_in_model`).
        expected: shapes of the model's tensors, by name.
        parts: first components of the names of the model's tensors, including parts it lacks in this configuration: a
            tensor there that is not expected is an error.
        replaced: prefixes of names of parts that a backbone does without.
        entry: the checkpoint, for messages.

    Raises:
        DataError: a tensor is missing, unexpected, of another shape, quantised, or contains NaN or infinity.
    """
    check_not_quantised(stored, entry)
    rest = {name: tensor for name, tensor in stored.items() if name in expected or not is_buffer(name, tensor)}
    spare = {name for name in rest if name not in expected and name.startswith(replaced)}
    heads = tuple(name for name in rest if name not in expected and name not in spare and not is_inside(name, parts))
    own = {name: tensor for name, tensor in rest.items() if name not in spare and name not in heads}
    _check_shapes(expected, own, entry)
    return Selected({name: to_float32(name, tensor, entry) for name, tensor in own.items()}, heads)


def named_as_in_model(
    stored: Mapping[str, Tensor], names: Collection[str], entry: str, *, prefix: str = ""
) -> dict[str, Tensor]:
    """Rename the tensors of a file as the model names them.

    Args:
        stored: tensors of the file.
        names: names of the model's tensors.
        entry: the checkpoint, for messages.
        prefix: prefix that the caller understands; it is kept.

    Raises:
        DataError: the file contains two models.
    """
    wrapper = _prefix_in_file(stored, names, entry)
    if wrapper == prefix or wrapper.endswith(f".{prefix}"):
        wrapper = wrapper.removesuffix(prefix)
    unwrapped = {name.removeprefix(wrapper): tensor for name, tensor in stored.items()}
    return {_current_name(name, names, prefix): tensor for name, tensor in unwrapped.items()}


def _prefix_in_file(stored: Iterable[str], names: Collection[str], entry: str) -> str:
    """The prefix under which a file has most of a model's tensors.

    Raises:
        DataError: two prefixes have as many, at least half of the model.
    """
    known, counts = frozenset(names), Counter[str]()
    for name in stored:
        parts = name.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in known:
                counts[name[: len(name) - len(".".join(parts[start:]))]] += 1
    if not counts:
        return ""
    (best, count), *others = counts.most_common(2)
    if others and others[0][1] == count and 2 * count >= len(known):
        both = " and ".join(sorted((best or "no prefix", others[0][0] or "no prefix")))
        raise DataError(f"{entry}: the file contains two models ({both}); save one of them alone")
    return best


def _current_name(name: str, names: Collection[str], prefix: str) -> str:
    """The current name of a norm's tensor; the scale that a ``LayerScale`` calls ``gamma`` keeps its name."""
    owner, _, last = name.rpartition(".")
    if last not in _OLD_NAMES or name.removeprefix(prefix) in names:
        return name
    current = f"{owner}.{_OLD_NAMES[last]}"
    return current if current.removeprefix(prefix) in names else name


def is_inside(name: str, parts: Collection[str]) -> bool:
    """True if a tensor belongs to one of a model's parts, given by path; otherwise it is of a head or a decoder."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def is_buffer(name: str, tensor: Tensor) -> bool:
    """True if a tensor that the model does not expect is one that current models compute, such as position ids."""
    return name.endswith(BUFFERS) or not (tensor.is_floating_point() or tensor.is_complex())


def notes_on_heads(heads: Iterable[str], entry: str) -> tuple[str, ...]:
    """Return a note on the tensors outside the model; none if there are none."""
    stems: dict[str, set[str]] = {}
    for name in heads:
        stems.setdefault(name.partition(".")[0], set()).add(name.removesuffix(".weight").removesuffix(".bias"))
    if not stems:
        return ()
    shown = ", ".join(sorted(min(names) if len(names) == 1 else f"{part}.*" for part, names in stems.items()))
    return (f"{entry}: not used, since they are no part of the backbone: {shown}",)


def count_blocks(names: Iterable[str], block_list: str) -> int:
    """Count the blocks in a file, whatever the prefix of its names.

    Args:
        names: names of the tensors.
        block_list: name of the list of blocks, such as ``h``.
    """
    number = re.compile(rf"(?:^|\.){block_list}\.(\d+)\.")
    return len({found[1] for name in names if (found := number.search(name))})


def _check_shapes(expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor], entry: str) -> None:
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    wrong = [(name, found[name], expected[name]) for name in expected.keys() & found.keys()]
    report_misfits(
        missing=expected.keys() - found.keys(),
        wrong=[row for row in wrong if row[1] != row[2]],
        unexpected=found.keys() - expected.keys(),
        entry=entry,
    )


def report_misfits(
    *,
    missing: Collection[str],
    wrong: Collection[tuple[str, tuple[int, ...], tuple[int, ...]]],
    unexpected: Collection[str],
    entry: str,
) -> None:
    """Refuse a checkpoint whose tensors are not those of its model.

    Args:
        missing: names of the model's tensors that the file lacks.
        wrong: name, shape in the file and expected shape of tensors of another shape.
        unexpected: names of tensors inside the model's parts that the model does not have.
        entry: the checkpoint, for the message.

    Raises:
        DataError: one of the three is not empty.
    """
    if missing:
        raise DataError(f"{entry}: {len(missing)} tensors are missing, the first is {min(missing)}")
    if wrong:
        name, found, expected = min(wrong)
        raise DataError(
            f"{entry}: {len(wrong)} tensors do not fit its config.json, the first is {name}: "
            f"expected shape {expected}, found {found}"
        )
    if unexpected:
        raise DataError(
            f"{entry}: {len(unexpected)} tensors do not belong to the model of its config.json, the first is "
            f"{min(unexpected)}"
        )


def check_not_quantised(stored: Mapping[str, Tensor], entry: str) -> None:
    """Refuse float8 numbers that must be multiplied by stored scales; without scales, they are plain numbers.

    Raises:
        DataError: a tensor of float8 has a scale.
    """
    scales = [name for name in stored if "scale" in name.rpartition(".")[2]]
    for name, tensor in stored.items():
        if not (tensor.is_floating_point() and tensor.element_size() == 1):
            continue
        owner, _, last = name.rpartition(".")
        beginnings = (f"{name}_", f"{name}.", *([f"{owner}."] if last == "weight" else []))
        if scale := next((other for other in scales if other != name and other.startswith(beginnings)), None):
            raise DataError(
                f"{entry}: tensor {name} is quantised: {_dtype(tensor)} with the scale {scale}; use weights that are "
                "not quantised"
            )


def to_float32(name: str, tensor: Tensor, entry: str) -> Tensor:
    """Return a stored tensor in float32, the tensor itself if it is float32.

    Args:
        name: name of the tensor, for the message.
        tensor: the tensor, of any dtype.
        entry: the checkpoint, for the message.

    Raises:
        DataError: it is not of a floating-point dtype, or contains NaN, infinity or numbers too large for float32.
    """
    if not tensor.is_floating_point():
        raise DataError(
            f"{entry}: tensor {name} is of {tensor.dtype}, expected floating-point numbers; if the weights are "
            "quantised, use weights that are not"
        )
    try:
        converted = tensor.float()
    except (RuntimeError, NotImplementedError) as err:  # dtypes of fewer than 8 bits are packed
        raise DataError(
            f"{entry}: tensor {name} is of {_dtype(tensor)}, which torch cannot convert to float32"
        ) from err
    if not bool(torch.isfinite(converted).all()):
        if tensor.dtype == torch.float64 and bool(torch.isfinite(tensor).all()):
            raise DataError(f"{entry}: tensor {name} holds numbers that are too large for float32")
        raise DataError(f"{entry}: tensor {name} holds NaN or infinity; the file is damaged")
    return converted


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
