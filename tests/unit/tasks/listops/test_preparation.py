"""New expressions are prepared as those of a split."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch

from fptkit.errors import DataError
from fptkit.tasks.listops.grammar import decode, evaluate
from fptkit.tasks.listops.options import ListOpsOptions
from fptkit.tasks.listops.preparation import ListOpsPreparation
from fptkit.tasks.listops.task import ListOps

SMALL = {"length": [10, 60], "max_depth": 4, "train_size": 60, "validation_size": 20, "test_size": 30}


def task_of(**options: object) -> ListOps:
    return ListOps(ListOpsOptions.model_validate({**SMALL, **options}), seed=0)


def preparation_of(task: ListOps) -> ListOpsPreparation:
    assert isinstance(task.preparation, ListOpsPreparation)
    saved = ListOpsPreparation.model_validate_json(task.preparation.model_dump_json())
    assert (saved.input, saved.output, saved.max_tokens) == (task.input, task.output, task.max_tokens)
    return saved


def expressions() -> list[str]:
    """Those of the validation split of `SMALL`, as text."""
    batch = task_of().split("validation").batch(range(20), torch.Generator())
    return [decode(row) for row in batch.inputs.tolist()]


@pytest.mark.parametrize("options", [{}, {"max_length": 12}, {"protocol": "fpt2021"}])
def test_files_become_what_a_split_has(tmp_path: Path, options: dict[str, object]) -> None:
    task = task_of(**options)
    expected = task.split("validation").batch(range(20), torch.Generator())
    preparation = preparation_of(task)
    texts = expressions()
    values = [evaluate(text) for text in texts]
    table = "Source\tTarget\n" + "".join(f"{text}\t{value}\n" for text, value in zip(texts, values, strict=True))
    (tmp_path / "lra.tsv").write_text(table)
    pairs = "".join(f"{value}\t{text}\n" for text, value in zip(texts, values, strict=True))
    (tmp_path / "nangia.tsv.gz").write_bytes(gzip.compress(pairs.encode()))
    (tmp_path / "plain.txt").write_text("\n".join(texts))
    for name in ("lra.tsv", "nangia.tsv.gz", "plain.txt"):
        examples = preparation.read([f"path:{tmp_path / name}"])
        found = preparation.prepare(examples)
        assert torch.equal(found.inputs, expected.inputs), name
        assert (found.lengths is None) == (expected.lengths is None)
        if found.lengths is not None and expected.lengths is not None:
            assert torch.equal(found.lengths, expected.lengths)
        if name == "plain.txt":
            assert examples.labels == {}
        else:
            assert found.targets.tolist() == values


def test_round_brackets_mean_nothing() -> None:
    preparation = preparation_of(task_of())
    from fptkit.interfaces import Examples

    found = preparation.prepare(Examples(["[MAX 4 3 ]", "( ( ( [MAX 4 ) 3 ) ] )"], ["a", "b"]))
    assert torch.equal(found.inputs[0], found.inputs[1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[MAX 1 2\n", r"new\.tsv:1: ListOps expression ends too early"),
        ("[TOP 1 2 ]\n", r"new\.tsv:1: .*unknown symbol"),
        ("[MAX 12 ]\n", r"new\.tsv:1: .*one digit"),
        ("[MAX " + "1 " * 70 + "]\n", r"new\.tsv:1: 72 symbols, but the longest expression in training has 60"),
        ("", "no expressions"),
        ("Source\tTarget\n", "a header, but no expressions"),
        ("Source\tTarget\n[MAX 1 2 ]\t3\n", r"new\.tsv:2: the label is 3, but the value of the expression is 2"),
        ("Source\tTarget\n[MAX 1 2 ]\tx\n", r"new\.tsv:2: the label must be one digit"),
        ("Source\tTarget\n[MAX 1 2 ]\n", r"new\.tsv:2: 1 tab-separated columns"),
    ],
)
def test_expressions_that_do_not_fit(tmp_path: Path, content: str, message: str) -> None:
    preparation = preparation_of(task_of())
    (tmp_path / "new.tsv").write_text(content)
    with pytest.raises(DataError, match=message):
        preparation.prepare(preparation.read([f"path:{tmp_path / 'new.tsv'}"]))
