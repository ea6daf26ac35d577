"""The pages of the answers, from the bundles in ``docs/results/bundles``: tables, pictures, conclusions.

Every number of a page comes from the results in a bundle, which ``fptkit verify`` checks against its runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from answer_tables import (
    differences,
    efforts,
    is_decided,
    levels,
    matrix,
    steps_compared,
    with_results,
    without_results,
)

from fptkit.lab.reporting import wording
from fptkit.lab.reporting.curves import convergence
from fptkit.lab.reporting.drawing import Picture
from fptkit.lab.reporting.forest import forest
from fptkit.lab.reporting.questions import questions_of
from fptkit.lab.reporting.sentences import counts, difference_of, finding, over, sentence
from fptkit.lab.reporting.write import StudyFiles, read_study
from fptkit.lab.studies.results import Measure, StudyResults
from fptkit.lab.studies.verdicts import Answer, Comparison
from fptkit.lab.verification.bundles.archive import unpacked
from fptkit.lab.verification.bundles.bundle import study_in

ROOT = Path(__file__).resolve().parent.parent
PLAN = ROOT / "benchmarks" / "answers" / "plan.yaml"
BUNDLES = ROOT / "docs" / "results" / "bundles"
IMAGES = "--set tasks.mnist.task.source=path:mnist_subset.npz --set tasks.cifar10.task.source=path:cifar10_subset.npz"
HOMOLOGY = "--set tasks.homology.task.source=path:homology"
OTHERS = {
    "smollm2": {
        study: f"fptkit study {study} --workers 1 --threads 1 {IMAGES}"
        for study in ("smollm2_control", "smollm2_interface", "smollm2_nano")
    },
    "int8": {
        study: f"fptkit study benchmarks/{study}.yaml --workers 1 --threads 1 {overrides}"
        for study, overrides in (
            ("int8", f"{IMAGES} {HOMOLOGY}"),
            ("int8_images", IMAGES),
            ("int8_equal", HOMOLOGY),
            ("int8_minilm", f"{IMAGES} {HOMOLOGY}"),
            ("int8_smollm2", f"{IMAGES} {HOMOLOGY}"),
        )
    },
}
"""Pages whose studies are not in the plan: the command of each study."""

Finding = TypeVar("Finding", Comparison, Answer)

Headline = tuple[str, str, str, str]

HEADLINES: tuple[Headline, ...] = (
    ("rq2", "language", "random", "`gpt2_nano`, frozen: pretrained on language against random weights"),
    ("rq2_undecided", "language", "random", "the same with sixteen other seeds, on three tasks that were undecided"),
    (
        "rq2",
        "language",
        "statistics",
        "`gpt2_nano`, frozen: language against random weights with its means and deviations",
    ),
    ("language", "language", "random", "SmolLM2, frozen: pretrained on language against random weights"),
    ("rq1", "frozen_language", "full_random", "`gpt2_nano` frozen against training everything from random weights"),
    ("rq1", "frozen_language", "lstm", "`gpt2_nano` frozen against a trained LSTM"),
    ("rq3", "transformer", "lstm", "random weights, frozen: transformer against LSTM"),
    ("bodies", "english", "random", "what must it have seen? English prose against random weights"),
    (
        "rq5",
        "output_norm_input",
        "output_norm",
        "`gpt2_nano`, frozen: input layer trained as well as output and norms",
    ),
    ("rq5", "fpt", "frozen_norm", "`gpt2_nano`, frozen: trained layer norms against frozen ones"),
    ("rq5", "attention", "fpt", "`gpt2_nano`: attention trained as well, at rates from 3e-3 on, against frozen"),
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
    """Read the study of a bundle.

    Args:
        file: what ``fptkit bundle`` wrote.
    """
    with unpacked(file) as folder:
        study = study_in(folder)
        return Bundle(_study_of(file), file, read_study(study, study))


def _study_of(file: Path) -> str:
    """The name of a bundle's study."""
    return file.name.removesuffix(".zip").removesuffix(".tar.xz")


def bundle_files(folder: Path = BUNDLES) -> list[Path]:
    """The files of all bundles."""
    return sorted(path for path in folder.iterdir() if path.name.endswith((".zip", ".tar.xz")))


@cache
def bundles(folder: Path = BUNDLES) -> Mapping[str, Bundle]:
    """All bundles by the name of their study."""
    return {_study_of(file): read_bundle(file) for file in bundle_files(folder)}


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
        f"## Study `{name}`\n\nNot run yet: there is no bundle of it in `docs/results/bundles/`. "
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
    """The verdicts of a pair of arms: over all tasks, and each with its tasks and their differences."""
    question = next(one for one in questions_of(results) if {one.a, one.b} == {a, b})
    found: dict[str, list[str]] = {}
    for one in question.comparisons:
        seen = one if one.a == a else _turned(one)
        size = difference_of(seen, wording.metric_of(results, one)).replace(" points", "")
        words = f"{NAMES.get(one.task, wording.place(one.task, one.data_fraction))} {size}"
        found.setdefault(seen.verdict if is_decided(one) else "undecided", []).append(words)
    order = ("better", "worse", "same", "undecided")
    parts = [f"**{verdict}** on {wording.listed(found[verdict])}" for verdict in order if verdict in found]
    answer = question.answer
    if answer is not None and not question.single and is_decided(answer):
        whole = answer if answer.a == a else _turned(answer)
        size = difference_of(whole, question.metric(results) or Measure()).replace(" points", "")
        parts.insert(0, f"**{whole.verdict}** {over(whole.places, len(question.comparisons))} {size}")
    return "; ".join(parts)


def _turned(one: Finding) -> Finding:
    """A comparison, or the answer over all tasks, seen from its second arm."""
    bounds = None if one.interval is None else (-one.interval[1], -one.interval[0])
    verdict = {"better": "worse", "worse": "better"}.get(one.verdict, one.verdict)
    mean = None if one.mean is None else -one.mean
    return one.model_copy(update={"a": one.b, "b": one.a, "mean": mean, "interval": bounds, "verdict": verdict})


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
    shown = with_results(results)
    return [*forest(shown), *convergence(shown)]


def _file_of(bundle: Bundle, picture: Picture) -> str:
    return f"{PICTURES}/{bundle.name}-{picture.key}.svg"


def _section(bundle: Bundle) -> str:
    """All about a study."""
    results = bundle.results
    parts = [f"## Study `{bundle.name}`", *_head(bundle), "### What we conclude", _bullets(_conclusions(results))]
    shown = with_results(results)
    parts += ["### Levels", *levels(shown)]
    parts += ["### Differences", differences(shown), *matrix(shown), *efforts(shown)]
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
    yield (
        f"{len(results.runs):,} runs, {bundle.core_hours:.1f} core-hours, {len(results.seeds)} seeds at most; "
        f"{_plan(results)}; code {results.code_version[:12]}. Commands: make it, verify it, repeat one of its runs; "
        "`--run NAME` repeats the one of your choice, named as in the report of the bundle."
    )
    where = f"docs/results/bundles/{bundle.file.name}"
    commands = [command_of(bundle.name), f"fptkit verify {where}"]
    yield "\n".join(["```sh", *commands, f"fptkit verify {where} --rerun 1", "```"])


def _plan(results: StudyResults) -> str:
    """Whether a plan was locked and followed; one that was locked late has this as a deviation."""
    if not results.plan:
        return "not locked"
    number = len(results.deviations)
    if not number:
        return f"plan {results.plan[:12]}, locked before the first run"
    return f"plan {results.plan[:12]}, locked, with {number} deviation{'' if number == 1 else 's'} (below)"


def _conclusions(results: StudyResults) -> Iterator[str]:
    """What was found for each pair of arms, on single tasks and over all of them."""
    said = False
    for question in questions_of(results):
        found = [one for one in question.comparisons if is_decided(one)]
        if found:
            said = True
            yield f"{question.a} against {question.b}: {'; '.join(counts(found, len(question.comparisons)))}"
        answer = question.answer
        if answer is not None and not question.single and is_decided(answer):
            said = True
            yield sentence(answer, over(answer.places, len(question.comparisons)), question.metric(results))
        if steps := steps_compared(results, question.a, question.b):
            yield steps
    if not said:
        yield "nothing: no comparison is decided"


def _limits(results: StudyResults) -> Iterator[str]:
    """Tasks without results, undecided comparisons with the seeds they need, deviations and warnings of the study."""
    if empty := without_results(results):
        yield f"anything about {wording.listed(empty)}: no results yet"
    for one in results.comparisons:
        if not is_decided(one) and one.task not in empty:
            said = finding(one, wording.metric_of(results, one))
            note = f" ({one.note})" if one.note else ""
            yield f"{one.a} against {one.b} on {wording.place(one.task, one.data_fraction)}: {said}{note}"
    yield from (f"deviates from the plan: {text}" for text in results.deviations)
    yield from results.warnings
    yield "other sizes, longer training and other data may give other answers"


def _bullets(texts: Iterable[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)
