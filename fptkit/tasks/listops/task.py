"""The task ``listops``: evaluate nested expressions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fptkit.errors import UnknownNameError
from fptkit.interfaces import Classes, SampledEvaluation, Shown, Split, Symbols, Task
from fptkit.sources import Unavailable, choose, shown_folder
from fptkit.sources.data_sets import files_of
from fptkit.tasks.examples import SymbolExamples
from fptkit.tasks.listops.arrays import Expressions
from fptkit.tasks.listops.files import read_expressions
from fptkit.tasks.listops.find import SPLITS, find_files, folder_of
from fptkit.tasks.listops.generate import TreeOptions, digests, draw
from fptkit.tasks.listops.grammar import CLOSE_ID, PAD, VOCABULARY, decode
from fptkit.tasks.listops.options import CUT_OF_FPT2021, ListOpsOptions
from fptkit.tasks.listops.preparation import ListOpsPreparation
from fptkit.tasks.reading.cautions import size_warnings
from fptkit.tasks.unmasked import UnmaskedExamples

_ADVICE = (
    "A folder has basic_train.tsv, basic_val.tsv and basic_test.tsv (Long Range Arena), or train_d20s.tsv and\n"
    "test_d20s.tsv (Nangia & Bowman), or train.tsv, validation.tsv and test.tsv, each also as .gz; set other names\n"
    "in task.files. 'fptkit data fetch listops' gets Long Range Arena's for the source 'lra'.\n"
    "Or list 'generated' as a further source."
)


class ListOps(Task):
    """Predict the value, 0 to 9, of nested expressions of minimum, maximum, median and sum modulo 10 over digits.

    Under ``clean`` the symbols are digits, operators with their opening bracket, and the closing bracket, which fully
    describe the nesting. Under ``fpt2021`` closing brackets are dropped, expressions are cut or padded to 512 symbols,
    and padding is read as tokens; validation and test are the validation data.

    Args:
        options: see `ListOpsOptions`.
        seed: the run's seed; the data do not depend on it.
        pinned: source that an earlier run of this recipe used; only it is tried.

    Attributes:
        majority_accuracy: for each split, the accuracy of always answering with the most frequent value of ``train``.

    Raises:
        SourceError: no listed source is available.
        DataError: a file of a source is damaged.
        UsageError: expressions with these options cannot be generated.

    Source: Tay et al. 2020, arXiv 2011.04006, section 2.2.1; kzl/universal-computation, datasets/listops.py, for
    ``fpt2021``. Difference from the latter: symbol ids are fixed, since random ones (fault D4) are not reproducible.
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
        self.warnings = size_warnings({name: len(some) for name, some in splits.items()})
        self._splits: dict[str, SymbolExamples | UnmaskedExamples] = {}
        if options.protocol == "fpt2021":
            self._prepare_as_the_paper(splits)
        else:
            self._prepare(splits, options, drawn=choice.entry == "generated")

    def show(self, split: str, index: int) -> Shown:
        """See `fptkit.Task.show`: the expression."""
        return Shown(text=decode(self._splits[split].symbols(index).tolist()))

    def split(self, name: str) -> Split:
        """Return the split ``train``, ``validation`` or ``test``.

        Raises:
            UnknownNameError: the task has no split of this name.
        """
        if name not in self._splits:
            raise UnknownNameError("split of task listops", name, self._splits)
        return self._splits[name]

    def _prepare(self, splits: Mapping[str, Expressions], options: ListOpsOptions, *, drawn: bool) -> None:
        self.input = Symbols(len(VOCABULARY), PAD)
        longest = max(int(some.lengths.max()) for some in splits.values())
        if drawn:
            longest = options.length[1]  # not the longest drawn one, so that positions do not depend on split sizes
        self.max_tokens = min(longest, options.max_length or longest)
        self.preparation = ListOpsPreparation(longest=self.max_tokens, max_length=options.max_length, brackets=True)
        for name, some in splits.items():
            self._splits[name] = _examples(some, options.max_length)
        if options.max_length and (note := _cut_note(splits, options.max_length)):
            self.notes = (*self.notes, note)

    def _prepare_as_the_paper(self, splits: Mapping[str, Expressions]) -> None:
        self.input = Symbols(CLOSE_ID, PAD)  # the closing bracket has the last id, so 15 symbols remain
        flat = {name: _without_brackets(some) for name, some in splits.items()}
        self.max_tokens = min(CUT_OF_FPT2021, max(int(some.lengths.max()) for some in flat.values()))
        self.preparation = ListOpsPreparation(longest=self.max_tokens, max_length=CUT_OF_FPT2021, brackets=False)
        for name, some in flat.items():
            examples = _examples(some, CUT_OF_FPT2021)
            self._splits[name] = UnmaskedExamples(examples, tokens=self.max_tokens, pad=PAD)
        self._splits["test"] = self._splits["validation"]
        self.majority_accuracy = {**self.majority_accuracy, "test": self.majority_accuracy["validation"]}
        self.sampled_evaluation = SampledEvaluation(batches=25, continued=True, incomplete=True)
        self.precision = "float32"
        self.notes = (
            *self.notes,
            "fpt2021: brackets dropped (D1); test is the validation data (D7); 25 batches per evaluation (D6), which "
            "continue through the data (D20); float32 unless the recipe names a precision (D21)",
            *([note] if (note := _cut_note(flat, CUT_OF_FPT2021)) else []),
        )


def _examples(some: Expressions, max_length: int | None) -> SymbolExamples:
    return SymbolExamples(some.symbols, some.offsets, some.values, pad=PAD, max_length=max_length)


def _without_brackets(some: Expressions) -> Expressions:
    """Return digits and operators only, with the values of the original expressions."""
    kept = some.symbols != CLOSE_ID
    offsets = np.concatenate([[0], np.cumsum(kept)])[some.offsets]
    return Expressions(some.symbols[kept], offsets, some.values)


def _open(entry: str, options: ListOpsOptions) -> tuple[dict[str, Expressions], tuple[str, ...]]:
    """Return the splits of a source, and notes on them."""
    if entry == "generated":
        return _drawn(options), (f"expressions generated by the rules of Long Range Arena, seed {options.seed}",)
    folder = folder_of(entry)
    if entry == "lra" and not files_of("listops", folder):
        raise Unavailable(f"no files of ListOps in {shown_folder(folder)}; fetch them: fptkit data fetch listops")
    paths = find_files(folder, options.files)
    splits = {name: read_expressions(path) for name, path in paths.items()}
    notes = [f"data of {shown_folder(folder)}: " + ", ".join(path.name for path in paths.values())]
    if "validation" not in splits:
        splits = _with_validation(splits, options.validation_size, paths["train"])
        notes.append(f"no validation file: the last {options.validation_size:,} of train are used for validation")
    return splits, (*notes, *_overlap_notes(splits))


def _drawn(options: ListOpsOptions) -> dict[str, Expressions]:
    """Generate test first and train last, so that the test split is independent of the sizes of the others."""
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


def _with_validation(splits: dict[str, Expressions], size: int, path: Path) -> dict[str, Expressions]:
    """Split the last expressions of train off for validation.

    Raises:
        Unavailable: train is too small.
    """
    train = splits["train"]
    if size >= len(train):
        raise Unavailable(
            f"{path.name} has only {len(train):,} expressions, too few to split off {size:,} for validation; lower "
            "validation_size"
        )
    order = np.arange(len(train))
    return {"train": train.take(order[:-size]), "validation": train.take(order[-size:]), "test": splits["test"]}


def _overlap_notes(splits: Mapping[str, Expressions]) -> list[str]:
    seen = set(digests(splits["train"]))
    notes = []
    for name in ("validation", "test"):
        if shared := sum(digest in seen for digest in digests(splits[name])):
            notes.append(f"{shared:,} of {len(splits[name]):,} expressions of {name} are also in train")
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
