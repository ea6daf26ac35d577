"""Records of what surrounds runs refuse what cannot work."""

from __future__ import annotations

from typing import Any

import pytest

from fptkit.errors import PluginError
from fptkit.specs import (
    CommandSpec,
    DataSetSpec,
    ListenerSpec,
    PublishedSpec,
    ReportSection,
    ReportSectionSpec,
    ReportTable,
    SearchSpec,
    Spec,
    WeightSourceSpec,
)

DATA: dict[str, Any] = {"url": "https://x.org/a.tar.gz", "records": {"a": 1}, "extensions": (".csv",)}
CODE: dict[str, Any] = {"target": "a.b:c"}


@pytest.mark.parametrize(
    ("record", "fields", "message"),
    [
        (WeightSourceSpec, {**CODE, "name": "random"}, "means random weights"),
        (WeightSourceSpec, {**CODE, "forms": "s3:X"}, "forms is 's3:X'"),
        (WeightSourceSpec, {**CODE, "check": 3}, "check 3 cannot be called"),
        (WeightSourceSpec, {**CODE, "known": "no place"}, "known 'no place' is not of the form"),
        (WeightSourceSpec, {"target": 3}, "target 3 cannot be called"),
        (DataSetSpec, {**DATA, "records": {}}, "expected numbers of records by file stem"),
        (DataSetSpec, {**DATA, "records": {"a": "1"}}, "expected numbers of records by file stem"),
        (DataSetSpec, {**DATA, "extensions": ()}, "extensions is empty"),
        (DataSetSpec, {**DATA, "url": " "}, "the url is empty"),
        (DataSetSpec, {**DATA, "installer": 3}, "installer 3 cannot be called"),
        (CommandSpec, {"target": "module"}, "target 'module' is not of the form"),
        (PublishedSpec, {"file": 3}, "file is 3, expected a path"),
        (SearchSpec, {**CODE, "runs_per_seed": 3}, "runs_per_seed 3 cannot be called"),
        (ReportSectionSpec, {**CODE, "reports": ("runs",)}, "expected study, run or both"),
        (ReportSectionSpec, {**CODE, "reports": ()}, "expected study, run or both"),
        (ListenerSpec, {**CODE, "may": ("steer",)}, "may names 'steer'"),
        (ListenerSpec, {**CODE, "may": "stop"}, "may is 'stop', expected a tuple"),
    ],
)
def test_wrong_fields(record: type[Spec], fields: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError) as caught:
        record(**{"name": "mine", "summary": "mine", **fields})
    assert message in str(caught.value)


def test_a_section_survives_json() -> None:
    import json

    table = ReportTable(columns=["a", "b"], rows=[["1", "2"]], caption="both")
    section = ReportSection(title="T", text=["one"], points=["two"], tables=[table])
    assert ReportSection.loaded(json.loads(json.dumps(section.dumped()))) == section
    with pytest.raises(PluginError, match="is damaged"):
        ReportSection.loaded({"titel": "T"})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ReportSection(title=" "), "title of a report's section"),
        (lambda: ReportSection(title="T", text="one"), "expected a list of text"),  # type: ignore[arg-type]
        (lambda: ReportSection(title="T", points=[1]), "expected a list of text"),  # type: ignore[list-item]
        (lambda: ReportSection(title="T", tables=["t"]), "expected a list of ReportTable"),  # type: ignore[list-item]
        (lambda: ReportTable(columns=["a"], rows=[["1", "2"]]), "2 cells, and 1 columns"),
        (lambda: ReportTable(columns=["a"], rows=[[1]]), "expected a list of text"),  # type: ignore[list-item]
    ],
)
def test_wrong_sections(make: Any, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        make()
