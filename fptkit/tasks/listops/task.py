"""The task: expressions in, their value out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fptkit.errors import UnknownNameError
from fptkit.interfaces import Classes, SampledEvaluation, Split, Symbols, Task
from fptkit.sources import Unavailable, choose, shown_folder
from fptkit.tasks.examples import SymbolExamples
from fptkit.tasks.listops.arrays import Expressions
from fptkit.tasks.listops.files import read_expressions
from fptkit.tasks.listops.generate import TreeOptions, digests, draw
from fptkit.tasks.listops.grammar import CLOSE_ID, PAD, VOCABULARY
from fptkit.tasks.listops.options import CUT_OF_FPT2021, ListOpsFiles, ListOpsOptions
from fptkit.tasks.unmasked import UnmaskedExamples

SPLITS = ("train", "validation", "test")

LAYOUTS: tuple[Mapping[str, str], ...] = (
    {"train": "basic_train.tsv", "validation": "basic_val.tsv", "test": "basic_test.tsv"},  # Long Range Arena
    {"train": "train_d20s.tsv", "test": "test_d20s.tsv"},  # Nangia & Bowman
    {"train": "train.tsv", "validation": "validation.tsv", "test": "test.tsv"},
)
"""File names looked for in a folder, each also with ``.gz``; the first layout whose files are there is read."""

_ADVICE = (
    "A folder holds basic_train.tsv, basic_val.tsv and basic_test.tsv (Long Range Arena), or train_d20s.tsv and\n"
    "test_d20s.tsv (Nangia & Bowman), or train.tsv, validation.tsv and test.tsv, each also as .gz; other names go\n"
    "into task.files. Or list 'generated' as a further source."
)


class ListOps(Task):
    """The value, 0 to 9, of a nested expression of minimum, maximum, median and sum modulo 10 over digits.

    Under ``clean`` the symbols are digits, operators with their opening bracket, and the closing bracket: with them the
    nesting is whole. Under ``fpt2021`` the closing brackets are dropped, what is left is cut at 512 symbols, shorter
    expressions are filled up to there and the filling is read as tokens; validation and test are the validation data.

    Args:
        options: see `ListOpsOptions`.
        seed: of the run; the data do not depend on it.
        pinned: source an earlier run of this recipe took; only it is tried.

    Attributes:
        majority_accuracy: for each split, what always answering with the commonest value of ``train`` scores.

    Raises:
        SourceError: no listed source is available.
        DataError: a source is there but a file of it is damaged.
        UsageError: the asked expressions cannot be drawn.

    Source: Tay et al. 2020, arXiv 2011.04006, section 2.2.1; kzl/universal-computation, datasets/listops.py, for
    ``fpt2021``. Differences there: symbol ids are fixed, since random ones (fault D4) cannot be repeated; evaluation
    takes its batches in random order instead of the file's.
    """

    input: Symbols
    output: Classes

    def __init__(self, options: ListOpsOptions, *, seed: int, pinned: str | None = None) -> None:
        choice = choose(
            options.source,
            lambda entry: _open(entry, options),
            what="data of task listops",
            pinned=pinned,
            advice=_ADVICE,
        )
        splits, source_notes = choice.found
        self.protocol = options.protocol
        self.source, self.stand_in = choice.entry, choice.stand_in
        self.output = Classes(10)
        commonest = int(np.bincount(splits["train"].values).argmax())
        self.majority_accuracy = {name: float((some.values == commonest).mean()) for name, some in splits.items()}
        self.notes = (
            *(f"{entry}: {reason}" for entry, reason in choice.skipped),
            *source_notes,
            _size_note(splits),
        )
        self._splits: dict[str, Split] = {}
        if options.protocol == "fpt2021":
            self._prepare_as_the_paper(splits)
        else:
            self._prepare(splits, options, drawn=choice.entry == "generated")

    def split(self, name: str) -> Split:
        """The split ``train``, ``validation`` or ``test``.

        Raises:
            UnknownNameError: there is none of this name.
        """
        if name not in self._splits:
            raise UnknownNameError("split of task listops", name, self._splits)
        return self._splits[name]

    def _prepare(self, splits: Mapping[str, Expressions], options: ListOpsOptions, *, drawn: bool) -> None:
        self.input = Symbols(len(VOCABULARY), PAD)
        longest = max(int(some.lengths.max()) for some in splits.values())
        if drawn:
            longest = options.length[1]  # not of those that happen to be drawn: positions do not depend on sizes
        self.max_tokens = min(longest, options.max_length or longest)
        for name, some in splits.items():
            self._splits[name] = _examples(some, options.max_length)
        if options.max_length and (note := _cut_note(splits, options.max_length)):
            self.notes = (*self.notes, note)

    def _prepare_as_the_paper(self, splits: Mapping[str, Expressions]) -> None:
        self.input = Symbols(CLOSE_ID, PAD)  # the closing bracket has the last id: 15 symbols are left
        flat = {name: _without_brackets(some) for name, some in splits.items()}
        self.max_tokens = min(CUT_OF_FPT2021, max(int(some.lengths.max()) for some in flat.values()))
        for name, some in flat.items():
            examples = _examples(some, CUT_OF_FPT2021)
            self._splits[name] = UnmaskedExamples(examples, tokens=self.max_tokens, pad=PAD)
        self._splits["test"] = self._splits["validation"]
        self.majority_accuracy = {**self.majority_accuracy, "test": self.majority_accuracy["validation"]}
        self.sampled_evaluation = SampledEvaluation(batches=25)
        self.notes = (
            *self.notes,
            "fpt2021: brackets dropped (D1); test is the validation data (D7); 25 batches an evaluation (D6)",
            *([note] if (note := _cut_note(flat, CUT_OF_FPT2021)) else []),
        )


def _examples(some: Expressions, max_length: int | None) -> SymbolExamples:
    return SymbolExamples(some.symbols, some.offsets, some.values, pad=PAD, max_length=max_length)


def _without_brackets(some: Expressions) -> Expressions:
    """Digits and operators only; the values stay those of the whole expressions."""
    kept = some.symbols != CLOSE_ID
    offsets = np.concatenate([[0], np.cumsum(kept)])[some.offsets]
    return Expressions(some.symbols[kept], offsets, some.values)


def _open(entry: str, options: ListOpsOptions) -> tuple[dict[str, Expressions], tuple[str, ...]]:
    """The splits of a source, and notes on them."""
    if entry == "generated":
        return _drawn(options), (f"expressions drawn by the rules of Long Range Arena, seed {options.seed}",)
    folder = Path(entry.removeprefix("path:")).expanduser()
    paths = _find_files(folder, options.files)
    splits = {name: read_expressions(path) for name, path in paths.items()}
    notes = [f"data of {shown_folder(folder)}: " + ", ".join(path.name for path in paths.values())]
    if "validation" not in splits:
        splits = _with_validation(splits, options.validation_size, paths["train"])
        notes.append(f"there is no validation file: the last {options.validation_size:,} of train are validation")
    return splits, (*notes, *_overlap_notes(splits))


def _drawn(options: ListOpsOptions) -> dict[str, Expressions]:
    """Test first and train last: the sizes of train and validation leave the test split as it is."""
    trees = TreeOptions(*options.length, depth=options.max_depth, arguments=options.max_arguments)
    taken: set[bytes] = set()
    drawn = {
        name: draw(trees, count, seed=options.seed, name=name, taken=taken)
        for name, count in (
            ("test", options.test_size),
            ("validation", options.validation_size),
            ("train", options.train_size),
        )
    }
    return {name: drawn[name] for name in SPLITS}


def _find_files(folder: Path, files: ListOpsFiles) -> dict[str, Path]:
    """The file of each split; the validation split may have none.

    Raises:
        Unavailable: the folder, or a file that is needed, is not there.
    """
    if not folder.is_dir():
        raise Unavailable(f"there is no folder {shown_folder(folder)}")
    named = {name: folder / file for name in SPLITS if (file := getattr(files, name))}
    for path in named.values():
        if not path.is_file():
            raise Unavailable(f"{shown_folder(folder)} lacks {path.name}, which task.files names")
    for layout in LAYOUTS:
        found = {**_present(folder, layout), **named}
        if "train" in found and "test" in found:
            return {name: found[name] for name in SPLITS if name in found}
    raise Unavailable(f"{shown_folder(folder)} lacks a file for train or for test")


def _present(folder: Path, layout: Mapping[str, str]) -> dict[str, Path]:
    return {
        name: path for name, file in layout.items() for path in (folder / f"{file}.gz", folder / file) if path.is_file()
    }


def _with_validation(splits: dict[str, Expressions], size: int, path: Path) -> dict[str, Expressions]:
    """Hold the last expressions of train out.

    Raises:
        Unavailable: train is too small for that.
    """
    train = splits["train"]
    if size >= len(train):
        raise Unavailable(
            f"{path.name} holds {len(train):,} expressions, too few to hold {size:,} out for validation; set "
            "validation_size"
        )
    order = np.arange(len(train))
    return {"train": train.take(order[:-size]), "validation": train.take(order[-size:]), "test": splits["test"]}


def _overlap_notes(splits: Mapping[str, Expressions]) -> list[str]:
    seen = set(digests(splits["train"]))
    notes = []
    for name in ("validation", "test"):
        if shared := sum(digest in seen for digest in digests(splits[name])):
            notes.append(f"{shared:,} of {len(splits[name]):,} expressions of {name} are in train as well")
    return notes


def _size_note(splits: Mapping[str, Expressions]) -> str:
    sizes = ", ".join(f"{name} {len(some):,}" for name, some in splits.items())
    lengths = np.concatenate([some.lengths for some in splits.values()])
    return (
        f"expressions: {sizes}; median {int(np.median(lengths)):,} symbols with brackets, "
        f"{lengths.min():,} to {lengths.max():,}"
    )


def _cut_note(splits: Mapping[str, Expressions], kept: int) -> str:
    lengths = np.concatenate([some.lengths for some in splits.values()])
    cut = int((lengths > kept).sum())
    return f"{cut:,} of {len(lengths):,} expressions are cut to their first {kept:,} symbols" if cut else ""
