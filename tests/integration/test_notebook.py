"""fptkit in a notebook, executed by a real kernel: progress, tables, predictions."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

CELLS = [
    """
import fptkit
result = fptkit.run("bit_xor_gpt2", profile="smoke", output="runs/first")
result
""",
    """
import numpy
model = fptkit.load("runs/first")
inputs = numpy.zeros((3, model.task.max_tokens, model.task.input.width))
print(model.predict(inputs).shape[0], model.predict_proba(inputs).shape[0])
""",
    """
fptkit.study("bit_xor_gpt2", profile="smoke", seeds=1, workers=1)
""",
    """
import torch
data = [(torch.randn(8, 3), torch.zeros(8, dtype=torch.int64))]
fptkit.train(torch.nn.Linear(3, 2), data, data, max_steps=4, validate_every=2)
""",
    """
fptkit.run("bit_xor_gpt2", profile="smoke", train={"learning_rat": 1})
""",
]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("notebook")
    cells = [nbformat.v4.new_code_cell(text.strip()) for text in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": ""}})
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "FPTKIT_CACHE": str(folder / "cache"),
        "IPYTHONDIR": str(folder / "ipython"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    client = nbclient.NotebookClient(notebook, timeout=300, allow_errors=True, resources={"metadata": {"path": folder}})
    client.execute(env=environment)
    return notebook.cells


def shown(cell: Any, kind: str = "text/html") -> list[str]:
    """What a cell shows as HTML, the last state of each display."""
    return [output.data[kind] for output in cell.outputs if kind in getattr(output, "data", {})]


def said(cell: Any, stream: str) -> str:
    return "".join(output.text for output in cell.outputs if output.get("name") == stream)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the packages that start the kernel
def test_a_notebook(executed: Any) -> None:
    run, load, study, train, wrong = executed
    assert [output.output_type for output in run.outputs] == ["display_data", "execute_result"]
    progress, result = shown(run)
    assert '<progress value="20" max="20"' in progress
    assert "20 of 20 steps · finished" in progress
    assert progress.count("<tr>") == 3  # the header and two validations
    assert "bit_xor_gpt2: finished" in result
    assert said(load, "stdout") == "3 3\n"
    table, results = shown(study)
    assert "2 of 2 runs done" in re.sub(r"<[^>]*>", "", table) or "1 of 1 runs done" in re.sub(r"<[^>]*>", "", table)
    assert "bit_xor_gpt2, profile smoke" in results
    assert said(study, "stderr") == ""
    assert "validation" in shown(train)[-1]
    (error,) = wrong.outputs
    assert (error.output_type, error.ename) == ("error", "RecipeError")
    assert "Did you mean &#x27;learning_rate&#x27;" in error.evalue or "Did you mean 'learning_rate'" in error.evalue
