"""What an optimizer remembers, as a checkpoint holds it: tensors by parameter, and numbers of its state and groups."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from torch import Tensor

from fptkit.engine.checkpoint import Checkpoint
from fptkit.errors import CheckpointError

_NUMBERS = (bool, int, float, str, NoneType)

_NOT_SAVED = ("lr", "initial_lr", "capturable")
"""Settings of groups that the schedule and the device decide."""


def pack_optimizer(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> dict[str, Tensor]:
    """The tensors of an optimizer's state as ``<parameter name>/<state name>`` -> tensor.

    Args:
        optimizer: after at least one step, or before any (then empty).
        names: id of a parameter -> its name.
    """
    return {
        f"{names[id(parameter)]}/{key}": value
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    }


def pack_numbers(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> dict[str, Any]:
    """What else an optimizer remembers: numbers of its state and of its groups, other than learning rates.

    Args:
        optimizer: the optimizer.
        names: id of a parameter -> its name.

    Returns:
        Values of JSON; empty for an optimizer whose state has only tensors, and whose groups it does not change.
    """
    states = {
        names[id(parameter)]: numbers
        for parameter, state in optimizer.state.items()
        if (numbers := {key: value for key, value in state.items() if isinstance(value, _NUMBERS)})
    }
    groups = [
        {key: value for key, value in group.items() if isinstance(value, _NUMBERS) and key not in _NOT_SAVED}
        for group in optimizer.param_groups
    ]
    # AdamW never changes its groups.
    return {} if isinstance(optimizer, torch.optim.AdamW) else {"states": states, "groups": groups}


def unpack_optimizer(optimizer: torch.optim.Optimizer, saved: Checkpoint, names: Mapping[int, str]) -> None:
    """Restore what `pack_optimizer` and `pack_numbers` gave, in place.

    Args:
        optimizer: a new one.
        saved: the checkpoint.
        names: id of a parameter -> its name.

    Raises:
        CheckpointError: a tensor is of no parameter that the optimizer has, or of another shape; or the numbers are of
            an optimizer with other groups or parameters.
    """
    origin = saved.folder
    _unpack_tensors(optimizer, saved.optimizer, names, origin)
    _unpack_numbers(optimizer, saved.optimizer_numbers, names, origin)


def _unpack_tensors(
    optimizer: torch.optim.Optimizer, packed: Mapping[str, Tensor], names: Mapping[int, str], origin: Path
) -> None:
    states: dict[str, dict[str, Tensor]] = {}
    for key, value in packed.items():
        name, _, state_name = key.rpartition("/")
        states.setdefault(name, {})[state_name] = value
    _check_states(optimizer, states, names, origin)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if (name := names[id(parameter)]) in states:
                # With fused=True the step counter, too, is on the parameter's device.
                optimizer.state[parameter] = {
                    key: value.to(parameter.device, copy=True) for key, value in states[name].items()
                }


def _unpack_numbers(
    optimizer: torch.optim.Optimizer, packed: Mapping[str, Any], names: Mapping[int, str], origin: Path
) -> None:
    states, groups = packed.get("states", {}), packed.get("groups", [])
    own = {names[id(parameter)]: parameter for group in optimizer.param_groups for parameter in group["params"]}
    fits = not packed or len(groups) == len(optimizer.param_groups)
    if not fits or not states.keys() <= own.keys():
        raise CheckpointError(f"{origin}: the numbers of its optimizer are not those of this model's optimizer")
    for name, numbers in states.items():
        optimizer.state.setdefault(own[name], {}).update(numbers)
    for group, numbers in zip(optimizer.param_groups, groups, strict=False):
        group.update({key: value for key, value in numbers.items() if key in group and key not in _NOT_SAVED})


def _check_states(
    optimizer: torch.optim.Optimizer, states: Mapping[str, Mapping[str, Tensor]], names: Mapping[int, str], origin: Path
) -> None:
    """Raise if saved states do not fit the parameters. A state of AdamW is a number, or has its parameter's shape."""
    shapes = {names[id(one)]: one.shape for group in optimizer.param_groups for one in group["params"]}
    if strange := sorted(states.keys() - shapes.keys()):
        raise CheckpointError(f"{origin}: its optimizer has tensors of {strange[0]!r}, which this model does not train")
    # Only of AdamW it is known that all states have the same tensors, in the shape of the parameter.
    if not isinstance(optimizer, torch.optim.AdamW):
        return
    kinds = {frozenset(state) for state in states.values()}
    if len(kinds) > 1:
        raise CheckpointError(f"{origin}: its optimizer has {sorted(map(sorted, kinds))} for different parameters")
    for name, state in states.items():
        for key, value in state.items():
            if value.numel() != 1 and value.shape != shapes[name]:
                raise CheckpointError(
                    f"{origin}: {key} of {name} in its optimizer has shape {tuple(value.shape)}, the model's parameter "
                    f"{tuple(shapes[name])}"
                )
