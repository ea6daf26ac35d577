"""From a model to a program of torch.export."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from fptkit.errors import ExportError
from fptkit.inference.exports.form import Form
from fptkit.inference.exports.plain import Program

_EXAMPLES = 3
"""Examples of the traced batch. torch.export gives dimensions of equal size in the example one name, so a batch must
not have as many tokens as examples."""


def traced_program(program: Program, form: Form) -> tuple[ExportedProgram, Form]:
    """Trace a model for any batch size, and for any number of tokens if its operations allow it.

    If they do not, the program takes batches of the task's longest example; padding never changes an answer.

    Args:
        program: the model.
        form: its inputs, for any number of tokens.

    Returns:
        The program, and the form of its inputs.

    Raises:
        ExportError: torch.export cannot trace it.
    """
    fault: Exception | None = None
    for traced in _attempts(form):
        try:
            exported = _traced(program, traced)
            return exported, _checked(exported, program, traced)
        except Exception as err:
            fault = err
    reason = one_line(fault)
    if "data-dependent" in reason:
        reason = "what it computes depends on the values of tensors, which a traced program cannot follow"
    raise ExportError(f"torch.export cannot trace it: {reason}. Use --to safetensors, which needs no trace") from fault


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep the libraries' progress and advice out of the terminal; errors are reported by their exceptions."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def one_line(fault: BaseException | None) -> str:
    """The kind of an exception and the first line of its message; of the one that it came from, if there is one."""
    while fault is not None and fault.__cause__ is not None:
        fault = fault.__cause__
    text = next((line.strip() for line in str(fault).splitlines() if line.strip()), "no message")
    return f"{type(fault).__name__}: {text[:200]}"


def _attempts(form: Form) -> Iterator[Form]:
    """The forms to try, the most general first."""
    if form.kind.varies and form.most > max(form.least, _EXAMPLES + 1):
        yield form
    yield replace(form, least=form.most)


def _traced(program: Program, form: Form) -> ExportedProgram:
    example = form.draw(_EXAMPLES, form.most, 0)
    with quietly():
        return torch.export.export(program, example, dynamic_shapes=(_free(form, example),), strict=False)


def _free(form: Form, example: tuple[Tensor, ...]) -> tuple[dict[int, Any], ...]:
    """The dimensions of each tensor that may have any size."""
    batch = Dim.AUTO
    tokens = len(form.parts) - 1  # the part that may vary
    free = form.kind.varies and not form.fixed
    return tuple({0: batch, 1: batch} if free and place == tokens else {0: batch} for place in range(len(example)))


def _checked(exported: ExportedProgram, program: Program, form: Form) -> Form:
    """The form with the numbers of tokens that the program takes.

    Raises:
        ExportError: the program takes one batch size, or one number of tokens although it should take any, or does not
            compute what the model does.
    """
    _refuse_own_operators(exported)
    shapes = [node.meta["val"].shape for node in exported.graph.nodes if node.op == "placeholder" and _is_input(node)]
    part = shapes[-len(form.names) :][len(form.parts) - 1]
    if isinstance(part[0], int):
        raise ExportError(f"the program takes batches of {part[0]} examples only")
    if not form.fixed:
        if isinstance(part[1], int):
            raise ExportError(f"the program takes {part[1]} tokens only")
        limits = exported.range_constraints.get(part[1].node.expr)
        if limits is not None:
            least = max(form.least, int(limits.lower))
            most = int(limits.upper) if limits.upper.is_Integer else form.most
            form = replace(form, least=least, most=min(form.most, most))
    module = exported.module()
    for examples, tokens in ((1, form.least), (2, form.most)):
        tensors = form.draw(examples, tokens, 1)
        with quietly():
            torch.testing.assert_close(module(*tensors), program(*tensors), rtol=1e-3, atol=1e-3)
    return form


def _is_input(node: Any) -> bool:
    return hasattr(node.meta.get("val"), "shape")


def _refuse_own_operators(exported: ExportedProgram) -> None:
    for module in exported.graph_module.modules():
        for node in getattr(module, "graph", torch.fx.Graph()).nodes:
            if str(node.target).startswith("fptkit"):
                raise ExportError(f"the program contains {node.target}, which only fptkit has")
