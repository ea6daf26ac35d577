"""Why one of our figures is not comparable with a published one, and what to know where it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fptkit.lab.published.records import Figure, Published
from fptkit.lab.studies.results import CellResult

_LAST = ("last", "last_k")
"""Read-outs at the last tokens: one answer, or several."""

_OWN_ENCODERS = ("linear", "symbols")
"""Encoders that are the papers' input layer: one linear map, or an embedding."""


def reasons_of(cell: CellResult, figure: Figure, published: Published) -> tuple[str, ...]:
    """Why the two are not comparable, most weighty first; empty where nothing known tells them apart."""
    groups = (
        iter(figure.not_comparable),
        _protocol(cell, figure, published),
        _data(cell, figure, published),
        _model(cell, figure),
        _read_out(cell, published),
        _rates(cell, figure, published),
        _length(cell, figure, published),
        _seeds(cell, figure),
    )
    return tuple(reason for group in groups for reason in group)


def notes_of(cell: CellResult, figure: Figure, published: Published) -> tuple[str, ...]:
    """What a reader of the pair should know, where it is no reason against it."""
    return tuple(_notes(cell, figure, published))


def _protocol(cell: CellResult, figure: Figure, published: Published) -> Iterator[str]:
    """How data were prepared and models scored."""
    if cell.protocol != figure.protocol:
        faults = published.tasks[figure.task].faults
        carried = f", which carries the faults {', '.join(faults)} on this task" if faults else ""
        yield f"protocol: ours {cell.protocol or 'not known'}, theirs {figure.protocol}{carried}"
    # Under fpt2021 the split that is called test is the one the paper's code scores, whichever it is.
    if cell.protocol == figure.protocol == "fpt2021":
        return
    if figure.split == "validation":
        yield f"split: ours {cell.test_split}, theirs the validation split, on which the step was chosen"
    elif figure.split != cell.test_split:
        yield f"split: ours {cell.test_split}, theirs {figure.split}"


def _data(cell: CellResult, figure: Figure, published: Published) -> Iterator[str]:
    """What the models were trained and tested on."""
    task = published.tasks[figure.task]
    if cell.data_stand_in:
        yield f"data: ours {cell.source}, a stand-in for {task.source}"
    elif cell.source.startswith("path:"):
        yield f"data: not known whether {cell.source} holds the whole of the published data"
    elif cell.source != task.source:
        yield f"data: ours {cell.source or 'not known'}, theirs {task.source}"
    if cell.data_fraction != 1:
        yield f"data: ours {100 * cell.data_fraction:g} % of the training split, theirs all of it"
    if cell.task_options is None:
        yield "task: not known with which options ours was run"
        return
    for name, theirs in task.options.items():
        ours = cell.task_options.get(name, "not known")
        if ours != theirs and not (isinstance(ours, tuple) and list(ours) == theirs):
            yield f"task: {name} is {_shown(ours)} here, {_shown(theirs)} there"


def _model(cell: CellResult, figure: Figure) -> Iterator[str]:
    """The sequence model: its size, where its weights are from, and what of it trains."""
    if figure.blocks is None or figure.width is None:
        if not figure.not_comparable:
            yield f"size: ours {_size(cell.blocks, cell.width)}, theirs not recorded"
    elif (cell.blocks, cell.width) != (figure.blocks, figure.width):
        yield f"size: ours {_size(cell.blocks, cell.width)}, theirs {_size(figure.blocks, figure.width)}"
    entry = cell.weights.partition("@")[0]
    if cell.weights_stand_in:
        yield f"weights: ours {cell.weights}, a stand-in"
    elif figure.weights is not None and entry not in figure.weights:
        yield f"weights: ours {cell.weights or 'not known'}, theirs {' or '.join(figure.weights)}"
    if figure.init is not None and figure.body == "random":
        drawn = cell.init if cell.backbone_options is None else cell.backbone_options.get("init", cell.init)
        if drawn != figure.init:
            yield (
                f"weights: drawn by init {drawn or 'not known'} here, {figure.init} there (D11: every weight with "
                "deviation 0.02)"
            )
    if cell.freezing_options.get("learning_rate_multipliers"):
        yield "freezing: ours gives some parts a learning rate of their own"


def _read_out(cell: CellResult, published: Published) -> Iterator[str]:
    """What stands before and after the sequence model."""
    if cell.encoder and cell.encoder not in _OWN_ENCODERS:
        yield f"encoder: ours {cell.encoder}, theirs one linear map or an embedding"
    if cell.head_options.get("hidden") or cell.head_options.get("dropout"):
        yield "head: ours has hidden layers or dropout, theirs is one linear map"
    if published.readout is None or not cell.readout:
        return
    if cell.readout != published.readout and not (published.readout == "last" and cell.readout in _LAST):
        yield f"read-out: ours {cell.readout}, theirs {published.readout}"


def _rates(cell: CellResult, figure: Figure, published: Published) -> Iterator[str]:
    """How the learning rate was come by."""
    tried = len(cell.rates)
    if published.schedule is not None and cell.schedule not in ("", published.schedule):
        yield f"learning rate: ours with the schedule {cell.schedule}, theirs {published.schedule}"
    if figure.learning_rates == "one" and tried > 1:
        yield f"learning rate: ours the best of {tried} on validation, theirs one that was not searched for"
    elif figure.learning_rates == "one" and cell.chosen_rate != figure.learning_rate and figure.learning_rate:
        yield f"learning rate: ours {_number(cell.chosen_rate)}, theirs {_number(figure.learning_rate)}"
    elif figure.learning_rates == "swept" and tried < 2:
        yield "learning rate: ours one that was not searched for, theirs the best of several on validation"


def _length(cell: CellResult, figure: Figure, published: Published) -> Iterator[str]:
    """Whether ours trained long enough to stand beside theirs."""
    steps = max(cell.steps, default=None)
    if steps is None:
        yield "training: not known how long ours trained"
        return
    for other in published.figures:
        same = (other.task, other.body, other.freezing) == (figure.task, figure.body, figure.freezing)
        if other.metric == "steps" and same and steps < other.value:
            yield f"training: ours {steps:,} steps, theirs converged after {other.value:,.0f}"
            return
    improving = any(best >= end for best, end in zip(cell.best_steps, cell.steps, strict=False))
    if published.most_steps is not None and steps < published.most_steps and improving:
        yield (
            f"training: ours was best at its last step of {steps:,}, theirs trained up to {published.most_steps:,} "
            "or more"
        )


def _seeds(cell: CellResult, figure: Figure) -> Iterator[str]:
    """Whether our figure is as sure as theirs."""
    if not cell.complete:
        yield "seeds: not all of our runs are finished"
    elif cell.main is not None and len(cell.main.values) < 2 <= (figure.seeds or 0):
        yield f"seeds: ours one, theirs the mean over {figure.seeds}"


def _notes(cell: CellResult, figure: Figure, published: Published) -> Iterator[str]:
    yield from figure.notes
    yield from published.notes
    if figure.variant:
        yield f"theirs: {figure.variant}"
    if figure.seeds is None:
        yield "their seeds and spread are not recorded"
    if cell.at_edge:
        yield f"our rate lies at the {cell.at_edge} end of the grid"
    dropout = (cell.backbone_options or {}).get("dropout")
    if None not in (dropout, published.dropout) and dropout != published.dropout:
        yield f"dropout: ours {_shown(dropout)}, theirs {_shown(published.dropout)}"
    if figure.learning_rates == "not recorded":
        yield "how they came by their learning rate is not recorded"


def _size(blocks: int | None, width: int | None) -> str:
    return f"{'?' if blocks is None else blocks} blocks of {'?' if width is None else width}"


def _number(rate: float | None) -> str:
    return "not known" if rate is None else f"{rate:g}"


def _shown(value: Any) -> str:
    """An option's value as a recipe has it."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return json.dumps(value)
