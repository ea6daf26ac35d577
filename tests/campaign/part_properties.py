"""What holds for any data: splits, batches, checkpoints, and the cells of a table, drawn by Hypothesis."""

from __future__ import annotations

import csv
import functools
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from children import Judged, Limits, each_in_child, working_in
from file_kinds import open_task
from hypothesis import strategies as st
from parts import Tally
from strategies import drawn


class Properties:
    """See `Part`."""

    name, tries = "properties", "drawn data sets, splits, batches and checkpoints"
    promise = (
        "Splits share no example and no group; an epoch has every example once; a batch follows from seed and step; a "
        "checkpoint gives back every bit"
    )
    long = 20_000
    chunk = 200
    modules = ("hypothesis", "fptkit.engine.checkpoint", "fptkit.engine.batches", "fptkit.tasks.table.task", "pandas")

    def carry_out(self, trials: Sequence[int], place: Path) -> Tally:
        """See `Part`."""
        examples: dict[str, list[Any]] = {}

        def attack(trial: int) -> tuple[str, Callable[[], Any]]:
            kind = list(CHECKS)[trial % len(CHECKS)]
            strategy, check = CHECKS[kind]
            waiting = examples.setdefault(kind, [])
            if not waiting:
                waiting.extend(drawn(strategy, 50, f"{kind} {trial}"))
            given = waiting.pop()
            (place / "given.txt").write_text(repr(given), encoding="utf-8", errors="surrogatepass")
            return kind, functools.partial(check, place, given)

        return each_in_child(trials, attack, place, limits=Limits(), keep=lambda _: place / "given.txt")


def demand(holds: object, what: str) -> None:
    """Raise if something does not hold."""
    if not holds:
        raise Judged(what)


SHARES = st.one_of(st.floats(0.01, 0.6), st.sampled_from((0.0, 0.5, 0.15, 1e-9, 0.999)))


@st.composite
def _pools(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.integers(1, 60))
    each = st.lists(st.integers(0, draw(st.integers(0, 8))), min_size=count, max_size=count)
    return {
        "count": count,
        "classes": draw(st.one_of(st.none(), each)),
        "groups": draw(st.one_of(st.none(), each)),
        "options": {"validation": draw(SHARES), "test": draw(SHARES), "seed": draw(st.integers(0, 2**63 - 1))},
    }


def _splits(place: Path, given: dict[str, Any]) -> None:
    from fptkit.errors import UsageError
    from fptkit.tasks.reading.options import SplitOptions
    from fptkit.tasks.reading.splits import Pool, divide

    groups = given["groups"]
    try:
        options = SplitOptions(**given["options"], **({"group": "g"} if groups else {}))
    except ValueError as err:  # a recipe checks this
        raise UsageError(str(err)) from err
    classes = None if given["classes"] is None else np.array(given["classes"])
    found = divide(Pool(given["count"], classes, groups), options)
    again = divide(Pool(given["count"], classes, groups), options)
    rows = np.concatenate(list(found.rows.values()))
    demand(sorted(rows.tolist()) == list(range(given["count"])), "an example is in no split, or in two")
    demand(all(len(some) for some in found.rows.values()), "an empty split")
    demand(
        all(np.array_equal(found.rows[name], again.rows[name]) for name in found.rows), "another split on repetition"
    )
    if groups:
        members = [{groups[row] for row in some} for some in found.rows.values()]
        demand(sum(map(len, members)) == len(set(groups)), "a group is in two splits")


@st.composite
def _orders(draw: st.DrawFn) -> dict[str, Any]:
    size = draw(st.integers(1, 80))
    return {
        "size": size,
        "lengths": draw(st.one_of(st.none(), st.lists(st.integers(1, 40), min_size=size, max_size=size))),
        "batch_size": draw(st.integers(1, 100)),
        "batch_tokens": draw(st.one_of(st.none(), st.integers(1, 400))),
        "seed": draw(st.integers(0, 2**63 - 1)),
        "step": draw(st.integers(0, 200)),
    }


def _batches(place: Path, given: dict[str, Any]) -> None:
    from fptkit.engine.batches import TrainingBatches, whole_split
    from fptkit.interfaces import Batch, Classes, Task, Vectors

    class Indices(Task):
        """Its targets are the indices of its examples."""

        input, output, max_tokens = Vectors(1), Classes(1000), 1

    class Ragged:
        size, token_counts = given["size"], None if given["lengths"] is None else np.array(given["lengths"])

        def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
            return Batch(torch.rand(len(indices), 1, 1, generator=generator), torch.tensor(list(indices)))

    def fresh() -> TrainingBatches:
        return TrainingBatches(
            Indices(), Ragged(), given["batch_size"], given["seed"], batch_tokens=given["batch_tokens"]
        )

    one, other = fresh(), fresh()
    late = other.batch(given["step"])
    seen: list[int] = []
    step = 0
    while len(seen) < given["size"]:
        batch = one.batch(step)
        rows = batch.targets.tolist()
        if given["batch_tokens"] is not None:
            demand(len(rows) * max(given["lengths"][row] for row in rows) <= given["batch_tokens"], "too many tokens")
        demand(len(rows) <= given["batch_size"], "a batch is too large")
        seen += rows
        step += 1
    demand(sorted(seen) == list(range(given["size"])), "an epoch lacks an example, or has one twice")
    same = one.batch(given["step"])
    demand(torch.equal(same.targets, late.targets) and torch.equal(same.inputs, late.inputs), "a step's batch differs")
    whole = [row for batch in whole_split(Indices(), "test", Ragged(), given["batch_size"]) for row in batch.rows]
    demand(sorted(whole) == list(range(given["size"])), "an evaluation lacks an example, or has one twice")


DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.int8, torch.bool)
TENSORS = st.dictionaries(
    st.text(min_size=1, max_size=20).filter(lambda name: name != "__metadata__" and name.isprintable()),
    st.tuples(st.lists(st.integers(0, 5), max_size=3), st.sampled_from(range(len(DTYPES))), st.integers(0, 2**32)),
    max_size=5,
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=10,
)
CHECKPOINTS = st.fixed_dictionaries(
    {
        "trained": TENSORS,
        "optimizer": TENSORS,
        "state": st.dictionaries(st.text(max_size=8), JSON, max_size=4),
        "step": st.integers(0, 10**9),
    }
)


def _tensor(shape: Sequence[int], kind: int, seed: int) -> torch.Tensor:
    """Random bytes, so that NaNs with every payload occur."""
    dtype = DTYPES[kind]
    size = int(np.prod(shape, dtype=int)) * torch.empty(0, dtype=dtype).element_size()
    data = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    if dtype == torch.bool:
        return torch.from_numpy(data % 2).to(torch.bool).reshape(tuple(shape))
    return torch.from_numpy(data).view(dtype).reshape(tuple(shape)) if size else torch.zeros(tuple(shape), dtype=dtype)


def _bits(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), tensor.dtype, tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _checkpoint(place: Path, given: dict[str, Any]) -> None:
    from fptkit.engine.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint

    root = Path(tempfile.mkdtemp(dir=place))
    try:
        tensors = {name: {key: _tensor(*how) for key, how in given[name].items()} for name in ("trained", "optimizer")}
        frozen = {"digest": "a", "weights": "random"}
        how = {"parts": {"frozen": frozen, "data": {}}, "keep_steps": set[int]()}
        for step in (given["step"], given["step"] + 1):
            state = {**given["state"], "step": step}
            save_checkpoint(root, step=step, state=state, **tensors, **how)
        latest = latest_checkpoint(root)
        assert latest is not None
        read = load_checkpoint(latest)
        demand(read.step == given["step"] + 1 and read.state == {**given["state"], "step": read.step}, "another state")
        demand(len(list(root.iterdir())) == 1, "more than one checkpoint is left")
        for name, found in (("trained", read.trained), ("optimizer", read.optimizer)):
            expected = {key: _bits(tensor) for key, tensor in tensors[name].items()}
            demand({key: _bits(tensor) for key, tensor in found.items()} == expected, "other bits")
    finally:
        shutil.rmtree(root)


CELLS = st.one_of(
    st.sampled_from(
        ("", "NA", "nan", "1", "-1.5", "1e400", "1,5", "0x1f", "yes", "no", "2024-01-01", "24:61", "٣", "\x00")
    ),
    st.text(max_size=8),
    st.floats().map(str),
    st.integers().map(str),
)
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.tuples(
        st.lists(
            st.one_of(st.sampled_from(("a", "b", "id", "label")), st.text(max_size=6)), min_size=width, max_size=width
        ),
        st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=0, max_size=24),
    )
)


def _table(place: Path, given: tuple[list[str], list[list[str]]]) -> None:
    names, rows = given
    with (place / "t.csv").open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows)
    with working_in(place):
        open_task({"name": "table", "source": "path:t.csv", "target": names[-1].strip() or "label"})


CHECKS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Path, Any], None]]] = {
    "splits": (_pools(), _splits),
    "batches": (_orders(), _batches),
    "checkpoints": (CHECKPOINTS, _checkpoint),
    "tables": (TABLES, _table),
}
