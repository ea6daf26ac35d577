"""The files of each format of an export, and how they are read back for the comparison."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram

from fptkit.errors import ExportError, UsageError
from fptkit.inference.exports.check import Compute
from fptkit.inference.exports.form import Form
from fptkit.inference.exports.trace import one_line, quietly

Format = Literal["torch-export", "onnx", "safetensors"]
FORMATS: tuple[Format, ...] = ("torch-export", "onnx", "safetensors")

TORCH_FILE, ONNX_FILE, DELTA_FILE, EXAMPLE_FILE = "model.pt2", "model.onnx", "delta.safetensors", "example.npz"

_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")

_LARGEST_ONNX = 1_800_000_000
"""Bytes of tensors above which they are in a file of their own: a protobuf file holds 2 GB at most."""


def check_packages(to: Format) -> None:
    """Raise if packages for a format are missing.

    Raises:
        UsageError: they are; the error has the command that installs them.
    """
    lacking = [name for name in _ONNX_PACKAGES if to == "onnx" and importlib.util.find_spec(name) is None]
    if lacking:
        raise UsageError(f"onnx needs the package {lacking[0]}; install it with: pip install 'fptkit[export]'")


def write_torch(folder: Path, program: ExportedProgram) -> Compute:
    """Write ``model.pt2`` and read it back."""
    path = folder / TORCH_FILE
    with quietly():
        torch.export.save(program, path)
        module: Compute = torch.export.load(path).module()
    return module


def write_onnx(folder: Path, program: ExportedProgram, form: Form) -> Compute:
    """Write ``model.onnx`` and open it in onnxruntime.

    Raises:
        ExportError: an operation has no counterpart in ONNX.
    """
    import onnxruntime

    path = folder / ONNX_FILE
    size = sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict.values())
    try:
        with quietly():
            converted = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=list(form.names), output_names=["logits"]
            )
            assert converted is not None
            converted.save(path, external_data=size > _LARGEST_ONNX)
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as err:
        raise ExportError(
            f"the model cannot be written as ONNX: {one_line(err)}; use torch-export or safetensors"
        ) from err

    def compute(*tensors: Tensor) -> Tensor:
        given = {name: tensor.numpy() for name, tensor in zip(form.names, tensors, strict=True)}
        return torch.from_numpy(session.run(None, given)[0])

    return compute


def write_example(folder: Path, form: Form, plain: Compute) -> Mapping[str, Any]:
    """Write ``example.npz``: inputs of two examples, and what the run gives for them in float32."""
    tensors = form.draw(2, form.most, 0)
    with quietly():
        outputs = plain(*tensors)
    arrays = {name: tensor.numpy() for name, tensor in zip(form.names, tensors, strict=True)}
    arrays |= {"outputs": outputs.numpy()}
    np.savez(folder / EXAMPLE_FILE, **arrays)  # type: ignore[arg-type]
    return arrays
