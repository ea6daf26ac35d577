"""Arrays in npz, npy and safetensors files. Objects, which are pickles and may run code, are refused."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import DataError
from fptkit.tasks.reading.text import open_bytes

Array = NDArray[Any]

_FAULTS = (
    *(OSError, ValueError, EOFError, TypeError, AttributeError, LookupError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
    *(MemoryError, OverflowError),  # a header that claims an impossible size
    tokenize.TokenError,  # a header that is no Python literal
    RuntimeError,  # an encrypted archive; its subclass NotImplementedError: an unknown compression
)


def read_arrays(path: Path) -> dict[str, Array]:
    """Read all arrays of a file; a ``.npy`` file has one, named as the file, and stays on disk until it is used.

    Raises:
        DataError: the file is damaged or has something else than plain arrays.
    """
    readers = {".npz": _read_npz, ".npy": _read_npy, ".safetensors": _read_safetensors}
    with open_bytes(path) as file:  # says what is wrong with the path itself
        if not file.read(1):
            raise DataError(f"{path}: the file is empty; write it again")
    try:
        found = readers[path.suffix.lower()](path)
    except DataError:
        raise
    except _FAULTS as err:
        raise DataError(f"{path}: {_reason(err, path.suffix.lower())}") from err
    for name, array in found.items():
        _check_type(array, f"{path}, {name}")
    return found


def _read_npz(path: Path) -> dict[str, Array]:
    # Opened here, since NumPy does not close damaged files.
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            file.seek(0)
            what = "truncated" if file.read(2) == b"PK" else "not an .npz file"
            raise DataError(f"{path}: {what}; copy it again, or write it again with numpy.savez")
        file.seek(0)
        with np.load(file, allow_pickle=False) as opened:
            if doubled := [name for name, count in Counter(opened.files).items() if count > 1]:
                raise DataError(f"{path}: it has the array '{doubled[0]}' more than once; write it again")
            arrays = {name: opened[name] for name in opened.files}
    if strange := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
        raise DataError(f"{path}: '{strange[0]}' is not an array; write the file again with numpy.savez")
    return arrays


def _read_npy(path: Path) -> dict[str, Array]:
    return {path.stem: np.lib.format.open_memmap(path, mode="r")}  # np.load does not close damaged files


def _read_safetensors(path: Path) -> dict[str, Array]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except SafetensorError as err:
        raise DataError(f"{path}: not readable as safetensors: {err}; write it again") from err
    narrow = (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)  # types that NumPy does not have
    return {name: (tensor.float() if tensor.dtype in narrow else tensor).numpy() for name, tensor in tensors.items()}


def _reason(err: BaseException, ending: str) -> str:
    if "pickle" in str(err).lower() or "Python objects" in str(err):
        return (
            "it has Python objects (dtype object), which are pickles and may run code; save plain numbers, and "
            "examples of unequal length concatenated, with an array of offsets"
        )
    return f"not readable as {ending}: {str(err) or type(err).__name__}; write it again"


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
