"""``fptkit.run`` and ``fptkit.build``: a recipe from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fptkit.api.display import html_table, paragraph, quiet_libraries
from fptkit.api.notebook import run_listener
from fptkit.engine.build import Built
from fptkit.engine.build import build as build_parts
from fptkit.engine.records import read_metrics
from fptkit.engine.run import RunRequest
from fptkit.engine.run import run as carry_out
from fptkit.engine.team.processes import join_processes, local_device
from fptkit.errors import UsageError
from fptkit.files import METRICS, new_run_folder
from fptkit.numerics.precision import choose_device
from fptkit.recipe.given import override_texts
from fptkit.recipe.load import LoadedRecipe, load_recipe

if TYPE_CHECKING:
    from fptkit.inference.trained import TrainedModel

Given = str | Path | Mapping[str, Any]
"""A recipe: its name, the path of its file, or its content."""


@dataclass(frozen=True)
class RunResult:
    """A run that got as far as requested. `fptkit.run` makes it.

    Args:
        folder: the run folder.
        summary: content of its ``summary.json``, see ``docs/runs.md``.

    Example:
        >>> import fptkit
        >>> result = fptkit.run("bit_xor_gpt2", profile="smoke", output="runs/first", quiet=True)
        >>> result.status, sorted(result.metrics["test"])
        ('finished', ['accuracy', 'loss'])
        >>> model = result.load()
    """

    folder: Path
    summary: Mapping[str, Any] = field(repr=False)

    @property
    def status(self) -> str:
        """``finished``, or ``validated`` if the test splits were not evaluated."""
        return str(self.summary["status"])

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Metrics of the best step by split, in the order ``train`` (if the recipe asks for it), ``validation``, tests.

        A metric of a split has the name that ``metrics.jsonl`` gives it, such as ``accuracy`` or ``loss``.
        """
        found = self.summary["metrics"]
        train = {"train": dict(found["train"])} if "train" in found else {}
        return {**train, "validation": dict(found["validation"]), **{k: dict(v) for k, v in found["test"].items()}}

    def history(self) -> list[dict[str, Any]]:
        """Return the lines of ``metrics.jsonl``: one row for each report of training, validation and test."""
        return read_metrics(self.folder / METRICS)

    def load(self, *, device: str = "auto") -> TrainedModel:
        """Load the trained model, see `fptkit.load`.

        Args:
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.

        Raises:
            FptkitError: the folder is damaged, or the model cannot be built.
        """
        from fptkit.inference.trained import load

        return load(self.folder, device=device)

    def _repr_html_(self) -> str:
        """The metrics as a table, for notebooks."""
        rows = [{"split": split, **values} for split, values in self.metrics.items()]
        summary = self.summary
        steps = f"best step {summary['best_step']:,} of {summary['steps']:,}"
        stand_ins = [part for part in ("task", "backbone") if summary[part]["stand_in"]]
        return "".join(
            [
                html_table(rows, caption=f"{summary['recipe']}: {self.status}, {steps}"),
                paragraph(f"STAND-IN in use for: {', '.join(stand_ins)}") if stand_ins else "",
                paragraph(f"all files are in {self.folder}"),
            ]
        )


def run(
    recipe: Given,
    *,
    profile: str | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    test: bool = True,
    quiet: bool = False,
    plugins: Sequence[str | Path] = (),
    **overrides: Any,
) -> RunResult:
    """Train and evaluate a recipe, like the command ``fptkit run``.

    Args:
        recipe: name of a recipe, path of its file, or its content as a mapping.
        profile: name of one of its profiles, such as ``"smoke"``.
        output: run folder; None: a new folder ``runs/RECIPE-DATE-TIME``.
        resume: whether to continue the run in ``output``; an empty folder starts one.
        test: whether to evaluate the test splits; a later call with ``resume`` can do so.
        quiet: whether to print nothing.
        plugins: plugin files, in addition to those of the recipe.
        overrides: values of the recipe, applied after the profile: ``train={"seed": 1}`` or ``**{"train.seed": 1}``.

    Returns:
        The run: its folder, summary and metrics.

    Raises:
        RecipeError: recipe or overrides have faults; the error holds all of them.
        UsageError: the folder holds another run, or is in use.
        Interrupted: the process received SIGINT (the stop button of a notebook) or SIGTERM; the state is saved.
        FptkitError: building or training failed.

    Example:
        >>> import fptkit
        >>> result = fptkit.run("bit_xor_gpt2", profile="smoke", quiet=True, train={"learning_rate": 3e-3})
        >>> sorted(result.metrics)
        ['test', 'validation']
    """
    if resume and output is None:
        raise UsageError("resume needs output, the folder of the run to continue")
    quiet_libraries()
    processes = join_processes()
    loaded = processes.together(lambda: _loaded(recipe, profile, plugins, overrides))
    folder = processes.from_main(lambda: Path(output) if output is not None else new_run_folder(loaded.name))
    with run_listener(quiet=quiet or not processes.main) as listener:
        request = RunRequest(loaded, folder, resume=resume, listeners=[listener], open_test=test)
        return RunResult(folder, carry_out(request))


def build(recipe: Given, *, profile: str | None = None, plugins: Sequence[str | Path] = (), **overrides: Any) -> Built:
    """Build the parts of a recipe, without training: task, model and trained parameters.

    Args:
        recipe: name of a recipe, path of its file, or its content as a mapping.
        profile: name of one of its profiles, such as ``"smoke"``.
        plugins: plugin files, in addition to those of the recipe.
        overrides: values of the recipe, applied after the profile: ``backbone={"weights": "random"}``.

    Returns:
        The parts. ``built.model(inputs, lengths)`` gives logits; the model is in training mode, with the freezing
        policy applied, on the device of the recipe.

    Raises:
        RecipeError: recipe or overrides have faults; the error holds all of them.
        FptkitError: data or weights are missing, or the parts do not fit together.

    Example:
        >>> import fptkit, torch
        >>> built = fptkit.build("bit_xor_gpt2", profile="smoke")
        >>> batch = built.task.split("validation").batch([0, 1, 2], torch.Generator())
        >>> logits = built.model(batch.inputs, batch.lengths)
        >>> logits.shape[0], sum(len(group.parameters) for group in built.groups) > 0
        (3, True)
    """
    quiet_libraries()
    loaded = _loaded(recipe, profile, plugins, overrides)
    processes = join_processes()
    device = local_device(choose_device(loaded.recipe.device), processes)
    return build_parts(loaded.recipe, loaded.registry, device)


def _loaded(
    recipe: Given, profile: str | None, plugins: Sequence[str | Path], overrides: Mapping[str, Any]
) -> LoadedRecipe:
    given = recipe if isinstance(recipe, Mapping) else str(recipe)
    return load_recipe(given, profile=profile, overrides=override_texts(overrides), plugin_files=plugins)
