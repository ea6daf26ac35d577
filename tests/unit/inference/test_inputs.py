"""What users give a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from fptkit.errors import DataError, ShapeError, SourceError, UsageError
from fptkit.inference.inputs import batches, entry_of, files_among, read
from fptkit.interfaces import Batch, Classes, Examples, Preparation, Symbols, Task, Vectors


class Texts(Preparation):
    """Reads the names of places."""

    def read(self, source: Sequence[str]) -> Examples:
        if "path:nowhere" in source:
            raise SourceError(
                "task.source", [("path:nowhere", "there is no file or folder nowhere")], "Check the path."
            )
        if "path:locked" in source:
            raise PermissionError(13, "Permission denied", "locked")
        return Examples(list(source), list(source), {"label": ["wrong"] * len(source)})

    def prepare(self, examples: Examples) -> Batch:
        inputs = torch.tensor([[len(text)] for text in examples.content])
        return Batch(inputs, torch.zeros(len(examples), dtype=torch.int64))


def task(preparation: Preparation | None = None) -> Task:
    made = Task()
    made.input, made.output, made.max_tokens = (Symbols(99) if preparation else Vectors(2)), Classes(2), 9
    made.preparation = preparation
    return made


def test_what_names_files() -> None:
    assert files_among("path:a.csv") == ["path:a.csv"]
    assert files_among([Path("a.csv"), "path:b"]) == ["path:a.csv", "path:b"]
    assert files_among("hf:name") == ["hf:name"]
    for given in ("a text", ["a text", "path:b"], [], np.zeros(3)):
        assert files_among(given) is None
    assert entry_of("a.csv") == "path:a.csv"
    assert entry_of("path:a*.csv") == "path:a*.csv"


def test_labels_are_left_out_unless_wanted() -> None:
    assert read(task(Texts()), "path:a").labels == {}  # type: ignore[union-attr]
    assert read(task(Texts()), "path:a", labelled=True).labels == {"label": ["wrong"]}  # type: ignore[union-attr]


def test_errors_are_one_line() -> None:
    with pytest.raises(DataError) as caught:
        read(task(Texts()), "path:nowhere")
    assert str(caught.value) == "there is no file or folder nowhere"
    with pytest.raises(DataError, match=r"locked: cannot be read \(Permission denied\)"):
        read(task(Texts()), "path:locked")
    with pytest.raises(UsageError, match="is one text; give a list"):
        read(task(Texts()), "some text")
    with pytest.raises(DataError, match="no examples"):
        read(task(Texts()), [])


def test_batches_in_their_order() -> None:
    found = list(batches(task(Texts()), read(task(Texts()), ["a", "bb", "ccc"]), 2))
    assert [list(some.names) for some in found] == [["example 1", "example 2"], ["example 3"]]
    assert [some.batch.inputs.flatten().tolist() for some in found] == [[1, 2], [3]]
    with pytest.raises(UsageError, match="at least 1"):
        next(batches(task(Texts()), read(task(Texts()), ["a"]), 0))


def test_prepared_inputs(tmp_path: Path) -> None:
    inputs = np.arange(12.0).reshape(2, 3, 2)
    np.save(tmp_path / "x.npy", inputs)
    np.savez(tmp_path / "x.npz", inputs=inputs, lengths=[3, 1], targets=[1, 0])
    for given in (inputs, torch.from_numpy(inputs), tmp_path / "x.npy", tmp_path / "x.npz"):
        found = read(task(), given)
        assert isinstance(found, Batch)
        assert found.inputs.dtype == torch.float32
        np.testing.assert_array_equal(found.inputs.numpy(), inputs)
    assert found.lengths is not None
    assert found.lengths.tolist() == [3, 1]
    assert found.targets.tolist() == [1, 0]


def test_prepared_inputs_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"\(3,\) numbers, but the task declares 2") as caught:
        next(batches(task(), read(task(), np.zeros((2, 3, 3))), 2))
    assert caught.value.exit_code == 2
    (tmp_path / "x.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"not an \.npz file"):
        read(task(), tmp_path / "x.npz")
    with pytest.raises(UsageError, match=r"no rule for reading new files; give one \.npy or \.npz"):
        read(task(), tmp_path / "x.csv")
    np.savez(tmp_path / "y.npz", other=np.zeros(3))
    with pytest.raises(DataError, match="no array 'inputs', but other"):
        read(task(), tmp_path / "y.npz")
