"""Records of JSON."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from fptkit.errors import DataError
from fptkit.tasks.reading.json_lines import LIST, read_json_records


def read(folder: Path, text: str | bytes, name: str = "a.jsonl") -> dict[str, list[str]]:
    data = text.encode() if isinstance(text, str) else text
    (folder / name).write_bytes(data)
    return {key: list(cells) for key, cells in read_json_records(folder / name).columns.items()}


def test_values_are_kept_as_written(tmp_path: Path) -> None:
    record = (
        '{"a": 1.10, "b": true, "c": null, "d": "x y ", "e": ["p", null, 2], "f": 1e400, "g": 123456789012345678901}'
    )
    found = read(tmp_path, record + '\n{"a": "z"}\n')
    assert found == {
        "a": ["1.10", "z"],
        "b": ["true", ""],
        "c": ["", ""],
        "d": ["x y ", ""],
        "e": [f"p{LIST}{LIST}2", ""],
        "f": ["1e400", ""],
        "g": ["123456789012345678901", ""],
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("form", ["lines", "list", "indented list", "blank lines", "carriage returns"])
def test_forms_and_encodings(tmp_path: Path, encoding: str, form: str) -> None:
    records = [{"text": "Ä\u2028b", "n": 1}, {"text": "日本", "n": 2}]
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    text = {
        "lines": "\n".join(lines),
        "list": json.dumps(records, ensure_ascii=False),
        "indented list": json.dumps(records, indent=2),
        "blank lines": "\n\n".join(lines) + "\n\n",
        "carriage returns": "\r\n".join(lines) + "\r\n",
    }[form]
    assert read(tmp_path, text.encode(encoding)) == {"n": ["1", "2"], "text": ["Ä\u2028b", "日本"]}
    assert read(tmp_path, gzip.compress(text.encode(encoding)), "a.jsonl.gz")["n"] == ["1", "2"]


def test_places_are_lines(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('\n{"a": 1}\n\n{"a": 2}\n')
    table = read_json_records(tmp_path / "a.jsonl")
    assert [table.where(row) for row in range(2)] == [f"{tmp_path}/a.jsonl:2", f"{tmp_path}/a.jsonl:4"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "no records"),
        ("[]", "no records"),
        ('{"a": 1}\n{"a": 1', ":2: not readable as a JSON object"),
        ('[{"a": 1}, 2]', ":2: expected a JSON object"),
        ("3", ":1: expected a JSON object"),
        ('{"a": {"b": 1}}', "'a' is dict"),
        ('{"a": [[1]]}', "'a' is list"),
        ('{"a": 1, "a": 2}', "the key 'a' occurs twice"),
        ('{"a": "\\ud800"}', "half of a surrogate pair"),
        ('{"a": "\\u001f"}', "control character"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' * 5_000, "not readable as a JSON object"),
        (b'{"a": "\xff"}', "is not UTF-8 text"),
    ],
)
def test_faults_name_the_place(tmp_path: Path, text: str | bytes, fault: str) -> None:
    with pytest.raises(DataError, match=r"a\.jsonl") as raised:
        read(tmp_path, text)
    assert fault in str(raised.value)
