"""The results file of a study: everything its tables and pictures are made from, and nothing that differs between two
machines that computed the same runs. Times are in a file of their own, see `Costs`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, model_validator

from fptkit.errors import DataError, UsageError
from fptkit.files import was_fraction

RESULTS = "results.json"
COSTS = "costs.json"

Verdict = Literal["better", "worse", "no difference found", "not enough evidence"]


class Record(BaseModel):
    """Base of the records: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


AnyRecord = TypeVar("AnyRecord", bound=Record)


class Measure(NamedTuple):
    """What a value is of.

    Args:
        name: of the metric, empty where no run has begun.
        fraction: whether its values are between 0 and 1 and written in percent.
    """

    name: str = ""
    fraction: bool = False


class Estimate(Record):
    """A mean over seeds.

    Args:
        values: one for each seed that has one, in the order of the seeds.
        mean: their mean; None where there is no value.
        sem: standard error of the mean, None below two values.
    """

    values: tuple[float, ...]
    mean: float | None
    sem: float | None


class RateResult(Record):
    """One learning rate of a cell.

    Args:
        learning_rate: the rate.
        validation: of the selection metric at each seed's best step, over the seeds the rate was trained with.
        runs: addresses of its runs, in the order of the seeds.
        diverged: runs that diverged.
        steps: steps its furthest run did; below the cell's where the search gave the rate up.
    """

    learning_rate: float
    validation: Estimate
    runs: tuple[str, ...]
    diverged: int = 0
    steps: int = 0


class CurvePoint(Record):
    """One validation of the runs at the chosen rate: mean and standard error over seeds at a step."""

    step: int
    mean: float
    sem: float | None = None


class Effort(Record):
    """How much training it took until validation first reached the study's target, at the chosen rate.

    Args:
        target: value of the selection metric.
        steps: steps, one for each seed that reached it.
        flops: the same in floating-point operations.
        reached: seeds that reached it.
        seeds: seeds there are.
    """

    target: float
    steps: tuple[int, ...]
    flops: tuple[float, ...]
    reached: int
    seeds: int


class CellResult(Record):
    """One place of the table.

    Args:
        task, arm, data_fraction: which.
        complete: whether every run it needs is finished.
        metric: the selection metric.
        higher_is_better: its direction. Every value in the record is as the runs give it, not turned.
        fraction: whether it is between 0 and 1 and written in percent.
        rates: every rate that was tried, ascending.
        chosen_rate: the one chosen on validation; None where none could be.
        reason: why none could be, or which rates were left out of the choice and why.
        at_edge: which end of the grid the chosen rate lies on: ``low``, ``high``, or empty.
        validation: at the chosen rate.
        test_split: the task's first test split, the one of the main table.
        test: for each test split, the selection metric over seeds.
        train: the selection metric on a sample of the training split, where the recipe asks for it.
        curve: validation over steps at the chosen rate.
        effort: where the study sets a target for the task.
        parameters: total, trained and reached.
        flops_per_step: floating-point operations of one training step.
        steps: steps of each run at the chosen rate, in the order of the seeds.
        best_steps: the steps that validated best.
        majority: test accuracy of always answering with the commonest class, where the task tells it and the selection
            metric is an accuracy.
        protocol, source, data_stand_in: of the task.
        task_options, backbone_options: every option of the two as the recipe resolved it; None where the runs do not
            tell.
        backbone, weights, init, weights_stand_in, blocks, width: of the backbone.
        freezing, freezing_options, readout, encoder, schedule, shuffle_tokens, head_options: as the run took them.
    """

    task: str
    arm: str
    data_fraction: float = 1.0
    complete: bool
    metric: str = ""
    higher_is_better: bool = True
    fraction: bool = False
    rates: tuple[RateResult, ...] = ()
    chosen_rate: float | None = None
    reason: str = ""
    at_edge: Literal["", "low", "high"] = ""
    validation: Estimate | None = None
    test_split: str = ""
    test: dict[str, Estimate] = {}
    train: Estimate | None = None
    curve: tuple[CurvePoint, ...] = ()
    effort: Effort | None = None
    parameters: dict[str, int] = {}
    flops_per_step: float | None = None
    steps: tuple[int, ...] = ()
    best_steps: tuple[int, ...] = ()
    majority: float | None = None
    task_name: str = ""
    protocol: str = ""
    source: str = ""
    data_stand_in: bool = False
    backbone: str = ""
    weights: str = ""
    init: str = ""
    weights_stand_in: bool = False
    blocks: int | None = None
    width: int | None = None
    freezing: str = ""
    freezing_options: dict[str, object] = {}
    readout: str = ""
    encoder: str = ""
    schedule: str = ""
    shuffle_tokens: bool = False
    head_options: dict[str, object] = {}
    task_options: dict[str, object] | None = None
    backbone_options: dict[str, object] | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_an_older_file(cls, given: Any) -> Any:
        if isinstance(given, dict) and "fraction" not in given:
            return {**given, "fraction": was_fraction(given.get("metric", ""))}
        return given

    @property
    def measure(self) -> Measure:
        """The selection metric, as reports write its values."""
        return Measure(self.metric, self.fraction)

    @property
    def main(self) -> Estimate | None:
        """The figure of the main table: the selection metric on the first test split."""
        return self.test.get(self.test_split)


class Comparison(Record):
    """Two arms on one task and share of data, paired by seed, on the first test split.

    Args:
        task, data_fraction: where.
        a, b: the arms; differences are ``a`` minus ``b``, turned so that above 0 means ``a`` is better.
        differences: one for each seed both have.
        mean: their mean.
        interval: of the mean, at the study's confidence, from Student's t; None below two pairs and where all
            differences are equal.
        t, degrees: of the paired test; None below three pairs and where all differences are equal.
        p: two-sided, None where no test can be made.
        p_holm: the same after Holm's correction over all comparisons and lifts of the study, each pair of arms once.
        allowance: what the arm that lost may have missed by its choice of the learning rate: the largest gain on
            validation that another rate shows on any seed; 0 where there was nothing to choose.
        p_verdict: as ``p_holm``, of the test that makes this allowance, see ``docs/statistics.md``; never below it. The
            verdict is made from this one.
        effect_size: Hedges' g of the paired differences, None where it cannot be computed.
        verdict: of ``a`` against ``b``: ``better`` or ``worse`` where ``p_verdict`` is below the study's ``level``.
        note: why there is no test, or which test was made instead.
    """

    task: str
    data_fraction: float = 1.0
    a: str
    b: str
    differences: tuple[float, ...]
    mean: float | None
    interval: tuple[float, float] | None
    t: float | None = None
    degrees: int | None = None
    p: float | None = None
    p_holm: float | None = None
    allowance: float = 0.0
    p_verdict: float | None = None
    effect_size: float | None = None
    verdict: Verdict
    note: str = ""


class Failure(Record):
    """A run that is missing.

    Args:
        task, arm, data_fraction, learning_rate, seed: which.
        address: its address.
        status: ``failed``, ``lost``, ``interrupted`` or ``waiting``.
        reason: in the words of the error.
    """

    task: str
    arm: str
    data_fraction: float = 1.0
    learning_rate: float
    seed: int
    address: str
    status: str
    reason: str


class RunRow(Record):
    """One run, for the list of runs.

    Args:
        address: names its folder, see `run_folder`.
        validation: best value of the selection metric.
        test: of the first test split, None where it was not opened.
    """

    task: str
    arm: str
    data_fraction: float = 1.0
    learning_rate: float
    seed: int
    address: str
    status: str
    steps: int
    validation: float | None = None
    test: float | None = None


class StudyResults(Record):
    """The results of a study.

    Args:
        format: of this file.
        name, description, question, profile: of the study.
        code_version: of the code its runs are addressed by.
        versions: of fptkit, Python and the libraries the runs were made with; several where they differ.
        tasks, arms, arm_summaries, reference: as in the study.
        seeds, learning_rates, search, budget: in words a reader understands.
        confidence: of the intervals.
        level: a verdict needs a ``p_verdict`` below this.
        cells: by task, fraction and arm.
        comparisons: those the study asks for, corrected together.
        lifts: the pretraining lift: the reference against each control that keeps its architecture, if there are any.
        skipped: cells that cannot be made, with the reason.
        failures: runs that are missing.
        runs: every run.
        warnings: what a reader must know first, most important first.
    """

    format: Literal[1] = 1
    name: str
    description: str = ""
    question: str = ""
    profile: str | None = None
    code_version: str
    versions: dict[str, tuple[str, ...]] = {}
    tasks: tuple[str, ...]
    arms: tuple[str, ...]
    arm_summaries: dict[str, str] = {}
    reference: str
    seeds: tuple[int, ...]
    learning_rates: tuple[float, ...]
    search: str
    budget: str
    confidence: float
    level: float = 0.04
    cells: tuple[CellResult, ...]
    comparisons: tuple[Comparison, ...]
    lifts: tuple[Comparison, ...] = ()
    skipped: dict[str, str] = {}
    failures: tuple[Failure, ...] = ()
    runs: tuple[RunRow, ...] = ()
    warnings: tuple[str, ...] = ()

    def cell(self, task: str, arm: str, data_fraction: float = 1.0) -> CellResult | None:
        """The cell of a place, None where it could not be made."""
        return next((c for c in self.cells if (c.task, c.arm, c.data_fraction) == (task, arm, data_fraction)), None)


class RunCost(Record):
    """What a run cost on the machine it ran on."""

    seconds: float
    peak_memory_mib: float
    device: str
    threads: int


class Costs(Record):
    """The costs of a study's runs, by address."""

    runs: dict[str, RunCost]


def run_folder(ledger_folder: Path, address: str) -> Path:
    """The folder of a run: beside the ledger, named by the first sixteen digits of its address."""
    return ledger_folder / "runs" / address[:16]


def read_results(folder: Path) -> StudyResults:
    """The results file of a study's folder.

    Raises:
        UsageError: there is none.
        DataError: it is damaged, or of another version.
    """
    return _read(folder / RESULTS, StudyResults)


def read_costs(folder: Path) -> Costs:
    """The costs file of a study's folder. Raises as `read_results`."""
    return _read(folder / COSTS, Costs)


def _read(path: Path, model: type[AnyRecord]) -> AnyRecord:
    try:
        text = path.read_bytes()
    except OSError as err:
        raise UsageError(f"{path.parent} holds no results of a study: {err.strerror or err}") from err
    try:
        return model.model_validate_json(text)
    except ValueError as err:
        raise DataError(f"{path} is damaged, or of another version of fptkit: {err}") from err
