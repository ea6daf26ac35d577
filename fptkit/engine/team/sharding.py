"""Frozen weights that are sharded over the processes of a run, for bodies that one device does not hold.

The frozen matrices of each block are cut into as many parts as there are processes, and every process keeps one. A
block's matrices come together in the moment it runs, forward or backward, and are let go behind it. Nothing else is
sharded: trained parameters, norms and whatever lies outside the blocks are small, and stay whole in every process.

What comes together takes all processes at once, so each must make as many passes as the others: see `IdlePass`.

torch's ``fully_shard`` does it. It takes a second or more to import, which runs that shard nothing are spared.
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
    """Whether this version of torch can: from 2.9 on."""
    from torch.distributed.fsdp import FSDPModule

    return hasattr(FSDPModule, "set_custom_all_gather")


def meeting_place(device: torch.device, processes: Processes) -> DeviceMesh:
    """What `shard_frozen` takes. All processes make it together.

    Raises:
        UsageError: this version of torch is too old.
    """
    if not can_shard():
        raise UsageError(
            f"train.shard_frozen: always needs torch 2.9 or newer, this is {torch.__version__}; install that, or set "
            "it to never"
        )
    return init_device_mesh(device.type, (processes.count,))


def shard_frozen(model: CrossModalModel, name: str, mesh: DeviceMesh, processes: Processes) -> Sharded:
    """Shard the frozen matrices of the backbone's blocks over the processes, and take them to the device on the way.

    Every process must hold the same. Nothing is sent; the first pass is the first that needs all processes.

    Args:
        model: changed in place, policy applied, weights in their final dtype. Matrices become ``DTensor``.
        name: of the backbone, for errors.
        mesh: of `meeting_place`.
        processes: those of the run.

    Raises:
        UsageError: the backbone's blocks are no modules of their own, chance decides which of them run, or none of
            them has a frozen matrix.
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
    # torch warns where a module gives a view, which must not be changed in place; backbones hand theirs on as they are.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view", category=UserWarning)
    for block in blocks:
        _shard(backbone.get_submodule(block), mesh, processes)
    # The outermost module holds nothing itself. It has the blocks know of each other: on a GPU, the next one's weights
    # come together while one runs.
    fully_shard(backbone, mesh=mesh, ignored_params=set(backbone.parameters()))
    held = sum(_bytes(matrix.to_local()) for matrix in backbone.parameters() if hasattr(matrix, "to_local"))
    return Sharded(blocks, whole, held)


class IdlePass:
    """What a process does while others pass examples and it has none: without it, they would wait for it for ever.

    Nothing comes of it but time: it is one example, passed in evaluation mode, whose gradient is dropped.

    Args:
        model: with sharded weights.
        task: gives the loss.
        batch: on the device, of the same kind in every process; its first example is taken.
    """

    def __init__(self, model: CrossModalModel, task: Task, batch: Batch) -> None:
        self._model, self._task, self._batch = model, task, micro_batches(batch, len(batch))[0]

    @torch.no_grad()
    def forward(self) -> None:
        """As a batch of an evaluation."""
        with self._evaluating():
            self._model(self._batch.inputs, self._batch.lengths)

    def forward_and_backward(self) -> None:
        """As a part of a training batch. Drops the gradients there are: it comes before the parts that count."""
        with self._evaluating():
            self._task.loss(self._model(self._batch.inputs, self._batch.lengths), self._batch).backward()
        self._model.zero_grad(set_to_none=True)

    @contextlib.contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Without dropout, and with running statistics left as they are."""
        was_training = self._model.training
        self._model.eval()
        try:
            yield
        finally:
            self._model.train(was_training)


def check_blocks_run(model: CrossModalModel, name: str, sharded: Sharded, idle: IdlePass) -> None:
    """Pass one example, in all processes, and see that every block runs as a module: else its weights stay apart.

    Args:
        model: whose weights are sharded.
        name: of the backbone, for errors.
        sharded: what was sharded.
        idle: the pass.

    Raises:
        UsageError: a block does not run, or by other ways than a call of its module.
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
        if "DTensor" not in str(err):  # torch's word for weights that are apart
            raise
        cause = err
    finally:
        for hook in hooks:
            hook.remove()
    missing = [block for block in sharded.blocks if block not in ran]
    if cause or missing:
        raise UsageError(
            f"train.shard_frozen: the backbone '{name}' does not run each block by calling its module "
            f"({(missing or sharded.blocks)[0]}), so that its weights cannot come together; set it to never"
        ) from cause


class _Gather:
    """Brings the parts of a block together, and says what is known where another process is gone.

    In the place of torch's own, see ``FSDPModule.set_custom_all_gather``.
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
    """Shard the frozen matrices of a block. What it was before is free when this returns, on the device as well."""
    from torch.distributed.fsdp import fully_shard

    matrices = _frozen_matrices(block)
    for matrix in matrices:
        matrix.data = matrix.data.contiguous()
    kept_whole = set(block.parameters()) - set(matrices)
    sharded = fully_shard(block, mesh=mesh, reshard_after_forward=True, ignored_params=kept_whole)
    sharded.set_custom_all_gather(_Gather(processes))  # type: ignore[arg-type]


def _block_modules(backbone: Backbone, name: str) -> list[str]:
    """The module that holds each block: the innermost one that holds all of its parameters.

    Raises:
        UsageError: there are no blocks, or one of them is no module of its own.
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
            + ("its blocks are no modules of their own" if found else "it has no blocks")
            + "; set it to never"
        )
    return found


def _called(backbone: Backbone, path: Sequence[str]) -> str:
    """The innermost module on a path that has a forward of its own, which lists of modules have not."""
    ends = (".".join(path[:end]) for end in range(len(path), 0, -1))
    return next((end for end in ends if not isinstance(backbone.get_submodule(end), nn.ModuleList | nn.ModuleDict)), "")


def _common_start(paths: Sequence[Sequence[str]]) -> list[str]:
    """What all paths begin with."""
    levels = itertools.takewhile(lambda level: len(set(level)) == 1, zip(*paths, strict=False))
    return [level[0] for level in levels]


def _alone(block: str, blocks: Sequence[str]) -> bool:
    """Whether a module holds, and lies in, no other block."""
    return sum(f"{other}.".startswith(f"{block}.") or f"{block}.".startswith(f"{other}.") for other in blocks) == 1


def _check_all_run(backbone: Backbone, name: str) -> None:
    """Raise where chance leaves blocks out in training: each process would wait for another block."""
    for module in backbone.modules():
        if isinstance(chance := getattr(module, "layerdrop", None), int | float) and chance > 0:
            raise UsageError(
                f"train.shard_frozen: the backbone '{name}' leaves blocks out at random (layerdrop {chance:g}), and "
                "sharded weights come together in the same block of all processes only; set it to never"
            )


def _frozen_matrices(module: nn.Module) -> list[nn.Parameter]:
    """Those frozen parameters of a block that are worth it: with two axes or more, in the format that most of them
    have, since what comes together in one exchange is of one format."""
    matrices = [parameter for parameter in module.parameters() if not parameter.requires_grad and parameter.ndim > 1]
    sizes: Counter[torch.dtype] = Counter()
    for matrix in matrices:
        sizes[matrix.dtype] += _bytes(matrix)
    return [matrix for matrix in matrices if matrix.dtype == sizes.most_common(1)[0][0]]


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
