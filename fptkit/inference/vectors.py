"""Embeddings written to a file, with the names of the examples beside them: npz, npy, Parquet or CSV.

| file | content |
|---|---|
| ``.npz`` | ``embeddings`` (N, D), ``names`` (N,); of unequal lengths (sum of T, D) and ``offsets`` (N + 1,) |
| ``.npy`` | the embeddings, and the names in ``NAME.names.json`` beside it; not for unequal lengths |
| ``.parquet`` | ``example`` and ``embedding``, a list of numbers, nested for several tokens |
| ``.csv`` | ``example``, ``token`` if there are several, and ``e0`` ... ``eD`` |

Numbers are float32. CSV and Parquet are written in parts; the others at the end, from memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import UsageError
from fptkit.files import write_json
from fptkit.inference.columns import EXAMPLE, Columns
from fptkit.inference.tables import check_place, replaced, writing_table

Vectors = Sequence[NDArray[np.float32]]
"""The vectors of examples: (R, D) for each, with R tokens."""

ENDINGS = (".npz", ".npy", ".parquet", ".csv")

Add = Callable[[Sequence[str], Vectors], None]
"""Adds names and vectors of some examples."""


@contextlib.contextmanager
def writing_vectors(path: Path, *, single: bool) -> Iterator[Add]:
    """Write embeddings; they replace a file at their place when the block ends; nothing is left if the block raises.

    Args:
        path: the file; its ending decides the format.
        single: whether every example has one vector.

    Raises:
        UsageError: the ending is unknown or does not fit, a package is missing, or the place cannot be written.
    """
    ending = check_place(path, ENDINGS)
    if ending in (".csv", ".parquet"):
        form = _csv_columns if ending == ".csv" else _nested_columns
        with writing_table(path) as table:
            yield lambda names, vectors: table.write(form(names, vectors, single=single))
        return
    all_names: list[str] = []
    all_vectors: list[NDArray[np.float32]] = []

    def add(names: Sequence[str], vectors: Vectors) -> None:
        all_names.extend(names)
        all_vectors.extend(vectors)

    yield add
    _write_arrays(path, all_names, all_vectors, single=single)


def _write_arrays(path: Path, names: Sequence[str], vectors: Vectors, *, single: bool) -> None:
    lengths = [len(each) for each in vectors]
    equal = len(set(lengths)) < 2
    stacked = np.stack([each[0] for each in vectors] if single else list(vectors)) if equal else np.concatenate(vectors)
    with replaced(path) as partial, partial.open("wb") as file:
        if path.suffix.lower() == ".npz":
            arrays: dict[str, Any] = {} if equal else {"offsets": np.cumsum([0, *lengths])}
            np.savez(file, embeddings=stacked, names=np.array(names), **arrays)
            return
        if not equal:
            raise UsageError(f"--output {path}: the examples have {min(lengths)} to {max(lengths)} tokens; use .npz")
        np.save(file, stacked)
    write_json(path.with_name(f"{path.stem}.names.json"), {"names": list(names)})


def _nested_columns(names: Sequence[str], vectors: Vectors, *, single: bool) -> Columns:
    import pyarrow as pa

    depth = pa.list_(pa.float32()) if single else pa.list_(pa.list_(pa.float32()))
    cells = [(each[0] if single else each).tolist() for each in vectors]
    return {EXAMPLE: list(names), "embedding": pa.array(cells, type=depth)}


def _csv_columns(names: Sequence[str], vectors: Vectors, *, single: bool) -> Columns:
    rows = np.concatenate(list(vectors))
    counts = [len(each) for each in vectors]
    columns: Columns = {EXAMPLE: [name for name, count in zip(names, counts, strict=True) for _ in range(count)]}
    if not single:
        columns["token"] = [token for count in counts for token in range(count)]
    return columns | {f"e{place}": [_Short(value) for value in column] for place, column in enumerate(rows.T)}


class _Short(float):
    """A float32 with the digits that it needs."""

    def __new__(cls, value: np.float32) -> _Short:
        """The number."""
        return super().__new__(cls, value)

    def __repr__(self) -> str:
        return str(np.float32(self))
