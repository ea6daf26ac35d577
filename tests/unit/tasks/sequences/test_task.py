"""The task: targets, tagging, alphabets from train only, preparation without the training data."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from fptkit.errors import DataError, FptkitError, UsageError
from fptkit.interfaces import IGNORED, Classes, TokenClasses, Values
from fptkit.seeds import generator_for
from fptkit.tasks.sequences.options import SequenceOptions
from fptkit.tasks.sequences.preparation import SequencePreparation
from fptkit.tasks.sequences.task import Sequences
from fptkit.testing import check_task

CHANCE = random.Random(0)


def word(letters: str, low: int = 8, high: int = 20) -> str:
    return "".join(CHANCE.choices(letters, k=CHANCE.randint(low, high)))


def task(folder: Path, records: list[dict[str, Any]] | str, name: str = "a.jsonl", **options: Any) -> Sequences:
    text = records if isinstance(records, str) else "\n".join(map(json.dumps, records))
    (folder / name).write_text(text)
    return Sequences(SequenceOptions.model_validate({"source": f"path:{folder / name}", **options}), seed=0)


def classes(count: int = 60) -> list[dict[str, Any]]:
    return [{"sequence": word("ABC"), "label": "xy"[number % 2]} for number in range(count)]


def tagged(count: int = 60) -> list[dict[str, Any]]:
    found = []
    for _ in range(count):
        text = word("ABC")
        found.append({"sequence": text, "label": "?" + "".join("v" if letter == "A" else "c" for letter in text[1:])})
    return found


def test_classes(tmp_path: Path) -> None:
    built = task(tmp_path, classes())
    assert built.output == Classes(2, names=("x", "y"))
    assert built.preparation.alphabet.symbols == ("A", "B", "C")
    check_task(built)


def test_regression_several_labels_and_lists(tmp_path: Path) -> None:
    numbers = [{"seq": word("AB"), "y": number / 3} for number in range(40)]
    assert task(tmp_path, numbers).output == Values(1, names=("y",))
    labels = [{"seq": word("AB"), "labels": ["p", "q"][: 1 + number % 2]} for number in range(40)]
    assert task(tmp_path, labels).output.answers == ("p", "q")
    events = [{"seq": ["in", "out", "buy"][: 1 + number % 3], "label": "xy"[number % 2]} for number in range(40)]
    built = task(tmp_path, events)
    assert built.preparation.alphabet.symbols == ("buy", "in", "out")
    assert built.max_tokens == 3
    check_task(built)


def test_tagging_by_equal_length(tmp_path: Path) -> None:
    records = tagged()
    built = task(tmp_path, records)
    assert built.output == TokenClasses(2, ("c", "v"))
    assert "60 of" in "\n".join(built.notes)
    check_task(built)
    split = built.split("train")
    batch = split.batch(range(5), generator_for(0, "x"))
    lengths = batch.lengths if batch.lengths is not None else torch.full((5,), batch.inputs.shape[1])
    for row in range(5):
        assert batch.targets[row, 0] == IGNORED
        inside = batch.targets[row, 1 : lengths[row]]
        assert torch.equal(inside, (batch.inputs[row, 1 : lengths[row]] == 1).long())  # A is v
        assert (batch.targets[row, lengths[row] :] == IGNORED).all()
    flat = [label for record in records for label in record["label"] if label != "?"]
    assert built.majority_accuracy["train"] == pytest.approx(flat.count("c") / len(flat), abs=0.05)


def test_tagging_by_lists_with_null(tmp_path: Path) -> None:
    records = [{"tokens": ["the", "cat"], "tags": ["D", None if number % 2 else "N"]} for number in range(40)]
    built = task(tmp_path, records, sequence="tokens")
    assert built.output == TokenClasses(2, ("D", "N"))
    assert "20 of 80 symbols have no label" in "\n".join(built.notes)


def test_short_labels_of_equal_length_are_classes(tmp_path: Path) -> None:
    records = [{"sequence": word("AB", 2, 2), "label": ("no", "up")[number % 2]} for number in range(40)]
    assert isinstance(task(tmp_path, records).output, Classes)


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ({"sequence": "ABCABCABC", "label": "cccccccc"}, "8 labels for 9 symbols"),
        ({"sequence": "ABCABCABC", "label": "?????????"}, "no symbol has a label"),
        ({"sequence": "ABCABCABC", "label": ""}, "the target 'label' is missing"),
    ],
)
def test_tags_that_do_not_fit(tmp_path: Path, record: dict[str, str], fault: str) -> None:
    with pytest.raises(DataError, match=f"a.jsonl:61: {fault}"):
        task(tmp_path, [*tagged(), record], problem="tagging")


def test_symbols_of_train_alone(tmp_path: Path) -> None:
    rows = [("ABAB", "xy"[n % 2], "train") for n in range(20)] + [("ABAZ", "x", "test"), ("AB", "y", "validation")]
    table = "sequence,label,part\n" + "\n".join(",".join(row) for row in rows)
    with pytest.raises(DataError, match=r"a\.csv:22: unknown symbol 'Z' at position 4; the training data have A, B"):
        task(tmp_path, table, "a.csv", split={"column": "part"})
    built = task(tmp_path, table, "a.csv", split={"column": "part"}, unknown="token")
    assert built.split("test").batch([0], generator_for(0, "x")).inputs.tolist() == [[1, 2, 1, 3]]


def test_cut_by_option_only(tmp_path: Path) -> None:
    built = task(tmp_path, tagged(), max_length=8)
    assert built.max_tokens == 8
    note = next(note for note in built.notes if "cut to their first 8" in note)
    assert "(max_length)" in note
    check_task(built)
    assert all(len(ids) <= 8 for ids in built.split("train").batch(range(20), generator_for(0, "x")).inputs)


@pytest.mark.parametrize("kind", ["classes", "tags"])
def test_new_files_without_the_training_data(tmp_path: Path, kind: str) -> None:
    records = classes() if kind == "classes" else tagged()
    built = task(tmp_path, records)
    saved = built.preparation.model_dump_json()
    (tmp_path / "a.jsonl").unlink()
    preparation = SequencePreparation.model_validate_json(saved)
    assert preparation == built.preparation
    (tmp_path / "new.csv").write_text("sequence\n" + "\n".join(record["sequence"] for record in records))
    new = preparation.prepare(preparation.read([f"path:{tmp_path}/new.csv"]))
    (tmp_path / "old.jsonl").write_text("\n".join(map(json.dumps, records)))
    labelled = preparation.prepare(preparation.read([f"path:{tmp_path}/old.jsonl"]))
    assert torch.equal(new.inputs, labelled.inputs)
    assert new.targets.shape == labelled.targets.shape
    alone = preparation.prepare(preparation.read([f"path:{tmp_path}/old.jsonl"]).take([3]))
    length = alone.inputs.shape[1]
    assert torch.equal(alone.inputs[0], labelled.inputs[3, :length])
    assert torch.equal(alone.targets[0], labelled.targets[3, :length] if kind == "tags" else labelled.targets[3])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (">q1 any words\nABCZ\n", r"new\.fasta:1: unknown symbol 'Z' at position 4"),
        (">q1\n" + "ABC" * 30 + "\n", r"new\.fasta:1: 90 symbols, but the longest"),
    ],
)
def test_new_sequences_that_do_not_fit(tmp_path: Path, text: str, fault: str) -> None:
    preparation = task(tmp_path, classes()).preparation
    (tmp_path / "new.fasta").write_text(text)
    with pytest.raises(DataError, match=fault):
        preparation.prepare(preparation.read([f"path:{tmp_path}/new.fasta"]))


def test_parts_of_new_headers_are_no_labels(tmp_path: Path) -> None:
    known = "".join(f">s{n} {'xy'[n % 2]}\n{word('AB')}\n" for n in range(40))
    preparation = task(tmp_path, known, "a.fasta").preparation
    (tmp_path / "new.fasta").write_text(">q1 some protein\nABAB\n>q2 another one\nAB\n")
    examples = preparation.read([f"path:{tmp_path}/new.fasta"])
    assert examples.labels == {}
    assert preparation.prepare(examples).targets.tolist() == [0, 0]
    assert preparation.read([f"path:{tmp_path}/a.fasta"]).labels["label"][:2] == ["x", "y"]


def test_answers_in_words(tmp_path: Path) -> None:
    preparation = task(tmp_path, tagged()).preparation
    logits = torch.tensor([[[0.0, 9.0], [9.0, 0.0], [9.0, 0.0]]])
    [answer] = preparation.answers(logits, [2])
    assert answer["classes"] == ["v", "c"]
    assert answer["probabilities"] == pytest.approx([0.9998766, 0.9998766])


def test_split_by_group_of_a_table_of_labels(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("id,label,family\n" + "\n".join(f"s{n},{'xy'[n % 2]},{n // 4}" for n in range(80)))
    text = "".join(f">s{n}\n{word('ABCD')}\n" for n in range(60))
    built = task(tmp_path, text, "a.fa", labels=f"path:{tmp_path}/l.csv", split={"group": "family"})
    assert "20 rows of l.csv have no sequence and are not used" in built.notes
    assert "by group (family)" in built.notes[0]


@pytest.mark.parametrize(
    ("text", "options", "kind", "fault"),
    [
        (">s1\nAC\n>s2\nAC\n", {}, UsageError, "has no labels; name a table of them by task.labels"),
        (">s1 a\nAC\n>s2 b\nAC\n", {"header": r"z=(\w)"}, UsageError, "task.header: no header"),
        (">s1 a\nAC\n>s2 b\nAC\n", {"target": "fold"}, DataError, "no column 'fold'"),
        (">s1 a\nAC\n>s2 a\nAC\n", {}, DataError, "one class, 'a'"),
        (">s1 a\nACU\n>s2 b\nAC\n>s3 b\nAC\n>s4 a\nAC\n", {"alphabet": "dna"}, DataError, "unknown symbol 'U'"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, text: str, options: dict[str, Any], kind: type[FptkitError], fault: str
) -> None:
    with pytest.raises(kind) as raised:
        task(tmp_path, text, "a.fasta", **options)
    assert fault in str(raised.value)
