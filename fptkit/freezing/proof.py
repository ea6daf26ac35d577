"""The freeze proof: digests of frozen parameters before and after training, and a check of the optimizer's tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn

from fptkit.errors import FreezingError
from fptkit.model import CrossModalModel
from fptkit.numerics.eight_bit import scales
from fptkit.numerics.precision import IN_FEWER_BITS, MATRIX


def digest_tensors(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Compute the SHA-256 digest of names, dtypes, shapes and bytes, in the given order.

    A ``DTensor`` is gathered from all processes that hold its shards, so all of them must call this together.

    Args:
        tensors: pairs of name and tensor.
    """
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        whole: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
        digest.update(whole.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


class FreezeProof:
    """Records a digest of a model's frozen parameters, including the scales of 8-bit weights.

    Args:
        model: the model, with its policy applied and its weights in their final dtype.

    Attributes:
        digest: SHA-256 digest when the object was created, in hexadecimal.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.digest = self._digest()

    def _digest(self, *, stored: bool = False) -> str:
        frozen = ((name, p) for name, p in self._model.named_parameters() if not p.requires_grad)
        return digest_tensors(chain(frozen, scales(self._model, stored=stored)))

    def matches(self, recorded: str) -> bool:
        """Return whether a recorded digest is that of these tensors.

        Earlier versions stored frozen vectors of mixed precision as bfloat16, too, and such runs can still be loaded:
        a bias is rounded to bfloat16 when it is used, so their results do not change.

        Args:
            recorded: digest in a checkpoint or run folder.
        """
        mixed = getattr(self._model, "mixed", False)
        return recorded == self.digest or (mixed and recorded == self._former_digest())

    def advice(self, recorded: str) -> str:
        """What to do about a recorded digest that does not match.

        Args:
            recorded: digest in a checkpoint or run folder.
        """
        if recorded == self._digest(stored=True):
            return (
                "The run stored weights in 8 bits and multiplied them in bfloat16, which precision: int8 meant before; "
                "set precision and pinned.precision to int8_storage in its recipe.yaml"
            )
        return "Use the weights that the run used"

    def _former_digest(self) -> str:
        """The digest with vectors in bfloat16, of a model in mixed precision."""
        roles = cast("CrossModalModel", self._model).parameter_roles()

        def former(name: str, parameter: nn.Parameter) -> Tensor:
            rounded = parameter.ndim < MATRIX and parameter.dtype == torch.float32 and roles[name].role in IN_FEWER_BITS
            return parameter.to(torch.bfloat16) if rounded else parameter

        frozen = ((name, former(name, p)) for name, p in self._model.named_parameters() if not p.requires_grad)
        return digest_tensors(chain(frozen, scales(self._model)))

    def check_unchanged(self) -> None:
        """Compare the frozen parameters with the recorded digest.

        Raises:
            FreezingError: a frozen parameter has changed.
        """
        if self._digest() != self.digest:
            raise FreezingError("a frozen parameter changed during training; the results are not those of this policy")

    def check_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Check that the optimizer holds exactly the trained parameters.

        Args:
            optimizer: the optimizer of the run.

        Raises:
            FreezingError: it holds a frozen parameter, or lacks a trained one.
        """
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        trained = {id(parameter): name for name, parameter in self._model.named_parameters() if parameter.requires_grad}
        if held != trained.keys():
            lacking = [name for key, name in trained.items() if key not in held]
            raise FreezingError(
                f"the optimizer holds {len(held - trained.keys())} frozen parameters and lacks {lacking or 'none'}"
            )
