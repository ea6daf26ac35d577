"""NumPy's files: what they hold is what NumPy reads, and what a header claims is checked first."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fptkit.errors import DataError
from fptkit.sources import decoding
from fptkit.tasks.reading.numpy_files import names_in_npz, read_npy, read_npz

ARRAYS = [
    np.arange(6, dtype=">i2").reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array(["a", "bc"]),
    np.array(7, np.uint8),
    np.zeros((0, 3), np.float16),
    np.array([True, False]),
    np.array([b"a", b""], "S3"),
    np.zeros((3, 0)),
]


@pytest.mark.parametrize("array", ARRAYS, ids=str)
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_arrays_are_those_of_numpy(tmp_path: Path, array: np.ndarray, version: tuple[int, int]) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, array, version)
    for mapped in (False, True):
        if array.size or not mapped:  # nothing cannot be mapped
            found = read_npy(tmp_path / "a.npy", mapped=mapped)
            assert np.array_equal(found, array)
            assert (found.dtype, found.shape) == (array.dtype, array.shape)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives_are_those_of_numpy(tmp_path: Path, save: object) -> None:
    save(tmp_path / "a.npz", x=ARRAYS[0], y=ARRAYS[2])  # type: ignore[operator]
    found = read_npz(tmp_path / "a.npz")
    assert list(found) == names_in_npz(tmp_path / "a.npz") == ["x", "y"]
    assert all(np.array_equal(found[name], array) for name, array in (("x", ARRAYS[0]), ("y", ARRAYS[2])))
    assert list(read_npz(tmp_path / "a.npz", ("y", "absent"))) == ["y"]


def header(descr: str, shape: str, version: int = 1) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (header("'|u1'", "(1180591620717411303424, 28)"), "declares the shape"),
        (header("'|u1'", "(10000000000,)", 2), "declares the shape"),
        (header("'|u1'", "(10000000000,)", 3), "declares the shape"),
        (header("'|u1'", f"(0x{'f' * 5000},)"), r"declares the shape \(a number of 20,000 bits,\)"),
        (header("'|u1'", "(-1, 8)"), "declares the shape"),
        (header("'|u1'", "(65,)") + bytes(64), "of type uint8, but 64 bytes follow"),
        (header("'|S0'", "(1000000000000,)"), "an array without values of shape"),
        (header("'<f8'", "(1000000000000, 0)"), "an array without values of shape"),
        (header("'|O'", "(1,)") + b"cos", "Python objects"),
        (header("[('a', '|O')]", "(1,)"), "Python objects"),
        (header("'|u1'", "(True,)") + bytes(64), "not readable"),
        (header("('u1',)", "(1,)"), "not readable"),
        (header("'|u1'", "(1,")[:-6], "not readable"),
        (header("'|u1'", "(1,)", 9) + bytes(8), "not readable"),
        (header("'no type'", "(1,)"), "not readable"),
        (b"\x93NUMPY\1\0\x07\0{[]: 1}", "not readable"),
        (b"\x93NUMPY", "not readable"),
        (b"\x93NUM", "not an array of NumPy"),
        (b"", "not an array of NumPy"),
    ],
)
def test_headers_that_lie(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", content)
    for name, read in (("a.npy", read_npy), ("a.npz", read_npz), ("a.npy", lambda path: read_npy(path, mapped=True))):
        with pytest.raises(DataError, match=rf"{name[:2]}.*{said}") as found:
            read(tmp_path / name)
        assert len(str(found.value)) < 500


@pytest.mark.parametrize("code", [0x110000, 0xFFFFFFFF, 0xD800, 0xDFFF])
@pytest.mark.parametrize("order", "<>")
def test_text_of_what_is_no_character(tmp_path: Path, code: int, order: str) -> None:
    """NumPy makes strings of any numbers, and what is done with these fails anywhere, or never."""
    good = np.array([[0x61, 0x10FFFF], [0xD7FF, 0xE000]], f"{order}u4")
    for codes in (good, np.where(good == 0xE000, np.uint32(code), good).astype(good.dtype)):
        text = codes.view(f"{order}U1").reshape(2, 2)
        (tmp_path / "a.npy").write_bytes(header(f"'{order}U1'", "(2, 2)") + codes.tobytes())
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.write(tmp_path / "a.npy", "x.npy")
        for read in (
            lambda: read_npy(tmp_path / "a.npy"),
            lambda: read_npy(tmp_path / "a.npy", mapped=True),
            lambda: read_npz(tmp_path / "a.npz")["x"],
        ):
            if codes is good:
                assert np.array_equal(read(), text)
            else:
                with pytest.raises(DataError, match=rf"a\.np[yz].*the number {code:#x}, which is no character"):
                    read()


def test_an_archive_that_is_much_larger_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "SMALL_BYTES", 1 << 20)
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(1 << 22, np.uint8), y=np.arange(3))
    with pytest.raises(DataError, match=r"a\.npz: would unpack to 4 MiB or more, .* times its size"):
        read_npz(tmp_path / "a.npz")
    assert read_npz(tmp_path / "a.npz", ["y"])["y"].tolist() == [0, 1, 2]


def test_what_is_no_file_and_what_is_no_archive(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    content = io.BytesIO()
    np.save(content, np.arange(3))
    (tmp_path / "b.npz").write_bytes(content.getvalue())
    for name, said in (("pipe.npz", "not a file, but"), ("absent.npz", "no such file"), ("b.npz", "not an .npz file")):
        with pytest.raises(DataError, match=said):
            read_npz(tmp_path / name)
