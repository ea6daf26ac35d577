"""The task: options, sources, splits, batches, notes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fptkit.errors import DataError, SourceError, UnknownNameError, UsageError
from fptkit.interfaces import Classes, SampledEvaluation, Shown, Split, Symbols
from fptkit.sources.data_sets import DATA_SETS
from fptkit.tasks.examples import SymbolExamples
from fptkit.tasks.homology import alphabet
from fptkit.tasks.homology.find import SPLITS, file_stem
from fptkit.tasks.homology.options import RemoteHomologyOptions, SimulatedOptions
from fptkit.tasks.homology.records import Record, read_records, write_records
from fptkit.tasks.homology.task import RemoteHomology

SMALL = SimulatedOptions(folds=6, members_per_family=(4, 8), length=(40, 60))


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, so that nothing this machine holds is found."""
    monkeypatch.setenv("FPTKIT_DATA", str(tmp_path / "data"))
    return tmp_path / "data" / "remote_homology"


def write_folder(folder: Path, **splits: list[Record]) -> Path:
    folder.mkdir(parents=True)
    for name, records in splits.items():
        write_records(folder / f"{file_stem(name)}.json.gz", records)
    return folder


def small_folder(folder: Path, **changes: list[Record]) -> Path:
    splits = {
        "train": [Record("MKV", 0), Record("ACDEF", 1), Record("WY", 1)],
        "validation": [Record("MK", 1), Record("GG", 0)],
        "test_fold_holdout": [Record("ACD", 0)],
        "test_family_holdout": [Record("AAAA", 1), Record("CC", 0), Record("C", 0)],
        **changes,
    }
    return write_folder(folder, **{name: records for name, records in splits.items() if records})


def task_of(*source: str, **options: object) -> RemoteHomology:
    return RemoteHomology(RemoteHomologyOptions(source=source, simulated=SMALL, **options), seed=0)


def note_with(task: RemoteHomology, words: str) -> str:
    found = [note for note in task.notes if words in note]
    assert len(found) == 1, task.notes
    return found[0]


# --- options ------------------------------------------------------------------------------------------------------


def test_one_source_or_several() -> None:
    assert RemoteHomologyOptions().source == ("tape",)
    assert RemoteHomologyOptions(source="simulated").source == ("simulated",)
    assert RemoteHomologyOptions(source=["tape", "path:x y", "simulated"]).source == ("tape", "path:x y", "simulated")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "tapes"}, "unknown source 'tapes'; allowed: tape, path:DIR, simulated"),
        ({"source": ["tape", "hub:tape"]}, "unknown source 'hub:tape'; allowed"),
        ({"source": "path:"}, "'path:' names no folder; write path:DIR"),
        ({"source": []}, "at least 1"),
        ({"source": 3}, "source"),
        ({"protocol": "paper"}, "'clean' or 'fpt2021'"),
        ({"max_length": 0}, "greater than or equal to 1"),
        ({"lengths": 5}, "lengths"),
        ({"simulated": {"length": [90, 60]}}, r"expected \[smallest, largest\], got \[90, 60\]"),
        ({"simulated": {"members_per_family": [0, 4]}}, "greater than or equal to 1"),
        ({"simulated": {"length": [50]}}, "length"),
        ({"simulated": {"gamma_shape": 0}}, "greater than 0"),
        ({"simulated": {"family_distance": -1}}, "greater than or equal to 0"),
        ({"simulated": {"fold": 3}}, "fold"),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RemoteHomologyOptions.model_validate(options)


def test_every_option_is_described_and_the_schema_takes_one_source() -> None:
    for model in (RemoteHomologyOptions, SimulatedOptions):
        assert [name for name, field in model.model_fields.items() if not field.description] == []
    schema = RemoteHomologyOptions.model_json_schema()["properties"]["source"]
    assert [kind["type"] for kind in schema["anyOf"]] == ["string", "array"]


def test_options_survive_json() -> None:
    options = RemoteHomologyOptions(source=["tape", "simulated"])
    assert RemoteHomologyOptions.model_validate(json.loads(options.model_dump_json())) == options


def test_options_and_the_table_of_data_sets_are_light() -> None:
    imported = "fptkit.tasks.homology.options, fptkit.sources.data_sets"
    code = f"import sys, {imported}; print(*(x in sys.modules for x in sys.argv))"
    done = subprocess.run([sys.executable, "-c", code, "torch", "numpy"], capture_output=True, text=True, check=True)
    assert done.stdout.split()[1:] == ["False", "False"]


# --- the alphabet and batches -------------------------------------------------------------------------------------


def test_letters_are_numbered_from_one_and_case_does_not_count() -> None:
    ids, unknown = alphabet.encode(alphabet.LETTERS)
    assert ids.tolist() == list(range(1, 27))
    assert not unknown
    np.testing.assert_array_equal(alphabet.encode(alphabet.LETTERS.lower())[0], ids)
    assert alphabet.SYMBOL_COUNT == 27


def test_other_characters_are_read_as_x_and_counted() -> None:
    ids, unknown = alphabet.encode("A*c- é*")
    x = alphabet.LETTERS.index("X") + 1
    assert ids.tolist() == [1, x, 2, x, x, x, x]
    assert unknown == {"*": 2, "-": 1, " ": 1, "?": 1}


def examples(max_length: int | None = None) -> SymbolExamples:
    return SymbolExamples(
        np.array([1, 2, 3, 4, 5, 6, 7], np.uint8), np.array([0, 3, 4, 7]), np.array([10, 11, 12]), max_length=max_length
    )


def test_batches_are_padded_to_their_longest() -> None:
    batch = examples().batch([1, 2], torch.Generator())
    assert batch.inputs.tolist() == [[4, 0, 0], [5, 6, 7]]
    assert batch.targets.tolist() == [11, 12]
    assert batch.lengths is not None
    assert batch.lengths.tolist() == [1, 3]
    assert (batch.inputs.dtype, batch.targets.dtype, batch.lengths.dtype) == (torch.int64,) * 3


def test_batches_of_one_length_say_so() -> None:
    batch = examples().batch(np.array([2, 0, 0]), torch.Generator())
    assert batch.inputs.tolist() == [[5, 6, 7], [1, 2, 3], [1, 2, 3]]
    assert batch.lengths is None
    assert batch.mask is None
    assert examples().batch([1], torch.Generator()).inputs.tolist() == [[4]]


def test_the_pad_symbol_may_be_another() -> None:
    split = SymbolExamples(np.array([0, 1, 2]), np.array([0, 1, 3]), np.array([0, 1]), pad=9)
    assert split.batch([0, 1], torch.Generator()).inputs.tolist() == [[0, 9], [1, 2]]


def test_long_sequences_keep_their_first_symbols() -> None:
    split = examples(max_length=2)
    assert split.batch([0, 1, 2], torch.Generator()).inputs.tolist() == [[1, 2], [4, 0], [5, 6]]
    assert split.token_counts is not None
    assert split.token_counts.tolist() == [2, 1, 2]


def test_arrays_that_do_not_fit_are_refused() -> None:
    symbols = np.ones(4, np.uint8)
    with pytest.raises(ValueError, match="2 offsets up to 3"):
        SymbolExamples(symbols, np.array([0, 3]), np.array([1]))
    with pytest.raises(ValueError, match="2 targets"):
        SymbolExamples(symbols, np.array([0, 4]), np.array([1, 2]))
    with pytest.raises(ValueError, match="sequence 1 is empty"):
        SymbolExamples(symbols, np.array([0, 2, 2, 4]), np.array([1, 2, 3]))
    with pytest.raises(IndexError):
        examples().batch([3], torch.Generator())


# --- sources ------------------------------------------------------------------------------------------------------


def test_a_folder_becomes_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_folder(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)  # path: is relative to the working directory
    task = task_of("path:mine")
    assert (task.source, task.stand_in, task.protocol) == ("path:mine", False, "clean")
    assert task.input == Symbols(27, 0)
    assert task.output == Classes(2, names=("0", "1"))
    assert task.max_tokens == 5
    assert task.test_splits == ("test_fold_holdout", "test_family_holdout")
    assert task.split("train").batch([0, 1], torch.Generator()).inputs.tolist() == [[11, 9, 18, 0, 0], [1, 2, 3, 4, 5]]
    assert task.split("test_family_holdout").size == 3
    assert all(isinstance(task.split(name), Split) for name in ("train", "validation", *task.test_splits))
    assert task.majority_accuracy == pytest.approx(
        {"train": 2 / 3, "validation": 0.5, "test_fold_holdout": 0, "test_family_holdout": 1 / 3}
    )
    assert "train 3, validation 2, fold hold-out 1, family hold-out 3; 2 folds in train" in note_with(
        task, "sequences:"
    )
    assert note_with(task, "comparable").startswith("data of mine")


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    task = task_of(f"path:{small_folder(tmp_path / 'mine')}")
    with pytest.raises(UnknownNameError, match="unknown split of task remote_homology 'test_superfamily_holdout'"):
        task.split("test_superfamily_holdout")


def test_the_best_form_of_a_file_is_taken(tmp_path: Path) -> None:
    folder = small_folder(tmp_path / "mine")
    (folder / "remote_homology_train.json").write_text("this is not read")
    assert task_of(f"path:{folder}").split("train").size == 3
    (folder / "remote_homology_valid.json.gz").rename(folder / "kept.json.gz")
    (folder / "remote_homology_valid.json").write_text(json.dumps([{"primary": "A", "fold_label": 1}]))
    assert task_of(f"path:{folder}").split("validation").size == 1


def test_labels_of_all_splits_count_and_unseen_ones_are_noted(tmp_path: Path) -> None:
    folder = small_folder(tmp_path / "mine", test_fold_holdout=[Record("A", 7), Record("A", 0)])
    task = task_of(f"path:{folder}")
    assert task.output.names == ("0", "1", "7")
    assert note_with(task, "gaps").startswith("labels are numbers from 0 to 7 with gaps; the 3 classes")
    assert note_with(task, "not seen in train") == "1 of 2 sequences of fold hold-out have a fold not seen in train"


def test_odd_letters_are_noted(tmp_path: Path) -> None:
    task = task_of(f"path:{small_folder(tmp_path / 'mine', validation=[Record('a*-*', 0)])}")
    assert note_with(task, "read as X").endswith("'*' 2, '-' 1")


def test_long_sequences_are_cropped_and_never_skipped(tmp_path: Path) -> None:
    folder = small_folder(tmp_path / "mine")
    task = task_of(f"path:{folder}", max_length=4)
    assert task.max_tokens == 4
    assert task.split("train").size == 3
    assert task.split("train").batch([1], torch.Generator()).inputs.tolist() == [[1, 2, 3, 4]]
    assert note_with(task, "cropped") == "1 sequences are cropped to their first 4 residues"
    assert not [note for note in task_of(f"path:{folder}").notes if "cropped" in note]


@pytest.mark.parametrize("gone", ["train", "validation"])
def test_a_folder_without_a_needed_split_is_not_available(tmp_path: Path, gone: str) -> None:
    folder = small_folder(tmp_path / "mine", **{gone: []})
    with pytest.raises(SourceError, match=rf"lacks {file_stem(gone)}\.json \(or \.json\.gz, \.lmdb\)") as caught:
        task_of(f"path:{folder}")
    assert caught.value.exit_code == 3


def test_a_folder_without_any_hold_out_is_not_available(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="lacks remote_homology_test_fold_holdout"):
        task_of(f"path:{small_folder(tmp_path / 'mine', test_fold_holdout=[], test_family_holdout=[])}")


def test_a_damaged_file_is_an_error_and_not_a_reason_for_a_stand_in(tmp_path: Path) -> None:
    folder = small_folder(tmp_path / "mine")
    (folder / "remote_homology_valid.json.gz").write_bytes(b"")
    with pytest.raises(DataError, match="remote_homology_valid"):
        task_of(f"path:{folder}", "simulated")


def test_without_tape_the_error_says_what_to_do(data_folder: Path) -> None:
    with pytest.raises(SourceError) as caught:
        task_of("tape")
    assert str(data_folder) in str(caught.value)
    for advice in ("fptkit data fetch remote_homology", "path:DIR", "'simulated'"):
        assert advice in str(caught.value)


def test_a_stand_in_says_that_it_is_one() -> None:
    task = task_of("tape", "simulated")
    assert (task.source, task.stand_in) == ("simulated", True)
    assert "not comparable with published results" in note_with(task, "simulated protein families (seed 0)")
    assert task.test_splits == SPLITS[2:]
    assert any("there is no folder" in note for note in task.notes)  # why tape was not taken
    assert task_of("simulated").stand_in is True  # even where nothing else was asked for: these are no proteins


def test_a_pinned_source_is_the_only_one_tried() -> None:
    options = RemoteHomologyOptions(source=("tape", "simulated"), simulated=SMALL)
    assert RemoteHomology(options, seed=0, pinned="simulated").stand_in
    with pytest.raises(SourceError):
        RemoteHomology(options, seed=0, pinned="tape")


def tape_like(monkeypatch: pytest.MonkeyPatch, **counts: int) -> None:
    """Pretend that TAPE has these numbers of records, so that tests need not create 16,292."""
    data_set = DATA_SETS["remote_homology"]
    records = {file_stem(name): counts.get(name, 0) for name in SPLITS}
    monkeypatch.setattr(
        "fptkit.tasks.homology.task.DATA_SETS",
        {"remote_homology": type(data_set)(**{**vars(data_set), "records": records})},
    )


def test_tapes_files_are_found(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tape_like(monkeypatch, train=3, validation=2, test_fold_holdout=1, test_family_holdout=3)
    small_folder(data_folder)
    task = task_of("tape", "simulated")
    assert (task.source, task.stand_in) == ("tape", False)
    assert not [note for note in task.notes if "comparable" in note]


def test_other_data_do_not_pass_for_tapes(data_folder: Path) -> None:
    small_folder(data_folder)
    with pytest.raises(DataError, match="these are not TAPE's data: train has 3 records instead of 12,312") as caught:
        task_of("tape", "simulated")
    assert "path:DIR" in str(caught.value)


def test_the_run_seed_does_not_change_the_data() -> None:
    options = RemoteHomologyOptions(source="simulated", simulated=SMALL)
    one, other = (RemoteHomology(options, seed=seed).split("train") for seed in (0, 1))
    indices = list(range(20))
    assert torch.equal(one.batch(indices, torch.Generator()).inputs, other.batch(indices, torch.Generator()).inputs)


def test_loss_works_on_a_batch() -> None:
    task = task_of("simulated")
    batch = task.split("validation").batch([0, 1, 2], torch.Generator())
    logits = torch.nn.functional.one_hot(batch.targets, task.output.count).float() * 100
    assert task.loss(logits, batch).item() == pytest.approx(0, abs=1e-6)


def test_the_real_data_load(shared_data: Path) -> None:
    folder = shared_data / "homology"
    task = task_of(f"path:{folder}")
    assert task.output.count == 227
    assert task.max_tokens == 987
    sizes = [task.split(name).size for name in ("train", "validation", *task.test_splits)]
    assert sizes == [8530, 353, 199, 405, 430]
    shares = [round(100 * task.majority_accuracy[name], 1) for name in ("train", "validation", *task.test_splits)]
    assert shares == [5.2, 6.2, 0.5, 3.7, 6.3]  # as the data's own description has them
    assert not [note for note in task.notes if "not seen in train" in note or "read as X" in note]
    first = read_records(folder / "remote_homology_train.json.gz")[0]
    batch = task.split("train").batch([0, 1], torch.Generator())
    assert "".join(alphabet.LETTERS[token - 1] for token in batch.inputs[0] if token) == first.primary


# --- the protocol fpt2021 -----------------------------------------------------------------------------------------


def test_the_papers_protocol_reports_the_validation_data(tmp_path: Path) -> None:
    task = task_of(f"path:{small_folder(tmp_path / 'mine')}", protocol="fpt2021")
    assert task.protocol == "fpt2021"
    assert task.test_splits == ("test",)
    for name in ("validation", "test"):
        batch = task.split(name).batch([0, 1], torch.Generator())
        assert batch.inputs.tolist() == [[2, 16, 14, 3], [2, 11, 11, 3]]  # <cls> M K <sep>, <cls> G G <sep>
        assert batch.targets.tolist() == [1, 0]
    assert task.majority_accuracy == pytest.approx({"train": 2 / 3, "validation": 0.5, "test": 0.5})
    assert "(D7)" in note_with(task, "fpt2021")
    with pytest.raises(UnknownNameError, match="'test_fold_holdout'"):
        task.split("test_fold_holdout")


def test_the_papers_protocol_samples_and_scales(tmp_path: Path) -> None:
    task = task_of(f"path:{small_folder(tmp_path / 'mine')}", protocol="fpt2021")
    assert task.sampled_evaluation == SampledEvaluation(
        batches=25, size_factor=4, accuracy_factor=0.9739, continued=True, incomplete=True
    )
    assert (task.precision, task.complete_batches) == ("float32", False)
    assert task.output == Classes(1200)
    assert task_of("simulated").sampled_evaluation is None


def test_the_papers_protocol_reads_padding(tmp_path: Path) -> None:
    task = task_of(f"path:{small_folder(tmp_path / 'mine')}", protocol="fpt2021")
    batch = task.split("train").batch([0, 1, 2], torch.Generator())
    # <cls> M K V <sep> with padding, <cls> A C D E F <sep>, <cls> W Y <sep> with padding, in TAPE's ids.
    assert batch.inputs.tolist() == [[2, 16, 14, 25, 3, 0, 0], [2, 5, 7, 8, 9, 10, 3], [2, 26, 28, 3, 0, 0, 0]]
    assert batch.lengths is None
    assert batch.mask is None
    # The number of real symbols still groups the batches, as TAPE's loader does.
    assert task.split("train").token_counts is not None
    assert task.split("train").token_counts.tolist() == [5, 7, 4]
    assert task.show("train", 1) == Shown(text="ACDEF")


def test_the_papers_protocol_has_tapes_symbols(tmp_path: Path) -> None:
    """D22. The reference is a naive loop over TAPE's vocabulary `iupac`, written down from its repository."""
    special = {"<pad>": 0, "<mask>": 1, "<cls>": 2, "<sep>": 3, "<unk>": 4}
    vocabulary = {**special, **{letter: 5 + number for number, letter in enumerate("ABCDEFGHIKLMNOPQRSTUVWXYZ")}}
    sequences = [alphabet.LETTERS.replace("J", ""), "mkv", "AJ*U"]
    records = [Record(sequence, 0) for sequence in sequences]
    task = task_of(f"path:{small_folder(tmp_path / 'mine', train=records)}", protocol="fpt2021")
    assert task.input == Symbols(30, 0) == Symbols(len(vocabulary), vocabulary["<pad>"])
    read = ["".join(letter if letter in vocabulary else "X" for letter in text.upper()) for text in sequences]
    for number, sequence in enumerate(read):
        wanted = [vocabulary["<cls>"], *(vocabulary[letter] for letter in sequence), vocabulary["<sep>"]]
        batch = task.split("train").batch([number], torch.Generator())
        assert batch.inputs[0].tolist() == wanted
    assert task_of(f"path:{tmp_path / 'mine'}").input == Symbols(27, 0)


def test_the_papers_protocol_skips_batches_and_crops_nothing(tmp_path: Path) -> None:
    folder = small_folder(tmp_path / "mine")
    task = task_of(f"path:{folder}", protocol="fpt2021", max_length=6)
    train = task.split("train")
    assert task.max_tokens == 6
    assert [task.skips(train, indices) for indices in ([0], [0, 2], [1], [2, 1, 0], [0, 1])] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert train.batch([1], torch.Generator()).inputs.tolist() == [[2, 5, 7, 8, 9, 10, 3]]
    assert not task.skips(task.split("test"), [0, 1])
    note = "1 sequences are above 4 residues, or 6 with <cls> and <sep>; batches with one are skipped"
    assert note_with(task, "are above") == note
    clean = task_of(f"path:{folder}", max_length=4)
    assert not clean.skips(clean.split("train"), [0, 1, 2])


def test_the_papers_protocol_counts_the_symbols_around_a_sequence(tmp_path: Path) -> None:
    """D8: the paper's code skips a batch if ``input_ids.shape[1] > 1024``, and <cls> and <sep> are among them."""
    sizes = (1022, 1023, 1024, 1025)
    records = [Record("A" * size, 0) for size in sizes]
    task = task_of(f"path:{small_folder(tmp_path / 'mine', train=records)}", protocol="fpt2021")
    assert task.max_tokens == 1024
    assert [task.skips(task.split("train"), [number]) for number in range(4)] == [size + 2 > 1024 for size in sizes]
    assert "at most 1,022" in note_with(task, "median")
    assert note_with(task, "are above").startswith("3 sequences are above 1,022 residues")


def test_the_papers_protocol_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    many = small_folder(tmp_path / "many", train=[Record("A", 0), Record("A", 1200)])
    with pytest.raises(UsageError, match="1,200 outputs, but the data have a fold numbered 1,200"):
        task_of(f"path:{many}", protocol="fpt2021")
    assert task_of(f"path:{many}").output.names == ("0", "1", "1200")
    long = small_folder(tmp_path / "long")
    with pytest.raises(UsageError, match="every sequence of train is above max_length 1,"):
        task_of(f"path:{long}", protocol="fpt2021", max_length=1)


def test_the_papers_protocol_trains(tmp_path: Path) -> None:
    task = task_of("simulated", protocol="fpt2021")
    batch = task.split("test").batch([0, 1, 2], torch.Generator())
    assert task.loss(torch.zeros(3, 1200), batch).item() == pytest.approx(np.log(1200), rel=1e-5)
