"""The proof that frozen means frozen: digests before and after, and an optimiser with the trained tensors only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor, nn

from fptkit.errors import FreezingError
from fptkit.numerics.eight_bit import scales


def digest_tensors(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in the order given.

    A ``DTensor``, of which several processes hold a part each, comes together whole: all of them digest it at once.
    """
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        whole: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
        digest.update(whole.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


class FreezeProof:
    """Remembers the frozen parameters of a model as they are now, and the scales of those in 8 bits.

    Args:
        model: with a policy applied and its weights in their final dtype.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.digest = self._digest()

    def _digest(self) -> str:
        frozen = ((name, p) for name, p in self._model.named_parameters() if not p.requires_grad)
        return digest_tensors(chain(frozen, scales(self._model)))

    def check_unchanged(self) -> None:
        """Compare with now.

        Raises:
            FreezingError: a frozen parameter is no longer what it was.
        """
        if self._digest() != self.digest:
            raise FreezingError("a frozen parameter changed during training; the results are not those of this policy")

    def check_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Check that the optimiser holds exactly the trained parameters.

        Raises:
            FreezingError: it holds a frozen one, or lacks a trained one.
        """
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        trained = {id(parameter): name for name, parameter in self._model.named_parameters() if parameter.requires_grad}
        if held != trained.keys():
            lacking = [name for key, name in trained.items() if key not in held]
            raise FreezingError(
                f"the optimiser holds {len(held - trained.keys())} frozen parameters and lacks {lacking or 'none'}"
            )
