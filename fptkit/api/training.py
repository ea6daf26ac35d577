"""``fptkit.train``: the training loop of the engine for a user's own module and data loaders."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from fptkit.api.display import Lines, html_table, paragraph
from fptkit.api.module import AdaptedModule, LoaderBatches, Loss, ModuleTask, default_loss, freeze
from fptkit.engine.build import Built
from fptkit.engine.cache.features import FeatureCache
from fptkit.engine.checkpoint import latest_checkpoint
from fptkit.engine.events import Event, Listener, Validated
from fptkit.engine.loop import Trainer
from fptkit.engine.progress import ended_by
from fptkit.engine.records import MetricsFile, read_metrics
from fptkit.engine.setup import Prepared
from fptkit.engine.signals import stop_on_signals
from fptkit.engine.team.launch import process_count
from fptkit.errors import Interrupted, UsageError
from fptkit.files import CHECKPOINTS, METRICS, find_json, locked_folder, write_json
from fptkit.freezing import FreezeProof
from fptkit.interfaces import Accuracy, Metric, check_best_metric
from fptkit.options import deciding
from fptkit.recipe.given import checked
from fptkit.recipe.load import load_installed
from fptkit.recipe.models import TrainOptions
from fptkit.specs import FreezingPolicySpec

OPTIONS = "train.json"
"""File in a training's folder with what decides its result."""

ONE_AT_A_TIME = threading.RLock()
"""Held while a model is trained: torch's global generator belongs to all threads, and decides the result."""

UNSUPPORTED = (
    "batch_size",
    "batch_tokens",
    "activation_checkpointing",
    "cuda_graphs",
    "max_flops",
    "data_fraction",
    "training_sample",
    "seeds",
    "evaluation_batch_size",
    "feature_cache",
    "feature_cache_gib",
    "shard_frozen",
)
"""Options of a recipe's section ``train`` that need a recipe; batches come from the loaders."""


@dataclass(frozen=True)
class TrainResult:
    """A finished training. `fptkit.train` makes it.

    Args:
        module: the user's module with the tensors of the best step, in evaluation mode.
        metrics: validation metrics at the best step, ``loss`` included.
        best_step: step with the best validation.
        steps: steps done.
        ended_by: what ended training: ``steps``, ``patience`` or ``seconds``.
        history: a row for each validation.
        trained: names of the parameters that trained.
        frozen_digest: SHA-256 digest of the frozen parameters, the same before and after.

    Example:
        >>> import fptkit, torch
        >>> data = [(torch.randn(8, 3), torch.zeros(8, dtype=torch.int64))]
        >>> result = fptkit.train(torch.nn.Linear(3, 2), data, data, max_steps=4, validate_every=2, quiet=True)
        >>> result.steps, result.trained
        (4, ('weight', 'bias'))
    """

    module: nn.Module
    metrics: Mapping[str, float]
    best_step: int
    steps: int
    ended_by: str
    history: Sequence[Mapping[str, Any]] = field(repr=False)
    trained: Sequence[str] = field(repr=False)
    frozen_digest: str = field(repr=False)

    def _repr_html_(self) -> str:
        """The validations as a table, for notebooks."""
        count = f"{len(self.trained)} tensors trained; best step {self.best_step:,} of {self.steps:,}"
        return html_table(list(self.history), caption="validation") + paragraph(f"{count}, ended by {self.ended_by}")


def train(
    module: nn.Module,
    train_loader: Iterable[Any],
    validation_loader: Iterable[Any],
    *,
    loss: Loss | None = None,
    metrics: Callable[[], Mapping[str, Metric]] | None = None,
    best_metric: str | None = None,
    trained: Sequence[str] | None = None,
    policy: str | None = None,
    roles: Mapping[str, str] | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
    listeners: Sequence[Listener] = (),
    **options: Any,
) -> TrainResult:
    """Train your own module on your own data loaders with fptkit's training loop.

    AdamW, gradient clipping and accumulation, schedules, early stopping, the best step chosen on validation,
    checkpoints and the freeze proof are those of ``fptkit run``. Not supported: several processes, and what needs a
    recipe, such as data fractions and the feature cache. Buffers, such as the running means of a batch norm, follow the
    data even if every parameter is frozen.

    Shapes: inputs and targets have one row for each example, (B, ...); outputs are what loss and metrics take: for
    cross-entropy (B, K) with targets (B,) int64.

    Args:
        module: the module, on its device; changed in place. Called with the inputs of a batch, or with keyword
            arguments if they are a mapping; returns one tensor.
        train_loader: a ``DataLoader`` or another collection of batches that can be read again: pairs (inputs,
            targets), mappings with ``targets`` or ``labels``, or `fptkit.Batch`. The seed decides its order.
        validation_loader: the same, for validation.
        loss: mean loss of a batch, ``loss(outputs, targets)``; None: cross-entropy for targets of whole numbers, mean
            squared error for others.
        metrics: makes new metrics by name, such as ``lambda: {"accuracy": fptkit.Accuracy()}``, of fptkit or
            torchmetrics; None: accuracy with the default cross-entropy, else none.
        best_metric: metric that chooses the best step; None: the first metric, or ``loss`` if there is none.
        trained: patterns of the names of parameters that train, such as ``["head.*", "*.norm*"]``; all others freeze.
        policy: name of a freezing policy, such as ``"output_only"``, which selects by role; needs ``roles``. Without
            ``trained`` and ``policy``, ``requires_grad`` of the parameters decides.
        roles: role by pattern of names; ``{block}`` stands for the number of a block:
            ``{"layers.{block}.attn.*": "attention", "head.*": "output"}``. The first match counts; without one it
            is ``other``.
        output: folder of checkpoints and ``metrics.jsonl``; None: nothing is written.
        resume: whether to continue the training in ``output``; an empty folder starts one.
        quiet: whether to print nothing.
        listeners: get the events of the training, see ``docs/plugins/hooks.md``.
        options: those of a recipe's section ``train``: ``learning_rate``, ``max_steps``, ``validate_every``,
            ``patience``, ``schedule``, ``seed`` and others.

    Returns:
        The module with the tensors of the best step, metrics and history.

    Raises:
        RecipeError: an option is unknown or has a wrong value; the error holds all faults.
        FreezingError: nothing would train, or a pattern or rule matches no parameter.
        DataError: a loader has no batches, or batches of another form.
        UsageError: arguments contradict each other, or the folder holds another training.
        DivergedError: the loss or the gradient is no longer a finite number.
        Interrupted: SIGINT or SIGTERM; the state is saved in ``output``.
        KeyboardInterrupt: the same without ``output``; the training is lost.

    Example:
        >>> import fptkit, torch
        >>> inputs = torch.randn(64, 4)
        >>> data = torch.utils.data.TensorDataset(inputs, (inputs[:, 0] > 0).long())
        >>> train_loader = torch.utils.data.DataLoader(data, batch_size=16, shuffle=True)
        >>> module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
        >>> result = fptkit.train(
        ...     module, train_loader, train_loader, trained=["2.*"], max_steps=20, validate_every=10, quiet=True
        ... )
        >>> result.trained, result.steps
        (('2.weight', '2.bias'), 20)
    """
    _check_arguments(policy, roles, trained, options, output, resume=resume)
    model = AdaptedModule(module, roles or {})
    chosen = checked(options, TrainOptions, "fptkit.train")
    groups = freeze(model, trained, load_installed([]).get(FreezingPolicySpec, policy) if policy else None)
    with contextlib.closing(LoaderBatches(train_loader, validation_loader, chosen.seed)) as batches:
        first = batches.batch(0)
        task = _task(loss, metrics, best_metric, first.targets)
        prepared = _prepared(model, task, groups, chosen.model_copy(update={"batch_size": len(first)}), batches)
        everyone = [*([] if quiet else [Lines(chosen.max_steps)]), *listeners]
        return _carry_out(module, prepared, everyone, output, resume=resume)


def _carry_out(
    module: nn.Module,
    prepared: Prepared,
    listeners: Sequence[Listener],
    output: str | Path | None,
    *,
    resume: bool,
) -> TrainResult:
    """Train, restore the best step, prove what is frozen."""
    rows = _Rows()
    everyone: list[Listener] = [rows, *listeners]
    with ONE_AT_A_TIME, _folder(output) as folder, stop_on_signals() as stop, torch.random.fork_rng():
        _check_folder(folder, prepared, resume=resume)
        checkpoints = folder and folder / CHECKPOINTS
        trainer = Trainer(prepared, checkpoints, emit=lambda event: _pass_on(everyone, event), stop=stop)
        if resume:
            trainer.restore()
        with _metrics_file(folder, trainer.progress.events, everyone):
            if trainer.unfinished() and trainer.fit() == "stopped":
                raise _interrupted(stop.signal_number, trainer.progress.step, output)
        trainer.restore_best()
        history = rows.found if folder is None else _validations(folder / METRICS)
    prepared.proof.check_unchanged()
    return _result(module, trainer, prepared, history)


def _check_arguments(
    policy: str | None,
    roles: Mapping[str, str] | None,
    trained: Sequence[str] | None,
    options: Mapping[str, Any],
    output: str | Path | None,
    *,
    resume: bool,
) -> None:
    """Raise for arguments that contradict each other or are not supported.

    Raises:
        UsageError: they do, or are not.
    """
    if process_count() > 1:
        raise UsageError("fptkit.train runs in one process; start it without torchrun or accelerate launch")
    if policy and trained is not None:
        raise UsageError("give trained or policy, not both: each decides which parameters train")
    if (policy is None) != (roles is None):
        raise UsageError("policy and roles belong together: a policy selects parameters by role")
    if isinstance(trained, str):
        raise UsageError(f"trained is the text {trained!r}; give a list of patterns")
    if resume and output is None:
        raise UsageError("resume needs output, the folder of the training to continue")
    if refused := [name for name in UNSUPPORTED if name in options]:
        raise UsageError(
            f"fptkit.train does not support {', '.join(refused)}: the loaders decide batches, and the others need a "
            "recipe (fptkit.run)"
        )


def _task(
    loss: Loss | None,
    metrics: Callable[[], Mapping[str, Metric]] | None,
    best_metric: str | None,
    targets: torch.Tensor,
) -> ModuleTask:
    if metrics is None:
        of_classes = loss is None and not targets.is_floating_point() and targets.ndim == 1
        metrics = (lambda: {"accuracy": Accuracy()}) if of_classes else dict
    task = ModuleTask(loss or default_loss(targets), metrics, best_metric or next(iter(metrics()), "loss"))
    check_best_metric(task)
    return task


def _prepared(
    model: AdaptedModule, task: ModuleTask, groups: list[Any], options: TrainOptions, batches: LoaderBatches
) -> Prepared:
    # The engine's parts are typed for models made from recipes; training and validation use only what an adapted
    # module has.
    built = Built(task, cast(Any, model), groups, encoder_name="", readout="", precision="float32")
    proof = FreezeProof(model)
    return Prepared(
        built=built,
        training=cast(Any, None),
        options=options,
        features=FeatureCache(built, cast(Any, None), cast(Any, None)),
        proof=proof,
        frozen={"weights": type(model.module).__name__, "digest": proof.digest},
        batches=batches,
    )


@contextlib.contextmanager
def _folder(output: str | Path | None) -> Iterator[Path | None]:
    """The locked folder of a training, if it has one."""
    if output is None:
        yield None
        return
    with locked_folder(Path(output), "training"):
        yield Path(output)


@contextlib.contextmanager
def _metrics_file(folder: Path | None, events: int, listeners: list[Listener]) -> Iterator[None]:
    """Adds the listener that writes the metrics file, if the training has a folder; ``events`` are in it already."""
    if folder is None:
        yield
        return
    with contextlib.closing(MetricsFile(folder / METRICS, keep_lines=events)) as file:
        listeners.append(file)
        yield


def _check_folder(folder: Path | None, prepared: Prepared, *, resume: bool) -> None:
    """Refuse the folder of another training, and record what decides this one.

    Raises:
        UsageError: the folder holds a training and ``resume`` is false, or one with other options or other parameters.
    """
    if folder is None:
        return
    names = [name for group in prepared.built.groups for name in group.parameters]
    now: dict[str, Any] = {"train": deciding(prepared.options, lengths=False), "trained": names}
    before = find_json(folder / OPTIONS)
    begun = bool(before) or latest_checkpoint(folder / CHECKPOINTS) is not None
    if begun and not resume:
        raise UsageError(f"{folder} holds a training already; continue it with resume=True, or choose another output")
    if before and before != (now := json.loads(json.dumps(now))):
        differing = [key for key in now["train"] if before.get("train", {}).get(key) != now["train"][key]]
        raise UsageError(
            f"{folder} holds another training; it differs in {', '.join(differing) or 'the parameters that train'}. "
            "Continue it with the same arguments, or choose another output"
        )
    if not before:
        write_json(folder / OPTIONS, now)


def _pass_on(listeners: Sequence[Listener], event: Event) -> None:
    for listener in listeners:
        listener.handle(event)


class _Rows:
    """Collects validations."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []

    def handle(self, event: Event) -> None:
        """See `Listener`."""
        if isinstance(event, Validated):
            self.found.append({"step": event.step, **event.metrics})


def _validations(path: Path) -> list[dict[str, Any]]:
    """The validations in a metrics file, those of earlier parts of the training included."""
    rows = read_metrics(path)
    return [{key: value for key, value in row.items() if key != "split"} for row in rows if row["split"] != "train"]


def _interrupted(signal_number: int, step: int, output: str | Path | None) -> BaseException:
    if output is None:
        return KeyboardInterrupt(f"training was stopped at step {step}; without output its state is lost")
    return Interrupted(signal_number, step, "fptkit.train(..., resume=True)")


def _result(
    module: nn.Module, trainer: Trainer, prepared: Prepared, history: Sequence[Mapping[str, Any]]
) -> TrainResult:
    progress = trainer.progress
    names = [name.removeprefix("module.") for group in prepared.built.groups for name in group.parameters]
    return TrainResult(
        module.eval(),
        dict(progress.best_metrics or {}),
        progress.best_step,
        progress.step,
        str(ended_by(prepared.options, progress)),
        tuple(history),
        tuple(names),
        prepared.proof.digest,
    )
