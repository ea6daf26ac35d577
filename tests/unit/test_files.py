"""Files: atomic writes, JSON with clear errors, and one place for both."""

from __future__ import annotations

import ast
import json
import math
import os
import stat
import threading
from pathlib import Path

import pytest

from fptkit import files
from fptkit.errors import CheckpointError, DataError, FptkitError
from fptkit.files import find_json, read_json, read_summary, replacing, write_bytes, write_json, write_text

PACKAGE = Path(__file__).parents[2] / "fptkit"


# Writing


@pytest.mark.parametrize("flush", [False, True])
def test_text_bytes_and_json_are_what_was_given(tmp_path: Path, flush: bool) -> None:
    write_text(tmp_path / "text", "naïve ∀\n", flush=flush)
    write_bytes(tmp_path / "bytes", b"\x00\r\n\xff", flush=flush)
    write_json(tmp_path / "json", {"a": [1, 2.5, None], "ß": {"b": math.inf}}, flush=flush)
    assert (tmp_path / "text").read_bytes() == "naïve ∀\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\x00\r\n\xff"
    assert json.loads((tmp_path / "json").read_text("utf-8")) == {"a": [1, 2.5, None], "ß": {"b": math.inf}}
    assert {path.name for path in tmp_path.iterdir()} == {"text", "bytes", "json"}


def test_what_was_there_is_replaced(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "a long text that was there before")
    write_text(tmp_path / "a", "short")
    assert (tmp_path / "a").read_text() == "short"


def test_a_writer_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "before")

    def write_half() -> None:
        with replacing(tmp_path / "a") as partial:
            partial.write_text("half of wh")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a"):
        pass  # the block wrote nothing
    with pytest.raises(TypeError):
        write_json(tmp_path / "a", {"no": object()})
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a", "\udcff")
    assert (tmp_path / "a").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        write_text(tmp_path / "no" / "a", "text")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_text(tmp_path / "folder", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_long_name(tmp_path: Path) -> None:
    name = "ü" * 127  # 254 bytes, of 255 that file systems take
    write_text(tmp_path / name, "text")
    assert (tmp_path / name).read_text() == "text"


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "ours", "text")
        write_bytes(tmp_path / "mine", b"text", mode=0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o600


def test_data_reach_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    flush, replace = os.fsync, os.replace

    def flushed(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        flush(descriptor)

    def replaced(source: Path, target: Path) -> None:
        done.append("name")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", replaced)
    write_text(tmp_path / "a", "text", flush=True)
    write_text(tmp_path / "b", "text")
    assert done == ["file", "name", "folder", "name"]


def test_readers_never_meet_half_a_file(tmp_path: Path) -> None:
    path, seen = tmp_path / "a", set()
    texts = {letter * 100_000 for letter in "abcd"}
    write_text(path, "a" * 100_000)

    def write(text: str) -> None:
        for _ in range(20):
            write_text(path, text)

    writers = [threading.Thread(target=write, args=(text,)) for text in texts]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        seen.add(path.read_text())
    for writer in writers:
        writer.join()
    assert seen <= texts
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


# Reading JSON


def test_an_object_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": [1, {"b": "\xc3\xbc"}], "c": Infinity}')
    assert read_json(path) == find_json(path) == {"a": [1, {"b": "ü"}], "c": math.inf}
    path.write_text('{"a": NaN}')
    assert math.isnan(read_json(path)["a"])


DAMAGED = [
    (b"", "is not readable as JSON: Expecting value"),
    (b'{"a": 1', "is not readable as JSON: Expecting ',' delimiter"),
    (b"\x00\x01", "is not readable as JSON: Expecting value"),
    (b'{"a": "\xff"}', "is not readable as JSON: byte 7 is not UTF-8; replace it by an intact copy"),
    ('{"a": 1}'.encode("utf-16"), "is not readable as JSON: byte 0 is not UTF-8"),
    (b"[" * 100_000, "is not readable as JSON: it is nested too deeply"),
    (b'{"a":' * 100_000, "is not readable as JSON: it is nested too deeply"),
    (b'{"a": ' + b"9" * 5000 + b"}", "is not readable as JSON: a whole number of 5,000 digits is too large"),
    (b"[]", "does not hold a JSON object"),
    (b"null", "does not hold a JSON object"),
    (b"3", "does not hold a JSON object"),
]


@pytest.mark.parametrize(("content", "said"), DAMAGED, ids=lambda value: str(value)[:20])
@pytest.mark.parametrize("fault", [DataError, CheckpointError])
def test_what_is_wrong_is_said_with_the_path(
    tmp_path: Path, content: bytes, said: str, fault: type[FptkitError]
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(fault) as caught:
        read_json(path, fault)
    assert str(caught.value).startswith(f"{path} {said}")
    with pytest.raises(fault) as caught:
        read_json(path, fault, where="hub:a/b")
    assert str(caught.value).startswith(f"hub:a/b: {path} {said}")
    assert find_json(path) == {}


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.json is missing; check the path, or put the file back"):
        read_json(tmp_path / "a.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="folder cannot be read: it is a folder"):
        read_json(tmp_path / "folder")
    with pytest.raises(DataError, match="null byte"):
        read_json(Path("a\0b"))
    assert find_json(tmp_path / "a.json") == find_json(tmp_path / "folder") == find_json(Path("a\0b")) == {}


def test_the_summary_of_a_run_folder(tmp_path: Path) -> None:
    assert read_summary(tmp_path) == {}
    write_json(tmp_path / files.SUMMARY, {"status": "finished"})
    assert read_summary(tmp_path) == {"status": "finished"}
    (tmp_path / files.SUMMARY).write_text("{")
    assert read_summary(tmp_path) == {}


# One place


def calls(tree: ast.AST) -> list[str]:
    """Names of what is called, such as ``os.replace``; of a method the last two names."""
    return [
        ".".join([*([node.func.value.id] if isinstance(node.func.value, ast.Name) else []), node.func.attr])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]


def test_nothing_else_writes_small_files_or_reads_json_files() -> None:
    """Streams, and JSON in lines or inside other files, are another matter."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path == PACKAGE / "files.py" or "templates" in path.parts:
            continue
        names = calls(ast.parse(path.read_text("utf-8")))
        found += [
            f"{path.relative_to(PACKAGE)}: {name}"
            for name in names
            if name in ("os.replace", "os.rename", "json.load", "json.dump")
            or name.rpartition(".")[2] in ("write_text", "write_bytes")
        ]
    assert found == []


@pytest.mark.parametrize("name", ["SUMMARY", "RECIPE", "METRICS", "CHECKPOINTS"])
def test_names_of_run_folders_are_written_once(name: str) -> None:
    """As text of its own, which is how a name is used; sentences that mention it are not."""
    value = getattr(files, name)
    found = [
        str(path.relative_to(PACKAGE))
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / "files.py" and "templates" not in path.parts
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and node.value == value
    ]
    pretraining = ["lab/pretraining/loop.py"]  # lines of another kind, in a folder of another kind
    assert found == (pretraining if name == "METRICS" else [])


def test_a_summary_of_0_1_0_says_which_metrics_were_fractions(tmp_path: Path) -> None:
    metrics = {"validation": {"loss": 1.0, "accuracy": 0.5}, "test": {"test": {"top_accuracy": 0.5, "error": 2.0}}}
    write_json(tmp_path / "summary.json", {"metrics": metrics})
    expected = {"fractions": ["accuracy", "top_accuracy"], "accuracies": ["accuracy", "top_accuracy"]}
    assert read_summary(tmp_path) == {"metrics": metrics, **expected}
    write_json(tmp_path / "summary.json", {"metrics": metrics, "fractions": []})
    assert read_summary(tmp_path) == {"metrics": metrics, "fractions": []}
    write_json(tmp_path / "summary.json", {"metrics": None})
    assert read_summary(tmp_path)["fractions"] == []


@pytest.mark.parametrize("digits", [301, 400, 5000])
def test_whole_numbers_that_floats_cannot_hold_are_refused(tmp_path: Path, digits: int) -> None:
    """Whoever calculates with one would end in an OverflowError, far from the file."""
    path = tmp_path / "a.json"
    for sign, count in (("", digits), ("-", digits), ("", 299)):
        path.write_text(f'{{"a": [{sign}{"9" * count}]}}')
        if count == 299:
            assert read_json(path) == {"a": [int("9" * 299)]}
        else:
            with pytest.raises(DataError, match=r"a\.json .* a whole number of [\d,]+ digits is too large; replace it"):
                read_json(path)
