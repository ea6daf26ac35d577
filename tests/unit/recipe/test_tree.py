"""YAML to a tree with places: what words mean, what is refused, and at which line."""

from __future__ import annotations

import math

import pytest
import yaml

from fptkit.recipe import tree
from fptkit.recipe.scalars import RefusedScalar, read_plain
from fptkit.recipe.tree import (
    Fault,
    Place,
    plain,
    read_tree,
    read_value,
    recipe_error,
)
from fptkit.specs import limits


def faults_of(text: str) -> list[tuple[str, str, str]]:
    faults: list[Fault] = []
    read_tree(text, "x.yaml", faults)
    return [(str(fault.place), fault.path, fault.message) for fault in faults]


def values_of(text: str) -> object:
    faults: list[Fault] = []
    root = read_tree(text, "x.yaml", faults)
    assert faults == []
    assert root is not None
    return plain(root)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("0", 0),
        ("-12", -12),
        ("+3", 3),
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("0.10", 0.1),
        ("-2.5e+2", -250.0),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("path:../x", "path:../x"),
        ("nULL", "nULL"),
        ("e3", "e3"),
        ("inf", "inf"),
        ("-", "-"),
        ("1" * 40, int("1" * 40)),
    ],
)
def test_words(word: str, value: object) -> None:
    read = read_plain(word)
    assert read == value
    assert type(read) is type(value)


def test_not_a_number() -> None:
    read = read_plain(".nan")
    assert isinstance(read, float)
    assert math.isnan(read)


def test_a_number_too_long_to_read_is_no_crash() -> None:
    with pytest.raises(RefusedScalar, match="too large for a number"):
        read_plain("9" * 6000)


@pytest.mark.parametrize("word", ["yes", "No", "ON", "off", "y", "N", "010", "-007", "0x1F", "0o17", "0b11"])
def test_refused_words(word: str) -> None:
    with pytest.raises(RefusedScalar, match=f"'{word}' can "):
        read_plain(word)


def test_an_ambiguous_word_is_refused_with_both_spellings() -> None:
    assert faults_of("a: 1\ndropout: no") == [
        ("x.yaml:2", "dropout", "'no' can mean false or the word; write false, or \"no\" for the word")
    ]
    assert faults_of("a: [1, 010]") == [
        (
            "x.yaml:1",
            "a[1]",
            "'010' can be read in base 8, 10, 2 or 16; write a plain decimal number, or \"010\" for text",
        )
    ]


def test_quoted_scalars_are_text() -> None:
    text = "a: 'no'\nb: \"010\"\nc: '1e-3'\nd: |\n  yes\ne: ''\n'null': 1"
    assert values_of(text) == {"a": "no", "b": "010", "c": "1e-3", "d": "yes\n", "e": "", "null": 1}


def test_nesting_anchors_and_flow() -> None:
    text = "a: &one {x: [1, 2.0, null]}\nb: *one\nc:\n  - y1: [a, b]\n  - ~\n"
    one = {"x": [1, 2.0, None]}
    assert values_of(text) == {"a": one, "b": one, "c": [{"y1": ["a", "b"]}, None]}


def test_every_value_knows_the_line_of_its_key() -> None:
    root = read_tree("# comment\ntask:\n  name: x\n  list:\n    - 1\n    -\n      2\n", "x.yaml", [])
    assert root is not None
    task = root.mapping["task"]
    assert [task.place.line, task.mapping["name"].place.line, task.mapping["list"].place.line] == [2, 3, 4]
    assert [item.place.line for item in task.mapping["list"].items] == [5, 7]
    assert str(task.place) == "x.yaml:2"


def test_duplicate_keys_name_both_lines_and_the_first_holds() -> None:
    faults: list[Fault] = []
    root = read_tree("a:\n  b: 1\n  c: 2\n  b: 3\n", "x.yaml", faults)
    assert [(str(fault.place), fault.path, fault.message) for fault in faults] == [
        ("x.yaml:4", "a.b", "duplicate key 'b'; it was first given on line 2")
    ]
    assert root is not None
    assert plain(root) == {"a": {"b": 1, "c": 2}}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "the file is empty"),
        ("# only a comment\n", 1, "the file is empty"),
        ("a: 1\n---\nb: 2\n", 2, "a second document starts here ('---'); a file holds one"),
        ("- a\n- b\n", 1, "expected keys and values (task: ...), got something else"),
        ("just words\n", 1, "expected keys and values (task: ...), got something else"),
        ("a: 1\nb: [1\nc: 2\n", 3, "not valid YAML: while parsing a flow sequence"),
        ("a:\n\tb: 1\n", 2, "not valid YAML: while scanning for the next token"),
        ("a: *nothing\n", 1, "not valid YAML: found undefined alias"),
        ("a: 1\n1: 2\n", 2, 'a key must be a word, got 1; quote it: "1"'),
        ("a: 1\n? [x]\n: 2\n", 2, "a key must be a word"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", 3, "merge keys (<<) are not supported; write the keys out, or use profiles"),
        ("a: 1\nno: 2\n", 2, "'no' can mean false or the word"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "the tag !!python/object/apply:os.system is not allowed"),
        ("a: !!str 3\n", 1, "the tag !!str is not allowed; write the value without it"),
        ("a: !mine {b: 1}\n", 1, "the tag !mine is not allowed"),
        ("a: &x [1, *x]\n", 1, "an alias (*name) is inside the value that it names"),
        ("a: \x01\n", 1, "not valid YAML"),
    ],
)
def test_files_that_cannot_be_read_as_meant(text: str, line: int, message: str) -> None:
    found = faults_of(text)
    assert len(found) == 1
    assert found[0][0] == f"x.yaml:{line}"
    assert found[0][2].startswith(message)


def test_several_faults_are_collected() -> None:
    text = "a: yes\nb: {c: 010, c: 1}\nd: !!int 3\n2: x\n"
    assert [where for where, _, _ in faults_of(text)] == ["x.yaml:1", "x.yaml:2", "x.yaml:2", "x.yaml:3", "x.yaml:4"]


def test_deep_nesting_is_a_fault_not_a_crash() -> None:
    (fault,) = faults_of("a: " + "[" * 20_000)
    assert fault[2].startswith(("not valid YAML", "not usable YAML"))


@pytest.mark.parametrize("text", ["a:\n  - 1\n  - {}\n", "a: 1\nb: {}\n"])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{x: ", "}")])
def test_nesting_the_parser_takes_but_no_recipe_needs_is_one_fault(text: str, opening: str, closing: str) -> None:
    (fault,) = faults_of(text.format(opening * 600 + closing * 600))
    assert fault == (f"x.yaml:{len(text.splitlines())}", "", f"not usable: nested deeper than {limits.NESTING} levels")


def test_nesting_as_deep_as_is_allowed() -> None:
    inner = "[" * (limits.NESTING - 2) + "]" * (limits.NESTING - 2)
    assert str(values_of(f"a: {inner}")) == f"{{'a': {inner}}}"
    assert len(faults_of(f"a: [[[{inner}]]]")) == 1


@pytest.mark.parametrize("text", ["a:\n\tb: 1\n", "a:\n  b: 1\n\tc: 1\n", "-\ta: 1\n\tb: 2\n"])
def test_a_tab_is_named(text: str) -> None:
    (fault,) = faults_of(text)
    assert fault[2].endswith("(YAML takes no tabs)")


@pytest.mark.parametrize("text", ["a: [1\n", "a: 'x\ty\nb: 1", "a: [1 # no\tfault\nb: 2\n"])
def test_a_tab_elsewhere_is_not_blamed(text: str) -> None:
    assert not [message for _, _, message in faults_of(text) if "tabs" in message]


def test_half_a_surrogate_pair_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """libyaml refuses it itself; PyYAML without it does not."""

    class Pure(yaml.SafeLoader):
        resolve = tree._Composer.resolve

    assert faults_of('a: "\\ud800"')[0][2].startswith("not valid YAML")
    monkeypatch.setattr(tree, "_Composer", Pure)
    assert faults_of('a: "\\ud800"') == [
        ("x.yaml:1", "a", "half a surrogate pair (\\ud800 to \\udfff) is not a character")
    ]


def test_an_alias_bomb_is_a_fault() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 8)]
    assert faults_of("\n".join(lines)) == [
        ("x.yaml:1", "", f"its aliases (*name) expand to more than {limits.FILE_VALUES:,} values")
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        (" 5 ", 5),
        ("", None),
        ("path:../x", "path:../x"),
        ("a: b # c", "a: b # c"),
        ("- x", "- x"),
        ("*x", "*x"),
        ("[random]", ["random"]),
        ("[path:../x, 1]", ["path:../x", 1]),
        ("{a: {b: 1e-3}}", {"a": {"b": 0.001}}),
        ("'no'", "no"),
        ('"1"', "1"),
    ],
)
def test_values_of_overrides(text: str, value: object) -> None:
    faults: list[Fault] = []
    node = read_value(text, Place("--set x", layer=1), "x", faults)
    assert faults == []
    assert node is not None
    assert plain(node) == value
    assert str(node.place) == "--set x"


@pytest.mark.parametrize("text", ["no", "[1", "[no]", "{a: 1, a: 2}", "'a' b", "[!!int 3]"])
def test_faults_of_overrides_name_no_line(text: str) -> None:
    faults: list[Fault] = []
    read_value(text, Place("--set x", layer=1), "x", faults)
    assert [str(fault.place) for fault in faults] == ["--set x"]


def test_faults_are_put_in_order_once_each() -> None:
    late, early = Fault(Place("f", 20), "a", "m"), Fault(Place("f", 3), "b", "m")
    override = Fault(Place("--set c", layer=2), "c", "m")
    error = recipe_error([override, late, early, late])
    assert [problem.path for problem in error.problems] == ["b", "a", "c"]
