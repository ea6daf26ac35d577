"""The reading path of ``docs/architecture.md``: the pieces of code that tell the story of a run, in reading order.

Each row names a file and a definition in it; the lines it spans are looked up, so that the links stay true.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

LIMIT = 1_000
"""Lines of the whole path, at most."""

PATH: tuple[tuple[str, str, str], ...] = (
    ("recipe/load.py", "load_recipe", "a YAML file, a profile and overrides become a checked recipe"),
    ("engine/run.py", "run", "the whole run on one screen"),
    ("engine/run.py", "_train_and_test", "train, restore the best step, prove, test"),
    ("engine/setup.py", "prepare", "everything before the first step"),
    ("build.py", "_build", "the parts that a recipe names, put together"),
    ("build.py", "_build_model", "encoder and head around the backbone"),
    ("interfaces/task.py", "Task", "what a task promises: splits, loss, metrics"),
    ("tasks/generated.py", "GeneratedTask", "a task whose examples are drawn"),
    ("tasks/bits.py", "BitXor", "the smallest of them"),
    ("encoders/linear.py", "LinearEncoder", "raw tokens to token vectors"),
    ("backbones/gpt2.py", "Gpt2Backbone", "the frozen sequence model"),
    ("model.py", "Head", "read-out (pooling) and output layer"),
    ("model.py", "CrossModalModel", "encoder, backbone and head as one model; the role of each parameter"),
    ("freezing/policy.py", "apply_policy", "roles decide which parameters train"),
    ("freezing/proof.py", "FreezeProof", "the proof that the others did not change"),
    ("engine/loop.py", "Trainer.fit", "steps, validation, early stopping, checkpoints"),
    ("engine/step.py", "TrainingStep.take", "one training step"),
    ("engine/step.py", "TrainingStep._gradients", "its forward and backward passes, by micro-batch"),
    ("engine/evaluate.py", "evaluate", "loss and metrics over a split"),
)
"""File below ``fptkit/``, definition, what it says."""


@dataclass(frozen=True)
class Stop:
    """One piece of code on the path.

    Args:
        file: below the root of the project.
        name: of the definition.
        what: what it says.
        first: its first line, decorators included.
        last: its last line.
    """

    file: str
    name: str
    what: str
    first: int
    last: int

    @property
    def lines(self) -> int:
        """How many lines there are to read."""
        return self.last - self.first + 1


def stops() -> Iterator[Stop]:
    """The path with the lines of each definition.

    Raises:
        LookupError: a file has no such definition.
    """
    for file, name, what in PATH:
        place = f"fptkit/{file}"
        node: ast.AST = ast.parse((ROOT / place).read_text(encoding="utf-8"))
        for part in name.split("."):
            node = _inside(node, part, f"{place}: {name}")
        assert isinstance(node, (ast.FunctionDef, ast.ClassDef))
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        yield Stop(place, name, what, first, node.end_lineno or first)


def _inside(node: ast.AST, name: str, wanted: str) -> ast.AST:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.ClassDef)) and child.name == name:
            return child
    raise LookupError(f"{wanted} does not exist; change the path in docs/reading_path.py")
