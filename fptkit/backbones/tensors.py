"""Checks of a checkpoint's tensors that hold for every architecture."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fptkit.errors import DataError


def check_shapes(expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor], what: str, entry: str) -> None:
    """Refuse tensors that are missing, left over, or of another shape.

    Args:
        expected: shapes of a model's tensors by name.
        tensors: those of the checkpoint.
        what: the model, for the message, such as "a GPT-2".
        entry: the checkpoint, for the message.

    Raises:
        DataError: names and shapes are not the same.
    """
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        raise DataError(
            f"{entry}: {len(wrong)} tensors do not fit {what} of its config.json, the first is {wrong[0]}: "
            f"expected shape {expected.get(wrong[0], 'none')}, found {found.get(wrong[0], 'none')}"
        )


def check_numbers(name: str, tensor: Tensor, entry: str) -> None:
    """Refuse a tensor that holds no floating-point numbers, or some that are not finite.

    Raises:
        DataError: it does.
    """
    if not tensor.is_floating_point():
        raise DataError(f"{entry}: tensor {name} is of {tensor.dtype}, expected floating-point numbers")
    if not bool(torch.isfinite(tensor).all()):
        raise DataError(f"{entry}: tensor {name} holds NaN or infinity; the file is damaged")
