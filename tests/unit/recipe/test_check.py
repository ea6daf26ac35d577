"""Any pydantic model against a tree: wording of expectations and of errors, strictness, unions, plugins' own types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from fptkit.errors import RecipeError
from fptkit.options import Options
from fptkit.recipe.check import check_model, unknown_key
from fptkit.recipe.load import load_model
from fptkit.recipe.schema import describe_options
from fptkit.recipe.tree import Fault, read_tree
from fptkit.recipe.words import expected, shown


def checked(model: type[BaseModel], text: str) -> BaseModel | list[tuple[int | None, str, str]]:
    faults: list[Fault] = []
    root = read_tree(text, "x.yaml", faults)
    assert root is not None
    made = check_model(root, model, "", faults)
    assert (made is None) == bool(faults)
    return made or [(fault.place.line, fault.path, fault.message) for fault in faults]


class Inner(Options):
    depth: int = Field(ge=1)
    names: tuple[str, ...] = ()


class Everything(Options):
    flag: bool = False
    count: Annotated[int, Field(ge=1, le=9)] = 1
    ratio: float = Field(default=0.5, gt=0, le=1)
    kind: Literal["a", "b"] = "a"
    word: str = Field(default="x", min_length=1)
    pair: tuple[int, float] = (1, 2.0)
    numbers: list[int] = []  # noqa: RUF012  # pydantic copies it
    choices: tuple[Literal["p", "q"], ...] = ()
    maybe: int | None = None
    either: int | list[str] = 1
    inner: Inner = Inner(depth=1)
    inners: tuple[Inner, ...] = ()
    table: dict[str, Inner] = {}  # noqa: RUF012
    folder: Path = Path()
    several: Annotated[tuple[int, ...], BeforeValidator(lambda v: [v] if isinstance(v, int) else v)] = ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flag: 1", "expected true or false, got 1"),
        ("flag: 'true'", "expected true or false, got 'true'"),
        ("count: true", "expected an integer >= 1 and <= 9, got true"),
        ("count: 10", "expected an integer >= 1 and <= 9, got 10"),
        ("count: 2.0", "expected an integer >= 1 and <= 9, got 2.0"),
        ("count: '2'", "expected an integer >= 1 and <= 9, got '2'"),
        ("count:", "expected an integer >= 1 and <= 9, got null"),
        ("ratio: 0", "expected a number > 0 and <= 1, got 0"),
        ("ratio: false", "expected a number > 0 and <= 1, got false"),
        ("ratio: {a: 1}", "expected a number > 0 and <= 1, got a mapping"),
        ("ratio: .nan", "expected a number > 0 and <= 1, got .nan"),
        ("kind: c", "expected one of a, b, got 'c'"),
        ("kind: 3", "expected one of a, b, got 3"),
        ("word: 3", "expected text that is not empty, got 3"),
        ("word: ''", "expected text that is not empty, got ''"),
        ("pair: [1]", "expected a list of 2 integers, got [1]"),
        ("numbers: 3", "expected a list of integers, got 3"),
        ("choices: p", "expected a list of entries, each one of p, q, got 'p'"),
        ("maybe: x", "expected an integer or null, got 'x'"),
        ("either: {a: 1}", "expected an integer or a list of text, got a mapping"),
        ("inner: 3", "expected a mapping, got 3"),
        ("inners: [3]", "expected a mapping, got 3"),
        ("table: []", "expected a mapping, got []"),
        ("folder: 3", "expected text, got 3"),
    ],
)
def test_expectations(text: str, message: str) -> None:
    found = checked(Everything, text)
    assert isinstance(found, list)
    assert len(found) == 1
    assert message in found[0][2]


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("inner:\n  names: [a]", "inner.depth", "required: an integer >= 1"),
        ("inners:\n- {depth: 0}", "inners[0].depth", "expected an integer >= 1, got 0"),
        ("table:\n  one: {depth: x}", "table.one.depth", "expected an integer >= 1, got 'x'"),
        (
            "table:\n  one: {depth: 1, nams: []}",
            "table.one",
            "unknown key 'nams'. Did you mean 'names'?\nallowed: depth",
        ),
        ("inner:\n  {depth: 1, names: [3]}", "inner.names[0]", "expected text, got 3"),
        ("pair:\n- x\n- 1", "pair[0]", "expected an integer, got 'x'"),
    ],
)
def test_paths_inside(text: str, path: str, message: str) -> None:
    found = checked(Everything, text)
    assert isinstance(found, list)
    ((_, at, said),) = found
    assert at == path
    assert said.startswith(message)


def test_the_line_is_that_of_the_innermost_value() -> None:
    text = "inners:\n  -\n    depth: 0\n  - names: []\n"
    assert checked(Everything, text) == [
        (3, "inners[0].depth", "expected an integer >= 1, got 0"),
        (4, "inners[1].depth", "required: an integer >= 1"),
    ]


def test_what_is_taken() -> None:
    text = "ratio: 1\npair: [1, 2]\nnumbers: [1]\ninner: {depth: 2, names: [a]}\nfolder: a/b\neither: [x]\n"
    made = checked(Everything, text)
    assert isinstance(made, Everything)
    assert (made.ratio, made.pair, made.numbers, made.folder) == (1.0, (1, 2.0), [1], Path("a/b"))
    assert (made.inner, made.either) == (Inner(depth=2, names=("a",)), ["x"])


@pytest.mark.parametrize("text", ["several: 3", "several: [3]"])
def test_a_list_after_a_before_validator(text: str) -> None:
    """pydantic's strict mode takes a list for a tuple from JSON, but not after such a validator."""
    made = checked(Everything, text)
    assert isinstance(made, Everything)
    assert made.several == (3,)


def test_a_fault_next_to_a_before_validator_is_found_and_strictness_kept() -> None:
    assert checked(Everything, "several: [x]\ncount: '3'") == [
        (2, "count", "expected an integer >= 1 and <= 9, got '3'"),
        (1, "several[0]", "expected an integer, got 'x'"),
    ]
    assert checked(Everything, "several: [1]\ncount: '3'") == [
        (2, "count", "expected an integer >= 1 and <= 9, got '3'")
    ]


class Judged(Options):
    low: int = 0
    high: int = 1
    even: int = 0
    own: int = 0

    @field_validator("even")
    @classmethod
    def _even(cls, value: int, info: ValidationInfo) -> int:
        if value % 2:
            raise ValueError(f"{value} is odd")
        return value

    @field_validator("own")
    @classmethod
    def _own(cls, value: int) -> int:
        if value:
            raise PydanticCustomError("mine", "Only {zero} will do", {"zero": "0"})
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Judged:
        assert self.low < self.high, "low must be below high"
        return self


def test_validators_speak_for_themselves() -> None:
    assert checked(Judged, "even: 3") == [(1, "even", "3 is odd")]
    assert checked(Judged, "own: 3") == [(1, "own", "only 0 will do, got 3")]
    found = checked(Judged, "low: 5")
    assert isinstance(found, list)
    assert found[0][:2] == (1, "")
    assert found[0][2].startswith("low must be below high")


def test_refused_values_are_reported_once() -> None:
    faults: list[Fault] = []
    root = read_tree("count: 010\nratio: no\nnumbers: [1, yes]\ninner: off\n", "x.yaml", faults)
    assert root is not None
    before = list(faults)
    assert len(before) == 4
    check_model(root, Everything, "", faults)
    assert faults == before


class Unspeakable:
    """A type JSON Schema cannot say."""


class WithOwnType(Options):
    model_config = {"arbitrary_types_allowed": True}  # noqa: RUF012

    thing: Unspeakable | None = None
    count: int = 1


def test_a_model_without_a_json_schema_still_checks() -> None:
    found = checked(WithOwnType, "count: x")
    assert isinstance(found, list)
    assert found[0][1:] == ("count", "input should be a valid integer, got 'x'")
    assert [row.name for row in describe_options(WithOwnType)] == ["thing", "count"]


def test_unknown_keys() -> None:
    assert unknown_key("sead", ["seed", "size"]) == "unknown key 'sead'. Did you mean 'seed'?\nallowed: seed, size"
    assert unknown_key("x", []) == "unknown key 'x'.\nallowed: none"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        (float("-inf"), "-.inf"),
        ("a", "'a'"),
        ("x" * 80, repr("x" * 57 + "...")),
        ([1, "a", None], "[1, a, null]"),
        (list(range(100)), "a list of 100"),
        ({"a": 1}, "a mapping"),
    ],
)
def test_shown_values(value: Any, text: str) -> None:
    assert shown(value) == text


def test_a_schema_that_says_nothing() -> None:
    assert expected({}, {}) == ""
    assert expected({"type": "array"}, {}) == "a list of entries"
    assert expected({"type": "array", "items": {"type": "string"}, "minItems": 2}, {}) == "a list of text (at least 2)"


class Pretrain(BaseModel):
    model_config = {"extra": "forbid"}

    name: str
    data: Path
    steps: int = Field(ge=1)
    model: Inner = Inner(depth=3)


PRETRAIN = "name: nano\ndata: ../text\nsteps: 10\nmodel: {depth: 2}\nprofiles: {smoke: {name: tiny, steps: 1}}\n"


def test_other_models_load_by_the_same_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pretrain_nano.yaml").write_text(PRETRAIN, encoding="utf-8")
    made = load_model("pretrain_nano.yaml", Pretrain, profile="smoke", overrides=["model.names=[a]"])
    # `name` at the top of a file is a field like any other: renaming it drops nothing.
    assert made == Pretrain(name="tiny", data=Path("../text"), steps=1, model=Inner(depth=2, names=("a",)))
    assert load_model("pretrain_nano", Pretrain, folders=[tmp_path]).steps == 10
    with pytest.raises(RecipeError) as caught:
        load_model("pretrain_nano", Pretrain, overrides=["steps=0", "stps=1"], profile="x")
    assert [problem.where for problem in caught.value.problems] == ["--profile x", "--set steps=0", "--set stps=1"]
