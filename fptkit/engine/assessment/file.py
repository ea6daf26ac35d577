"""``assessment.json`` of a run folder. Light: no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from fptkit.engine.assessment.records import RunAssessed, SplitAssessed
from fptkit.errors import DataError
from fptkit.files import ASSESSMENT, read_json, sealed, write_text


def write_assessment(folder: Path, step: int, splits: Mapping[str, SplitAssessed]) -> None:
    """Write the assessment of a run.

    Args:
        folder: the run folder.
        step: training step whose tensors answered.
        splits: by name.
    """
    content = RunAssessed(step=step, splits=dict(splits)).model_dump(mode="json")
    write_text(folder / ASSESSMENT, json.dumps(sealed(content)) + "\n")


def read_assessment(folder: Path) -> RunAssessed | None:
    """Read the assessment of a run; None if there is none: its test was not evaluated, or an older version did.

    Raises:
        DataError: the file is damaged, or of a newer version.
    """
    path = folder / ASSESSMENT
    if not path.exists():
        return None
    try:
        return RunAssessed.model_validate(read_json(path))
    except ValidationError as err:
        fault = err.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise DataError(
            f"{path}: {place}: {fault['msg']}; the file is damaged or of another version. Remove it: the report of the "
            "run then does without it"
        ) from err
