"""The reading path of ``docs/architecture.md``: the code of a run, in reading order.

Each row names a file and a definition in it; its line numbers are looked up, so that links stay correct.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

LIMIT = 1_000
"""Maximum number of lines of the complete path."""

PATH: tuple[tuple[str, str, str], ...] = (
    ("recipe/load.py", "load_recipe", "a YAML file, a profile and overrides become a checked recipe"),
    ("engine/run.py", "run", "a complete run"),
    ("engine/run.py", "_train_and_test", "train, restore the best step, prove, test"),
    ("engine/setup.py", "prepare", "everything before the first step"),
    ("engine/build.py", "_build", "builds the components of a recipe"),
    ("engine/build.py", "_build_model", "encoder and head around the backbone"),
    ("interfaces/task.py", "Task", "interface of tasks: splits, loss, metrics"),
    ("tasks/generated.py", "GeneratedTask", "a task with generated examples"),
    ("tasks/bits.py", "BitXor", "the smallest task"),
    ("encoders/linear.py", "LinearEncoder", "raw tokens to token vectors"),
    ("backbones/gpt2.py", "Gpt2Backbone", "the frozen sequence model"),
    ("model.py", "Head", "read-out (pooling) and output layer"),
    ("model.py", "CrossModalModel", "encoder, backbone and head as one model; the role of each parameter"),
    ("freezing/policy.py", "apply_policy", "roles decide which parameters train"),
    ("freezing/proof.py", "FreezeProof", "the proof that frozen parameters did not change"),
    ("engine/loop.py", "Trainer.fit", "steps, validation, early stopping, checkpoints"),
    ("engine/step.py", "TrainingStep.take", "one training step"),
    ("engine/step.py", "TrainingStep._gradients", "its forward and backward passes, by micro-batch"),
    ("engine/evaluate.py", "evaluate", "loss and metrics over a split"),
)
"""File below ``fptkit/``, definition, summary."""


@dataclass(frozen=True)
class Stop:
    """One definition on the path.

    Args:
        file: path below the root of the project.
        name: name of the definition.
        what: summary of the definition.
        first: its first line, including decorators.
        last: its last line.
    """

    file: str
    name: str
    what: str
    first: int
    last: int

    @property
    def lines(self) -> int:
        """Number of lines."""
        return self.last - self.first + 1


def stops() -> Iterator[Stop]:
    """Yield the definitions of the path, with their lines.

    Raises:
        LookupError: a file has no definition of the given name.
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
    raise LookupError(f"{wanted} does not exist; update docs/reading_path.py")
