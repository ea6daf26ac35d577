"""Reasons why our result is not comparable with a published figure, and notes on comparable pairs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fptkit.engine.training.words import parts_in_words
from fptkit.lab.published.records import TRAINING, Figure, Published
from fptkit.lab.studies.results import CellResult

_LAST = ("last", "last_k")
"""Read-outs at the last tokens, for one answer or several."""

_OWN_ENCODERS = ("linear", "symbols")
"""Encoders equal to the papers' input layer: one linear map, or an embedding."""


def reasons_of(cell: CellResult, figure: Figure, published: Published) -> tuple[str, ...]:
    """Reasons why the two are not comparable, most important first; empty if they are.

    Args:
        cell: our cell.
        figure: the published figure.
        published: the paper of the figure.
    """
    groups = (
        iter(figure.not_comparable),
        _protocol(cell, figure, published),
        _data(cell, figure, published),
        _model(cell, figure),
        _read_out(cell, published),
        _training(cell),
        _precision(cell, published),
        _rates(cell, figure, published),
        _length(cell, figure, published),
        _seeds(cell, figure),
    )
    return tuple(reason for group in groups for reason in group)


def notes_of(cell: CellResult, figure: Figure, published: Published) -> tuple[str, ...]:
    """Notes for readers of the pair that do not make it incomparable. Takes the same arguments as `reasons_of`."""
    return tuple(_notes(cell, figure, published))


def _protocol(cell: CellResult, figure: Figure, published: Published) -> Iterator[str]:
    """Differences in the preparation of data and in scoring."""
    if cell.protocol != figure.protocol:
        faults = published.tasks[figure.task].faults
        carried = f", which carries the faults {', '.join(faults)} on this task" if faults else ""
        yield f"protocol: ours {cell.protocol or 'not known'}, theirs {figure.protocol}{carried}"
    # Under fpt2021, test is the split that the paper's code scores, even if it is the validation split.
    if cell.protocol == figure.protocol == "fpt2021" or figure.split == TRAINING:
        return
    if figure.split == "validation":
        yield f"split: ours {cell.test_split}, theirs the validation split, which also chose the step"
    elif figure.split != cell.test_split:
        yield f"split: ours {cell.test_split}, theirs {figure.split}"


def _data(cell: CellResult, figure: Figure, published: Published) -> Iterator[str]:
    """Differences in training and test data."""
    task = published.tasks[figure.task]
    if cell.data_stand_in:
        yield f"data: ours {cell.source}, a fallback (stand-in) for {task.source}"
    elif cell.source.startswith("path:"):
        yield f"data: not known whether {cell.source} has all of the published data"
    elif cell.source != task.source:
        yield f"data: ours {cell.source or 'not known'}, theirs {task.source}"
    if cell.data_fraction != 1:
        yield f"data: ours {100 * cell.data_fraction:g} % of the training split, theirs all of it"
    if cell.task_options is None:
        yield "task: the options of ours are not known"
        return
    for name, theirs in task.options.items():
        ours = cell.task_options.get(name, "not known")
        if ours != theirs and not (isinstance(ours, tuple) and list(ours) == theirs):
            yield f"task: {name} is {_shown(ours)} here, {_shown(theirs)} there"


def _model(cell: CellResult, figure: Figure) -> Iterator[str]:
    """Differences in the sequence model: size, weights and learning rates of its parts."""
    if figure.blocks is None or figure.width is None:
        if not figure.not_comparable:
            yield f"size: ours {_size(cell.blocks, cell.width)}, theirs not recorded"
    elif (cell.blocks, cell.width) != (figure.blocks, figure.width):
        yield f"size: ours {_size(cell.blocks, cell.width)}, theirs {_size(figure.blocks, figure.width)}"
    entry = cell.weights.partition("@")[0]
    if cell.weights_stand_in:
        yield f"weights: ours {cell.weights}, a fallback (stand-in)"
    elif figure.weights is not None and entry not in figure.weights:
        yield f"weights: ours {cell.weights or 'not known'}, theirs {' or '.join(figure.weights)}"
    if figure.init is not None and figure.body == "random":
        drawn = cell.init if cell.backbone_options is None else cell.backbone_options.get("init", cell.init)
        if drawn != figure.init:
            yield (
                f"weights: init {drawn or 'not known'} here, {figure.init} there (D11: every weight with standard "
                "deviation 0.02)"
            )
    if figure.body == "lstm" and (cell.backbone_options or {}).get("variant") != "official":
        yield "backbone: ours is the LSTM of Ba et al. 2016, theirs that of their code (variant: official)"
    if cell.freezing_options.get("learning_rate_multipliers"):
        yield "freezing: ours uses different learning rates for some parts"


def _read_out(cell: CellResult, published: Published) -> Iterator[str]:
    """Differences in encoder, head and read-out."""
    if cell.encoder and cell.encoder not in _OWN_ENCODERS:
        yield f"encoder: ours {cell.encoder}, theirs one linear map or an embedding"
    if cell.head_options.get("hidden") or cell.head_options.get("dropout"):
        yield "head: ours has hidden layers or dropout, theirs is one linear map"
    if published.readout is None or not cell.readout:
        return
    if cell.readout != published.readout and not (published.readout == "last" and cell.readout in _LAST):
        yield f"read-out: ours {cell.readout}, theirs {published.readout}"


def _training(cell: CellResult) -> Iterator[str]:
    """What our recipe named of the training; the papers have their own loss and optimizer. Metrics change nothing."""
    named = {key: value for key, value in cell.training_parts.items() if key != "metrics"}
    if words := parts_in_words({"training_parts": named}, options=True):
        yield f"training: ours with {words}"


def _precision(cell: CellResult, published: Published) -> Iterator[str]:
    """Differences in how numbers are stored and multiplied."""
    if published.precision is not None and cell.precision != published.precision:
        yield (
            f"precision: ours {cell.precision or 'not known'} (frozen weights and matrix products), theirs "
            f"{published.precision}"
        )


def _rates(cell: CellResult, figure: Figure, published: Published) -> Iterator[str]:
    """Differences in learning rate, schedule and search."""
    tried = len(cell.rates)
    if published.schedule is not None and cell.schedule not in ("", published.schedule):
        yield f"learning rate: ours with the schedule {cell.schedule}, theirs {published.schedule}"
    if figure.learning_rates == "one" and tried > 1:
        yield f"learning rate: ours the best of {tried} on validation, theirs a fixed one, without a search"
    elif figure.learning_rates == "one" and cell.chosen_rate != figure.learning_rate and figure.learning_rate:
        yield f"learning rate: ours {_number(cell.chosen_rate)}, theirs {_number(figure.learning_rate)}"
    elif figure.learning_rates == "swept" and tried < 2:
        yield "learning rate: ours a fixed one, without a search, theirs the best of several on validation"


def _length(cell: CellResult, figure: Figure, published: Published) -> Iterator[str]:
    """Whether our training was too short."""
    steps = max(cell.steps, default=None)
    if steps is None:
        yield "training: the length of ours is not known"
        return
    for other in published.figures:
        same = (other.task, other.body, other.freezing) == (figure.task, figure.body, figure.freezing)
        if other.metric == "steps" and same and steps < other.value:
            yield f"training: ours {steps:,} steps, theirs converged after {other.value:,.0f}"
            return
    improving = any(best >= end for best, end in zip(cell.best_steps, cell.steps, strict=False))
    most = published.tasks[figure.task].most_steps
    if most is not None and steps < most and improving:
        yield f"training: ours was best at its last step, {steps:,}, theirs trained up to {most:,} steps"


def _seeds(cell: CellResult, figure: Figure) -> Iterator[str]:
    """Whether ours has fewer seeds than theirs."""
    if not cell.complete:
        yield "seeds: not all of our runs are finished"
    elif cell.main is not None and len(cell.main.values) < 2 <= (figure.seeds or 0):
        yield f"seeds: ours one, theirs the mean over {figure.seeds}"


def _notes(cell: CellResult, figure: Figure, published: Published) -> Iterator[str]:
    yield from figure.notes
    yield from published.notes
    if figure.variant:
        yield f"theirs: {figure.variant}"
    if figure.checked_against == "one transcription":
        yield "their figure was read in one transcription only"
    if figure.seeds is None:
        yield "their seeds and spread are not recorded"
    if cell.common is not None and figure.learning_rates == "swept":
        yield "ours at one learning rate for all seeds, as theirs"
    if cell.at_edge:
        ends = "both ends" if cell.at_edge == "both" else f"the {cell.at_edge} end"
        yield f"our rate is at {ends} of the grid"
    for name in ("dropout", "attention_dropout"):
        ours, theirs = (cell.backbone_options or {}).get(name), getattr(published, name)
        if None not in (ours, theirs) and ours != theirs:
            yield f"{name.replace('_', ' ')}: ours {_shown(ours)}, theirs {_shown(theirs)}"
    if figure.learning_rates == "not recorded":
        yield "how they chose their learning rate is not recorded"


def _size(blocks: int | None, width: int | None) -> str:
    return f"{'?' if blocks is None else blocks} blocks of {'?' if width is None else width}"


def _number(rate: float | None) -> str:
    return "not known" if rate is None else f"{rate:g}"


def _shown(value: Any) -> str:
    """Format an option's value as in a recipe."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return json.dumps(value)
