"""Frozen weights sharded over the processes of a run (FSDP2), for models larger than one device.

The frozen matrices of each block are cut into as many shards as there are processes, and every process keeps one. A
block's matrices are gathered when it runs, forward or backward, and freed after it. Nothing else is sharded: trained
parameters, norms and everything outside the blocks are small, and stay complete in every process.

Gathering takes all processes at once, so each must make as many passes as the others: see `IdlePass`.

torch's ``fully_shard`` does the work. It takes a second or more to import, so only runs that shard import it.
"""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from fptkit.engine.batches import micro_batches
from fptkit.engine.team.processes import Processes
from fptkit.errors import UsageError
from fptkit.interfaces import Backbone, Batch, Task
from fptkit.model import CrossModalModel

_gather_into = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor  # its former name


@dataclass(frozen=True)
class Sharded:
    """What was sharded.

    Args:
        blocks: names of the backbone's blocks, in order.
        whole: bytes of all their matrices that were sharded.
        held: bytes of those that this process holds.
    """

    blocks: Sequence[str]
    whole: int
    held: int


def can_shard() -> bool:
    """Whether this version of torch can shard: 2.9 or newer."""
    from torch.distributed.fsdp import FSDPModule

    return hasattr(FSDPModule, "set_custom_all_gather")


def meeting_place(device: torch.device, processes: Processes) -> DeviceMesh:
    """The device mesh for `shard_frozen`. All processes call this together.

    Raises:
        UsageError: this version of torch is too old.
    """
    if not can_shard():
        raise UsageError(
            f"train.shard_frozen: always needs torch 2.9 or newer, but this is {torch.__version__}; upgrade it, or set "
            "shard_frozen to never"
        )
    return init_device_mesh(device.type, (processes.count,))


def shard_frozen(model: CrossModalModel, name: str, mesh: DeviceMesh, processes: Processes) -> Sharded:
    """Shard the frozen matrices of the backbone's blocks over the processes, and move them to the device.

    Every process must hold the same matrices. Nothing is sent; the first pass is the first exchange.

    Args:
        model: changed in place, policy applied, weights in their final dtype. Matrices become ``DTensor``.
        name: of the backbone, for errors.
        mesh: of `meeting_place`.
        processes: those of the run.

    Raises:
        UsageError: the backbone's blocks are not modules of their own, or run at random, or none of them has a
            frozen matrix.
    """
    from torch.distributed.fsdp import fully_shard

    backbone = model.backbone
    blocks = _block_modules(backbone, name)
    _check_all_run(backbone, name)
    whole = sum(_bytes(matrix) for block in blocks for matrix in _frozen_matrices(backbone.get_submodule(block)))
    if not whole:
        raise UsageError(
            "train.shard_frozen: always, but no block of this model has a frozen matrix; set it to never, or choose "
            "another freezing policy"
        )
    # torch warns if a module returns a view, which must not be changed in place; backbones do not change theirs.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view", category=UserWarning)
    for block in blocks:
        _shard(backbone.get_submodule(block), mesh, processes)
    # The outermost module holds nothing itself. It connects the blocks: on a GPU, the weights of the next one are
    # gathered while one runs.
    fully_shard(backbone, mesh=mesh, ignored_params=set(backbone.parameters()))
    held = sum(_bytes(matrix.to_local()) for matrix in backbone.parameters() if hasattr(matrix, "to_local"))
    return Sharded(blocks, whole, held)


class IdlePass:
    """The pass of a process that has no examples left while others have: without it, they would wait for it forever.

    It changes nothing: one example passes in evaluation mode, and its gradient is dropped.

    Args:
        model: with sharded weights.
        task: gives the loss.
        batch: on the device, of the same kind in every process; its first example is taken.
    """

    def __init__(self, model: CrossModalModel, task: Task, batch: Batch) -> None:
        self._model, self._task, self._batch = model, task, micro_batches(batch, len(batch))[0]

    @torch.no_grad()
    def forward(self) -> None:
        """Pass the example as in an evaluation."""
        with self._evaluating():
            self._model(self._batch.inputs, self._batch.lengths)

    def forward_and_backward(self) -> None:
        """Pass it as in a training step. Drops all gradients, so it must come before the micro-batches that count."""
        with self._evaluating():
            self._task.loss(self._model(self._batch.inputs, self._batch.lengths), self._batch).backward()
        self._model.zero_grad(set_to_none=True)

    @contextlib.contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Without dropout, and without a change to running statistics."""
        was_training = self._model.training
        self._model.eval()
        try:
            yield
        finally:
            self._model.train(was_training)


def check_blocks_run(model: CrossModalModel, name: str, sharded: Sharded, idle: IdlePass) -> None:
    """Pass one example, in all processes, and check that every block runs as a module; if not, its weights stay
    sharded.

    Args:
        model: with sharded weights.
        name: of the backbone, for errors.
        sharded: what was sharded.
        idle: the pass.

    Raises:
        UsageError: a block does not run, or not by calling its module.
    """
    ran: set[str] = set()
    hooks = [
        model.backbone.get_submodule(block).register_forward_pre_hook(lambda *_, block=block: ran.add(block))
        for block in sharded.blocks
    ]
    cause = None
    try:
        idle.forward()
    except RuntimeError as err:
        if "DTensor" not in str(err):  # torch's name for sharded weights
            raise
        cause = err
    finally:
        for hook in hooks:
            hook.remove()
    missing = [block for block in sharded.blocks if block not in ran]
    if cause or missing:
        raise UsageError(
            f"train.shard_frozen: the backbone '{name}' does not run each block by calling its module "
            f"({(missing or sharded.blocks)[0]}), so its weights cannot be gathered; set it to never"
        ) from cause


class _Gather:
    """Gathers the shards of a block, and reports what is known if another process is gone.

    Replaces torch's own, see ``FSDPModule.set_custom_all_gather``.
    """

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def allocate(self, size: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty(*size, dtype=dtype, device=device)

    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: Any, async_op: bool = False) -> Any:
        return self._processes.wait_for(
            lambda: _gather_into(output_tensor, input_tensor, group=group, async_op=async_op)
        )


def _shard(block: nn.Module, mesh: DeviceMesh, processes: Processes) -> None:
    """Shard the frozen matrices of a block. The complete ones are freed when this returns, on the device as well."""
    from torch.distributed.fsdp import fully_shard

    matrices = _frozen_matrices(block)
    for matrix in matrices:
        matrix.data = matrix.data.contiguous()
    kept_whole = set(block.parameters()) - set(matrices)
    sharded = fully_shard(block, mesh=mesh, reshard_after_forward=True, ignored_params=kept_whole)
    sharded.set_custom_all_gather(_Gather(processes))  # type: ignore[arg-type]


def _block_modules(backbone: Backbone, name: str) -> list[str]:
    """The module of each block: the innermost one that holds all of its parameters.

    Raises:
        UsageError: there are no blocks, or one of them is not a module of its own.
    """
    owners: dict[int, list[list[str]]] = {}
    for parameter, role in backbone.parameter_roles().items():
        if role.block is not None:
            owners.setdefault(role.block, []).append(parameter.split(".")[:-1])
    found = [_called(backbone, _common_start(owners[block])) for block in sorted(owners)]
    apart = all(block and _alone(block, found) for block in found)
    if not found or not apart:
        raise UsageError(
            f"train.shard_frozen: the weights of the backbone '{name}' cannot be sharded: "
            + ("its blocks are not modules of their own" if found else "it has no blocks")
            + "; set it to never"
        )
    return found


def _called(backbone: Backbone, path: Sequence[str]) -> str:
    """The innermost module on a path that has a forward method; lists of modules have none."""
    ends = (".".join(path[:end]) for end in range(len(path), 0, -1))
    return next((end for end in ends if not isinstance(backbone.get_submodule(end), nn.ModuleList | nn.ModuleDict)), "")


def _common_start(paths: Sequence[Sequence[str]]) -> list[str]:
    """What all paths begin with."""
    levels = itertools.takewhile(lambda level: len(set(level)) == 1, zip(*paths, strict=False))
    return [level[0] for level in levels]


def _alone(block: str, blocks: Sequence[str]) -> bool:
    """Whether a module neither contains nor belongs to another block."""
    return sum(f"{other}.".startswith(f"{block}.") or f"{block}.".startswith(f"{other}.") for other in blocks) == 1


def _check_all_run(backbone: Backbone, name: str) -> None:
    """Raise if processes may run blocks differently often: each would wait for another block."""
    if backbone.apart:
        raise UsageError(
            f"train.shard_frozen: the backbone '{name}' runs sequences of each length separately, and sharded weights "
            "are gathered equally often in all processes; set it to never"
        )
    for module in backbone.modules():
        if isinstance(chance := getattr(module, "layerdrop", None), int | float) and chance > 0:
            raise UsageError(
                f"train.shard_frozen: the backbone '{name}' leaves blocks out at random (layerdrop {chance:g}), and "
                "sharded weights are gathered for the same block in all processes; set it to never"
            )


def _frozen_matrices(module: nn.Module) -> list[nn.Parameter]:
    """The frozen parameters of a block worth sharding: two axes or more, in the dtype that most of them have, since one
    exchange gathers tensors of one dtype."""
    matrices = [parameter for parameter in module.parameters() if not parameter.requires_grad and parameter.ndim > 1]
    sizes: Counter[torch.dtype] = Counter()
    for matrix in matrices:
        sizes[matrix.dtype] += _bytes(matrix)
    return [matrix for matrix in matrices if matrix.dtype == sizes.most_common(1)[0][0]]


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
