"""Compares our results with published figures: which figures match a study's cells, the gap, and comparability.

A pair is comparable if the two are known to differ in nothing but the code. An unknown fact on our side counts as a
difference. A fact that the paper does not record is only a note, since nobody can supply it, unless the file of figures
gives it as a reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fptkit.lab.published.kinds import ArmKind, arm_kind
from fptkit.lab.published.reasons import notes_of, reasons_of
from fptkit.lab.published.records import SCORE, TRAINING, Figure, Published, Record
from fptkit.lab.studies.results import CellResult, Estimate, StudyResults


class Ours(Record):
    """Our result.

    Args:
        mean: mean over seeds, in percent.
        sem: standard error over seeds, in percentage points; None for fewer than three seeds.
        seeds: number of seeds.
        split: the split that was scored.
        protocol: protocol of the task.
        blocks, width: size of the backbone; None if unknown.
        weights: weights of the backbone.
    """

    mean: float
    sem: float | None
    seeds: int
    split: str
    protocol: str
    blocks: int | None
    width: int | None
    weights: str


class Pair(Record):
    """One row of the comparison: our result and a published figure, or only one of them.

    Args:
        task: the study's task; the task's registered name if the study has no such cell.
        arm: the study's arm; empty if the study has no such cell.
        data_fraction: fraction of the data in our cell.
        kind: kind of arm, such as ``frozen/language``; empty if ours has no kind.
        ours: our result; None if the study has no such cell or no result yet.
        theirs: the published figure; None if the paper has none.
        gap: ours minus theirs, in percentage points.
        comparable: whether the two are comparable.
        reasons: why they are not.
        notes: other facts for the reader.
    """

    task: str
    arm: str = ""
    data_fraction: float = 1.0
    kind: str = ""
    ours: Ours | None = None
    theirs: Figure | None = None
    gap: float | None = None
    comparable: bool = False
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def compare(results: StudyResults, published: Published) -> tuple[Pair, ...]:
    """Match a study's cells with the figures of a paper.

    Each cell is matched with the figures of the same task and kind of arm; if these have several sizes, with the
    nearest. Figures that repeat another table's are skipped. Figures of training data are matched with cells that were
    scored on it. Remaining accuracies of the paper on the study's tasks come last.

    Args:
        results: the study's results; a cell's is the mean over seeds on its main test split, at the chosen rates, or
            at the best common rate if the paper chose a rate for all seeds.
        published: the paper's figures.

    Returns:
        The pairs: every cell at least once, in the order of the study; then the paper's remaining figures.
    """
    figures = [figure for figure in published.figures if figure.metric == SCORE and not figure.repeats]
    pairs: list[Pair] = []
    taken: set[int] = set()
    for cell in results.cells:
        kind, why = arm_kind(cell)
        ours, lacking = _ours(cell, published)
        same = [] if kind is None else _counterparts(cell, kind, figures)
        if ours is None or kind is None or not same:
            reason = lacking or why or _no_counterpart(cell, kind, published)
            pairs.append(_pair(cell, kind, ours, reasons=(reason,)))
            continue
        for figure in same:
            taken.add(id(figure))
            here = ours if figure.split != TRAINING else _scored(cell, cell.train, TRAINING)
            reasons = reasons_of(cell, figure, published)
            pairs.append(_pair(cell, kind, here, figure, reasons, notes_of(cell, figure, published)))
    tasks = {cell.task_name for cell in results.cells}
    for figure in figures:
        if figure.task in tasks and id(figure) not in taken:
            kind = ArmKind(figure.body, figure.freezing)
            on = " on training data (train.training_sample)" if figure.split == TRAINING else ""
            reason = f"the study has no result for this arm{on}"
            pairs.append(Pair(task=figure.task, kind=str(kind), theirs=figure, reasons=(reason,)))
    return tuple(pairs)


def _ours(cell: CellResult, published: Published) -> tuple[Ours | None, str]:
    """Our result on the main test split in percent; or None and the reason why there is none."""
    found = cell.main
    if cell.common is not None and published.learning_rates == "swept":
        if cell.common.learning_rate is None:
            return None, "no common learning rate could be chosen for all seeds"
        found = cell.common.test.get(cell.test_split)
    if found is None or found.mean is None:
        return None, "its test split was not evaluated" if cell.complete else "not all of its runs are finished"
    if cell.metric != SCORE:
        return None, f"its metric is {cell.metric or 'unknown'}, the paper's {SCORE}"
    return _scored(cell, found, cell.test_split), ""


def _scored(cell: CellResult, found: Estimate | None, split: str) -> Ours | None:
    """A cell's result on a split in percent; None if there is none."""
    if found is None or found.mean is None:
        return None
    return Ours(
        mean=100 * found.mean,
        sem=None if found.sem is None or len(found.values) < 3 else 100 * found.sem,
        seeds=len(found.values),
        split=split,
        protocol=cell.protocol,
        blocks=cell.blocks,
        width=cell.width,
        weights=cell.weights,
    )


def _counterparts(cell: CellResult, kind: ArmKind, figures: Sequence[Figure]) -> list[Figure]:
    """The figures of a cell's task and kind: of the test, and of training data if the cell was scored on it."""
    same = [
        figure
        for figure in figures
        if (figure.task, figure.body, figure.freezing) == (cell.task_name, kind.body, kind.freezing)
    ]
    test = _nearest(cell, [figure for figure in same if figure.split != TRAINING])
    if cell.train is None or cell.train.mean is None:
        return test
    return [*test, *_nearest(cell, [figure for figure in same if figure.split == TRAINING])]


def _nearest(cell: CellResult, figures: Sequence[Figure]) -> list[Figure]:
    """Figures with the number of blocks nearest to ours; the larger one if two are equally near."""

    def distance(figure: Figure) -> tuple[float, int]:
        if figure.blocks is None:
            return float("inf"), 0
        return abs(figure.blocks - (cell.blocks or 0)), -figure.blocks

    least = min(map(distance, figures), default=None)
    return [figure for figure in figures if distance(figure) == least]


def _no_counterpart(cell: CellResult, kind: ArmKind | None, published: Published) -> str:
    if cell.task_name not in published.tasks:
        return f"the paper has no task {cell.task_name}"
    for table in published.absent:
        if kind is not None and (table.body, table.freezing) == kind:
            return f"{table.place} of the paper has this arm, but its figures are not in fptkit: {table.why}"
    return "the paper does not have this arm on this task"


def _pair(
    cell: CellResult,
    kind: ArmKind | None,
    ours: Ours | None,
    figure: Figure | None = None,
    reasons: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Pair:
    both = ours is not None and figure is not None
    return Pair(
        task=cell.task,
        arm=cell.arm,
        data_fraction=cell.data_fraction,
        kind=str(kind or ""),
        ours=ours,
        theirs=figure,
        gap=ours.mean - figure.value if ours is not None and figure is not None else None,
        comparable=both and not reasons,
        reasons=reasons,
        notes=notes,
    )


@dataclass(frozen=True)
class Against:
    """The rows of the four tables that show a comparison, each column as text.

    Args:
        comparable: comparable pairs; columns task, arm, ours, theirs, gap, where, notes.
        orientation: pairs that are not comparable, always in a separate table; columns task, arm, ours, theirs, gap,
            where, why, notes.
        ours_only: our cells without a published figure; columns task, arm, ours, why.
        theirs_only: published figures without a cell of ours; columns task, arm, theirs, where.
    """

    comparable: tuple[dict[str, str], ...]
    orientation: tuple[dict[str, str], ...]
    ours_only: tuple[dict[str, str], ...]
    theirs_only: tuple[dict[str, str], ...]


def against_rows(pairs: Sequence[Pair]) -> Against:
    """Convert pairs to rows of text, one list per table."""
    both = [pair for pair in pairs if pair.ours and pair.theirs]
    return Against(
        comparable=tuple(_row(pair, "notes") for pair in both if pair.comparable),
        orientation=tuple(_row(pair, "why", "notes") for pair in both if not pair.comparable),
        ours_only=tuple(_row(pair, "why") for pair in pairs if pair.theirs is None),
        theirs_only=tuple(_row(pair) for pair in pairs if pair.theirs and not pair.arm),
    )


def _row(pair: Pair, *last: str) -> dict[str, str]:
    share = "" if pair.data_fraction == 1 else f" ({100 * pair.data_fraction:g} % of the data)"
    arm = pair.arm or (_words(pair.theirs, pair.kind) if pair.theirs else "")
    on = " (on training data)" if pair.theirs and pair.theirs.split == TRAINING else ""
    row = {"task": pair.task, "arm": arm + share + on}
    if pair.arm:
        row["ours"] = shown(pair.ours.mean, pair.ours.sem) if pair.ours else "–"
    if pair.theirs:
        row["theirs"] = shown(pair.theirs.value, pair.theirs.sem)
    if pair.gap is not None:
        row["gap"] = f"{pair.gap:+.1f}".replace("-", "−")
    if pair.theirs:
        row["where"] = f"{pair.theirs.place}, {pair.theirs.row}, {pair.theirs.column}"
    texts = {"why": pair.reasons, "notes": pair.notes}
    return row | {column: "; ".join(texts[column]) for column in last}


def _words(figure: Figure, kind: str) -> str:
    """Description of a published arm, with its kind and size."""
    size = "" if figure.blocks is None else f", {figure.blocks} block{'s' if figure.blocks != 1 else ''}"
    return f"{figure.words} ({kind}{size})"


def shown(value: float, sem: float | None) -> str:
    """Format a percentage for tables: one decimal, with its standard error if there is one."""
    return f"{value:.1f}" if sem is None else f"{value:.1f} ± {sem:.1f}"
