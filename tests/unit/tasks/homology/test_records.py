"""Readers of TAPE's file forms, and the pickles that must not run."""

from __future__ import annotations

import builtins
import contextlib
import gzip
import json
import os
import pickle
import pickletools
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fptkit.errors import DataError
from fptkit.sources import Unavailable, plain_pickle
from fptkit.tasks.homology.records import Record, _json_list, read_records, write_records

lmdb = pytest.importorskip("lmdb", reason="LMDB files are read with the extra 'lmdb'")

FIELDS = {"primary": "MKV", "fold_label": 3, "superfamily_label": 5, "family_label": 8, "id": "d1abc__"}
RECORD = Record("MKV", 3, 5, 8, "d1abc__")


def write_lmdb(path: Path, values: dict[str, bytes]) -> Path:
    with lmdb.open(str(path), map_size=1 << 22) as environment, environment.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key.encode(), value)
    return path


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


# --- JSON ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [json.dumps([FIELDS] * 3), json.dumps([FIELDS] * 3, indent=2), f" [\n{FIELDS} ]\n".replace("'", '"')]
)
def test_json_is_read_with_any_white_space(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    assert set(read_records(path)) == {RECORD}
    assert len(read_records(path)) == len(json.loads(text))


def test_gzipped_json_is_read_and_written_the_same_each_time(tmp_path: Path) -> None:
    records = [RECORD, Record("AC", 0)]
    write_records(tmp_path / "a.json.gz", records)
    write_records(tmp_path / "b.json.gz", records)
    assert read_records(tmp_path / "a.json.gz")[0] == RECORD
    assert [record.primary for record in read_records(tmp_path / "a.json.gz")] == ["MKV", "AC"]
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()


def test_only_the_needed_fields_are_needed(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('[{"primary": "MKV", "fold_label": 3, "evolutionary": [[0.5, 1e-3]]}]')
    assert read_records(tmp_path / "x.json") == [Record("MKV", 3, -1, -1, "0")]


@pytest.mark.parametrize("chunk", [1, 2, 7, 64, 1000])
def test_the_stream_equals_the_whole_whatever_its_pieces(tmp_path: Path, chunk: int) -> None:
    import io

    objects = [{"a": [1, {"b": "]},{"}], "text": "}é\n"}, {}, {"n": -1.5e-3}] * 4
    for text in (json.dumps(objects), json.dumps(objects, indent=1, ensure_ascii=False)):
        assert list(_json_list(tmp_path, io.StringIO(text), chunk)) == objects
        for end in range(0, len(text) - 1, 5):
            with pytest.raises(DataError, match="damaged JSON"):
                list(_json_list(tmp_path, io.StringIO(text[:end]), chunk))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"expected \[, got the end"),
        ("{}", r"expected \[, got {"),
        ("[]", "no records"),
        ("[1]", r"expected ] or {, got 1"),
        ('[{"primary": "A", "fold_label": 1},]', "expected {, got ]"),
        ('[{"primary": "A", "fold_label": 1}] x', "expected the end of the file, got x"),
        ('[{"primary": "A" "fold_label": 1}]', "damaged JSON, or the file is truncated"),
        ('[{"fold_label": 1}]', "record 0: 'primary' must be amino acids as letters, got None"),
        ('[{"primary": "", "fold_label": 1}]', "'primary' must be"),
        ('[{"primary": ["A"], "fold_label": 1}]', "'primary' must be"),
        ('[{"primary": "A"}]', "'fold_label' is missing"),
        ('[{"primary": "A", "fold_label": 0}, {"primary": "A", "fold_label": -1}]', "record 1: 'fold_label' must"),
        ('[{"primary": "A", "fold_label": 1.0}]', "'fold_label' must be a whole number >= 0, got 1.0"),
        ('[{"primary": "A", "fold_label": "1"}]', "'fold_label' must be a whole"),
        ('[{"primary": "A", "fold_label": true}]', "'fold_label' must be a whole"),
        ('[{"primary": "A", "fold_label": 1000000000}]', "'fold_label' is 1000000000"),
        ('[{"primary": "A", "fold_label": 1, "family_label": "x"}]', "'family_label' must be a whole"),
    ],
)  # fmt: skip
def test_damaged_json_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_records(path)
    assert str(path) in str(caught.value)


def test_damaged_gzip_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(json.dumps([FIELDS] * 100).encode())
    spoilt = bytearray(whole)
    spoilt[30] ^= 255
    for content in (whole[:-20], b"plain text", b"", bytes(spoilt)):
        (tmp_path / "bad.json.gz").write_bytes(content)
        with pytest.raises(DataError, match=r"bad\.json\.gz"):
            read_records(tmp_path / "bad.json.gz")


def test_an_archive_in_place_of_json_is_named(tmp_path: Path) -> None:
    """TAPE once shipped a gzipped tar under the name of a JSON file (songlab-cal/tape, issue 58)."""
    (tmp_path / "x.json").write_bytes(gzip.compress(b"..."))
    with pytest.raises(DataError, match="binary data instead of text"):
        read_records(tmp_path / "x.json")


def test_missing_and_unknown_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        read_records(tmp_path / "x.json")
    (tmp_path / "x.csv").touch()
    with pytest.raises(DataError, match=r"expected a file named \*\.json, \*\.json\.gz or \*\.lmdb"):
        read_records(tmp_path / "x.csv")


# --- LMDB ---------------------------------------------------------------------------------------------------------


def test_an_lmdb_like_tapes_is_read(tmp_path: Path) -> None:
    fields = {**FIELDS, "id": b"d1abc__", "fold_label": np.int64(3), "evolutionary": np.ones((3, 20), np.float32)}
    pickled = {protocol: pickle.dumps(fields, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)}
    values = {str(number): data for number, data in enumerate(pickled.values())}
    path = write_lmdb(tmp_path / "x.lmdb", {**values, "num_examples": pickle.dumps(len(values))})
    assert read_records(path) == [RECORD] * len(values)
    assert read_records(path / ".." / "x.lmdb") == [RECORD] * len(values)  # it was shut, and opens again


def test_the_real_lmdb_agrees_with_the_real_json(shared_data: Path) -> None:
    folder = shared_data / "homology"
    records = read_records(folder / "remote_homology_tiny.lmdb")
    assert len(records) == 50
    assert records == read_records(folder / "remote_homology_valid.json.gz")[:50]


def test_damaged_lmdb_is_named(tmp_path: Path) -> None:
    good = pickle.dumps(FIELDS)
    with pytest.raises(DataError, match="key num_examples is missing"):
        read_records(write_lmdb(tmp_path / "a.lmdb", {"0": good}))
    with pytest.raises(DataError, match="key 1 is missing"):
        read_records(write_lmdb(tmp_path / "b.lmdb", {"0": good, "num_examples": pickle.dumps(2)}))
    with pytest.raises(DataError, match="expected a number of records, got 'many'"):
        read_records(write_lmdb(tmp_path / "c.lmdb", {"num_examples": pickle.dumps("many")}))
    with pytest.raises(DataError, match=r"key 0: .*(truncated|damaged pickle)"):
        read_records(write_lmdb(tmp_path / "d.lmdb", {"0": good[:-10], "num_examples": pickle.dumps(1)}))
    with pytest.raises(DataError, match="record 0: expected an object"):
        read_records(write_lmdb(tmp_path / "e.lmdb", {"0": pickle.dumps([1]), "num_examples": pickle.dumps(1)}))
    (tmp_path / "f.lmdb").mkdir()
    with pytest.raises(DataError, match=r"(there is no such file|not readable as an LMDB file)"):
        read_records(tmp_path / "f.lmdb")
    (tmp_path / "g.lmdb").write_bytes(b"text" * 5000)
    with pytest.raises(DataError, match=r"(there is no such file|not readable as an LMDB file)"):
        read_records(tmp_path / "g.lmdb")


def test_a_cut_off_lmdb_does_not_end_the_process(tmp_path: Path) -> None:
    values = {str(number): pickle.dumps({**FIELDS, "primary": "A" * 3000}) for number in range(50)}
    path = write_lmdb(tmp_path / "x.lmdb", {**values, "num_examples": pickle.dumps(50)})
    data = (path / "data.mdb").read_bytes()
    (path / "data.mdb").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"truncated: .* bytes"):
        read_records(path)


def test_without_the_package_the_source_is_not_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_lmdb(tmp_path / "x.lmdb", {"num_examples": pickle.dumps(0)})
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(Unavailable, match=r"pip install 'fptkit\[lmdb\]'"):
        read_records(path)


def test_a_hostile_record_is_refused_by_name_and_does_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    bad = pickle.dumps({**FIELDS, "id": Calls(os.mkdir, str(trace))})
    path = write_lmdb(tmp_path / "x.lmdb", {"0": pickle.dumps(FIELDS), "1": bad, "num_examples": pickle.dumps(2)})
    with pytest.raises(DataError) as caught:
        read_records(path)
    assert not trace.exists()
    message = str(caught.value)
    assert str(path) in message
    assert "key 1: refused to read the pickle: it refers to 'posix.mkdir'" in message.replace("nt.mkdir", "posix.mkdir")
    assert "fptkit data fetch remote_homology" in message


# --- pickles ------------------------------------------------------------------------------------------------------

PLAIN = [None, True, 5, 10**30, 1.5, "é", b"", b"\xff\x00", [1, [2]], (1, "a"), {"a": {"b": 2.5}}, {1: (), 2: []}]
ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
    np.array([True, False]),
    np.zeros((0, 20)),
    np.array(1 + 2j),
    np.float32(0.1),
    np.int64(-7),
    np.bool_(True),
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_are_read(value: object, protocol: int) -> None:
    assert plain_pickle.loads(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", ARRAYS, ids=lambda value: f"{value.dtype.str}{value.shape}")
def test_numeric_arrays_are_read(value: np.ndarray, protocol: int) -> None:
    for got in (plain_pickle.loads(pickle.dumps(value, protocol)), plain_pickle.loads(pickle.dumps({"a": value}))["a"]):
        assert got.dtype == value.dtype
        assert got.shape == value.shape
        np.testing.assert_array_equal(got, value)


def test_arrays_of_older_numpy_are_read() -> None:
    data = pickle.dumps(np.arange(3), 2)
    for core in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        renamed = data.replace(b"numpy._core.multiarray", core).replace(b"numpy.core.multiarray", core)
        np.testing.assert_array_equal(plain_pickle.loads(renamed), np.arange(3))


HOSTILE: dict[str, Any] = {
    "posix.system": Calls(os.system, "exit 1"),
    "builtins.eval": Calls(eval, "1 + 1"),
    "builtins.exec": Calls(exec, "raise SystemExit"),
    "builtins.getattr": Calls(getattr, "text", "join"),
    "builtins.__import__": Calls(builtins.__import__, "os"),
    "pickle.loads": Calls(pickle.loads, pickle.dumps(1)),
    "pathlib.": Path("x"),
    "numpy.load": Calls(np.load, "x.npy"),
    "numpy.random._pickle": np.random.PCG64(0),
    "fptkit.tasks.homology.fields.Record": RECORD,
}


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("name", HOSTILE)
def test_anything_else_is_refused_by_name(name: str, protocol: int) -> None:
    with pytest.raises(plain_pickle.RefusedError) as caught:
        plain_pickle.loads(pickle.dumps({"x": HOSTILE[name]}, protocol))
    refused = caught.value.name.replace("__builtin__", "builtins").replace("_pickle.loads", "pickle.loads")
    assert refused.replace("nt.system", "posix.system").startswith(name) or refused.startswith(
        ("copyreg.", "copy_reg.")
    )
    assert caught.value.name in str(caught.value)


@pytest.mark.parametrize(
    "array",
    [np.array([{"a": 1}], object), np.array(["a"]), np.array([b"a"]), np.zeros(2, "f4,i4"), np.zeros(1, "M8[s]")],
    ids=["object", "str", "bytes", "structured", "datetime"],
)
def test_arrays_of_anything_but_numbers_are_refused(array: np.ndarray) -> None:
    with pytest.raises(plain_pickle.RefusedError, match="only plain numbers are read"):
        plain_pickle.loads(pickle.dumps(array))


def assemble(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
NDARRAY = b"cnumpy\nndarray\n"
DTYPE = b"cnumpy\ndtype\n(X\x02\x00\x00\x00f4I00\nI01\ntR"
EMPTY = RECONSTRUCT + NDARRAY + b"(K\x00tC\x01b\x87R"
STRANGE = {
    "array without data": EMPTY,
    "a bare class": NDARRAY,
    "a bare function": RECONSTRUCT,
    "attributes set on a function": RECONSTRUCT + b"}(X\x08\x00\x00\x00__code__K\x01ub",
    "slots set on a function": RECONSTRUCT + b"N}X\x0c\x00\x00\x00__defaults__K\x01s\x86b",
    "attributes set on a class": NDARRAY + b"}X\x01\x00\x00\x00aK\x01sb",
    "a class called": NDARRAY + b")R",
    "a class newed": NDARRAY + b")\x81",
    "array of a number": RECONSTRUCT + b"(K\x01K\x02K\x03tR",
    "negative shape": EMPTY + b"(K\x01J\xff\xff\xff\xff\x85" + DTYPE + b"I00\nC\x04aaaatb",
    "more data than shape": EMPTY + b"(K\x01K\x01\x85" + DTYPE + b"I00\nC\x08aaaabbbbtb",
    "huge shape": EMPTY + b"(K\x01\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85" + DTYPE + b"I00\nC\x04aaaatb",
    "list for data": EMPTY + b"(K\x01K\x01\x85" + DTYPE + b"I00\n]tb",
    "odd byte order": DTYPE + b"(K\x03X\x01\x00\x00\x00ZNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
    "short dtype state": DTYPE + b"(K\x03tb",
    "bytes of any encoding": b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR",
    "many bytes": b"c__builtin__\nbytes\n(J\xff\xff\xff\x7ftR",
    "persistent id": b"Pname\n",
    "stack underflow": b"R",
    "unknown opcode": b"\xff",
}


@pytest.mark.parametrize("name", STRANGE)
def test_strange_programs_are_errors_and_leave_nothing_behind(name: str) -> None:
    before = {key: vars(type(value)).copy() for key, value in plain_pickle._ADMITTED.items()}
    with pytest.raises(pickle.UnpicklingError):
        plain_pickle.loads(assemble(STRANGE[name]))
    assert {key: vars(type(value)) for key, value in plain_pickle._ADMITTED.items()} == before


def test_every_cut_of_a_pickle_is_an_error() -> None:
    data = pickletools.optimize(pickle.dumps({**FIELDS, "evolutionary": np.ones(3), "n": np.int64(1)}))
    for end in range(len(data)):
        with pytest.raises(pickle.UnpicklingError):
            plain_pickle.loads(data[:end])


# --- LMDB files that end the process, and values that cannot be shown ------------------------------------------------


LIST_BOMB = b"\x80\x02]q\0" + b"".join(b"](h%ch%ceq%c" % (number, number, number + 1) for number in range(40)) + b"."
"""A list of two times a list of two times a list ...: 40 lists, whose text would have 2^40 of them."""


def single_file(path: Path, **values: bytes) -> Path:
    options = {"subdir": False, "map_size": 1 << 22, "lock": False}
    with lmdb.open(str(path), **options) as environment, environment.begin(write=True) as transaction:
        for key, value in {"num_examples": pickle.dumps(1), "0": pickle.dumps(FIELDS), **values}.items():
            transaction.put(key.encode(), value)
    return path


@pytest.mark.slow
def test_damaged_lmdb_files_end_in_an_error_or_in_records(tmp_path: Path) -> None:
    many = {str(number): pickle.dumps({"primary": b"MKV" * 40, "fold_label": 1}) for number in range(50)}
    whole = single_file(tmp_path / "x.lmdb", **many, num_examples=pickle.dumps(50)).read_bytes()
    chance, said = random.Random(1), []
    for _ in range(30):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[chance.randrange(len(whole) // 4096) * 4096 + chance.randrange(64)] = chance.randrange(256)
        (tmp_path / "x.lmdb").write_bytes(damaged)
        try:
            assert read_records(tmp_path / "x.lmdb")
        except DataError as err:
            said.append(str(err))
    assert any("ends the process by SIG" in text for text in said)
    assert all(str(tmp_path) in text for text in said)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_examples": b"]" * 50000 + b"a" * 49999 + b"."}, r"num_examples: expected a number of records, got \[\["),
        ({"num_examples": LIST_BOMB}, r"num_examples: expected a number of records, got \[\["),
        ({"0": pickle.dumps({"primary": "A", "fold_label": 1 << 20000})}, "'fold_label' is a number of 20,001 bits"),
        ({"0": pickle.dumps({"primary": "A", "fold_label": 1, "family_label": -1 << 90})}, "'family_label' is"),
        ({"0": pickle.dumps({"primary": ["A" * 10**5] * 99, "fold_label": 1})}, r"'primary' must be .* got \["),
    ],
)
def test_values_that_cannot_be_shown_are_cut(tmp_path: Path, values: dict[str, bytes], message: str) -> None:
    with pytest.raises(DataError, match=message) as found:
        read_records(single_file(tmp_path / "x.lmdb", **values))
    assert len(str(found.value)) < 400


def test_an_lmdb_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.lmdb")
    with pytest.raises(DataError, match="not a file, but a folder, pipe or device"):
        read_records(tmp_path / "x.lmdb")
    os.mkfifo(tmp_path / "x.json")
    with pytest.raises(DataError, match="not a file, but a folder, pipe or device"):
        read_records(tmp_path / "x.json")


def test_white_space_and_deep_nesting_in_json(tmp_path: Path) -> None:
    (tmp_path / "x.json.gz").write_bytes(gzip.compress(b" " * (8 << 20), 9))
    with pytest.raises(DataError, match=r"expected \[, got the end of the file"):
        read_records(tmp_path / "x.json.gz")
    (tmp_path / "x.json").write_text('[{"primary": "A", "x": ' + "[" * 10**5 + "]" * 10**5 + "}]")
    with pytest.raises(DataError, match="nested too deeply"):
        read_records(tmp_path / "x.json")


@pytest.mark.parametrize(
    "claim",
    [
        b"\x80\x02]r\xff\xff\xff\x7f.",
        b"]p2147483647\n.",
        b"\x80\x05\x96\0\0\0\0\x02\0\0\0aaa.",
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\xffaaa.",
        b"\x80\x04\x8e\0\0\0\0\x02\0\0\0aaa.",
        b"\x80\x04\x95\0\0\0\0\x02\0\0\0].",
        b"\x8b\xff\xff\xff\x7f1.",
    ],
)
def test_a_pickle_takes_no_more_memory_than_it_has_content(claim: bytes) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(pickle.UnpicklingError):
        assert plain_pickle.loads(claim) == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # in KiB
