"""Muon: an optimizer with orthogonalised momentum, for the matrices in the blocks.

It differs from ``torch.optim.Muon`` in two ways: GPT-2 stores query, key and value in one matrix, and here each gets
its own orthogonal update; and matrices of the same shape are orthogonalised together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

# Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks": coefficients and rounds.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5


def orthogonalize(matrices: Tensor) -> Tensor:
    """Bring the singular values of each matrix close to 1 (about 0.7 to 1.2) by a Newton-Schulz iteration.

    Shapes: (N, R, C) -> (N, R, C), bfloat16.

    Source: Jordan et al. 2024, as above.
    """
    a, b, c = _COEFFICIENTS
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    x = x.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    result: Tensor = x.mT if tall else x
    return result


class Muon(torch.optim.Optimizer):
    """Muon for matrices stored (in, out), as GPT-2's are.

    Args:
        params: two-dimensional parameters. One with three times as many columns as rows is treated as query, key and
            value side by side, and updated as three matrices.
        lr: learning rate; the spectral norm of an update is about ``lr * max(1, out / in) ** 0.5``.
        momentum: momentum coefficient (Nesterov form), 0 <= momentum < 1.
        weight_decay: decoupled; each step multiplies the matrix by ``1 - lr * weight_decay``.

    Source: Jordan et al. 2024; the split of query, key and value follows the authors' advice there.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float = 0.02, *, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # no closure is used
        """Do one step along the orthogonalised momentum."""
        for group in self.param_groups:
            directions: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                direction = parameter.grad.lerp(state["momentum"], group["momentum"])
                parts = 3 if parameter.shape[1] == 3 * parameter.shape[0] else 1
                for target, part in zip(parameter.chunk(parts, 1), direction.chunk(parts, 1), strict=True):
                    directions[part.shape].append((target, part))
            for shape, pairs in directions.items():
                updates = orthogonalize(torch.stack([part for _, part in pairs]))
                scale = max(1.0, shape[1] / shape[0]) ** 0.5
                for (target, _), update in zip(pairs, updates, strict=True):
                    target.mul_(1 - group["lr"] * group["weight_decay"])
                    target.add_(update, alpha=-group["lr"] * scale)
