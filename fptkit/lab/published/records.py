"""The format of a file of published figures, and the records made from it, one per figure.

A file repeats the tables of its paper, so that a person can compare the two line by line. `Facts` define the meaning of
each row and column; a figure combines all facts that apply to it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Metric = Literal["accuracy", "steps", "times as fast"]
"""accuracy: in percent; steps: training steps to convergence; times as fast: a ratio of durations."""

SCORE: Metric = "accuracy"
"""The metric of a model's answers; a study's cells are compared only with figures of this metric."""

TRAINING = "train"
"""The split of figures that are an accuracy on training data."""

LearningRates = Literal["one", "swept", "not recorded"]
"""one: fixed in advance, the same for every arm; swept: the best of several, chosen for each arm."""

CheckedAgainst = Literal["one transcription", "transcription", "paper"]
"""Where a figure was read: in a single transcription of the paper, in several that agree, or in the paper itself."""

CHECKED: dict[CheckedAgainst, str] = {
    "one transcription": "one transcription",
    "transcription": "transcriptions that agree",
    "paper": "the paper",
}
"""Description of each for readers."""


class Record(BaseModel):
    """Base of the records: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Facts(Record):
    """Facts about figures that one row, column, task or arm gives.

    Args:
        arm: name of an arm in the file; its facts are the base of these.
        task: registered name of the task.
        words: description of the arm for readers.
        body: origin of the sequence model, see `fptkit.lab.published.kinds.ArmKind`.
        freezing: name of the freezing policy.
        blocks, width: size of the sequence model; ``unknown`` removes what a broader fact says.
        weights: source entries of its weights.
        init: initialisation of random weights, if it matters.
        variant: distinguishes it from another figure of the same task and arm.
        split: the split that was scored; ``train`` for accuracy on training data.
        learning_rate: the learning rate, if there is a single one.
        checked_against: where the figures were read, if it differs from the file's.
        repeats: true if another table has the same figure; tables show it, comparisons skip it.
        not_comparable: why it is not comparable with anything, whatever the settings.
        notes: other facts for the reader.
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
    checked_against: CheckedAgainst | None = None
    repeats: bool | None = None
    not_comparable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def under(self, narrower: Facts) -> Facts:
        """Override these facts with narrower ones; reasons and notes of both are joined."""
        told = {key: value for key, value in narrower if value is not None}
        told["not_comparable"] = tuple(dict.fromkeys((*self.not_comparable, *narrower.not_comparable)))
        told["notes"] = tuple(dict.fromkeys((*self.notes, *narrower.notes)))
        return self.model_copy(update=told)


def _read_cell(value: Any) -> Any:
    """Parse an entry of a table: a number, or ``38.9 ± 0.3`` with its standard error."""
    if isinstance(value, str):
        mean, sign, sem = value.partition("±")
        return {"value": mean.strip(), "sem": sem.strip()} if sign else {"value": value}
    return {"value": value} if isinstance(value, (int, float)) and not isinstance(value, bool) else value


class TableCell(Record):
    """One entry of a table.

    Args:
        value: the figure.
        sem: its standard error; None if not given.
    """

    value: float = Field(ge=0, allow_inf_nan=False)
    sem: float | None = Field(default=None, ge=0, allow_inf_nan=False)


class TableException(Record):
    """Additional facts for some entries of a table.

    Args:
        row: label of the row.
        columns: labels of the columns.
        facts: the facts; they override all others.
    """

    row: str
    columns: tuple[str, ...] = Field(min_length=1)
    facts: Facts


class PublishedTable(Record):
    """One table of the paper.

    Args:
        place: its place in the paper, such as ``Table 1``.
        title: what it shows.
        note: a note for its readers.
        source: source of its figures, if it differs from the file's.
        metric: metric of all its figures.
        all: facts of every figure.
        columns: labels of the columns: each is a task, an arm, or in ``labels``.
        labels: facts of labels that are not tasks or arms.
        rows: for each label, one figure per column; null where the paper's table is empty.
        exceptions: additional facts for some entries.
    """

    place: str
    title: str
    note: str = ""
    source: str = ""
    metric: Metric = SCORE
    all: Facts = Facts()
    columns: tuple[str, ...] = Field(min_length=1)
    labels: dict[str, Facts] = {}
    rows: dict[str, tuple[Annotated[TableCell | None, BeforeValidator(_read_cell)], ...]] = Field(min_length=1)
    exceptions: tuple[TableException, ...] = ()

    @model_validator(mode="after")
    def _places_are_there(self) -> PublishedTable:
        if len(set(self.columns)) < len(self.columns):
            raise ValueError(f"a column is listed twice: {', '.join(self.columns)}")
        for label, cells in self.rows.items():
            if len(cells) != len(self.columns):
                raise ValueError(f"row '{label}' has {len(cells)} figures for {len(self.columns)} columns")
            if not any(cells):
                raise ValueError(f"row '{label}' has no figure")
        for exception in self.exceptions:
            if exception.row not in self.rows:
                raise ValueError(f"an exception names the row '{exception.row}', which does not exist")
            if strange := set(exception.columns) - set(self.columns):
                raise ValueError(f"an exception names the column '{min(strange)}', which does not exist")
        return self


class AbsentTable(Record):
    """A table of the paper that the file does not contain.

    Args:
        place: its place in the paper.
        title: what it shows.
        why: why it is not here.
        body, freezing: kind of arm it has figures of, so that a comparison can name it; None if this does not matter.
    """

    place: str
    title: str
    why: str
    body: str | None = None
    freezing: str | None = None


class PublishedTask(Record):
    """A task as the paper prepared it.

    Args:
        facts: facts of all its figures.
        source: source of its data, as in the task's option ``source``.
        options: options of the task that matter for a comparison.
        faults: numbers of the faults in data and evaluation that affect its figures, see docs/protocols.md.
        most_steps: longest training, in steps; None if not recorded.
    """

    facts: Facts = Facts()
    source: str
    options: dict[str, Any]
    faults: tuple[str, ...] = ()
    most_steps: int | None = Field(default=None, ge=1)


class Figure(Record):
    """One published figure.

    Args:
        table, row, column: its position in the file.
        place: the paper's name of the table.
        source: paper or repository.
        task: registered name of the task; empty if the figure is for all tasks together.
        words: description of the arm for readers.
        body, freezing: kind of the arm, see `fptkit.lab.published.kinds.ArmKind`.
        blocks, width: size of the sequence model; None if not recorded.
        metric: an accuracy in percent, steps, or a ratio.
        value: the figure.
        sem: its standard error; None if not given.
        seeds: number of seeds it is the mean of; None if not recorded.
        split: the split that was scored; ``train`` for accuracy on training data.
        protocol: protocol of data and evaluation.
        learning_rates: how the learning rate was chosen.
        learning_rate: the learning rate, if there is a single one.
        weights, init, variant, repeats, not_comparable, notes: as in `Facts`.
        checked_against: where the figure was read.
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
        """Key that is unique in a file: the same quantity of the same model on the same task."""
        return self.task, self.body, self.freezing, self.blocks, self.width, self.metric, self.split, self.variant


class PublishedFile(Record):
    """A file of figures as written; see `Published` for its keys."""

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
    precision: str | None = None
    readout: Literal["last", "mean"] | None = None
    schedule: str | None = None
    dropout: float | None = Field(default=None, ge=0, lt=1)
    attention_dropout: float | None = Field(default=None, ge=0, lt=1)
    batch_size: int | None = Field(default=None, ge=1)
    notes: tuple[str, ...] = ()
    tasks: dict[str, PublishedTask] = Field(min_length=1)
    arms: dict[str, Facts]
    labels: dict[str, Facts] = {}
    tables: dict[str, PublishedTable] = Field(min_length=1)
    absent: tuple[AbsentTable, ...] = ()


class Published(PublishedFile):
    """The figures of one paper.

    Args:
        name: name for `load_published` and ``--against``.
        title, authors, year, source: of the paper.
        checked_against: where most of the figures were read; a figure's own fact takes precedence.
        protocol: the protocol of fptkit that is nearest to its data and evaluation.
        protocol_words: description of its protocol.
        learning_rates: how learning rates were chosen.
        learning_rate_words: description of this.
        seeds: number of seeds per figure; None if not recorded.
        precision: how numbers were stored and multiplied, such as ``float32``; None if not recorded.
        readout: tokens the head reads; None if not recorded.
        schedule: learning rate schedule; None if not recorded.
        dropout: dropout of the sequence model, in [0, 1); None if not recorded.
        attention_dropout: dropout of its attention weights, in [0, 1); None if not recorded.
        batch_size: examples of a training batch; None if not recorded, or if tasks differ.
        notes: notes on every figure.
        tasks, arms, labels, tables: as in the file.
        absent: tables of the paper that are not here.
        figures: every figure, in the order of the tables.
    """

    figures: tuple[Figure, ...]

    def of(self, table: str) -> tuple[Figure, ...]:
        """Figures of one table, row by row."""
        return tuple(figure for figure in self.figures if figure.table == table)
