"""What a file of published figures holds, and what is made of it: one record a figure.

A file repeats the tables of its paper, so that a person can hold one against the other line by line. What a row or a
column stands for is said once, as `Facts`; the facts of a figure are those of all that apply to it, put together.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Metric = Literal["accuracy", "steps", "times as fast"]
"""accuracy: in percent; steps: training steps to convergence; times as fast: a ratio of durations."""

SCORE: Metric = "accuracy"
"""The one among them that scores a model's answers; a study's cells are put beside figures of this one only."""

LearningRates = Literal["one", "swept", "not recorded"]
"""one: set beforehand, the same for every arm; swept: the best of several, chosen for each arm."""

CheckedAgainst = Literal["transcription", "paper"]
"""Where the figures were read: in a copy of the paper's tables, or in the paper itself."""


class Record(BaseModel):
    """Base of the records: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Facts(Record):
    """What is known of a figure, as far as one row, column, task or arm tells it.

    Args:
        arm: name of the file's arm whose facts come first.
        task: registered name of the task.
        words: the arm in a reader's words.
        body: what the sequence model is, as `fptkit.lab.published.kinds.ArmKind` has it.
        freezing: name of the freezing policy.
        blocks, width: of the sequence model; ``unknown`` takes back what a wider fact says.
        weights: source entries that name its weights.
        init: how random weights are drawn, where it matters.
        variant: tells it from another figure of the same task and arm.
        split: split that was scored.
        learning_rate: the rate, where there is one.
        repeats: true where the same figure stands in another table too; tables keep it, comparisons pass over it.
        not_comparable: why nothing can be put beside it, whatever the setting.
        notes: what a reader should know besides.
    """

    arm: str | None = None
    task: str | None = None
    words: str | None = None
    body: str | None = None
    freezing: str | None = None
    blocks: int | Literal["unknown"] | None = None
    width: int | Literal["unknown"] | None = None
    weights: tuple[str, ...] | None = None
    init: str | None = None
    variant: str | None = None
    split: str | None = None
    learning_rate: float | None = None
    repeats: bool | None = None
    not_comparable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def under(self, narrower: Facts) -> Facts:
        """These facts with those of something narrower put over them; reasons and notes of both are kept."""
        told = {key: value for key, value in narrower if value is not None}
        told["not_comparable"] = tuple(dict.fromkeys((*self.not_comparable, *narrower.not_comparable)))
        told["notes"] = tuple(dict.fromkeys((*self.notes, *narrower.notes)))
        return self.model_copy(update=told)


def _read_cell(value: Any) -> Any:
    """A place of a table: a number, or ``38.9 ± 0.3`` with its standard error."""
    if isinstance(value, str):
        mean, sign, sem = value.partition("±")
        return {"value": mean.strip(), "sem": sem.strip()} if sign else {"value": value}
    return {"value": value} if isinstance(value, (int, float)) and not isinstance(value, bool) else value


class TableCell(Record):
    """One place of a table.

    Args:
        value: the figure.
        sem: its standard error, None where none is given.
    """

    value: float = Field(ge=0, allow_inf_nan=False)
    sem: float | None = Field(default=None, ge=0, allow_inf_nan=False)


class TableException(Record):
    """Places of a table for which further facts hold."""

    row: str
    columns: tuple[str, ...] = Field(min_length=1)
    facts: Facts


class PublishedTable(Record):
    """One table of the paper.

    Args:
        place: where it stands there.
        title: what it shows.
        note: what its reader must know.
        source: of its figures, where it is not the file's.
        metric: of all its figures.
        all: facts of every figure.
        columns: their labels: each a task, an arm, or of ``labels``.
        labels: facts of the labels that are neither task nor arm.
        rows: label to the figures, one for each column.
        exceptions: places for which further facts hold.
    """

    place: str
    title: str
    note: str = ""
    source: str = ""
    metric: Metric = SCORE
    all: Facts = Facts()
    columns: tuple[str, ...] = Field(min_length=1)
    labels: dict[str, Facts] = {}
    rows: dict[str, tuple[Annotated[TableCell, BeforeValidator(_read_cell)], ...]] = Field(min_length=1)
    exceptions: tuple[TableException, ...] = ()

    @model_validator(mode="after")
    def _places_are_there(self) -> PublishedTable:
        if len(set(self.columns)) < len(self.columns):
            raise ValueError(f"a column stands there twice: {', '.join(self.columns)}")
        for label, cells in self.rows.items():
            if len(cells) != len(self.columns):
                raise ValueError(f"row '{label}' has {len(cells)} figures for {len(self.columns)} columns")
        for exception in self.exceptions:
            if exception.row not in self.rows:
                raise ValueError(f"an exception is for row '{exception.row}', which is not there")
            if strange := set(exception.columns) - set(self.columns):
                raise ValueError(f"an exception is for column '{min(strange)}', which is not there")
        return self


class PublishedTask(Record):
    """How a task was prepared there.

    Args:
        facts: of all its figures.
        source: where its data are from, as the task's option ``source`` names it.
        options: options of the task as they were; others do not bear on the comparison.
        faults: numbers of the faults of data and evaluation that its figures carry, see docs/protocols.md.
    """

    facts: Facts = Facts()
    source: str
    options: dict[str, Any]
    faults: tuple[str, ...] = ()


class Figure(Record):
    """One published figure.

    Args:
        table, row, column: where it stands.
        place: the table as the paper calls it.
        source: paper or repository.
        task: registered name of the task; empty where it is told for all tasks together.
        words: the arm in a reader's words.
        body, freezing: the kind of arm, see `fptkit.lab.published.kinds.ArmKind`.
        blocks, width: of the sequence model, None where not recorded.
        metric: what it is: an accuracy in percent, steps, or a ratio.
        value: the figure.
        sem: its standard error, None where none is given.
        seeds: it is a mean over, None where not recorded.
        split: split that was scored.
        protocol: how data and evaluation were done.
        learning_rates: how the rate was come by; learning_rate: the rate, where there is one.
        weights, init, variant, repeats, not_comparable, notes: as in `Facts`.
        checked_against: where it was read.
    """

    table: str
    row: str
    column: str
    place: str
    source: str
    task: str
    words: str
    body: str
    freezing: str
    blocks: int | None
    width: int | None
    metric: Metric
    value: float
    sem: float | None
    seeds: int | None
    split: str
    protocol: str
    learning_rates: LearningRates
    learning_rate: float | None
    weights: tuple[str, ...] | None
    init: str | None
    variant: str | None
    repeats: bool
    not_comparable: tuple[str, ...]
    notes: tuple[str, ...]
    checked_against: CheckedAgainst

    @property
    def identity(self) -> tuple[object, ...]:
        """What no other figure of the file may be: the same quantity of the same model on the same task."""
        return self.task, self.body, self.freezing, self.blocks, self.width, self.metric, self.split, self.variant


class PublishedFile(Record):
    """A file as written; see `Published` for its keys."""

    name: str
    title: str
    authors: str
    year: int
    source: str
    checked_against: CheckedAgainst
    protocol: Literal["fpt2021", "clean"]
    protocol_words: str
    learning_rates: LearningRates
    learning_rate_words: str
    seeds: int | None = Field(ge=1)
    most_steps: int | None = Field(default=None, ge=1)
    readout: Literal["last", "mean"] | None = None
    schedule: str | None = None
    dropout: float | None = Field(default=None, ge=0, lt=1)
    notes: tuple[str, ...] = ()
    tasks: dict[str, PublishedTask] = Field(min_length=1)
    arms: dict[str, Facts]
    labels: dict[str, Facts] = {}
    tables: dict[str, PublishedTable] = Field(min_length=1)


class Published(PublishedFile):
    """The figures of one paper.

    Args:
        name: it is asked for by.
        title, authors, year, source: of the paper.
        checked_against: where the figures were read.
        protocol: fptkit's protocol that its preparation and evaluation are like; protocol_words: in words.
        learning_rates: how rates were come by; learning_rate_words: in words.
        seeds: of each figure, None where not recorded.
        most_steps: training steps a run may take at least, None where not recorded.
        readout: tokens the answer was read from, None where not recorded.
        schedule: of the learning rate over a run, None where not recorded.
        dropout: of the sequence model in training, None where not recorded.
        notes: for every figure.
        tasks, arms, labels, tables: as the file has them.
        figures: every figure, in the order of the tables.
    """

    figures: tuple[Figure, ...]

    def of(self, table: str) -> tuple[Figure, ...]:
        """The figures of one table, row by row."""
        return tuple(figure for figure in self.figures if figure.table == table)
