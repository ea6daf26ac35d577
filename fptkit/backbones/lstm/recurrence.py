"""The recurrence of one layer of the layer-norm LSTM, with explicit gradients.

Forward, for time step t, with LN(x; a, b) = a (x - mean) / sqrt(variance + epsilon) + b over the numbers of one token::

    r = W h[t-1] + w                                    recurrent map; h[0] = c[0] = 0
    p = inputs[t] + LN(r; a1, b1)                       inputs[t] is LN(U x[t] + u; a2, b2), computed for all t before
    i, f, o = sigmoid(p[:3]), g = tanh(p[3])
    c[t] = f c[t-1] + i g
    h[t] = o tanh(LN(c[t]; a3, b3))

Computations that do not depend on the previous step are outside the loop, one product for all steps: the map and norm
of the inputs before it, and the gradient of W after it, from the gradients of all r (skipped if W is frozen).

The loop exists in two forms. The compiled form (``native.py``) is C++: each thread runs some examples through all time
steps. The other form is a Python loop over time steps in torch operators, for other devices and dtypes and for machines
without a C++ compiler. It takes 1.6 times the CPU time of the compiled loop at 3 x 768 with everything trained, 1.9
times with frozen maps, and more at small widths; ``benchmarks/lstm.py`` measures both. Rejected alternatives:
``torch.jit.script`` is deprecated and warns; ``torch.compile`` needs the same compiler, and either leaves the loop over
steps in Python or unrolls it for every length; running the layers in parallel, each one step later than the layer
below, would move the map of the inputs back into the loop.

Source: Ba, Kiros and Hinton 2016, arXiv 1607.06450, equations 20 to 22.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

from fptkit.backbones.lstm.native import NoKernel, load_kernel
from fptkit.numerics.tracing import traced

Loop = Literal["auto", "compiled", "torch"]


class Norms(NamedTuple):
    """Parameters of the norms inside the recurrence.

    Shapes: recurrent (4H,), cell (H,).
    """

    recurrent_scale: Tensor
    recurrent_shift: Tensor
    cell_scale: Tensor
    cell_shift: Tensor


class Trace(NamedTuple):
    """The values of the forward loop that the backward loop needs.

    Shapes: recurrent and gates (B, T, 4H), moments (B, T, 4), cell and hidden (B, T, H).

    Args:
        recurrent: r.
        moments: mean and 1 / sqrt(variance + epsilon) of r, then of c.
        gates: i, f, o, g.
        cell: c.
        hidden: h, the layer's output.
    """

    recurrent: Tensor
    moments: Tensor
    gates: Tensor
    cell: Tensor
    hidden: Tensor


def recur(
    inputs: Tensor, weight: Tensor, bias: Tensor, norms: Norms, *, epsilon: float = 1e-5, loop: Loop = "auto"
) -> Tensor:
    """Compute the hidden states of one layer, starting from a zero state.

    Shapes: inputs (B, T, 4H), weight (4H, H), bias (4H,) -> (B, T, H).

    Args:
        inputs: linear maps of the inputs after their norm; gates in the order input, forget, output, candidate.
        weight: W. Under autocast it is multiplied in autocast's dtype; state and norms keep the dtype of ``inputs``.
        bias: w.
        norms: parameters of the norms of r and c.
        epsilon: added to variances.
        loop: ``compiled``, ``torch``, or ``auto``: compiled if available.

    Raises:
        NoKernel: ``loop`` is ``compiled`` and the compiled loop is unavailable or does not support these tensors.
    """
    if traced():
        return steps_traced(inputs, weight, bias, norms, epsilon)
    hidden: Tensor = _Recurrence.apply(inputs, weight, bias, *norms, epsilon, loop)
    return hidden


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, *rest: Any) -> Tensor:
        norms, (epsilon, loop) = Norms(*rest[:4]), rest[4:]
        device = inputs.device.type
        multiplied = weight.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else weight
        ctx.compiled = takes_compiled(loop, inputs, multiplied)
        with torch.autocast(device, enabled=False):
            run = load_kernel().forward if ctx.compiled else steps_forward
            trace = Trace(*run(inputs, multiplied, bias.to(inputs.dtype), norms, epsilon))
        ctx.save_for_backward(multiplied, norms.recurrent_scale, norms.cell_scale, norms.cell_shift, *trace)
        return trace.hidden

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        weight, recurrent_scale, cell_scale, cell_shift, *saved = ctx.saved_tensors
        trace = Trace(*saved)
        with torch.autocast(grad_output.device.type, enabled=False):
            run = load_kernel().backward if ctx.compiled else steps_backward
            grad_inputs, grad_recurrent, sums = run(
                grad_output, weight, (recurrent_scale, cell_scale, cell_shift), trace[:4]
            )
            return (*_parameter_gradients(ctx, trace, weight, grad_inputs, grad_recurrent, sums), None, None)


def _parameter_gradients(
    ctx: FunctionCtx, trace: Trace, weight: Tensor, grad_inputs: Tensor, grad_recurrent: Tensor, sums: Sequence[Tensor]
) -> tuple[Tensor | None, ...]:
    """Gradients of inputs, weight, bias and the four parameters in `Norms`, summed over time steps."""
    needed: Sequence[bool] = ctx.needs_input_grad  # type: ignore[attr-defined]
    grad_weight = None
    if needed[1]:
        later, before = grad_recurrent[:, 1:].flatten(0, 1), trace.hidden[:, :-1].flatten(0, 1)
        grad_weight = (later.to(weight.dtype).t() @ before.to(weight.dtype)).to(later.dtype)
    return (
        grad_inputs,
        grad_weight,
        grad_recurrent.sum((0, 1)) if needed[2] else None,
        sums[0],
        grad_inputs.sum((0, 1)) if needed[4] else None,  # like the inputs, b1 is added to p
        *sums[1:],
    )


def takes_compiled(loop: Loop, inputs: Tensor, weight: Tensor) -> bool:
    """True if the compiled loop is used for these tensors.

    Args:
        loop: the requested form of the loop.
        inputs: as in `recur`.
        weight: W in the dtype it is multiplied in.

    Raises:
        NoKernel: ``loop`` is ``compiled`` and the compiled loop is unavailable or does not support these tensors.
    """
    if loop == "torch":
        return False
    fits = (
        inputs.device.type == "cpu"
        and inputs.dtype == torch.float32
        and weight.dtype in (torch.float32, torch.bfloat16)
    )
    try:
        if not fits:
            raise NoKernel(
                f"it is for float32 tokens on the CPU and weights in float32 or bfloat16, not for {inputs.dtype} on "
                f"{inputs.device.type} and {weight.dtype}"
            )
        load_kernel()
    except NoKernel:
        if loop == "compiled":
            raise
        return False
    return True


def _multiply(rows: Tensor, weight: Tensor) -> Tensor:
    """rows x weight, multiplied in the dtype of ``weight``."""
    return (rows.to(weight.dtype) @ weight).to(rows.dtype)


def _moments(values: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Mean and 1 / sqrt(variance + epsilon) over the last axis, which keeps size 1."""
    variance, mean = torch.var_mean(values, -1, correction=0, keepdim=True)
    return mean, (variance + epsilon).rsqrt()


def steps_traced(inputs: Tensor, weight: Tensor, bias: Tensor, norms: Norms, epsilon: float) -> Tensor:
    """The hidden states as one loop of an exported program, for any number of time steps.

    torch.export would otherwise write the operations of every time step one after the other.

    Shapes and arguments: see `recur`.
    """
    from torch._higher_order_ops.scan import scan

    def step(state: tuple[Tensor, Tensor], given: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        trace = steps_forward(given[:, None], weight, bias, norms, epsilon, state)
        cell, hidden = trace.cell[:, 0], trace.hidden[:, 0]
        return (cell.contiguous(), hidden.contiguous()), hidden.clone()

    start = inputs.new_zeros(inputs.shape[0], weight.shape[1])
    _, hidden = scan(step, (start, start.clone()), inputs.transpose(0, 1), dim=0)
    found: Tensor = hidden.transpose(0, 1)
    return found


def steps_forward(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor,
    norms: Sequence[Tensor],
    epsilon: float,
    state: tuple[Tensor, Tensor] | None = None,
) -> Trace:
    """Run the forward loop in torch operators, one time step after the other.

    Shapes: see `fptkit.backbones.lstm.native.Kernel.forward`; state: (B, H) each.

    Args:
        inputs: see `fptkit.backbones.lstm.native.Kernel.forward`, as are weight, bias, norms and epsilon.
        state: c and h before the first step; None: zeros.
    """
    recurrent_scale, recurrent_shift, cell_scale, cell_shift = norms
    width, across = weight.shape[1], weight.t()
    cell, hidden = state or (inputs.new_zeros(inputs.shape[0], width),) * 2
    steps = []
    for given in inputs.unbind(1):
        recurrent = _multiply(hidden, across) + bias
        mean, scale = _moments(recurrent, epsilon)
        mixed = torch.addcmul(given + recurrent_shift, (recurrent - mean) * scale, recurrent_scale)
        gates = torch.cat((mixed[:, : 3 * width].sigmoid_(), mixed[:, 3 * width :].tanh_()), 1)
        into, forget, out, candidate = gates.chunk(4, 1)
        cell = torch.addcmul(forget * cell, into, candidate)
        cell_mean, its_scale = _moments(cell, epsilon)
        hidden = out * torch.addcmul(cell_shift, (cell - cell_mean) * its_scale, cell_scale).tanh_()
        steps.append(Trace(recurrent, torch.cat((mean, scale, cell_mean, its_scale), 1), gates, cell, hidden))
    return Trace(*(torch.stack(parts, 1) for parts in zip(*steps, strict=True)))


def steps_backward(
    grad_output: Tensor, weight: Tensor, norms: Sequence[Tensor], trace: Sequence[Tensor]
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Run the backward loop in torch operators, one time step after the other.

    Shapes and arguments: see `fptkit.backbones.lstm.native.Kernel.backward`.
    """
    recurrent_scale, cell_scale, cell_shift = norms
    recurrent, moments, gates, cell = trace
    mean, scale, cell_mean, its_scale = moments.split(1, -1)
    # Everything that needs no gradient of a later step is computed for all steps at once.
    normed, normed_cell = (recurrent - mean) * scale, (cell - cell_mean) * its_scale
    into, forget, out, candidate = gates.chunk(4, -1)
    squashed = torch.addcmul(cell_shift, normed_cell, cell_scale).tanh_()
    before = functional.pad(cell[:, :-1], (0, 0, 1, 0))
    to_out = squashed * out * (1 - out)
    to_norm = out * (1 - squashed * squashed)
    to_others = torch.stack(
        (candidate * into * (1 - into), before * forget * (1 - forget), into * (1 - candidate * candidate)), 2
    )
    grad_hidden, grad_cell = torch.zeros_like(before[:, 0]), torch.zeros_like(before[:, 0])
    grads_inputs, grads_recurrent, grads_norm = [], [], []
    for step in reversed(range(grad_output.shape[1])):
        grad_hidden = grad_hidden + grad_output[:, step]
        grad_norm = grad_hidden * to_norm[:, step]
        grad_cell = grad_cell + _norm_backward(grad_norm * cell_scale, normed_cell[:, step], its_scale[:, step])
        to_into, to_forget, to_candidate = (grad_cell[:, None] * to_others[:, step]).unbind(1)
        grad_inputs = torch.cat((to_into, to_forget, grad_hidden * to_out[:, step], to_candidate), 1)
        grad_recurrent = _norm_backward(grad_inputs * recurrent_scale, normed[:, step], scale[:, step])
        grad_hidden, grad_cell = _multiply(grad_recurrent, weight), grad_cell * forget[:, step]
        grads_inputs.append(grad_inputs)
        grads_recurrent.append(grad_recurrent)
        grads_norm.append(grad_norm)
    all_inputs, all_recurrent, all_norm = (
        torch.stack(parts[::-1], 1) for parts in (grads_inputs, grads_recurrent, grads_norm)
    )
    sums = ((all_inputs * normed).sum((0, 1)), (all_norm * normed_cell).sum((0, 1)), all_norm.sum((0, 1)))
    return all_inputs, all_recurrent, sums


def _norm_backward(grad: Tensor, normed: Tensor, scale: Tensor) -> Tensor:
    """Gradient through (x - mean) / sqrt(variance + epsilon).

    Shapes: grad and normed (B, N), scale (B, 1) -> (B, N).
    """
    along = (grad * normed).mean(-1, keepdim=True)
    return scale * (grad - grad.mean(-1, keepdim=True) - normed * along)
