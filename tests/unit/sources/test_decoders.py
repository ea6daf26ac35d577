"""Every call of a library that decodes a file is made inside the boundary of `fptkit.sources.decoding`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

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
    "tables": ("ParquetFile", "read_parquet", "csv.reader", "csv.DictReader"),
    "sound": ("SoundFile", "soundfile.read", "wave.open"),
    "pickles": ("Unpickler", "pickle.load", "pickle.loads", "plain_pickle.loads"),
    "databases": ("lmdb.open",),
    "GGUF": ("dequantize", "CheckedReader", "contents"),
    "YAML": ("yaml.load", "yaml.safe_load"),
}
"""Calls of decoders, by the end of their name."""

ELSEWHERE = {
    "api/training.py: _check_folder: json.loads": "its own text",
    "engine/cache/store.py: _rows: np.memmap": "numbers without a header; their digest and number were checked",
    "engine/team/processes.py: _main_failed: json.loads": "messages of a process of the same run",
    "engine/team/processes.py: _other_end: json.loads": "messages of a process of the same run",
    "files.py: read_json: json.loads": "on the floor below, with a boundary of its own",
    "inference/delta.py: _decompressed: unpacker.decompress": "called inside the boundary by `unpack_delta`",
    "inference/delta.py: write_delta: json.loads": "text of this process",
    "lab/pretraining/loop.py: _step_of: json.loads": "half a row of its own is passed over",
    "lab/pretraining/loop.py: read_own_checkpoint: json.loads": "its own text",
    "lab/verification/bundles/archive.py: write_zip: zipfile.ZipFile": "writes",
    "lab/verification/derive.py: json: json.loads": "its own text",
    "lab/verification/unsealed.py: verify_unsealed: json.loads": "its own text",
    "sources/archive.py: : gzip.GzipFile": "a table of openers, called inside the boundary by `unpack`",
    "tasks/homology/lmdb_file.py: read_lmdb: json.loads": "lines of its own reader",
    "tasks/homology/records.py: write_records: gzip.GzipFile": "writes",
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
