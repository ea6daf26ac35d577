"""The task ``remote_homology``: predict the fold of a protein, at three distances from the training families."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fptkit.errors import DataError, UnknownNameError, UsageError
from fptkit.interfaces import Classes, SampledEvaluation, Shown, Split, Symbols, Task
from fptkit.sources import Unavailable, choose, shown_folder
from fptkit.sources.data_sets import DATA_SETS, changed_files
from fptkit.tasks.examples import SymbolExamples
from fptkit.tasks.homology import alphabet
from fptkit.tasks.homology.find import SPLITS, TEST_SPLITS, file_stem, folder_of, split_files
from fptkit.tasks.homology.options import RemoteHomologyOptions
from fptkit.tasks.homology.preparation import HomologyPreparation
from fptkit.tasks.homology.records import Record, read_records
from fptkit.tasks.homology.simulate import simulate
from fptkit.tasks.reading.cautions import size_warnings
from fptkit.tasks.reading.labels import Labels, find_classes
from fptkit.tasks.unmasked import UnmaskedExamples

_TITLES = {
    "train": "train",
    "validation": "validation",
    "test_fold_holdout": "fold hold-out",
    "test_superfamily_holdout": "superfamily hold-out",
    "test_family_holdout": "family hold-out",
}

# Settings of the paper's code. Source: kzl/universal-computation, datasets/remote_homology.py and experiment.py:
# classes of the output layer (TAPE has 1,195 folds), factor on the accuracy (the fraction of sequences that remains
# according to its authors), evaluation batch size in training batches. TAPE's loader keeps incomplete batches.
_FPT2021_CLASSES = 1200
_FPT2021_EVALUATION = SampledEvaluation(
    batches=25, size_factor=4, accuracy_factor=0.9739, continued=True, incomplete=True
)


class RemoteHomology(Task):
    """Predict the fold of a protein domain from its amino acids.

    The hold-outs test at three distances: superfamilies never seen in training (``test_fold_holdout``, which papers
    report), families never seen, members never seen.

    Args:
        options: see `RemoteHomologyOptions`.
        seed: the run's seed; the data do not depend on it.
        pinned: source that an earlier run of this recipe used; only it is tried.

    Attributes:
        majority_accuracy: for each split, the accuracy of always answering with the most frequent fold of ``train``.

    Raises:
        SourceError: no listed source is available.
        DataError: the files of a source are damaged or do not belong together.
        UsageError: protocol ``fpt2021``, and the data have a fold above its 1,200 outputs, or no sequence is short
            enough.

    Under ``fpt2021`` nothing is cropped: a batch with a sequence above ``max_length``, <cls> and <sep> included, is
    skipped (D8), padding is read as tokens (D9), ``test`` is the validation data (D7), and symbols are TAPE's 30 (D22).

    Source: Rao et al. 2019 (TAPE), section 4, with the splits of Hou et al. 2018 (DeepSF). Differences of ``clean``: no
    <cls> and <sep> symbols around the sequence; sequences above ``max_length`` are cropped to their first residues.
    ``fpt2021`` follows kzl/universal-computation, datasets/remote_homology.py.
    """

    input: Symbols
    output: Classes

    def __init__(self, options: RemoteHomologyOptions, *, seed: int, pinned: str | None = None) -> None:
        choice = choose(
            options.source,
            lambda entry: _open(entry, options),
            what="data of task remote_homology",
            pinned=pinned,
            advice=DATA_SETS["remote_homology"].advice,
        )
        records = choice.found
        self.protocol = options.protocol
        self.source = choice.entry
        self.stand_in = choice.stand_in or choice.entry == "simulated"  # a stand-in even if it is listed first
        as_the_paper = options.protocol == "fpt2021"
        self.test_splits = tuple(name for name in TEST_SPLITS if name in records)
        folds, classes = _folds(records, choice.entry, as_the_paper=as_the_paper)
        self.output = Classes(len(classes.names), names=classes.names)
        self.input = Symbols(len(alphabet.TAPE_SYMBOLS) if as_the_paper else alphabet.SYMBOL_COUNT, alphabet.PAD)
        self._longest = options.max_length

        unknown: Counter[str] = Counter()
        examples: dict[str, SymbolExamples] = {}
        lengths: list[int] = []
        for name, some in records.items():
            sizes = [len(record.primary) for record in some]
            symbols, strange = alphabet.encode("".join(record.primary for record in some))
            unknown += strange
            lengths += sizes
            offsets = np.concatenate([[0], np.cumsum(np.array(sizes, np.int64))])
            if as_the_paper:
                symbols, offsets = alphabet.to_tape(symbols, offsets)
            kept = None if as_the_paper else options.max_length
            examples[name] = SymbolExamples(symbols, offsets, folds[name], pad=alphabet.PAD, max_length=kept)
        self._splits: dict[str, SymbolExamples | UnmaskedExamples] = {**examples}
        around = 2 if as_the_paper else 0  # <cls> and <sep>
        self.max_tokens = min(max(lengths) + around, options.max_length)
        if not as_the_paper:  # which reads padding, so that an answer depends on the others of the batch
            self.preparation = HomologyPreparation(
                folds=classes.names, longest=self.max_tokens, max_length=options.max_length
            )
        commonest = int(np.bincount(folds["train"]).argmax())
        self.majority_accuracy = {name: float((labels == commonest).mean()) for name, labels in folds.items()}
        self.notes = (
            *(f"{entry}: {reason}" for entry, reason in choice.skipped),
            *_source_notes(choice.entry, options),
            *_data_notes(folds, lengths, options, unknown),
            *classes.notes,
        )
        self.warnings = size_warnings({name: len(labels) for name, labels in folds.items()})
        if as_the_paper:
            self._follow_the_paper(examples)

    def _follow_the_paper(self, examples: Mapping[str, SymbolExamples]) -> None:
        """Apply what ``fpt2021`` does: D6, D7, D8, D9, D20 and D21."""
        if self.output.count > _FPT2021_CLASSES:
            raise UsageError(
                f"remote_homology: the protocol fpt2021 has {_FPT2021_CLASSES:,} outputs, but the data have a fold "
                f"numbered {self.output.count - 1:,}; use protocol clean"
            )
        for name in ("train", "validation"):
            counts = examples[name].token_counts
            if counts is not None and counts.min() > self._longest:
                raise UsageError(
                    f"remote_homology: every sequence of {name} is above max_length {self._longest:,}, <cls> and "
                    "<sep> included, and the protocol fpt2021 skips batches with one; raise max_length or use protocol "
                    "clean"
                )
        self.output = Classes(_FPT2021_CLASSES)
        unmasked = {name: UnmaskedExamples(examples[name], pad=alphabet.PAD) for name in ("train", "validation")}
        self._splits = {**unmasked, "test": unmasked["validation"]}
        self.test_splits = ("test",)
        majority = self.majority_accuracy
        self.majority_accuracy = {
            "train": majority["train"],
            "validation": majority["validation"],
            "test": majority["validation"],
        }
        self.sampled_evaluation = _FPT2021_EVALUATION
        self.precision = "float32"
        self.notes = (
            *self.notes,
            "fpt2021: test is the validation data (D7); 25 batches per evaluation (D6), which continue through the "
            "data (D20), accuracy times 0.9739 (D8); padding is read as tokens (D9); TAPE's 30 symbols, with <cls> and "
            "<sep> around each sequence (D22); float32 unless the recipe names a precision (D21)",
        )

    def skips(self, split: Split, indices: Sequence[int]) -> bool:
        """Return whether the batch is skipped: under ``fpt2021``, if one of its sequences is too long (D8)."""
        if self.protocol != "fpt2021" or split.token_counts is None:
            return False
        return int(split.token_counts[np.asarray(indices, np.int64)].max()) > self._longest

    def show(self, split: str, index: int) -> Shown:
        """See `fptkit.Task.show`: the amino acids."""
        decode = alphabet.decode_tape if self.protocol == "fpt2021" else alphabet.decode
        return Shown(text=decode(self._splits[split].symbols(index)))

    def split(self, name: str) -> Split:
        """Return the split ``train``, ``validation`` or one of ``test_splits``.

        Raises:
            UnknownNameError: the task has no split of this name.
        """
        if name not in self._splits:
            raise UnknownNameError("split of task remote_homology", name, self._splits)
        return self._splits[name]


def _folds(
    records: Mapping[str, list[Record]], entry: str, *, as_the_paper: bool
) -> tuple[dict[str, NDArray[np.int64]], Labels]:
    """The class of each record by split, and the classes: the folds that occur, numbered without gaps.

    TAPE's own folds keep their numbers, and under ``fpt2021`` all do.
    """
    labels = {name: np.array([record.fold for record in some], np.int64) for name, some in records.items()}
    found = np.unique(np.concatenate(list(labels.values())))
    if as_the_paper or entry == "tape":
        return labels, Labels(tuple(map(str, range(max(int(found[-1]) + 1, 2)))))
    classes = find_classes(found.tolist(), "fold_label")
    return {name: np.searchsorted(found, some) for name, some in labels.items()}, classes


def _open(entry: str, options: RemoteHomologyOptions) -> dict[str, list[Record]]:
    if entry == "simulated":
        families = simulate(options.simulated)
        return {name: families.records(name) for name in SPLITS}
    if entry == "tape":
        if changed := changed_files(folder_of(entry)):
            raise DataError(
                f"{folder_of(entry) / changed[0]}: not the file that was fetched, its digest is another; fetch it "
                "again: fptkit data fetch remote_homology --force"
            )
        records = _read_folder(folder_of(entry), "fetch it: fptkit data fetch remote_homology")
        check_tape(records)
        return records
    return _read_folder(folder_of(entry), "see the layout: fptkit data status")


def _read_folder(folder: Path, advice: str) -> dict[str, list[Record]]:
    """Read the splits of a folder in TAPE's layout.

    Raises:
        Unavailable: the folder, train, validation or all three hold-outs are missing.
        DataError: a file is damaged or in another layout.
    """
    if not folder.is_dir():
        raise Unavailable(f"there is no folder {shown_folder(folder)}; {advice}")
    files = split_files(folder)
    missing = [name for name in ("train", "validation") if name not in files]
    if len(files) + len(missing) == 2:
        missing += TEST_SPLITS
    if missing:
        names = ", ".join(f"{file_stem(name)}.json" for name in missing)
        raise Unavailable(f"{shown_folder(folder)} lacks {names} (or .json.gz, .lmdb); {advice}")
    return {name: read_records(path) for name, path in files.items()}


def check_tape(records: Mapping[str, list[Record]]) -> None:
    """Check that these are TAPE's own records, since results on them are compared with published ones.

    Raises:
        DataError: the number of records of a split differs from TAPE's.
    """
    expected = DATA_SETS["remote_homology"].records
    for name, some in records.items():
        if len(some) != expected[file_stem(name)]:
            raise DataError(
                f"these are not TAPE's data: {name} has {len(some):,} records instead of "
                f"{expected[file_stem(name)]:,}.\nFor other data give their folder (source: path:DIR); download TAPE's "
                "with 'fptkit data fetch remote_homology --force'."
            )


def _source_notes(entry: str, options: RemoteHomologyOptions) -> tuple[str, ...]:
    if entry == "simulated":
        return (
            f"simulated protein families (seed {options.simulated.seed}), evolved on random trees under the LG model "
            "with insertions and deletions: no real proteins, not comparable with published results",
        )
    if entry == "tape":
        return ()
    folder = entry.removeprefix("path:")
    return (f"data of {folder}: comparable with published results only if these are TAPE's files",)


def _data_notes(
    folds: Mapping[str, np.ndarray],
    lengths: list[int],
    options: RemoteHomologyOptions,
    unknown: Counter[str],
) -> list[str]:
    sizes = ", ".join(f"{_TITLES[name]} {len(labels):,}" for name, labels in folds.items())
    seen = np.unique(folds["train"])
    median = int(np.median(lengths))
    kept = options.max_length - 2 if options.protocol == "fpt2021" else options.max_length  # without <cls> and <sep>
    most = min(max(lengths), kept)
    notes = [f"sequences: {sizes}; {len(seen):,} folds in train; median {median} residues, at most {most:,}"]
    if long := sum(length > kept for length in lengths):
        notes.append(
            f"{long:,} sequences are above {kept:,} residues, or {options.max_length:,} with <cls> and <sep>; batches "
            "with one are skipped"
            if options.protocol == "fpt2021"
            else f"{long:,} sequences are cropped to their first {kept:,} residues"
        )
    for name, labels in folds.items():
        if name != "train" and (unseen := int((~np.isin(labels, seen)).sum())):
            notes.append(f"{unseen:,} of {len(labels):,} sequences of {_TITLES[name]} have a fold not seen in train")
    if unknown:
        letters = ", ".join(f"{letter!r} {count:,}" for letter, count in unknown.most_common(5))
        notes.append(f"characters that are not amino-acid codes, read as X: {letters}")
    return notes
