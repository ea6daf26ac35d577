"""Delta files: what they hold, and that damaged and foreign ones are refused."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fptkit.errors import CheckpointError
from fptkit.inference.delta import is_delta, unpack_delta, write_delta

TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(3)}


def written(path: Path, **changes: str) -> Path:
    """A delta file, with other metadata if some are given."""
    write_delta(
        path,
        dict(TENSORS),
        recipe="task: {name: bit_xor}\n",
        preparation='{"format": 1,\n "task": "bit_xor"}',
        attachments={"tokenizer.json": b"{}" * 500},
        origin={"format": 7, "files": {"x": "y"}, "step": 3, "frozen": {"digest": "f"}},
    )
    if changes:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        save_file(load_file(path), path, {**metadata, **changes})
    return path


def test_it_is_unpacked_as_a_run_folder(tmp_path: Path) -> None:
    path, folder = written(tmp_path / "d.safetensors"), tmp_path / "run"
    folder.mkdir()
    assert is_delta(path)
    unpack_delta(path, folder)
    assert (folder / "recipe.yaml").read_text() == "task: {name: bit_xor}\n"
    assert json.loads((folder / "preparation.json").read_text()) == {"format": 1, "task": "bit_xor"}
    assert (folder / "tokenizer.json").read_bytes() == b"{}" * 500
    origin = json.loads((folder / "model.json").read_text())
    assert (origin["format"], origin["step"], origin["frozen"]) == (1, 3, {"digest": "f"})
    found = load_file(folder / "model.safetensors")
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


def test_any_library_reads_its_tensors(tmp_path: Path) -> None:
    assert load_file(written(tmp_path / "d.safetensors")).keys() == TENSORS.keys()


@pytest.mark.parametrize("content", [b"", b"x" * 7, b"x" * 100, b"\x02\0\0\0\0\0\0\0[]", b"\xff" * 20])
def test_other_files_are_no_delta_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert not is_delta(tmp_path / "x")


def test_plain_safetensors_are_no_delta_file(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "x.safetensors")
    assert not is_delta(tmp_path / "x.safetensors")
    assert not is_delta(tmp_path)
    assert not is_delta(tmp_path / "none")


def pack(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content)).decode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fptkit_delta": "2"}, "has format '2'; this version reads format 1"),
        ({"digest": "0" * 64}, "was altered: its tensors do not have its digest"),
        ({"attachments": "[]"}, "truncated or was altered"),
        ({"attachments": "{"}, "truncated or was altered"),
        ({"attachments": json.dumps({"a": "?"})}, "truncated or was altered"),
        ({"attachments": json.dumps({"a": base64.b64encode(b"no zlib").decode()})}, "truncated or was altered"),
        ({"attachments": json.dumps({"../a": pack(b"x")})}, "an attachment is called '../a'"),
        ({"attachments": json.dumps({"recipe.yaml": pack(b"x")})}, "an attachment is called 'recipe.yaml'"),
        ({"attachments": json.dumps({"a\\b": pack(b"x")})}, "an attachment is called"),
        ({"model": "3"}, "truncated or was altered"),
    ],
)
def test_altered_metadata_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = written(tmp_path / "d.safetensors", **changes)
    (tmp_path / "run").mkdir()
    with pytest.raises(CheckpointError) as err:
        unpack_delta(path, tmp_path / "run")
    assert message in str(err.value)
    assert str(path) in str(err.value)


def test_altered_and_truncated_tensors_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "d.safetensors")
    data = bytearray(path.read_bytes())
    (tmp_path / "run").mkdir()
    for damaged in (bytes(data[:-1]), bytes(data[:-1]) + b"\x55", bytes(data) + b"x"):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="altered"):
            unpack_delta(path, tmp_path / "run")


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fptkit.inference.delta._LARGEST_ATTACHMENT", 100)
    path = written(tmp_path / "d.safetensors")
    (tmp_path / "run").mkdir()
    with pytest.raises(CheckpointError, match="too large"):
        unpack_delta(path, tmp_path / "run")
