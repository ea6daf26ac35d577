"""The training step of the official code, kzl/universal-computation, for ``steps.py`` and ``homology_epoch.py``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch

from fptkit.interfaces import Batch

Step = Callable[[int], None]


def official_step(
    folder: Path,
    official: dict[str, Any],
    batch: Callable[[int], Batch],
    attention: str,
    *,
    device: str = "cpu",
) -> Step:
    """Return a function that does a step of the official code.

    Only what needs a network or files (weights, all data except bits) and its output are replaced.

    Args:
        folder: the checkout.
        official: arguments of its ``experiment()``; ``gpu_batch_size``, if given, is the size of micro-batches.
        batch: returns the next micro-batch, for tasks with stored data.
        attention: ``eager`` or ``sdpa``.
        device: of the model; ``batch`` returns its tensors there.
    """
    if not (folder / "universal_computation" / "experiment.py").is_file():
        raise SystemExit(f"--official: there is no universal_computation/experiment.py in {folder}")
    import transformers

    sys.path.insert(0, str(folder))
    with mock.patch.dict(sys.modules, {"wandb": ModuleType("wandb")}):
        experiment = importlib.import_module("universal_computation.experiment")
        trainer_module = importlib.import_module("universal_computation.trainer")
        modules = {name: module for name, module in sys.modules.items() if name.startswith("universal_computation")}
    sys.modules.update(modules)
    made: list[Any] = []

    class Kept(trainer_module.Trainer):  # type: ignore[misc, name-defined]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(self)

    body = transformers.GPT2Model(transformers.GPT2Config(attn_implementation=attention))
    with (
        mock.patch.dict(sys.modules, _data_modules(official["task"], batch)),
        mock.patch.object(transformers.GPT2Model, "from_pretrained", return_value=body),
        mock.patch.object(experiment, "Trainer", Kept),
    ):
        experiment.experiment(
            exp_name="speed",
            exp_args={
                "gpu_batch_size": official.get("gpu_batch_size", official["batch_size"]),
                "device": device,
                "num_iters": 0,
                "steps_per_iter": 1,
                "test_steps_per_iter": 0,
                "log_to_wandb": False,
                "wandb_project": "",
                "save_models": False,
            },
            model_name="gpt2",
            pretrained=True,  # uses the model that from_pretrained returns
            learning_rate=1e-3,
            dropout=0.1,
            orth_gain=1.41,
            **{name: value for name, value in official.items() if name != "gpu_batch_size"},
        )
    (trainer,) = made
    trainer_module.tqdm = lambda steps: steps

    def step(number: int) -> None:
        trainer.train_epoch()

    return step


def _data_modules(task: str, batch: Callable[[int], Batch]) -> dict[str, ModuleType]:
    """Return replacements of the official modules that read files; their data sets return our batches."""
    names = {
        "cifar10": ("cifar10", "CIFAR10Dataset"),
        "listops": ("listops", "ListopsDataset"),
        "remote-homology": ("remote_homology", "RemoteHomologyDataset"),
    }
    if task not in names:
        return {}
    module_name, class_name = names[task]

    class Data:
        def __init__(self, **options: Any) -> None:
            self.number = 0

        def start_epoch(self) -> None:
            pass  # the official data sets do not restart either

        def get_batch(self, batch_size: int, train: bool) -> tuple[torch.Tensor, torch.Tensor]:
            given = batch(self.number)
            self.number += 1
            # The official ListOps has the same symbols except padding, which batches of one length do not need.
            return given.inputs - 1 if task == "listops" else given.inputs, given.targets

    module = ModuleType(f"universal_computation.datasets.{module_name}")
    setattr(module, class_name, Data)
    return {module.__name__: module}
