"""README.md of an export: how to load it, what it takes and gives, and how well it agrees with the run."""

from __future__ import annotations

from collections.abc import Sequence

from fptkit.inference.exports.form import Form
from fptkit.inference.exports.formats import DELTA_FILE, EXAMPLE_FILE, ONNX_FILE, TORCH_FILE, Format
from fptkit.interfaces import Classes, TokenClasses, Values

_TORCH = f"""
import numpy as np
import torch

model = torch.export.load("{TORCH_FILE}").module()
example = np.load("{EXAMPLE_FILE}")
with torch.no_grad():
    logits = model(*(torch.from_numpy(example[name]) for name in {{names}}))
print("largest difference:", abs(logits.numpy() - example["outputs"]).max())
"""

_ONNX = f"""
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("{ONNX_FILE}", providers=["CPUExecutionProvider"])
example = np.load("{EXAMPLE_FILE}")
(logits,) = session.run(None, {{{{name: example[name] for name in {{names}}}}}})
print("largest difference:", abs(logits - example["outputs"]).max())
"""

_DELTA = f"""
import fptkit

model = fptkit.load("{DELTA_FILE}")
print(model.module)
"""

_ANSWERS = {
    "torch-export": ("PyTorch alone (`pip install torch numpy`)", _TORCH),
    "onnx": ("ONNX Runtime alone (`pip install onnxruntime numpy`)", _ONNX),
    "safetensors": ("fptkit", _DELTA),
}


def readme(to: Format, form: Form, facts: Sequence[str], agreement: Sequence[str]) -> str:
    """The text of README.md.

    Args:
        to: the format.
        form: inputs and answers of the model.
        facts: lines about the run: its recipe, backbone, weights, data.
        agreement: lines of the numeric check.
    """
    needs, code = _ANSWERS[to]
    parts = [
        f"# {facts[0]}",
        "\n".join(f"- {line}" for line in facts[1:]),
        f"## Load it\n\nWith {needs}, in this folder:\n\n```python{code.format(names=repr(list(form.names)))}```",
        _delta_notes() if to == "safetensors" else _inputs(form),
        _outputs(form),
        "## Preparation\n\n`preparation.json` says how the run prepared its inputs: names of classes, scaling, "
        "vocabulary, columns, sizes. The model takes prepared inputs. fptkit prepares files of the format of the "
        "training data: `fptkit predict`, or `load(...).batches(...)` in Python.",
        "## Numeric check\n\nMade when this was written, on random inputs:\n\n"
        + "\n".join(f"- {line}" for line in agreement),
    ]
    return "\n\n".join(parts) + "\n"


def _inputs(form: Form) -> str:
    rows = [f"| `{name}` | {shape} | {kind} |" for name, (shape, kind) in form.shapes().items()]
    table = "\n".join(["| tensor | shape | type |", "|---|---|---|", *rows])
    text = f"## Inputs\n\n{table}\n\n`batch` is any number of examples."
    if not form.kind.varies:
        return text
    if form.fixed:
        return (
            f"{text} Pad every example on the right to {form.most} tokens, with any values; `{form.lengths}` says "
            "how many are real, and padding never changes an answer."
        )
    return (
        f"{text} `tokens` is any number from {form.least} to {form.most}. Pad shorter examples on the right, with any "
        f"values; `{form.lengths}` says how many are real, and padding never changes an answer."
    )


def _outputs(form: Form) -> str:
    output = form.output
    if isinstance(output, Values):
        names = f": {', '.join(output.names)}" if output.names else ""
        shape = f"(batch, {', '.join(map(str, output.target_shape(1)[1:]))})"
        return (
            f"## Outputs\n\nNumbers, float32 {shape}{names}. They are in the scale of training: where "
            "`preparation.json` has a mean and a deviation of the targets, multiply by the deviation and add the mean."
        )
    sizes = ("tokens" if output.each_token and size == 0 else size for size in output.prediction_shape(1, 0)[1:])
    shape = f"(batch, {', '.join(map(str, sizes))})"
    if not isinstance(output, (Classes, TokenClasses)):
        names = f" For: {', '.join(output.names)}." if output.names else ""
        return f"## Outputs\n\n`predictions`, float32 {shape}: {output.meaning}.{names}"
    names = ", ".join(output.names) if output.names else f"0 to {output.count - 1}"
    answers = getattr(output, "answers", ())
    labels = f" One answer for each of: {', '.join(answers)}." if answers else ""
    return (
        f"## Outputs\n\n`logits`, float32 {shape}; a softmax over the last axis gives probabilities. Classes in their "
        f"order: {names}.{labels}"
    )


def _delta_notes() -> str:
    return (
        "## What it needs\n\nThe file holds what training changed, with recipe, preparation and digests. The frozen "
        "part is built from its own weights, which must be the same: other weights are refused, with both digests. If "
        'they are elsewhere on this machine, say where: `load("delta.safetensors", weights="path:FOLDER")`. Plugins of '
        'the recipe must be given: `plugin_files=["mine.py"]`; code from the file is never executed. `fptkit predict '
        "delta.safetensors FILE` predicts for new files."
    )
