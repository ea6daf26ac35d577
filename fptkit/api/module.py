"""A user's own module and data loaders in the form that the engine trains: roles, batches by step, loss and metrics."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase, translate
from typing import Any, cast

import torch
from torch import Tensor, nn

from fptkit.errors import DataError, FreezingError, PluginError, UsageError
from fptkit.freezing import TrainedGroup, apply_policy
from fptkit.interfaces import Batch, Metric, ParameterRole, Task
from fptkit.seeds import derive_seed
from fptkit.specs import ROLES, FreezingPolicySpec

BLOCK = "{block}"
"""Stands for the number of a block in a pattern of parameter names."""

Loss = Callable[[Tensor, Tensor], Tensor]


class AdaptedModule(nn.Module):
    """A user's module with the interface of a model of the engine.

    Args:
        module: the module. It is called with a batch's inputs: one tensor, or keyword arguments if they are a mapping.
        roles: role of each parameter by pattern, see `roles_by_pattern`.

    Raises:
        UsageError: it is not a torch module.
        FreezingError: see `roles_by_pattern`.
    """

    def __init__(self, module: nn.Module, roles: Mapping[str, str]) -> None:
        super().__init__()
        if not isinstance(module, nn.Module):
            raise UsageError(f"module is of type {type(module).__name__}; give a torch.nn.Module")
        self.module = module
        self._roles = roles_by_pattern(module, roles)

    @property
    def blocks(self) -> int:
        """Number of blocks that the patterns found."""
        return max((role.block + 1 for role in self._roles.values() if role.block is not None), default=0)

    @property
    def backbone(self) -> AdaptedModule:
        """The part with the blocks, for freezing policies."""
        return self

    def parameter_roles(self) -> dict[str, ParameterRole]:
        """Return the role of every parameter, by its name in ``named_parameters()``."""
        return {f"module.{name}": role for name, role in self._roles.items()}

    def forward(self, inputs: Any, lengths: Tensor | None = None) -> Tensor:
        """Call the module.

        Raises:
            PluginError: it does not return one tensor.
        """
        outputs = self.module(**inputs) if isinstance(inputs, Mapping) else self.module(inputs)
        if not isinstance(outputs, Tensor):
            raise PluginError(
                f"{type(self.module).__name__} returned a value of type {type(outputs).__name__}; fptkit.train needs "
                "one tensor: wrap the module in one that returns it"
            )
        return outputs


class ModuleTask(Task):
    """Loss and metrics of a user's module.

    Args:
        loss: gives the mean loss of a batch from outputs and targets.
        metrics: makes new metrics by name.
        best_metric: name of the metric that chooses the best step, or ``loss``.

    Raises:
        UsageError: the loss cannot be called.
    """

    def __init__(self, loss: Loss, metrics: Callable[[], Mapping[str, Metric]], best_metric: str) -> None:
        if not callable(loss):
            raise UsageError(f"loss is {loss!r}; give a function of outputs and targets")
        self._loss, self._metrics, self.best_metric = loss, metrics, best_metric
        self.output = cast(Any, _AsGiven())

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """See `fptkit.Task.loss`.

        Raises:
            PluginError: the user's loss is not one number.
        """
        loss = self._loss(logits, batch.targets)
        if not isinstance(loss, Tensor) or loss.ndim:
            found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"type {type(loss).__name__}"
            raise PluginError(f"loss: it returned a value of {found}; return the mean over the examples, a scalar")
        return loss

    def metrics(self) -> Mapping[str, Metric]:
        """See `fptkit.Task.metrics`."""
        return self._metrics()


class _AsGiven:
    """Outputs and targets reach the metrics as they are."""

    def for_metrics(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return outputs, targets


class LoaderBatches:
    """The batches of two data loaders, see `fptkit.engine.batches.BatchSource`.

    Every batch is read with torch's global generator seeded by its number, so that the order of a loader that shuffles,
    and random changes that its data set makes with torch, are the same in a resumed training. A generator of the loader
    itself is seeded by the epoch.

    Args:
        training: read from its start in every epoch.
        validation: read in full in every validation.
        seed: decides the order.

    Raises:
        UsageError: one of them can be read only once.
    """

    def __init__(self, training: Iterable[Any], validation: Iterable[Any], seed: int) -> None:
        for name, loader in (("train_loader", training), ("validation_loader", validation)):
            if not hasattr(loader, "__iter__") or hasattr(loader, "__next__"):
                raise UsageError(
                    f"{name} is of type {type(loader).__name__} and cannot be read again in the next epoch; give a "
                    "torch.utils.data.DataLoader, or a list of batches"
                )
        self._training, self._validation, self._seed = training, validation, seed
        self._epoch, self._position = -1, 0
        self._batches: Iterator[Any] = iter(())
        self._last: tuple[int, Batch] | None = None
        self._next = 0

    def batch(self, step: int) -> Batch:
        """See `BatchSource.batch`.

        Raises:
            DataError: the loader has no batches, or one is not a pair of inputs and targets.
        """
        if self._last is not None and self._last[0] == step:
            return self._last[1]
        if step < self._next:
            self._epoch, self._next, self._batches = -1, 0, iter(())
        self._skip_epochs(step)
        while self._next <= step:
            found = self._following()
            self._next += 1
        self._last = step, as_batch(found, f"train_loader, batch {step + 1}")
        return self._last[1]

    def validation(self) -> Iterator[Batch]:
        """See `BatchSource.validation`.

        Raises:
            DataError: the loader has no batches, or one is not a pair of inputs and targets.
        """
        count = 0
        with _seeded(self._seed, "validation", self._validation):
            for count, given in enumerate(self._validation, start=1):  # counts them
                yield as_batch(given, f"validation_loader, batch {count}")
        if not count:
            raise DataError("validation_loader has no batches; give at least one")

    def close(self) -> None:
        """End the reading of the training loader, and with it the loader's workers."""
        self._batches, self._next, self._epoch = iter(()), 0, -1

    def _skip_epochs(self, step: int) -> None:
        """Begin with the epoch of a step, if the loader has a length; otherwise all batches before it are read."""
        try:
            size = len(self._training)  # type: ignore[arg-type]  # not every loader has a length
        except TypeError:
            return
        if size and step // size > self._epoch and step - self._next >= size:
            self._epoch, self._next, self._batches = step // size - 1, step // size * size, iter(())

    def _following(self) -> Any:
        """The next batch; of the next epoch if this one is over."""
        for _ in range(2):
            try:
                with _seeded(self._seed, f"epoch {self._epoch}, batch {self._position}"):
                    found = next(self._batches)
            except StopIteration:
                self._epoch, self._position = self._epoch + 1, 0
                with _seeded(self._seed, f"epoch {self._epoch}", self._training):
                    self._batches = iter(self._training)
                continue
            self._position += 1
            return found
        raise DataError("train_loader has no batches; give at least one")


class _seeded:
    """Seeds torch's global generator in a block, and a loader's own one; restores the global one afterwards."""

    def __init__(self, seed: int, what: str, loader: Any = None) -> None:
        self._seed, self._loader = derive_seed(seed, what), loader

    def __enter__(self) -> None:
        self._fork = torch.random.fork_rng(devices=[])
        self._fork.__enter__()
        torch.manual_seed(self._seed)
        own = getattr(self._loader, "generator", None)
        if isinstance(own, torch.Generator):
            own.manual_seed(self._seed)

    def __exit__(self, *error: Any) -> None:
        self._fork.__exit__(*error)


def as_batch(given: Any, where: str) -> Batch:
    """A loader's batch: a `fptkit.Batch`, a pair of inputs and targets, or a mapping with ``targets`` or ``labels``.

    Args:
        given: the batch.
        where: which one, for messages.

    Raises:
        DataError: it is something else, or inputs and targets differ in their number of examples.
    """
    if isinstance(given, Batch):
        return given
    if isinstance(given, Mapping):
        key = next((key for key in ("targets", "labels") if key in given), None)
        inputs, targets = {k: v for k, v in given.items() if k != key}, given.get(key)
    elif isinstance(given, (tuple, list)) and len(given) == 2:
        inputs, targets = given
    else:
        raise DataError(f"{where}: it is of type {type(given).__name__}; give pairs (inputs, targets)")
    tensors = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
    if not tensors or not all(isinstance(tensor, Tensor) and tensor.ndim for tensor in (*tensors, targets)):
        raise DataError(f"{where}: inputs must be a tensor, or tensors by name, and targets a tensor, one row each")
    if len({len(tensor) for tensor in (*tensors, targets)}) > 1:
        raise DataError(f"{where}: inputs and targets have {', '.join(str(len(t)) for t in (*tensors, targets))} rows")
    return Batch(inputs, cast(Tensor, targets))


def default_loss(targets: Tensor) -> Loss:
    """Cross-entropy for whole numbers, mean squared error for others."""
    return nn.functional.mse_loss if targets.is_floating_point() else nn.functional.cross_entropy


def roles_by_pattern(module: nn.Module, patterns: Mapping[str, str]) -> dict[str, ParameterRole]:
    """The role of each parameter: that of the first pattern that its name matches, else ``other``.

    Args:
        module: the module.
        patterns: role by pattern, as for files (``*.weight``); ``{block}`` stands for the number of a block.

    Raises:
        FreezingError: a role is unknown, or a pattern matches no parameter.
    """
    names = [name for name, _ in module.named_parameters()]
    found: dict[str, ParameterRole] = {}
    for pattern, role in patterns.items():
        if role not in ROLES:
            raise FreezingError(f"roles: unknown role {role!r} of {pattern!r}; roles are {', '.join(ROLES)}")
        # `translate` escapes the braces.
        compiled = re.compile(translate(pattern).replace(re.escape(BLOCK), r"(?P<block>\d+)", 1))
        matches = {name: match for name in names if (match := compiled.match(name))}
        if not matches:
            raise FreezingError(f"roles: {pattern!r} matches no parameter; parameters are {_some(names)}")
        for name, match in matches.items():
            block = match.groupdict().get("block")
            found.setdefault(name, ParameterRole(role, None if block is None else int(block)))
    return {name: found.get(name, ParameterRole("other")) for name in names}


def freeze(
    model: AdaptedModule, trained: Sequence[str] | None, policy: FreezingPolicySpec | None
) -> list[TrainedGroup]:
    """Mark the parameters that train, and freeze all others.

    Args:
        model: changed in place: ``requires_grad``.
        trained: patterns of the names of parameters that train; None: the policy decides.
        policy: selects by role; None, too: ``requires_grad`` stays as it is.

    Raises:
        FreezingError: nothing would train, a pattern or rule matches no parameter, or the policy changes the backbone.
    """
    if policy is not None:
        if policy.prepare is not None:
            raise FreezingError(f"policy '{policy.name}' adds to a backbone of fptkit; choose one that only freezes")
        return apply_policy(cast(Any, model), policy)
    parameters = dict(model.named_parameters())
    if trained is not None:
        names = [name.removeprefix("module.") for name in parameters]
        for pattern in trained:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise FreezingError(f"trained: {pattern!r} matches no parameter; parameters are {_some(names)}")
        for name, parameter in parameters.items():
            parameter.requires_grad_(any(fnmatchcase(name.removeprefix("module."), pattern) for pattern in trained))
    chosen = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
    if not chosen:
        raise FreezingError("nothing would train: no parameter of the module requires a gradient")
    return [TrainedGroup(1.0, chosen)]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
