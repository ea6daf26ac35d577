"""The results file of a study: everything its tables and figures need, and nothing that depends on the machine.

Times and memory are in a separate file, see `Costs`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, model_validator

from fptkit.errors import DataError, UsageError
from fptkit.files import was_fraction
from fptkit.lab.studies.verdicts import Answer, Comparison, NoiseSource, Rank

RESULTS = "results.json"
COSTS = "costs.json"


class Record(BaseModel):
    """Base of the records: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


AnyRecord = TypeVar("AnyRecord", bound=Record)


class Measure(NamedTuple):
    """The metric of a value.

    Args:
        name: name of the metric, empty before the first run.
        fraction: whether its values are between 0 and 1 and shown in percent.
    """

    name: str = ""
    fraction: bool = False


class Estimate(Record):
    """A mean over seeds.

    Args:
        values: one for each seed that has one, in the order of the seeds.
        mean: their mean; None if there is no value.
        sem: standard error of the mean; None for fewer than two values.
    """

    values: tuple[float, ...]
    mean: float | None
    sem: float | None


class RateResult(Record):
    """Results of one learning rate of a cell.

    Args:
        learning_rate: the rate.
        validation: selection metric at each seed's best step, over the seeds the rate was trained with.
        runs: addresses of its runs, in the order of the seeds.
        diverged: number of diverged runs.
        steps: steps of its longest run; fewer than the cell's if the search stopped the rate early.
    """

    learning_rate: float
    validation: Estimate
    runs: tuple[str, ...]
    diverged: int = 0
    steps: int = 0


class CommonRate(Record):
    """Results of one learning rate for all seeds, beside those of a choice for each seed.

    Args:
        learning_rate: the rate with the best mean validation over seeds; None if none could be chosen.
        validation: selection metric on validation at this rate.
        test: the same on each test split.
    """

    learning_rate: float | None
    validation: Estimate | None = None
    test: dict[str, Estimate] = {}


class CurvePoint(Record):
    """One point of the validation curve at the chosen rate: mean and standard error over seeds at a step."""

    step: int
    mean: float
    sem: float | None = None


class Effort(Record):
    """Training needed until validation first reached the study's target, at the chosen rate.

    Args:
        target: value of the selection metric.
        steps: number of steps, for each seed that reached the target.
        flops: the same in floating-point operations; empty if unknown.
        reached: number of seeds that reached the target.
        seeds: number of seeds.
    """

    target: float
    steps: tuple[int, ...]
    flops: tuple[float, ...]
    reached: int
    seeds: int


class CellResult(Record):
    """Results of one cell: one arm on one task with one fraction of the data.

    Args:
        task, arm, data_fraction: name of the cell.
        complete: whether every run it needs is finished.
        metric: the selection metric.
        higher_is_better: its direction. All values in the record have the sign the runs give.
        fraction: whether the metric is between 0 and 1 and shown in percent.
        rates: every rate that was tried, ascending.
        chosen_rates: the rate of each seed, chosen on validation; a seed without one is left out.
        chosen_rate: the rate if all seeds have the same, else None.
        common: results of one rate for all seeds, if the rate is chosen for each seed; else None.
        reason: why no rate could be chosen, or which rates were excluded from the choice and why.
        at_edge: the end of the grid at which chosen rates are: ``low``, ``high``, ``both``, or empty.
        validation: selection metric on validation, each seed at its own rate, as all following figures.
        test_split: the task's first test split, shown in the main table.
        test: for each test split, the selection metric over seeds.
        train: the selection metric on a sample of the training split, if the recipe asks for it.
        curve: validation over steps at the chosen rate.
        effort: training needed to reach the task's target, if the study sets one.
        parameters: number of total, trained and reached parameters.
        flops_per_step: floating-point operations of one training step.
        steps: steps of each run at the chosen rate, in the order of the seeds.
        best_steps: the step with the best validation of each of these runs.
        majority: test accuracy of always answering with the most frequent class; None if unknown or if the selection
            metric is not an accuracy.
        chance: accuracy of guessing without having learned anything; None as for ``majority``, or in older runs.
        task_name, protocol, source, data_stand_in: facts of the task.
        task_options, backbone_options: all their options as resolved by the recipe; None if the runs do not record
            them.
        backbone, weights, init, weights_stand_in, blocks, width: facts of the backbone.
        pretrained_on: the task that ``fptkit pretrain`` made its weights on; empty for all other weights.
        freezing, freezing_options, readout, encoder, schedule, shuffle_tokens, head_options: settings of the runs.
        training_parts: what the recipe named of the training, with its options, as in a run's ``summary.json``.
        held: sources of randomness whose seed the recipe fixes, so that the seeds of the study do not vary them.
        precision: how frozen weights were stored and multiplied, such as ``bfloat16``; several if the runs differ;
            empty if unknown.
    """

    task: str
    arm: str
    data_fraction: float = 1.0
    complete: bool
    metric: str = ""
    higher_is_better: bool = True
    fraction: bool = False
    rates: tuple[RateResult, ...] = ()
    chosen_rates: dict[int, float] = {}
    chosen_rate: float | None = None
    common: CommonRate | None = None
    reason: str = ""
    at_edge: Literal["", "low", "high", "both"] = ""
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
    chance: float | None = None
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
    held: dict[str, int] = {}
    task_options: dict[str, object] | None = None
    backbone_options: dict[str, object] | None = None
    precision: str = ""
    pretrained_on: str = ""
    training_parts: dict[str, object] = {}

    @model_validator(mode="before")
    @classmethod
    def _of_an_older_file(cls, given: Any) -> Any:
        if isinstance(given, dict) and "fraction" not in given:
            return {**given, "fraction": was_fraction(given.get("metric", ""))}
        return given

    @property
    def measure(self) -> Measure:
        """The selection metric, and how reports show its values."""
        return Measure(self.metric, self.fraction)

    @property
    def uninformed(self) -> float | None:
        """The better of ``chance`` and ``majority``: an accuracy that needs no learning; None if both are unknown."""
        return max((level for level in (self.chance, self.majority) if level is not None), default=None)

    @property
    def main(self) -> Estimate | None:
        """The result in the main table: the selection metric on the first test split."""
        return self.test.get(self.test_split)


class Failure(Record):
    """A missing run.

    Args:
        task, arm, data_fraction, learning_rate, seed, varied: its cell and trial.
        address: its address.
        status: ``failed``, ``lost``, ``interrupted`` or ``waiting``.
        reason: the error message, or why the run is not finished.
    """

    task: str
    arm: str
    data_fraction: float = 1.0
    learning_rate: float
    seed: int
    varied: str = ""
    address: str
    status: str
    reason: str


class RunRow(Record):
    """One run in the list of runs.

    Args:
        task, arm, data_fraction, learning_rate, seed, varied: its cell and trial.
        address: its address, which names its folder, see `run_folder`.
        status: its status, see `fptkit.lab.studies.outcome.Status`.
        steps: number of training steps done.
        validation: best value of the selection metric.
        test: selection metric on the first test split; None if not evaluated.
    """

    task: str
    arm: str
    data_fraction: float = 1.0
    learning_rate: float
    seed: int
    varied: str = ""
    address: str
    status: str
    steps: int
    validation: float | None = None
    test: float | None = None


class StudyResults(Record):
    """The results of a study.

    Args:
        format: format version of this file: 2; 1 is that of earlier versions, which chose a common rate.
        name, description, question, profile: the study's own.
        code_version: version of the code in its runs' addresses.
        versions: versions of fptkit, Python and the libraries that made the runs; several if they differ.
        tasks, arms, arm_summaries, reference: as in the study.
        seeds, learning_rates: as in the study; rates ascending. With ``until``, all seeds that any cell used.
        choose: whether each seed chose its own learning rate, or all a common one.
        until: how seeds are added until decided, described for readers; empty for a fixed number.
        smoke: whether the profile only shows that the study runs: its figures mean nothing.
        deviations: what differs from the locked plan, in order; empty without one.
        plan: digest of the locked plan; empty if the study was not locked.
        search, budget: described for readers.
        confidence: confidence level of the intervals.
        level: a verdict needs a corrected p below this.
        cells: results of the cells, by task, fraction and arm.
        comparisons: the comparisons the study asks for. Two arms on all tasks are one question, and p-values are
            corrected within it.
        lifts: pretraining lifts: the reference against each control that keeps its architecture, if there are any.
        answers: the combined test over tasks of each question.
        ranks: ranks of the arms on each task.
        noise: variance by source, if the study varies sources one at a time.
        skipped: impossible cells, with the reason.
        failures: missing runs.
        runs: every run.
        warnings: caveats for the reader, most important first.
    """

    format: Literal[1, 2] = 2
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
    choose: Literal["per_seed", "common"] = "common"
    until: str = ""
    smoke: bool = False
    deviations: tuple[str, ...] = ()
    plan: str = ""
    search: str
    budget: str
    confidence: float
    level: float = 0.05
    cells: tuple[CellResult, ...]
    comparisons: tuple[Comparison, ...]
    lifts: tuple[Comparison, ...] = ()
    answers: tuple[Answer, ...] = ()
    ranks: tuple[Rank, ...] = ()
    noise: tuple[NoiseSource, ...] = ()
    skipped: dict[str, str] = {}
    failures: tuple[Failure, ...] = ()
    runs: tuple[RunRow, ...] = ()
    warnings: tuple[str, ...] = ()

    def cell(self, task: str, arm: str, data_fraction: float = 1.0) -> CellResult | None:
        """The results of a cell; None if there is no such cell."""
        return next((c for c in self.cells if (c.task, c.arm, c.data_fraction) == (task, arm, data_fraction)), None)

    def seeds_of(self, cell: CellResult) -> tuple[int, ...]:
        """The seeds of one cell: those of the study, or fewer if seeds are added where a comparison is undecided."""
        if not self.until:
            return self.seeds
        name = (cell.task, cell.arm, cell.data_fraction)
        runs = [run for run in self.runs if (run.task, run.arm, run.data_fraction) == name and not run.varied]
        return tuple(sorted({run.seed for run in runs}))


class RunCost(Record):
    """Time and memory of a run, and the machine it used.

    Args:
        seconds: duration of the run.
        peak_memory_mib: peak memory in MiB.
        device: device it ran on.
        threads: number of CPU threads.
    """

    seconds: float
    peak_memory_mib: float
    device: str
    threads: int


class Costs(Record):
    """The costs of a study's runs, by address of the run."""

    runs: dict[str, RunCost]


def run_folder(ledger_folder: Path, address: str) -> Path:
    """Folder of a run: next to the ledger, named after the first sixteen digits of the address."""
    return ledger_folder / "runs" / address[:16]


def read_results(folder: Path) -> StudyResults:
    """Read the results file in a study's folder.

    Raises:
        UsageError: there is none.
        DataError: it is damaged, or written by another version of fptkit.
    """
    return _read(folder / RESULTS, StudyResults)


def read_costs(folder: Path) -> Costs:
    """Read the costs file in a study's folder. Raises the same errors as `read_results`."""
    return _read(folder / COSTS, Costs)


def _read(path: Path, model: type[AnyRecord]) -> AnyRecord:
    try:
        text = path.read_bytes()
    except OSError as err:
        raise UsageError(f"{path.parent} holds no results of a study: {err.strerror or err}") from err
    try:
        return model.model_validate_json(text)
    except ValueError as err:
        raise DataError(f"{path} is damaged, or written by another version of fptkit: {err}") from err
