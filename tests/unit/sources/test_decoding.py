"""The boundary around foreign decoders, its messages and limits; and that every decoder is called inside it."""

from __future__ import annotations

import ast
import gzip
import io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fptkit.errors import CheckpointError, DataError, ShapeError
from fptkit.sources import decoding as module
from fptkit.sources.decoding import (
    Unpacked,
    check_not_empty,
    check_unpacked,
    decoded,
    decoding,
    one_line,
    read_bytes,
    shown_value,
)

PACKAGE = Path(__file__).parents[3] / "fptkit"

DECODERS = {
    "numpy": ("np.load", "np.fromfile", "np.memmap", "open_memmap", "read_array", "np.genfromtxt", "np.loadtxt"),
    "zip": ("ZipFile", "is_zipfile"),
    "tar": ("tarfile.open", "TarFile", "extractall"),
    "packed": ("gzip.open", "GzipFile", "lzma.open", "LZMAFile", "bz2.open", "BZ2File", "decompress"),
    "JSON": ("json.load", "json.loads", "raw_decode"),
    "pictures": ("Image.open", "exif_transpose", "getexif"),
    "tensors": ("safe_open", "torch.load"),
    "tokenizers": ("Tokenizer.from_file", "Tokenizer.from_str", "encode_batch"),
    "tables": (
        "ParquetFile",
        "to_pylist",
        "with_format",
        "cast_column",
        "read_parquet",
        "csv.reader",
        "csv.DictReader",
    ),
    "sound": ("SoundFile", "soundfile.read", "wave.open"),
    "pickles": ("Unpickler", "pickle.load", "pickle.loads", "plain_pickle.loads"),
    "databases": ("lmdb.open",),
    "GGUF": ("dequantize", "CheckedReader", "contents"),
    "YAML": ("yaml.load", "yaml.safe_load"),
}
"""Calls of decoders, by the end of their name."""

ELSEWHERE = {
    "api/packages.py: published_packages: json.loads": "a file of the package",
    "engine/trackers/figures.py: read: json.loads": "lines that this run wrote; a fault drops the tracker",
    "engine/training/checks.py: check_optimizer: json.loads": "its own text",
    "engine/training/checks.py: check_schedule: json.loads": "its own text",
    "api/training.py: _check_folder: json.loads": "its own text",
    "engine/cache/store.py: _rows: np.memmap": "numbers without a header; their digest and number were checked",
    "engine/team/processes.py: _main_failed: json.loads": "messages of a process of the same run",
    "engine/team/processes.py: _other_end: json.loads": "messages of a process of the same run",
    "engine/records.py: _record: json.loads": "with a boundary of its own, which names the line or leaves it out",
    "files.py: _object_in: json.loads": "on the floor below, with a boundary of its own",
    "files.py: is_sealed: json.loads": "on the floor below; a damaged file counts as one without a digest",
    "files.py: sealed: json.loads": "its own text",
    "inference/delta.py: _decompressed: unpacker.decompress": "called inside the boundary by `unpack_delta`",
    "inference/delta.py: write_delta: json.loads": "text of this process",
    "lab/pretraining/loop.py: _step_of: json.loads": "half a row of its own is passed over",
    "lab/pretraining/loop.py: read_own_checkpoint: json.loads": "its own text",
    "lab/verification/bundles/archive.py: _write_tar: lzma.open": "writes",
    "lab/verification/bundles/archive.py: _write_tar: tarfile.open": "writes",
    "lab/verification/bundles/archive.py: _write_zip: zipfile.ZipFile": "writes",
    "lab/verification/derive.py: json: json.loads": "its own text",
    "lab/verification/unsealed.py: verify_unsealed: json.loads": "its own text",
    "lab/reproduction/counts.py: read_counts: json.loads": "a file of the package",
    "sources/archive.py: : gzip.GzipFile": "a table of openers, called inside the boundary by `unpack`",
    "tasks/homology/lmdb_file.py: read_lmdb: json.loads": "lines of its own reader",
    "tasks/homology/records.py: write_records: gzip.GzipFile": "writes",
    "tasks/listops/install.py: install: gzip.GzipFile": "writes",
    "tasks/own_images/decode.py: _room: np.memmap": "an empty file of its own",
    "tasks/reading/delimited.py: _rows: csv.reader": "reads nothing until `decoded` iterates over it",
    "tasks/reading/text.py: : gzip.GzipFile": "a table of openers, called inside the boundary by `open_bytes`",
}
"""Calls outside of the boundary, as ``file: function: call``, and why."""


def calls_outside(tree: ast.AST, names: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Function and name of every call of a decoder that is not inside a ``with decoding(...)``."""

    def visit(node: ast.AST, function: str, inside: bool) -> Iterator[tuple[str, str]]:
        if isinstance(node, ast.FunctionDef):
            function = node.name
        if isinstance(node, ast.With):
            # The items from `decoding` on are inside it: with decoding(...), Image.open(...).
            for item in node.items:
                yield from visit(item, function, inside)
                inside = inside or name_of(item.context_expr) == "decoding"
            for child in node.body:
                yield from visit(child, function, inside)
            return
        if isinstance(node, ast.Call):
            called = name_of(node)
            if called == "decoded" and node.args:  # a decoder that is iterated over
                inside = True
            ends = {called, *(called.split(".", n)[-1] for n in range(called.count(".") + 1))}
            if not inside and ends & names:
                yield function, called
        for child in ast.iter_child_nodes(node):
            yield from visit(child, function, inside)

    yield from visit(tree, "", False)


def name_of(node: ast.AST) -> str:
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


NAMES = frozenset(name for some in DECODERS.values() for name in some)


def imported_from(tree: ast.AST, *modules: str) -> set[str]:
    """Names that a file imports from modules all of whose functions decode."""
    return {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in modules
        for alias in node.names
        if alias.name.startswith(("load", "read"))
    }


def found_in(text: str) -> list[tuple[str, str]]:
    tree = ast.parse(text)
    own = imported_from(tree, "safetensors.torch", "safetensors", "fptkit.sources.plain_pickle")
    return list(calls_outside(tree, NAMES | own))


def test_every_decoder_is_called_inside_the_boundary() -> None:
    found = {
        f"{path.relative_to(PACKAGE).as_posix()}: {function}: {called}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for function, called in found_in(path.read_text(encoding="utf-8"))
    }
    assert found == ELSEWHERE.keys()


def test_a_call_outside_would_be_found() -> None:
    text = """
from safetensors.torch import load, save
def good(path):
    with decoding(path, "x"), Image.open(path) as opened:
        return opened, load(path)
    for row in decoded(csv.reader(path), path, "x"): ...
def bad(path):
    with Image.open(path), decoding(path, "x"):
        pass
    np.load(path)
    with open(path) as file, contextlib.suppress(ValueError):
        load(json.load(file))
    save(path)
"""
    assert found_in(text) == [("bad", name) for name in ("Image.open", "np.load", "load", "json.load")]


# --- the boundary -----------------------------------------------------------------------------------------------------


class PanicException(BaseException):
    """What libraries written in Rust raise for a panic has this name, and is no `Exception`."""


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def undecodable() -> UnicodeDecodeError:
    try:
        b"abc\xff".decode()
    except UnicodeDecodeError as err:
        return err
    raise AssertionError


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (
            ValueError("bad\nheader\x1b[31m."),
            "a: not readable as a thing: bad header [31m; replace it by",
        ),
        (KeyError("x"), "a: not readable as a thing: 'x'; replace"),
        (RecursionError(), "it is nested too deeply"),
        (MemoryError(), "it needs more memory than there is"),
        (NotImplementedError(), "a thing: NotImplementedError; replace"),
        (Unprintable(), "a thing: Unprintable; replace"),
        (undecodable(), "a thing: byte 3 is not UTF-8; replace"),
        (FileNotFoundError(2, "No such file"), "a: there is no such file; check the path"),
        (
            PermissionError(13, "Permission denied"),
            "a: cannot be read (Permission denied); check the path",
        ),
        (PanicException("index out of range"), "a thing: index out of range; replace"),
        (ValueError("x" * 10**6), "x ...; replace it"),
    ],
)
def test_whatever_a_decoder_raises_names_the_file(raised: BaseException, said: str) -> None:
    with pytest.raises(DataError) as found, decoding("a", "a thing"):
        raise raised
    assert said in str(found.value)
    assert found.value.__cause__ is raised
    assert len(str(found.value)) < 450


def test_kind_place_and_advice_of_the_error() -> None:
    boundary = decoding("a", "a thing", CheckpointError, where="run", advice="copy it")
    with pytest.raises(CheckpointError, match=r"^run: a: not readable as a thing: no; copy it$"), boundary:
        raise ValueError("no")


@pytest.mark.parametrize("raised", [ShapeError("ours"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_what_is_no_fault_of_the_file_passes(raised: BaseException) -> None:
    with pytest.raises(type(raised)) as found, decoding("a", "a thing"):
        raise raised
    assert found.value is raised


def test_a_decoder_that_is_iterated_over() -> None:
    def rows() -> Iterator[int]:
        yield 1
        raise OverflowError("too many")

    found = decoded(rows(), "a", "a thing")
    assert next(found) == 1
    with pytest.raises(DataError, match="a: not readable as a thing: too many; replace"):
        next(found)
    assert list(decoded([1, 2], "a", "a thing")) == [1, 2]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_only_regular_files_are_opened(tmp_path: Path, make: object) -> None:
    path = tmp_path / "a"
    make(path)  # type: ignore[operator]
    for read in (read_bytes, check_not_empty):
        with pytest.raises(DataError, match="a: not a file, but a folder, pipe or device; name a file"):
            read(path)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(DataError, match="a: the file is empty"):
        check_not_empty(tmp_path / "a")
    assert read_bytes(tmp_path / "a") == b""


def test_content_that_is_much_larger_than_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL_BYTES", 1000)
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes(100_000)))
    check_unpacked(path, 1000)  # small
    check_unpacked(path, module.MOST_RATIO * path.stat().st_size)  # packed well
    with pytest.raises(DataError, match=r"a\.gz: would unpack to .* times its size"):
        check_unpacked(path, module.MOST_RATIO * path.stat().st_size + 1)
    content = io.BufferedReader(Unpacked(gzip.GzipFile(path), path, "a file", limited=True))
    with content, pytest.raises(DataError, match="times its size"):
        content.read()


def test_packed_content_is_the_same_as_without_the_boundary(tmp_path: Path) -> None:
    data, path = os.urandom(70_000), tmp_path / "a.gz"
    path.write_bytes(gzip.compress(data))
    with gzip.open(path) as file, io.BufferedReader(Unpacked(file, path, "a file", limited=True)) as content:
        assert (content.read(10), content.seek(0), content.read()) == (data[:10], 0, data)


def test_values_of_files_are_shown_short() -> None:
    bomb: list[object] = []
    for _ in range(60):
        bomb = [bomb, bomb]
    begun = time.process_time()
    for value in (bomb, 1 << 10**6, "x" * 10**6, json.loads("[" * 500 + "]" * 500), {"a": bomb}, b"x" * 10**6):
        assert len(shown_value(value)) <= 60
    assert shown_value(7) == "7"
    assert shown_value(1 << 10**6) == "a number of 1,000,001 bits"
    assert one_line("a\x1b[2J\r\n b\u202e") == "a [2J b"
    assert time.process_time() - begun < 60  # it would never end
