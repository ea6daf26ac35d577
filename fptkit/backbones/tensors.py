"""Checks of a checkpoint's tensors that apply to every architecture."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fptkit.errors import DataError


def check_shapes(expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor], what: str, entry: str) -> None:
    """Check that a checkpoint has exactly the expected tensors, in the expected shapes.

    Args:
        expected: shapes of the model's tensors, by name.
        tensors: tensors of the checkpoint.
        what: the model, for the message, such as "a GPT-2".
        entry: the checkpoint, for the message.

    Raises:
        DataError: a tensor is missing, unexpected, or of another shape.
    """
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        raise DataError(
            f"{entry}: {len(wrong)} tensors do not fit {what} of its config.json, the first is {wrong[0]}: "
            f"expected shape {expected.get(wrong[0], 'none')}, found {found.get(wrong[0], 'none')}"
        )


def check_numbers(name: str, tensor: Tensor, entry: str) -> None:
    """Check that a tensor is of a floating-point dtype and finite.

    Args:
        name: name of the tensor, for the message.
        tensor: the tensor.
        entry: the checkpoint, for the message.

    Raises:
        DataError: it is of another dtype, or contains NaN or infinity.
    """
    if not tensor.is_floating_point():
        raise DataError(f"{entry}: tensor {name} is of {tensor.dtype}, expected floating-point numbers")
    if not bool(torch.isfinite(tensor).all()):
        raise DataError(f"{entry}: tensor {name} holds NaN or infinity; the file is damaged")
