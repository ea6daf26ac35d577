"""One run from recipe to summary: prepare, train, restore the best step, prove what is frozen, evaluate the test
once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fptkit import __version__
from fptkit.engine.assessment.assessor import SplitAssessor
from fptkit.engine.assessment.records import SplitAssessed
from fptkit.engine.batches import evaluation_batches, whole_split
from fptkit.engine.checkpoint import trained_tensors, write_model_files
from fptkit.engine.data import refuse_other_data
from fptkit.engine.evaluate import EvaluationStopped
from fptkit.engine.events import FeaturesComputed, RunStarted, SplitTested
from fptkit.engine.folder import code_notes, failed_file, is_complete, recipe_for, resume_command
from fptkit.engine.fraction import training_sample
from fptkit.engine.loop import Trainer
from fptkit.engine.output import RunOutput
from fptkit.engine.plugin_use import described, record_failure, used_entries
from fptkit.engine.request import RunRequest
from fptkit.engine.setup import Prepared, check_trained_same, prepare
from fptkit.engine.signals import StopRequest, stop_on_signals
from fptkit.engine.team.processes import Processes, join_processes, local_device
from fptkit.errors import Interrupted, PluginFault, ShapeError
from fptkit.files import CHECKPOINTS, MODEL, locked_folder, read_summary
from fptkit.interfaces import Batch
from fptkit.numerics.precision import choose_device
from fptkit.recipe.models import Pinned
from fptkit.specs.guard import during, plugin_faults
from fptkit.specs.surroundings import working_folder_kept

__all__ = ["RunRequest", "run"]


def run(request: RunRequest) -> dict[str, Any]:
    """Carry out a run; if a launcher such as torchrun started several processes, all of them together.

    Returns:
        The summary, as in ``summary.json``. If the run already got as far as requested, nothing is built.

    Raises:
        Interrupted: the process received SIGINT or SIGTERM; the state is saved.
        DivergedError: the loss or the gradient is no longer a finite number.
        UsageError: the folder holds a run already, another process uses it, or another recipe made it.
        DataError: the folder's run was trained on other data.
        FptkitError: building or training failed.
    """
    processes = join_processes()
    # Signals outermost: a launcher that ends all processes because one failed must not cut off this one's message.
    with stop_on_signals() as stop, processes.ending_together(), contextlib.ExitStack() as stack:
        device = processes.together(lambda: local_device(choose_device(request.loaded.recipe.device), processes))
        processes.from_main(lambda: stack.enter_context(locked_folder(request.folder, "run")))
        pinned, before = processes.from_main(lambda: _so_far(request))
        recipe = request.loaded.recipe.model_copy(update={"pinned": pinned})
        if is_complete(before, recipe, open_test=request.open_test, pause_at=request.pause_at):
            return before
        guard = plugin_faults(described(used_entries(recipe, request.loaded.registry)))
        try:
            with _recorded(request, before, processes), guard:
                notes = code_notes(request.folder)
                with working_folder_kept():
                    prepared = prepare(
                        recipe,
                        request.loaded.registry,
                        device,
                        processes,
                        notes=notes,
                        open_tests=request.open_test,
                    )
                output = RunOutput(request, recipe, prepared, times_tested=before.get("times_tested", 0))
                checkpoints = request.folder / CHECKPOINTS
                trainer = Trainer(prepared, checkpoints, emit=output.emit, stop=stop, records=output.records)
                if request.resume:
                    trainer.restore()
                processes.from_main(lambda: stack.enter_context(output.opened(trainer)))
            with output.ending(trainer), guard, working_folder_kept():
                return _train_and_test(request, prepared, trainer, output, stop)
        except OSError as err:
            raise failed_file(request.folder, err) from err


@contextlib.contextmanager
def _recorded(request: RunRequest, before: dict[str, Any], processes: Processes) -> Iterator[None]:
    """Record in the summary that a plugin failed, or does not fit, before the first step."""
    try:
        yield
    except (PluginFault, ShapeError) as fault:
        if processes.main and fault.exit_code == PluginFault.exit_code:  # with another one, nothing was run
            record_failure(request.folder, request.loaded.name, before, fault)
        raise


def _so_far(request: RunRequest) -> tuple[Pinned, dict[str, Any]]:
    """The choices of an earlier part of the run, and its summary."""
    recipe = recipe_for(request.folder, request.loaded, resume=request.resume)
    before = read_summary(request.folder)
    refuse_other_data(request.folder, before, recipe, request.loaded.registry)
    return recipe.pinned, before


def _train_and_test(
    request: RunRequest, prepared: Prepared, trainer: Trainer, output: RunOutput, stop: StopRequest
) -> dict[str, Any]:
    """Train, restore the best step, prove what is frozen, test; returns the summary."""
    options, progress, facts = prepared.options, trainer.progress, prepared.facts
    start = (progress.step, options.max_steps, options.batch_size)
    output.emit(RunStarted(request.loaded.name, request.folder, facts, tuple(facts["notes"]), *start))
    outcome = "stopped"
    if not trainer.unfinished() or _fill_feature_cache(prepared, output, stop):
        outcome = trainer.fit(request.pause_at)
    if outcome == "stopped":
        raise _interrupted(request.folder, prepared, trainer, stop)
    if outcome == "paused":
        return output.end("paused", trainer, {})
    trainer.restore_best()
    _prove_and_save(request.folder, prepared, progress.best_step)
    try:
        sample = _evaluate_training_sample(prepared, trainer)
        if not request.open_test:
            return output.end("validated", trainer, sample)
        output.open_test(trainer)
        return output.end("finished", trainer, {**sample, "test": _test(prepared, trainer, output)})
    except EvaluationStopped:
        raise _interrupted(request.folder, prepared, trainer, stop) from None


def _fill_feature_cache(prepared: Prepared, output: RunOutput, stop: StopRequest) -> bool:
    """Compute what is missing in the feature cache; false if a stop was requested."""
    return prepared.features.fill(stop.requested, lambda done, total: output.emit(FeaturesComputed(done, total)))


def _prove_and_save(folder: Path, prepared: Prepared, best_step: int) -> None:
    """Check that the frozen tensors are unchanged and the processes agree, then write the trained tensors."""
    processes, built = prepared.team.processes, prepared.built
    processes.together(prepared.proof.check_unchanged)
    check_trained_same(built, processes)
    content = {
        "step": best_step,
        "frozen": dict(prepared.frozen),
        "data": dict(prepared.data),
        "fptkit": __version__,
    }
    processes.from_main(lambda: write_model_files(folder, {"model": trained_tensors(built.model)}, MODEL, content))


def _evaluate_training_sample(prepared: Prepared, trainer: Trainer) -> dict[str, dict[str, float]]:
    """Metrics of the best step on examples it was trained on, if the recipe asks for them."""
    options, task, processes = prepared.options, prepared.built.task, prepared.team.processes
    if options.training_sample is None:
        return {}
    sample = training_sample(task, prepared.training, options.training_sample, options.seed_of("data"))
    batches: Iterable[Batch | None] = whole_split(
        task, "train", sample, options.evaluation_batch_size, rank=processes.rank, count=processes.count
    )
    with during(split="train"):
        return {"train": trainer.evaluate(prepared.built, batches)}


def _test(prepared: Prepared, trainer: Trainer, output: RunOutput) -> dict[str, dict[str, float]]:
    """Metrics of the best step on every test split."""
    task, processes, best_step = prepared.built.task, prepared.team.processes, trainer.progress.best_step
    test: dict[str, dict[str, float]] = {}
    assessed: dict[str, SplitAssessed | None] = {}
    for name in task.test_splits:
        split = prepared.tests[name]
        batches = evaluation_batches(
            task, name, split, prepared.options, best_step, rank=processes.rank, count=processes.count
        )
        assessor = SplitAssessor(task, name, split.size)
        with during(split=name):
            test[name] = trainer.evaluate(prepared.built, batches, assessor)
        assessed[name] = assessor.result(processes)
        output.emit(SplitTested(name, best_step, test[name]))
    output.write_assessment(best_step, assessed)
    return test


def _interrupted(folder: Path, prepared: Prepared, trainer: Trainer, stop: StopRequest) -> Interrupted:
    (number,) = prepared.team.processes.most(stop.signal_number)  # the signal may have reached one process only
    return Interrupted(number, trainer.progress.step, resume_command(folder))
