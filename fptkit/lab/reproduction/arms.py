"""How each arm and each task of the papers is set up here: the one table of the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TABLES: Mapping[str, tuple[str, ...]] = {"fpt2021": ("table_1", "table_2"), "rothermel2021": ("table_1",)}
"""Tables to reproduce, by paper; names as in its file of figures."""

BIT_MEMORY = "bit_memory_base"
"""Folder, in the plan's folder, of a GPT-2 of the paper's size pretrained on Bit Memory: nobody published one."""


@dataclass(frozen=True)
class Preparation:
    """What must be there before a job can run in the profile paper.

    Args:
        name: short name, for messages.
        arguments: those of the ``fptkit`` command that makes it; ``{folder}`` is the plan's folder. A repeated call
            does nothing, or continues.
    """

    name: str
    arguments: tuple[str, ...]


TAPE = Preparation("TAPE's data", ("data", "fetch", "remote_homology"))

BITS = Preparation(
    "GPT-2 pretrained on Bit Memory",
    # The learning rate is a guess: 1e-3, that of the small one, is high for training all of twelve blocks.
    (
        *("pretrain", "pretrain_bit_memory", "--output", f"{{folder}}/{BIT_MEMORY}", "--resume"),
        *("--set", "backbone.size=base", "--set", "train.max_steps=10000", "--set", "train.learning_rate=1e-4"),
        *("--set", "train.validate_every=500"),
    ),
)


@dataclass(frozen=True)
class ArmSetup:
    """An arm of a paper as a recipe and its overrides.

    Args:
        recipe: last part of the recipe's name, after the task's.
        settings: overrides in every profile: what makes the arm.
        paper: overrides in the profile paper only: weights of the paper's size. ``{folder}`` is the plan's folder.
        counted: overrides that give the same sizes without the weights, for counting operations.
        needs: what must be made first.
    """

    recipe: str
    settings: tuple[str, ...] = ()
    paper: tuple[str, ...] = ()
    counted: tuple[str, ...] = ()
    needs: tuple[Preparation, ...] = ()


_GPT2 = ("backbone.weights=random", "backbone.size=base")

ARMS: Mapping[tuple[str, str], ArmSetup] = {
    ("language", "fpt"): ArmSetup("gpt2", counted=_GPT2),
    ("random", "fpt"): ArmSetup("random"),
    ("bit_memory", "fpt"): ArmSetup(
        "bit_pretrained", paper=(f"backbone.weights=path:{{folder}}/{BIT_MEMORY}",), counted=_GPT2, needs=(BITS,)
    ),
    ("vit", "fpt"): ArmSetup("vit", counted=("backbone.weights=random", "backbone.size=base")),
    ("statistics", "fpt"): ArmSetup("gpt2", settings=("backbone.init=statistics",), counted=_GPT2),
    ("random", "full"): ArmSetup("full"),
    ("language", "full"): ArmSetup("gpt2", settings=("freezing.name=full",), counted=_GPT2),
    ("lstm", "full"): ArmSetup("lstm"),
}
"""Set-up by the kind of arm: origin of the sequence model, and freezing policy."""

SIZES: Mapping[tuple[str, int], ArmSetup] = {
    ("language", 36): ArmSetup(
        "gpt2",
        paper=("backbone.weights=hub:openai-community/gpt2-large",),
        counted=("backbone.weights=random", "backbone.size=large"),
    ),
    ("random", 3): ArmSetup("full", paper=("backbone.blocks=3",)),
}
"""Other set-ups, of models with another number of blocks than twelve."""


LONGER: Mapping[tuple[str, str, str], int] = {("cifar10_lra", "random", "fpt"): 600_000}
"""Training steps of arms that need more than the recipe has, by task, origin of the sequence model and policy.

Source: Lu et al. 2021, Table 6: steps to convergence.
"""


@dataclass(frozen=True)
class TaskSetup:
    """A task of the papers as a recipe.

    Args:
        recipe: first part of the recipe's name.
        data: its data in words, for readers.
        counted: overrides that give examples of the same shape without the data, for counting operations.
        smoke: overrides in the profile smoke only, whose splits may be too small for the protocol.
        held_out: examples of validation and test under the protocol clean; empty: as counted.
        needs: what must be made first.
    """

    recipe: str
    data: str
    counted: tuple[str, ...] = ()
    smoke: tuple[str, ...] = ()
    held_out: tuple[int, ...] = ()
    needs: tuple[Preparation, ...] = ()


_SHAPES = ("task.source=simulated", "task.simulated={train: 64, validation: 16, test: 16}")

TASKS: Mapping[str, TaskSetup] = {
    "bit_memory": TaskSetup("bit_memory", "generated"),
    "bit_xor": TaskSetup("bit_xor", "generated"),
    "listops": TaskSetup(
        "listops",
        "generated, 96,000 expressions",
        ("task.train_size=512", "task.validation_size=64", "task.test_size=64"),
        held_out=(2000, 2000),
    ),
    "mnist": TaskSetup("mnist", "MNIST, downloaded", ("task.source=digits",), held_out=(6000, 10_000)),
    "cifar10": TaskSetup("cifar10", "CIFAR-10, downloaded", _SHAPES, held_out=(5000, 10_000)),
    "cifar10_lra": TaskSetup("cifar10_lra", "CIFAR-10, downloaded", _SHAPES, held_out=(5000, 10_000)),
    "remote_homology": TaskSetup(
        "homology",
        "TAPE, `fptkit data fetch remote_homology`",
        # Domains of SCOP have 180 residues on average, rounded; batches of similar length are hardly padded.
        ("task.source=simulated", "task.simulated={folds: 8, length: [180, 180]}"),
        smoke=("train.batch_size=8",),
        needs=(TAPE,),
    ),
}
"""Set-up by the registered name of the task."""
