"""FASTA, compared with Biopython where it is installed; headers; tables of labels."""

from __future__ import annotations

import gzip
import io
import random
from pathlib import Path

import pytest

from fptkit.errors import DataError, UsageError
from fptkit.tasks.sequences.options import SequenceOptions
from fptkit.tasks.sequences.reader import fasta_records, files, label_table, read_sequences, with_labels


def fasta(folder: Path, *headers: str, sequence: str = "ACGT", name: str = "a.fasta") -> Path:
    (folder / name).write_text("".join(f">{header}\n{sequence}\n" for header in headers))
    return folder / name


def test_records_are_those_of_biopython(tmp_path: Path) -> None:
    parser = pytest.importorskip("Bio.SeqIO.FastaIO").SimpleFastaParser
    chance, text = random.Random(0), ""
    for number in range(50):
        sequence = "".join(chance.choices("ACGTacgt-*N", k=chance.randint(1, 200)))
        width = chance.choice([1, 7, 60, 1000])
        lines = [sequence[start : start + width] for start in range(0, len(sequence), width)]
        ending = chance.choice(["\n", "\r\n"])
        text += f">id{number} some=thing | x{ending}{ending.join(lines)}{ending}{chance.choice(['', ending])}"
    (tmp_path / "a.fa").write_bytes(text.encode())
    expected = list(parser(io.StringIO(text, newline=None)))
    assert [(header, sequence) for _, header, sequence in fasta_records(tmp_path / "a.fa")] == expected
    (tmp_path / "b.fna.gz").write_bytes(gzip.compress(text.encode("utf-8-sig")))
    assert read_sequences(tmp_path / "b.fna.gz").columns["sequence"] == [sequence for _, sequence in expected]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "no records"),
        ("\n\n", "no records"),
        ("ACGT\n", ":1: expected a header"),
        ("x\n>a\nACGT\n", ":1: expected a header"),
        (">a\n>b\nACGT\n", ":1: record 'a' has no sequence"),
        (">a\nACGT\n>b\n \n", ":3: record 'b' has no sequence"),
        (">a\nAC\0GT\n", ":2: a zero byte"),
    ],
)
def test_faults_name_the_line(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "a.fasta").write_text(text)
    with pytest.raises(DataError) as raised:
        read_sequences(tmp_path / "a.fasta")
    assert str(raised.value).startswith(f"{tmp_path}/a.fasta{fault}" if fault[0] == ":" else f"{tmp_path}/a.fasta: ")
    assert fault in str(raised.value)


@pytest.mark.parametrize(
    ("headers", "columns"),
    [
        (["s1 label=kinase", "s2 label=other"], {"label": ["kinase", "other"]}),
        (["s1|kinase", "s2|other"], {"label": ["kinase", "other"]}),
        (["s1 kinase", "s2 some other"], {"label": ["kinase", "other"]}),
        (["s1", "s2"], {}),
        (["s1 kinase", "s2"], {}),
        (
            ["sp|P1|A_HUMAN Some protein OS=Homo sapiens OX=9606 GN=A", "sp|P2|B_MOUSE Other OS=Mus musculus OX=10090"],
            {"OS": ["Homo sapiens", "Mus musculus"], "OX": ["9606", "10090"], "GN": ["A", ""]},
        ),
        (["s1;fold=a.1;class=x", "s2;fold=b;class=y"], {"fold": ["a.1", "b"], "class": ["x", "y"]}),
        (
            ["s1 [organism=Homo sapiens] [strain=x]", "s2 [organism=E. coli]"],
            {"organism": ["Homo sapiens", "E. coli"], "strain": ["x", ""]},
        ),
    ],
)
def test_fields_of_headers(tmp_path: Path, headers: list[str], columns: dict[str, list[str]]) -> None:
    found = dict(read_sequences(fasta(tmp_path, *headers)).columns)
    assert found.pop("sequence") == ["ACGT"] * 2
    assert found.pop("id") == [header.split()[0] for header in headers]
    assert found == columns


def test_a_pattern_for_headers(tmp_path: Path) -> None:
    path = fasta(tmp_path, "s1 [a.1]", "s2 [b.2]")
    assert read_sequences(path, header=r"\[(\w)").columns["label"] == ["a", "b"]
    named = read_sequences(path, header=r"\[(?P<fold>\w)\.(?P<number>\d)").columns
    assert (named["fold"], named["number"]) == (["a", "b"], ["1", "2"])
    assert set(read_sequences(path, header=r"zz(\w)").columns) == {"id", "sequence"}
    with pytest.raises(DataError, match=r"a\.fasta:3: header 's2 \[b\.2\]' does not match"):
        read_sequences(path, header=r"\[(a)")


def test_labels_by_identifier(tmp_path: Path) -> None:
    table = read_sequences(fasta(tmp_path, "s1", "s2"))
    (tmp_path / "l.csv").write_text("id,label\ns2,b\ns1,a\ns3,c\n")
    used: set[int] = set()
    joined = with_labels(table, label_table(f"path:{tmp_path}/l.csv", None), "id", used)
    assert joined.columns["label"] == ["a", "b"]
    assert used == {0, 1}
    fasta(tmp_path, "s1", "s2", sequence="HHCC", name="l.fasta")
    tags = with_labels(table, label_table(f"path:{tmp_path}/l.fasta", None), "id", set())
    assert tags.columns["label"] == ["HHCC", "HHCC"]
    assert tags.columns["sequence"] == ["ACGT", "ACGT"]


@pytest.mark.parametrize(
    ("labels", "fault"),
    [
        ("id,label\ns1,a\n", "no label for 's2'"),
        ("id,label\ns1,a\ns1,b\ns2,a\n", "'s1' occurs twice"),
        ("name,label\ns1,a\n", "task.id: .* has no column 'id'"),
    ],
)
def test_labels_that_do_not_fit(tmp_path: Path, labels: str, fault: str) -> None:
    table = read_sequences(fasta(tmp_path, "s1", "s2"))
    (tmp_path / "l.csv").write_text(labels)
    with pytest.raises(DataError, match=fault):
        with_labels(table, label_table(f"path:{tmp_path}/l.csv", None), "id", set())


def test_labels_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"task\.labels: there is no file"):
        label_table(f"path:{tmp_path}/none.csv", None)


def test_files_of_an_entry_include_the_labels(tmp_path: Path) -> None:
    fasta(tmp_path, "s1")
    (tmp_path / "l.csv").write_text("id,label\ns1,b\n")
    options = SequenceOptions(source=f"path:{tmp_path}", labels=f"path:{tmp_path}/l.csv")
    assert {file.name for file in files(options, f"path:{tmp_path}")} == {"a.fasta", "l.csv"}


def test_an_ending_that_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("x")
    with pytest.raises(DataError, match=r"a\.png: a file with this ending is not read; expected \.fasta"):
        read_sequences(tmp_path / "a.png")


@pytest.mark.parametrize("before", [" ", "\ufeff", "\t"])
def test_a_header_after_white_space_is_no_sequence(tmp_path: Path, before: str) -> None:
    (tmp_path / "a.fa").write_text(f">a\nAC\n{before}>b\nGT\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a.fa:3: white space or a byte-order mark before '>'"):
        read_sequences(tmp_path / "a.fa")
