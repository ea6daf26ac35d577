"""What plugins written before the renaming may still say: ``Protocol`` for ``TaskProtocol``, ``source`` for
``reference``; without a warning, since their tests may treat warnings as errors."""

from __future__ import annotations

import copy
import inspect
import pickle
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest

import fptkit
from fptkit import specs
from fptkit.errors import PluginError
from fptkit.specs import BackboneSpec, FreezingPolicySpec, FreezingRule, RecipeFolderSpec, Spec, TaskSpec

MAKERS: list[Callable[..., Spec]] = [
    lambda **given: TaskSpec(name="ant", summary="a", target="a:b", **given),
    lambda **given: BackboneSpec(name="ant", summary="a", target="a:b", **given),
    lambda **given: FreezingPolicySpec(name="ant", summary="a", rules=(FreezingRule(role="norm"),), **given),
    lambda **given: RecipeFolderSpec(name="ant", summary="a", folder="recipes", **given),  # type: ignore[arg-type]
]


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("make", MAKERS)
def test_source_is_reference(make: Callable[..., Spec]) -> None:
    old, new = make(source="a paper"), make(reference="a paper")
    assert old == new
    assert hash(old) == hash(new)
    for spec in (old, new):
        assert (spec.reference, spec.source) == ("a paper", "a paper")
    assert (make().reference, make().source) == ("", "")


def test_a_copy_with_another_reference_by_either_name() -> None:
    spec = TaskSpec(name="ant", summary="a", target="a:b", source="a paper")
    assert replace(spec, reference="another").source == "another"
    assert replace(spec, source="another").reference == "another"
    assert replace(spec, summary="b").source == "a paper"
    assert replace(spec, reference="").source == ""
    assert copy.deepcopy(spec) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_a_plugins_own_record_takes_it_too() -> None:
    @dataclass(frozen=True, kw_only=True)
    class LabelledTaskSpec(TaskSpec):
        label: str = ""

        def __post_init__(self) -> None:
            super().__post_init__()

    labelled = LabelledTaskSpec(name="ant", summary="a", target="a:b", source="a paper", label="x")
    assert (labelled.reference, labelled.label) == ("a paper", "x")


def test_what_is_wrong_is_said_of_either_name() -> None:
    values: dict[str, Any] = {"name": "ant", "summary": "a", "target": "a:b", "source": 3}
    with pytest.raises(PluginError, match="reference is 3, expected text"):
        TaskSpec(**values)


def test_the_signature_is_that_of_the_fields() -> None:
    names = list(inspect.signature(TaskSpec).parameters)
    assert names == [field.name for field in fields(TaskSpec)]
    assert "reference" in names
    assert "source" not in names


def test_protocol_is_task_protocol() -> None:
    assert fptkit.Protocol is fptkit.TaskProtocol is specs.Protocol is specs.TaskProtocol
    protocol = fptkit.Protocol(name="paper", summary="as the paper")
    assert TaskSpec(name="ant", summary="a", target="a:b", protocols=(protocol,)).protocols == (protocol,)
    assert isinstance(specs.CLEAN, fptkit.Protocol)
