"""The pages of the answers, from the bundles in ``docs/results/bundles``: tables, pictures, conclusions.

Every number of a page comes from the results in a bundle, which ``fptkit verify`` checks against its runs.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from fptkit.lab.published import Published, compare, load_published
from fptkit.lab.reporting import wording
from fptkit.lab.reporting.curves import convergence
from fptkit.lab.reporting.drawing import Picture
from fptkit.lab.reporting.forest import forest
from fptkit.lab.reporting.levels import CHANCE, level_texts, resolution_of
from fptkit.lab.reporting.questions import Question, questions_of
from fptkit.lab.reporting.sentences import counts, difference_of, finding, p_of
from fptkit.lab.reporting.write import StudyFiles, read_study
from fptkit.lab.studies.results import CellResult, StudyResults
from fptkit.lab.studies.verdicts import Comparison

ROOT = Path(__file__).resolve().parent.parent
PLAN = ROOT / "benchmarks" / "answers" / "plan.yaml"
BUNDLES = ROOT / "docs" / "results" / "bundles"
IMAGES = "--set tasks.mnist.task.source=path:mnist_subset.npz --set tasks.cifar10.task.source=path:cifar10_subset.npz"
HOMOLOGY = " --set tasks.homology.task.source=path:homology"
OTHERS = {
    "smollm2": {
        study: f"fptkit study {study} --workers 1 --threads 1 {IMAGES}"
        for study in ("smollm2_control", "smollm2_interface", "smollm2_nano")
    },
    "int8": {
        study: f"fptkit study benchmarks/{study}.yaml --workers 1 --threads 1 {IMAGES}{homology}"
        for study, homology in (
            ("int8", HOMOLOGY),
            ("int8_images", ""),
            ("int8_minilm", HOMOLOGY),
            ("int8_smollm2", HOMOLOGY),
        )
    },
}
"""Pages whose studies are not in the plan: the command of each study."""

Headline = tuple[str, str, str, str]

HEADLINES: tuple[Headline, ...] = (
    ("rq2", "language", "random", "`gpt2_nano`, frozen: pretrained on language against random weights"),
    ("rq2", "language", "statistics", "the same against random weights with its means and deviations"),
    ("language", "language", "random", "SmolLM2, frozen: pretrained on language against random weights"),
    ("rq1", "frozen_language", "full_random", "`gpt2_nano` frozen against training everything from random weights"),
    ("rq1", "frozen_language", "lstm", "`gpt2_nano` frozen against a trained LSTM"),
    ("rq3", "transformer", "lstm", "random weights, frozen: transformer against LSTM"),
    ("bodies", "english", "random", "what must it have seen? English prose against random weights"),
    ("rq5", "fpt", "output_norm", "frozen: trained input layer and positions against output layer and norms alone"),
)
"""Rows of the table in README: study, its two arms, and the question in words. A study without a bundle has none."""

NAMES = {
    "bit_memory": "Bit Memory",
    "bit_xor": "Bit XOR",
    "listops": "ListOps",
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "remote_homology": "homology",
    "spoken_digits": "spoken digits",
    "ecg5000": "ECG5000",
}
"""Names of the tasks in README."""

PICTURES = "answers"
"""Folder of the pictures, beside the pages."""

PAPER = "fpt2021"
MARGIN = 1.0
"""Points up to which a difference between two figures of the paper, which has no intervals, counts as none."""

MATRIX_FROM = 4
"""Number of questions from which a page shows a table of questions by tasks, too."""


@dataclass(frozen=True)
class Bundle:
    """A study in a bundle.

    Args:
        name: name of the study file.
        file: the bundle.
        study: what its reports are made from.
    """

    name: str
    file: Path
    study: StudyFiles

    @property
    def results(self) -> StudyResults:
        """Results of the study."""
        return self.study.results

    @property
    def core_hours(self) -> float:
        """Sum of the seconds of all runs, each on one thread."""
        return sum(cost.seconds for cost in self.study.costs.runs.values()) / 3600


def read_bundle(file: Path) -> Bundle:
    """Read a bundle's study without unpacking its runs.

    Args:
        file: a zip file that ``fptkit bundle`` wrote.
    """
    with tempfile.TemporaryDirectory() as place, zipfile.ZipFile(file) as archive:
        manifest = next(name for name in archive.namelist() if PurePosixPath(name).name == "manifest.json")
        folder = PurePosixPath(manifest).parent
        for name in ("results.json", "costs.json", "study.yaml"):
            target = Path(place) / name
            target.write_bytes(archive.read(str(folder / name)))
        return Bundle(file.stem, file, read_study(Path(place), Path(place)))


@cache
def bundles(folder: Path = BUNDLES) -> Mapping[str, Bundle]:
    """All bundles by the name of their study."""
    return {file.stem: read_bundle(file) for file in sorted(folder.glob("*.zip"))}


@cache
def _planned() -> tuple[dict[str, Any], ...]:
    return tuple(yaml.safe_load(PLAN.read_text("utf-8")))


def studies_of(page: str) -> list[str]:
    """Names of the studies of a page, in their order."""
    return [row["study"] for row in _planned() if row["page"] == page] + list(OTHERS.get(page, ()))


def command_of(name: str) -> str:
    """The command that makes a study."""
    others = {study: command for studies in OTHERS.values() for study, command in studies.items()}
    return others.get(name, f"python benchmarks/answers.py {name} --data DIR")


def page_text(page: str, folder: Path = BUNDLES) -> str:
    """The generated part of a page: a section for each of its studies.

    Args:
        page: its name, without the suffix.
        folder: of the bundles.
    """
    known = bundles(folder)
    return "\n\n".join(_section(known[name]) if name in known else _not_run(name) for name in studies_of(page))


def _not_run(name: str) -> str:
    return (
        f"## Study `{name}`\n\nNot run yet: there is no bundle `docs/results/bundles/{name}.zip`. "
        f"`{command_of(name)}` makes it."
    )


def summary_rows(folder: Path = BUNDLES) -> Iterator[tuple[str, ...]]:
    """A row for each study: its page, question, state, decided comparisons, and core-hours."""
    known = bundles(folder)
    for row in _planned():
        name, page = row["study"], row["page"]
        link = f"[{name}]({page}.md)"
        if name not in known:
            yield link, "not run yet", "", f"budget {row['core_hours']}"
            continue
        found = known[name]
        done = sum(is_decided(one) for one in found.results.comparisons)
        hours = f"{found.core_hours:.1f} of {row['core_hours']}"
        yield link, found.results.question, f"{done} of {len(found.results.comparisons)}", hours


def headline_rows(folder: Path = BUNDLES, headlines: Sequence[Headline] = HEADLINES) -> Iterator[tuple[str, ...]]:
    """Rows of the table in README: the question, what was found on which tasks, and the page.

    Args:
        folder: of the bundles.
        headlines: as `HEADLINES`.
    """
    known = bundles(folder)
    page_of = {row["study"]: row["page"] for row in _planned()}
    for study, a, b, words in headlines:
        if study in known:
            yield words, _in_short(known[study].results, a, b), f"[{study}](docs/results/{page_of[study]}.md)"


def _in_short(results: StudyResults, a: str, b: str) -> str:
    """The verdicts of a pair of arms, each with its tasks and their differences."""
    found: dict[str, list[str]] = {}
    for one in results.comparisons:
        if {one.a, one.b} == {a, b}:
            seen = one if one.a == a else _turned(one)
            size = difference_of(seen, wording.metric_of(results, one)).replace(" points", "")
            words = f"{NAMES.get(one.task, wording.place(one.task, one.data_fraction))} {size}"
            found.setdefault(seen.verdict if is_decided(one) else "undecided", []).append(words)
    order = ("better", "worse", "same", "undecided")
    return "; ".join(f"**{verdict}** on {wording.listed(found[verdict])}" for verdict in order if verdict in found)


def _turned(one: Comparison) -> Comparison:
    """A comparison, seen from its second arm."""
    bounds = None if one.interval is None else (-one.interval[1], -one.interval[0])
    verdict = {"better": "worse", "worse": "better"}.get(one.verdict, one.verdict)
    mean = None if one.mean is None else -one.mean
    return one.model_copy(update={"a": one.b, "b": one.a, "mean": mean, "interval": bounds, "verdict": verdict})


def is_decided(one: Comparison) -> bool:
    """Whether a comparison has a verdict."""
    return one.verdict in ("better", "worse", "same")


def pictures(folder: Path = BUNDLES) -> dict[str, str]:
    """All pictures of all pages: the path beside the pages, and the SVG."""
    return {
        _file_of(bundle, picture): picture.file()
        for bundle in bundles(folder).values()
        for picture in _pictures(bundle.results)
    }


def stale_pictures(results: Path, folder: Path = BUNDLES) -> list[tuple[Path, str]]:
    """Pictures that are missing or out of date below the folder of the pages, with their content."""
    made = ((results / name, text) for name, text in pictures(folder).items())
    return [(path, text) for path, text in made if not path.is_file() or path.read_text("utf-8") != text]


def _pictures(results: StudyResults) -> list[Picture]:
    return [*forest(results), *convergence(results)]


def _file_of(bundle: Bundle, picture: Picture) -> str:
    return f"{PICTURES}/{bundle.name}-{picture.key}.svg"


def _section(bundle: Bundle) -> str:
    """All about a study."""
    results = bundle.results
    parts = [f"## Study `{bundle.name}`", *_head(bundle), "### What we conclude", _bullets(_conclusions(results))]
    parts += ["### Levels", *_levels(results)]
    parts += ["### Differences", _differences(results), *_matrix(results), *_efforts(results)]
    parts += [f"![{picture.title}]({_file_of(bundle, picture)})" for picture in _pictures(results)]
    parts += ["### What we cannot conclude", _bullets(_limits(results))]
    return "\n\n".join(parts)


def _head(bundle: Bundle) -> Iterator[str]:
    """Question, size, commands."""
    results = bundle.results
    if results.smoke:
        yield "**Made by the profile smoke: it shows that the study runs; its figures mean nothing.**"
    complete, cells = sum(cell.complete for cell in results.cells), len(results.cells)
    if complete < cells:
        yield f"**Under way: {complete} of {cells} cells have all their runs, so every figure may change.**"
    yield f"**{results.question}** {results.description}{'.' if results.description else ''}".rstrip()
    plan = f"plan {results.plan[:12]}, locked before the first run" if results.plan else "not locked"
    yield (
        f"{len(results.runs):,} runs, {bundle.core_hours:.1f} core-hours, {len(results.seeds)} seeds at most; {plan}; "
        f"code {results.code_version[:12]}. Commands: make it, verify it, repeat one of its runs."
    )
    where = f"docs/results/bundles/{bundle.file.name}"
    commands = [command_of(bundle.name), f"fptkit verify {where}"]
    yield "\n".join(["```sh", *commands, f"fptkit verify {where} --rerun 1", "```"])


def _conclusions(results: StudyResults) -> Iterator[str]:
    """What was found for each pair of arms."""
    for question in questions_of(results):
        found = [one for one in question.comparisons if is_decided(one)]
        if found:
            yield f"{question.a} against {question.b}: {'; '.join(counts(found, len(question.comparisons)))}"
    if not any(map(is_decided, results.comparisons)):
        yield "nothing: no comparison is decided"


def _limits(results: StudyResults) -> Iterator[str]:
    """Undecided comparisons with the seeds they need, then warnings and deviations of the study."""
    for one in results.comparisons:
        if not is_decided(one):
            said = finding(one, wording.metric_of(results, one))
            note = f" ({one.note})" if one.note else ""
            yield f"{one.a} against {one.b} on {wording.place(one.task, one.data_fraction)}: {said}{note}"
    yield from (f"deviates from the plan: {text}" for text in results.deviations)
    yield from results.warnings
    yield "other sizes, longer training and other data may give other answers"


def _levels(results: StudyResults) -> Iterator[str]:
    """A row for each arm: test figures of all tasks, then chance."""
    cells = {(cell.arm, wording.place(cell.task, cell.data_fraction)): cell for cell in results.cells}
    arms, places = dict.fromkeys(arm for arm, _ in cells), dict.fromkeys(place for _, place in cells)
    unit = ", in percent" if all(cell.fraction for cell in results.cells) else ""
    yield f"Test{unit}: mean ± standard error over seeds, each at its own learning rate, chosen on validation."
    rows = [(arm, *(_level(cells.get((arm, place))) for place in places)) for arm in arms]
    chance = [level_texts([cell for (_, here), cell in cells.items() if here == place], CHANCE) for place in places]
    yield _table(("arm", *places), [*rows, (CHANCE, *(text or wording.NOTHING for text in chance))])


def _level(cell: CellResult | None) -> str:
    if cell is None or cell.test_split not in cell.test:
        return wording.NOTHING
    rates = wording.counted_rates(cell.chosen_rates.values()) if cell.chosen_rates else ""
    return f"{wording.mean_and_sem(cell.test[cell.test_split], cell.measure)} ({rates})"


def _differences(results: StudyResults) -> str:
    """A row for each comparison, with the paper's direction beside ours."""
    paper = paper_differences(results)
    rows = [
        (
            wording.place(one.task, one.data_fraction),
            f"{one.a} − {one.b}",
            difference_of(one, wording.metric_of(results, one)),
            resolution_of([one], wording.metric_of(results, one)) or wording.NOTHING,
            wording.p_value(p_of(one)),
            str(len(one.differences)),
            one.verdict,
            *_beside(one, paper.get((one.task, one.a, one.b))),
        )
        for question in questions_of(results)
        for one in question.comparisons
    ]
    heads = ("task", "arms", "difference [95 %]", "resolution", "p", "seeds", "verdict", "paper's", "beside ours")
    return _table(heads, rows)


def paper_differences(results: StudyResults) -> dict[tuple[str, str, str], float]:
    """Differences in points between the paper's figures for two arms, by task and arms, where it has both.

    Arms that differ in what the paper did not vary have one figure in common, and no difference.
    """
    published: Published = load_published(PAPER)
    theirs = {
        (pair.task, pair.arm): pair.theirs
        for pair in compare(results, published)
        if pair.theirs is not None and pair.ours is not None
    }
    return {
        (one.task, one.a, one.b): a.value - b.value
        for one in results.comparisons
        if (a := theirs.get((one.task, one.a))) and (b := theirs.get((one.task, one.b))) and a != b
    }


def _beside(one: Comparison, paper: float | None) -> tuple[str, str]:
    """The paper's difference, and whether its direction is ours."""
    if paper is None:
        return "no figure", ""
    return f"{paper:+.1f}".replace("-", "−"), agreement(one, paper)


def agreement(one: Comparison, paper: float) -> str:
    """Whether a difference of the paper, in points, has the direction of our verdict.

    Its figures have no intervals, so a difference up to `MARGIN` counts as none.
    """
    if not is_decided(one):
        return "can't tell"
    theirs = "same" if abs(paper) <= MARGIN else "better" if paper > 0 else "worse"
    return "agrees" if theirs == one.verdict else "disagrees"


def _matrix(results: StudyResults) -> Iterator[str]:
    """The differences once more, questions by tasks, if there are many."""
    questions = questions_of(results)
    if len(questions) < MATRIX_FROM:
        return
    yield "Questions by tasks, in points with 95 % interval; bold: decided."
    rows = [(f"{question.a} − {question.b}", *_of_tasks(results, question)) for question in questions]
    yield _table(("arms", *results.tasks), rows)


def _of_tasks(results: StudyResults, question: Question) -> Iterator[str]:
    by_task = {one.task: one for one in question.comparisons}
    for task in results.tasks:
        if (one := by_task.get(task)) is None:
            yield wording.NOTHING
            continue
        text = difference_of(one, wording.metric_of(results, one)).replace(" points", "")
        yield f"**{text}** {one.verdict}" if is_decided(one) else text


def _efforts(results: StudyResults) -> Iterator[str]:
    """Steps and operations to the targets, if the study has some."""
    rows = [_effort_row(cell) for cell in results.cells if cell.effort is not None]
    if rows:
        yield "Steps and operations until validation first reached the target; medians of the seeds that did."
        yield _table(("task", "arm", "target", "reached", "steps", "TFLOP"), rows)


def _effort_row(cell: CellResult) -> tuple[str, ...]:
    effort = cell.effort
    assert effort is not None
    target = f"{100 * effort.target:g} %" if cell.fraction else f"{effort.target:g}"
    steps = f"{_median(effort.steps):,.0f}" if effort.steps else wording.NOTHING
    flops = f"{_median(effort.flops) / 1e12:.2g}" if effort.flops else wording.NOTHING
    return cell.task, cell.arm, target, f"{effort.reached} of {effort.seeds}", steps, flops


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _bullets(texts: Iterable[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(' '.join(cell.split()) for cell in line)} |" for line in lines)
