"""The language of ListOps: values against published labels and against NumPy, and malformed expressions."""

from __future__ import annotations

import gzip
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fptkit.errors import DataError
from fptkit.tasks.listops.arrays import evaluate_all
from fptkit.tasks.listops.grammar import VOCABULARY, apply_operator, decode, encode, evaluate

NUMPY = {
    "[MIN": lambda values: int(np.min(values)),
    "[MAX": lambda values: int(np.max(values)),
    "[MED": lambda values: int(np.median(values)),
    "[SM": lambda values: int(np.sum(values) % 10),
}
"""The operators as Long Range Arena's ``to_value`` computes them."""


def random_tree(chance: random.Random, depth: int) -> object:
    if depth == 0 or chance.random() < 0.4:
        return chance.randrange(10)
    return (chance.choice(list(NUMPY)), [random_tree(chance, depth - 1) for _ in range(chance.randint(1, 5))])


def worth(tree: object) -> int:
    return NUMPY[tree[0]]([worth(argument) for argument in tree[1]]) if isinstance(tree, tuple) else int(str(tree))


def square(tree: object) -> str:
    return f"{tree[0]} {' '.join(map(square, tree[1]))} ]" if isinstance(tree, tuple) else str(tree)


def binary(tree: object) -> str:
    """With the round brackets of Nangia & Bowman, added from left to right as by their generator."""
    if not isinstance(tree, tuple):
        return str(tree)
    text = tree[0]
    for argument in tree[1]:
        text = f"( {text} {binary(argument)} )"
    return f"( {text} ] )"


def joined(ids: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Concatenated expressions, the input of `evaluate_all`."""
    return np.concatenate([np.array(some, np.uint8) for some in ids]), np.cumsum([0, *map(len, ids)])


def sample(shared_data: Path) -> list[tuple[int, str]]:
    with gzip.open(shared_data / "listops_nangia_sample.tsv.gz", "rt") as lines:
        pairs = [line.rstrip("\n").split("\t") for line in lines]
    return [(int(label), expression) for label, expression in pairs]


def test_published_labels(shared_data: Path) -> None:
    pairs = sample(shared_data)
    assert len(pairs) == 2000
    assert [evaluate(expression) for _, expression in pairs] == [label for label, _ in pairs]


def test_round_brackets_change_no_published_label(shared_data: Path) -> None:
    for label, expression in sample(shared_data):
        bare = " ".join(expression.replace("(", " ").replace(")", " ").split())
        assert evaluate(bare) == label
        assert decode(encode(expression)) == bare


def test_many_at_once_agree_with_the_published_labels(shared_data: Path) -> None:
    pairs = sample(shared_data)
    values, malformed = evaluate_all(*joined([encode(expression) for _, expression in pairs]))
    assert values.tolist() == [label for label, _ in pairs]
    assert not malformed.any()


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("7", 7),
        ("[MAX 4 3 ]", 4),
        ("( ( ( [MAX 4 ) 3 ) ] )", 4),
        ("((([MAX 4) 3) ])", 4),
        ("[MIN 5]", 5),
        ("[MED 1 2 ]", 1),
        ("[MED 9 2 4 5 ]", 4),
        ("[MED 9 0 4 ]", 4),
        ("[SM 9 9 9 ]", 7),
        ("[SM 5 5 ]", 0),
        ("  [MAX\n4\t[MIN 7 2 ] [SM 8 [MED 1 5 9 ] ] 0 ]  ", 4),
        ("[MAX ( ( ( [MIN 7 ) 8 ) ] ) 1 ]", 7),
    ],
)
def test_values(expression: str, value: int) -> None:
    assert evaluate(expression) == value


def test_random_trees_against_numpy_in_both_styles() -> None:
    chance = random.Random(1)
    ids = []
    values = []
    for _ in range(400):
        tree = random_tree(chance, depth=5)
        assert evaluate(square(tree)) == evaluate(binary(tree)) == worth(tree)
        assert encode(square(tree)) == encode(binary(tree))
        ids.append(encode(square(tree)))
        values.append(worth(tree))
    assert evaluate_all(*joined(ids))[0].tolist() == values


@pytest.mark.parametrize("operator", list(NUMPY))
def test_operators_on_all_short_lists(operator: str) -> None:
    for size in (1, 2, 3):
        for values in np.ndindex(*(10,) * size):
            assert apply_operator(operator, values) == NUMPY[operator](values)


def test_nesting_deeper_than_python_calls() -> None:
    depth = 20_000
    assert evaluate("[SM 1 " * depth + "0 " + "] " * depth) == depth % 10
    assert evaluate("( ( [MAX " * depth + "3" + " ) ] )" * depth) == 3


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "ends too early: it has no symbols"),
        ("12", r"symbol 1 \(character 1\) '12': numbers must be one digit, 0 to 9"),
        ("[MAX 1 -2 ]", r"symbol 3 \(character 8\) '-': unknown symbol; known: \[MIN, \[MAX, \[MED, \[SM"),
        ("[FIRST 1 2 ]", r"symbol 1 \(character 1\) '\[FIRST': unknown symbol"),
        ("[max 1 2 ]", r"'\[max': unknown symbol"),
        ("[ MAX 1 2 ]", r"'\[': unknown symbol"),
        ("[MAX4 2 ]", r"'\[MAX4': unknown symbol"),
        ("[MAX ]", r"symbol 2 \(character 6\) '\]': the list of \[MAX, symbol 1, has no argument"),
        ("[MAX 1 [MIN 2 3 ]", r"ends too early: the list of \[MAX, symbol 1, has no '\]'"),
        ("[MAX 1 2 ] ]", r"symbol 5 \(character 12\) '\]': extra symbol after the end of the expression"),
        ("1 2", r"symbol 2 \(character 3\) '2': extra symbol after the end of the expression"),
        ("]", r"symbol 1 \(character 1\) '\]': no list is open"),
        ("( 5 )", r"symbol 2 \(character 3\) '5': expected another '\(' or an operator after '\('"),
        ("( [MAX 1 ) ]", r"symbol 5 \(character 12\) '\]': .* has 1 '\(' before it and needs 2"),
        ("( ( [MAX 1 ) ]", r"ends too early: 1 '\)' missing"),
        ("( ( [MAX 1 ] )", r"symbol 5 \(character 12\) '\]': expected '\)'"),
        ("( ( [MAX 1 ) ] ) )", r"symbol 8 \(character 18\) '\)': no argument or list to close"),
        ("[MAX 1 ) ]", r"symbol 3 \(character 8\) '\)': no argument or list to close"),
        ("( (", r"ends too early: expected an operator after '\('"),
        ("x" * 100, "'x{20}...': unknown symbol"),
    ],
)
def test_what_is_no_expression(expression: str, message: str) -> None:
    for read in (evaluate, encode):
        with pytest.raises(DataError, match=message):
            read(expression)


@pytest.mark.parametrize(
    "wrong", ["[MAX ]", "[MAX 1 2", "1 2", "]", "] [MAX", "[MAX 1 ] 2", "[MAX 1 ] [MAX 2 ]", "1 ]", "[MAX 1 ] ] [MAX 1"]
)
def test_malformed_ones_do_not_disturb_their_neighbours(wrong: str) -> None:
    ids = [[VOCABULARY.index(symbol) for symbol in text.split()] for text in ("[MAX 3 1 ]", wrong, "[MIN 3 1 ]", "8")]
    values, malformed = evaluate_all(*joined(ids))
    assert malformed.tolist() == [False, True, False, False]
    assert values.tolist() == [3, 0, 1, 8]


def test_the_vocabulary_is_written_down() -> None:
    assert ("<pad>", *"0123456789", "[MIN", "[MAX", "[MED", "[SM", "]") == VOCABULARY
    assert encode("[MAX 4 [SM 0 9 ] ]") == [12, 5, 14, 1, 10, 15, 15]


def test_two_processes_give_identical_ids() -> None:
    """If a vocabulary comes from a set, Python's random hashing of text changes it (fault D4)."""
    code = """
from fptkit.tasks.listops.generate import TreeOptions, draw
from fptkit.tasks.listops.grammar import VOCABULARY, encode
print(hash("fptkit"))
print(VOCABULARY, encode("[MED 1 [SM 2 3 ] ]"), draw(TreeOptions(10, 40, 5, 5), 5, seed=0, name="test", taken=set()))
"""
    outputs = []
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": hash_seed, "PATH": "", "OMP_NUM_THREADS": "1"},
        )
        outputs.append(done.stdout.split("\n", 1))
    assert outputs[0][0] != outputs[1][0]  # hashes do differ
    assert "symbols=array([" in outputs[0][1]
    assert outputs[0][1] == outputs[1][1]
