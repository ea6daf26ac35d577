"""The layer-norm LSTM compared with a plain loop and with the paper's code, forward and backward on this CPU.

    python benchmarks/lstm.py
    python benchmarks/lstm.py --official DIR     # a checkout of kzl/universal-computation

Prints the median seconds of a training step (forward and backward to every parameter and to the tokens) and the speedup
of each line over the first. The models alternate, so that a busy machine slows all equally; on a busy machine, use the
CPU time with ``--threads 1``, since waiting threads count as busy. Lines:

- official: the paper's module, only with ``--official``. It is not part of this project.
- ours, variant official: the same network here.
- plain loop: the same formulas as ours, one time step after the other, with torch's autograd.
- ours, torch loop: explicit gradients, everything possible moved out of the loop; used on machines without a C++
  compiler.
- ours, compiled: the loop in C++.
- the same with weights in bfloat16 under autocast, and with frozen linear maps, as with the policy ``fpt``.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from fptkit.backbones.lstm.build import draw_lstm
from fptkit.backbones.lstm.native import load_kernel
from fptkit.backbones.lstm.network import EPSILON, LstmBackbone
from fptkit.backbones.lstm.options import LstmSizes, Variant
from fptkit.backbones.lstm.recurrence import Loop

Forward = Callable[[Tensor], Tensor]


def plain_loop(backbone: LstmBackbone, tokens: Tensor) -> Tensor:
    """Run the same network one layer and one time step after the other, with torch's own operators.

    Shapes: tokens (B, T, D) -> (B, T, D).
    """
    for layer in backbone.layers:
        hidden = cell = tokens.new_zeros(len(tokens), backbone.width)
        steps = []
        for given in tokens.unbind(1):
            gates = layer.input_norm(layer.input_map(given)) + layer.hidden_norm(layer.hidden_map(hidden))
            into, forget, out, candidate = gates.chunk(4, 1)
            cell = forget.sigmoid() * cell + into.sigmoid() * candidate.tanh()
            normed = functional.layer_norm(
                cell, (backbone.width,), layer.cell_norm.weight, layer.cell_norm.bias, EPSILON
            )
            hidden = out.sigmoid() * normed.tanh()
            steps.append(hidden)
        tokens = torch.stack(steps, 1)
    return tokens


def official(folder: Path, sizes: LstmSizes) -> tuple[nn.Module, Forward]:
    """Build the paper's LSTM from a checkout, as in its ``fpt.py``, without dropout."""
    path = folder / "universal_computation" / "models" / "lstm.py"
    spec = importlib.util.spec_from_file_location("official_lstm", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SystemExit(f"--official: there is no {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: nn.Module = module.LNLSTM(
        sizes.width, sizes.width, num_layers=sizes.layers, batch_first=True, bidirectional=0, dropout=0.0
    )
    return made, lambda tokens: made(tokens)[0]


def ours(
    sizes: LstmSizes, loop: Loop, *, variant: Variant = "ba2016", frozen: bool = False, mixed: bool = False
) -> tuple[nn.Module, Forward]:
    """Build this project's LSTM.

    Args:
        sizes: sizes of the network.
        loop: implementation of the loop over time.
        variant: of the LSTM.
        frozen: freeze the linear maps and train the norms.
        mixed: run under autocast in bfloat16, and store frozen maps in bfloat16.
    """
    backbone = draw_lstm(sizes, 0, variant)
    backbone.loop, backbone.dropout = loop, 0.0
    for name, role in backbone.parameter_roles().items():
        parameter = backbone.get_parameter(name)
        parameter.requires_grad_(not frozen or role.role == "norm")
        if mixed and frozen and role.role == "recurrent":
            parameter.data = parameter.data.bfloat16()

    def forward(tokens: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            return backbone(tokens)

    return backbone, forward


def train_step(model: nn.Module, forward: Forward, tokens: Tensor, gradient: Tensor) -> tuple[float, float]:
    """Return the seconds of one forward and backward pass, and their CPU seconds."""
    model.zero_grad(set_to_none=True)
    tokens = tokens.detach().requires_grad_()
    started, busy = time.perf_counter(), time.process_time()
    forward(tokens).backward(gradient)
    return time.perf_counter() - started, time.process_time() - busy


def main() -> None:
    """Measure every model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, metavar="DIR", help="checkout of kzl/universal-computation")
    for name, value in (("batch", 16), ("tokens", 64), ("layers", 3), ("width", 768), ("threads", 2), ("runs", 7)):
        parser.add_argument(f"--{name}", type=int, default=value, help=f"default: {value}")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    sizes = LstmSizes(given.layers, given.width)
    started = time.perf_counter()
    load_kernel()
    print(f"building the compiled loop took {time.perf_counter() - started:.1f} s")

    models: dict[str, tuple[nn.Module, Forward]] = {}
    if given.official:
        models["official"] = official(given.official, sizes)
    plain = draw_lstm(sizes, 0)
    models["plain loop"] = plain, lambda tokens: plain_loop(plain, tokens)
    models["ours, variant official"] = ours(sizes, "auto", variant="official")
    models["ours, torch loop"] = ours(sizes, "torch")
    models["ours, compiled"] = ours(sizes, "compiled")
    models["ours, compiled, bfloat16"] = ours(sizes, "compiled", mixed=True)
    models["ours, compiled, frozen maps"] = ours(sizes, "compiled", frozen=True)
    models["ours, torch loop, frozen maps"] = ours(sizes, "torch", frozen=True)
    models["ours, compiled, frozen bfloat16"] = ours(sizes, "compiled", frozen=True, mixed=True)

    tokens = torch.randn(given.batch, given.tokens, sizes.width)
    gradient = torch.randn_like(tokens)
    with torch.no_grad():
        worst = float((models["ours, compiled"][1](tokens) - plain_loop(plain, tokens)).abs().max())
    print(f"largest difference between compiled and plain loop: {worst:.1g}")
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    for run in range(given.runs + 1):
        for name, (model, forward) in models.items():
            took = train_step(model, forward, tokens, gradient)
            if run:  # the first warms up
                seconds[name].append(took)
    print(f"{given.batch} x {given.tokens} tokens, {sizes.layers} x {sizes.width}, {given.threads} threads")
    print(f"{'':34}  median s   times as fast     processor s   times as fast")
    first: tuple[float, ...] = ()
    for name, times in seconds.items():
        medians = tuple(statistics.median(column) for column in zip(*times, strict=True))
        first = first or medians
        wall, busy = (f"{median:8.3f}   {start / median:13.2f}" for start, median in zip(first, medians, strict=True))
        print(f"{name:34}  {wall}        {busy}")


if __name__ == "__main__":
    main()
