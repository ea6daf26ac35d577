"""Arrays in NumPy's files, ``.npz`` and ``.npy``: each header is checked before anything is read for it.

A header may claim any shape, and an array of objects is a pickle, which may run code.
"""

from __future__ import annotations

import math
import zipfile
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import DataError
from fptkit.sources.decoding import check_unpacked, decoding, shown_value

Array = NDArray[Any]

_NPZ, _NPY = "an .npz file", "an .npy file"
_AGAIN = "copy it again, or write it again with numpy.savez"

_LAST_CHARACTER = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)

_LONGEST_EMPTY = 1_000_000
"""Most entries of a dimension of an array without values: it needs no bytes, so its header may claim any number."""


def read_npz(path: Path, names: Collection[str] | None = None) -> dict[str, Array]:
    """Read arrays of an ``.npz`` file, by name.

    Args:
        path: the file.
        names: the arrays to read, if they exist; None for all.

    Raises:
        DataError: the file is damaged or much larger unpacked, or one of the arrays is not plain numbers or text.
    """
    with decoding(path, _NPZ, advice=_AGAIN):
        file = path.open("rb")
    with file:
        _check_begin(path, file)
        with decoding(path, _NPZ, advice=_AGAIN):
            archive = zipfile.ZipFile(file)
            members = {member.filename: member for member in archive.infolist()}
        _check_names(path, archive)
        wanted = {name.removesuffix(".npy"): member for name, member in members.items()}
        if names is not None:
            wanted = {name: member for name, member in wanted.items() if name in names}
        check_unpacked(path, sum(member.file_size for member in wanted.values()))
        return {name: _read_member(path, archive, name, member) for name, member in wanted.items()}


def names_in_npz(path: Path) -> list[str]:
    """The names of the arrays of an ``.npz`` file.

    Raises:
        DataError: it is not one.
    """
    with decoding(path, _NPZ, advice=_AGAIN), zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def read_npy(path: Path, *, mapped: bool = False) -> Array:
    """Read the array of an ``.npy`` file.

    Args:
        path: the file.
        mapped: leave it on disk until it is used.

    Raises:
        DataError: the file is damaged, or the array is not plain numbers or text.
    """
    with decoding(path, _NPY, advice=_AGAIN):
        file = path.open("rb")
        size = path.stat().st_size
    with file:
        _check_header(path, "", file, size)
        with decoding(path, _NPY, advice=_AGAIN):
            array: Array
            if mapped:  # np.load does not close damaged files
                array = np.lib.format.open_memmap(path, mode="r")
            else:
                file.seek(0)
                array = np.lib.format.read_array(file, allow_pickle=False)
    _check_characters(path, "", array)
    return array


def _check_begin(path: Path, file: IO[bytes]) -> None:
    with decoding(path, _NPZ, advice=_AGAIN):
        is_zip = zipfile.is_zipfile(file)
        file.seek(0)
        begin = file.read(2)
        file.seek(0)
    if not is_zip:
        what = "truncated" if begin == b"PK" else "not an .npz file" if begin else "the file is empty"
        raise DataError(f"{path}: {what}; {_AGAIN}")


def _check_names(path: Path, archive: zipfile.ZipFile) -> None:
    counts = Counter(name.removesuffix(".npy") for name in archive.namelist())
    if doubled := [name for name, count in counts.items() if count > 1]:
        raise DataError(f"{path}: it has the array '{doubled[0]}' more than once; write it again")


def _read_member(path: Path, archive: zipfile.ZipFile, name: str, member: zipfile.ZipInfo) -> Array:
    where = f", {name}"
    with decoding(path, _NPZ, advice=_AGAIN):
        stream = archive.open(member)
    with stream:
        _check_header(path, where, stream, member.file_size)
    with decoding(path, _NPZ, advice=_AGAIN), archive.open(member) as stream:
        array: Array = np.lib.format.read_array(stream, allow_pickle=False)
    _check_characters(path, where, array)
    return array


def _check_characters(path: Path, where: str, array: Array) -> None:
    """Refuse numbers in an array of text that are no characters: NumPy makes invalid strings of them.

    Raises:
        DataError: there is one.
    """
    if array.dtype.kind != "U" or not array.nbytes:
        return
    codes = np.ascontiguousarray(array).view(np.dtype("u4").newbyteorder(array.dtype.byteorder))
    wrong = (codes > _LAST_CHARACTER) | ((codes >= _SURROGATES[0]) & (codes <= _SURROGATES[1]))
    if wrong.any():
        raise DataError(f"{path}{where}: its text has the number {codes[wrong][0]:#x}, which is no character; {_AGAIN}")


def _check_header(path: Path, where: str, file: IO[bytes], size: int) -> None:
    """Check what a header claims against the bytes that there are.

    Raises:
        DataError: it is not one, claims more, or has objects.
    """
    with decoding(path, _NPZ if where else _NPY, advice=_AGAIN):
        magic = file.read(6)
    if magic != b"\x93NUMPY":
        raise DataError(f"{path}{where}: not an array of NumPy; write the file again with numpy.savez")
    with decoding(path, _NPZ if where else _NPY, advice=_AGAIN):
        major = file.read(2)[0]
        reader = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, _, kind = reader(file)
        held = size - file.tell()
        count = math.prod(int(length) for length in shape)
    if kind.hasobject:
        raise DataError(
            f"{path}{where}: it has Python objects (dtype object), which are pickles and may run code; save plain "
            "numbers, and examples of unequal length concatenated, with an array of offsets"
        )
    if any(length < 0 for length in shape) or count * kind.itemsize > held:
        raise DataError(
            f"{path}{where}: its header declares the shape {shown_value(shape)} of type {kind}, but {held:,} "
            f"bytes follow; {_AGAIN}"
        )
    if count * kind.itemsize == 0 and max(shape, default=0) > _LONGEST_EMPTY:
        raise DataError(f"{path}{where}: an array without values of shape {shown_value(shape)}; {_AGAIN}")
