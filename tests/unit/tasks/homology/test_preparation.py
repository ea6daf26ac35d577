"""New protein sequences are prepared as those of a split."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fptkit.errors import DataError
from fptkit.tasks.homology.find import file_stem
from fptkit.tasks.homology.options import RemoteHomologyOptions
from fptkit.tasks.homology.preparation import HomologyPreparation
from fptkit.tasks.homology.records import Record, write_records
from fptkit.tasks.homology.task import RemoteHomology

TRAIN = [Record("ACDEF", 3), Record("GHIKLMN", 7), Record("PQRST", 3), Record("VWYXBZJUO", 7)]
NEW = [Record("acd", 7), Record("MKVLAT", 3), Record("MK*-1", 7)]


def task_of(tmp_path: Path, **options: object) -> RemoteHomology:
    folder = tmp_path / "tape"
    folder.mkdir()
    for name, records in (("train", TRAIN), ("validation", NEW), ("test_fold_holdout", NEW)):
        write_records(folder / f"{file_stem(name)}.json.gz", records)
    return RemoteHomology(RemoteHomologyOptions.model_validate({"source": f"path:{folder}", **options}), seed=0)


def preparation_of(task: RemoteHomology) -> HomologyPreparation:
    assert isinstance(task.preparation, HomologyPreparation)
    saved = HomologyPreparation.model_validate_json(task.preparation.model_dump_json())
    assert (saved.input, saved.output, saved.max_tokens) == (task.input, task.output, task.max_tokens)
    return saved


def write(tmp_path: Path) -> list[Path]:
    """The same sequences as FASTA, as a table, and in TAPE's layout."""
    fasta = "".join(f">s{number} fold={one.fold}\n{one.primary}\n" for number, one in enumerate(NEW))
    (tmp_path / "new.fasta").write_text(fasta)
    rows = "".join(f"{one.primary},{one.fold}\n" for one in NEW)
    (tmp_path / "new.csv").write_text("primary,fold_label\n" + rows)
    write_records(tmp_path / "new.json.gz", NEW)
    return [tmp_path / name for name in ("new.fasta", "new.csv", "new.json.gz")]


@pytest.mark.parametrize("max_length", [1024, 4])
def test_files_become_what_a_split_has(tmp_path: Path, max_length: int) -> None:
    task = task_of(tmp_path, max_length=max_length)
    expected = task.split("validation").batch(range(3), torch.Generator())
    preparation = preparation_of(task)
    for path in write(tmp_path):
        found = preparation.prepare(preparation.read([f"path:{path}"]))
        assert torch.equal(found.inputs, expected.inputs), path
        assert torch.equal(found.targets, expected.targets), path
        assert found.lengths is not None
        assert expected.lengths is not None
        assert torch.equal(found.lengths, expected.lengths), path


def test_without_labels(tmp_path: Path) -> None:
    preparation = preparation_of(task_of(tmp_path))
    (tmp_path / "new.fasta").write_text(">a\nMKV\nLAT\n>b\nMK\n")
    found = preparation.read([f"path:{tmp_path / 'new.fasta'}"])
    assert found.labels == {}
    assert list(found.content) == ["MKVLAT", "MK"]


def test_sequences_that_do_not_fit(tmp_path: Path) -> None:
    preparation = preparation_of(task_of(tmp_path))
    (tmp_path / "long.csv").write_text(f"sequence\n{'A' * 40}\n")
    with pytest.raises(DataError, match=r"long\.csv:2: 40 residues, but the longest .* has 9"):
        preparation.prepare(preparation.read([f"path:{tmp_path / 'long.csv'}"]))
    (tmp_path / "fold.csv").write_text("sequence,fold\nMKV,99\n")
    with pytest.raises(DataError, match=r"fold\.csv:2: unknown fold '?99"):
        preparation.prepare(preparation.read([f"path:{tmp_path / 'fold.csv'}"]))
    (tmp_path / "none.csv").write_text("letters\nMKV\n")
    with pytest.raises(DataError, match="no column of sequences"):
        preparation.read([f"path:{tmp_path / 'none.csv'}"])


def test_the_protocol_of_the_paper_has_no_preparation(tmp_path: Path) -> None:
    assert task_of(tmp_path, protocol="fpt2021").preparation is None
