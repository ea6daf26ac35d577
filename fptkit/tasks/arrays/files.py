"""Arrays in npz, npy and safetensors files. Objects, which are pickles and may run code, are refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import DataError
from fptkit.sources.decoding import check_not_empty, decoding
from fptkit.tasks.reading.numpy_files import read_npy, read_npz

Array = NDArray[Any]


def read_arrays(path: Path) -> dict[str, Array]:
    """Read all arrays of a file; a ``.npy`` file has one, named as the file, and stays on disk until it is used.

    Raises:
        DataError: the file is damaged or has something else than plain arrays.
    """
    check_not_empty(path)
    match path.suffix.lower():
        case ".npz":
            found = read_npz(path)
        case ".npy":
            found = {path.stem: read_npy(path, mapped=True)}
        case _:
            found = _read_safetensors(path)
    for name, array in found.items():
        _check_type(array, f"{path}, {name}")
    return found


def _read_safetensors(path: Path) -> dict[str, Array]:
    import torch
    from safetensors.torch import load_file

    with decoding(path, "safetensors", advice="write it again"):
        tensors = load_file(path)
    narrow = (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)  # types that NumPy does not have
    return {name: (tensor.float() if tensor.dtype in narrow else tensor).numpy() for name, tensor in tensors.items()}


def _check_type(array: Array, where: str) -> None:
    if array.dtype.kind not in "biufUS":
        what = {"c": "complex numbers", "V": "records of several fields", "O": "Python objects"}.get(
            array.dtype.kind, f"values of type {array.dtype}"
        )
        raise DataError(f"{where}: {what}; expected numbers or text. Save them as plain numbers")


def check_finite(values: Iterable[Array], names: Iterable[str]) -> None:
    """Refuse NaN and infinite values.

    Args:
        values: arrays of numbers.
        names: what to call each in messages.

    Raises:
        DataError: there is one, with its place.
    """
    for array, name in zip(values, names, strict=True):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            place = [int(number) for number in np.argwhere(~np.isfinite(array))[0]]
            shown = ", ".join(map(str, place))
            raise DataError(
                f"{name}: the value at [{shown}] is {array[tuple(place)]}; fill it in or remove the example"
            )


def cells(array: Array, where: str) -> list[str]:
    """Labels as text, one per example; whole numbers in floats are written as such.

    Shapes: array (N,).

    Raises:
        DataError: a label is not finite, or has bytes that are not text in UTF-8.
    """
    if array.dtype.kind == "f":
        check_finite([array], [where])
    if array.dtype.kind == "S":
        return [_decoded(value, f"{where}[{row}]") for row, value in enumerate(array.tolist())]
    if array.dtype.kind == "f" and array.dtype.itemsize < 8:
        return [str(value) for value in array]  # the shortest text of this precision
    return [str(value) for value in array.tolist()]


def _decoded(value: bytes, where: str) -> str:
    # Replacing what cannot be decoded could make one class of several.
    try:
        return value.decode()
    except UnicodeDecodeError as err:
        raise DataError(f"{where} is {value!r}, which is not UTF-8 text; save it as text, not as bytes") from err


def text_of(arrays: Mapping[str, Array], name: str) -> list[str]:
    """An array of names as text."""
    return cells(arrays[name].ravel(), name)
