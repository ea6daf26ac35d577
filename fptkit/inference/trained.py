"""A run's model with everything that prepares its inputs: predictions, probabilities, embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fptkit.engine.assessment.accumulate import seen_kind
from fptkit.engine.build import build
from fptkit.engine.checkpoint import read_model_files, restore_trained
from fptkit.engine.preparation import read_preparation
from fptkit.errors import CheckpointError, UsageError
from fptkit.files import MODEL
from fptkit.freezing import FreezeProof
from fptkit.inference.columns import Columns, answers_of, as_classes, chances, numbers, predicted
from fptkit.inference.evaluation import evaluate_inputs, evaluate_source, evaluate_split
from fptkit.inference.inputs import Given, NamedBatch, batches, read
from fptkit.inference.result import Evaluation
from fptkit.inference.saved import opened
from fptkit.inference.saved_task import SavedTask
from fptkit.interfaces import Batch, Classes, Examples, Labels, TokenClasses, TokenValues, Values
from fptkit.model import CrossModalModel
from fptkit.numerics.precision import choose_device
from fptkit.recipe.load import LoadedRecipe

BATCH = 64
"""Examples of a batch by default."""


class TrainedModel:
    """What a run trained, ready for new inputs. `load` makes it.

    New inputs are files of the format of the training data (``path:FILE``, or a `pathlib.Path`, or a list of them),
    a sequence of contents such as texts or arrays, `fptkit.Examples`, or prepared inputs as a `fptkit.Batch`. Of a task
    without a rule for new files, such as a generated one, prepared inputs as an array.

    Attributes:
        folder: the run folder, or delta file.
        loaded: the recipe of the run, with its plugins.
        module: the model, a torch module in evaluation mode; ``module(inputs, lengths)`` gives logits.
        task: kinds and preparation of the run's task, without examples.
        origin: content of ``model.json``: the step, and identity of frozen part and data.
        weights: where the backbone's weights are, if `load` was given a place; else None.

    Example:
        >>> import fptkit, numpy
        >>> model = fptkit.run("bit_xor_gpt2", profile="smoke", output="runs/xor", quiet=True).load()
        >>> inputs = numpy.zeros((3, model.task.max_tokens, model.task.input.width))
        >>> model.classes, model.predict(inputs).shape[0], type(model.module).__name__
        (('0', '1'), 3, 'CrossModalModel')
    """

    def __init__(
        self,
        folder: Path,
        loaded: LoadedRecipe,
        module: CrossModalModel,
        task: SavedTask,
        origin: dict[str, Any],
        weights: str | None = None,
    ) -> None:
        self.folder, self.loaded, self.module, self.task, self.origin = folder, loaded, module, task, origin
        self.weights = weights

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes or labels in the order of the logits; their numbers if they have no names. Empty for
        other kinds of answers."""
        output = self.task.output
        if isinstance(output, Labels):
            return output.label_names
        kind = seen_kind(output) if output.has_probabilities else None
        return kind.names or tuple(map(str, range(kind.count))) if isinstance(kind, (Classes, TokenClasses)) else ()

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.module.parameters()).device

    def read(self, inputs: Given) -> Examples | Batch:
        """Read inputs without preparing them; other methods take the result. Labels are left out.

        Args:
            inputs: see the class.

        Raises:
            FptkitError: they cannot be read.
        """
        return read(self.task, inputs)

    def tables(self, inputs: Given, *, probabilities: bool = False, batch_size: int = BATCH) -> Iterator[Columns]:
        """Predictions as columns, by batch; what ``fptkit predict`` writes, see `fptkit.inference.columns`.

        Args:
            inputs: see the class.
            probabilities: whether to add the probability of every class or label.
            batch_size: examples of a batch.

        Raises:
            UsageError: probabilities of numbers.
            FptkitError: the inputs cannot be read or prepared.
        """
        if probabilities:
            self._check_classes()
        for given, rows in self.outputs(inputs, batch_size=batch_size):
            yield predicted(self.task, given, rows, probabilities=probabilities)

    def batches(self, inputs: Given, *, batch_size: int = BATCH) -> Iterator[NamedBatch]:
        """Read and prepare inputs in batches, in their order.

        Args:
            inputs: see the class.
            batch_size: examples of a batch.

        Raises:
            FptkitError: they cannot be read or prepared.
        """
        return batches(self.task, read(self.task, inputs), batch_size)

    def logits(self, inputs: Given, *, batch_size: int = BATCH) -> Any:
        """What the head gives.

        Shapes: (N, K) for classes, (N, R, K) or (N, R, P, K) for several answers, (N, width) for numbers, (N, L) for L
        labels; for an answer at every token a list with (T, K) or (T, width) for each example.

        Args:
            inputs: see the class.
            batch_size: examples of a batch.

        Raises:
            FptkitError: the inputs cannot be read or prepared.
        """
        found = [each for _, rows in self.outputs(inputs, batch_size=batch_size) for each in rows]
        rows = [each.numpy() for each in found]
        return rows if self.task.output.each_token else np.stack(rows)

    def predict(self, inputs: Given, *, batch_size: int = BATCH) -> Any:
        """Predict.

        Shapes: (N,) names of classes, or their numbers if they have no names; (N, L) int64 of 0 and 1 for L labels;
        (N, R) or (N, R, P) for several answers; (N, width) numbers in the units of the data; for an answer at every
        token a list with (T,) or (T, width) for each example; for kinds without probabilities, such as an order, what
        the head gives.

        Args:
            inputs: see the class.
            batch_size: examples of a batch.

        Raises:
            FptkitError: the inputs cannot be read or prepared.
        """
        output = self.task.output
        if isinstance(output, Values):
            parts = [
                np.array(list(numbers(self.task.preparation, output, given.examples, rows).values()), np.float64).T
                for given, rows in self.outputs(inputs, batch_size=batch_size)
            ]
            return np.concatenate(parts)
        if not output.has_probabilities:
            return self.logits(inputs, batch_size=batch_size)
        kind, found = self._classes_of(inputs, batch_size)
        best = [each.argmax(-1) for each in found]
        if isinstance(kind, TokenClasses):
            return [_named(kind, each) for each in best]
        return np.stack(best).reshape(len(best), -1) if kind.answers else _named(kind, np.stack(best))

    def predict_proba(self, inputs: Given, *, batch_size: int = BATCH) -> Any:
        """Probabilities of the classes, float64; shapes as for `logits`, except (N, L) for L labels, that of ``yes``.

        Args:
            inputs: see the class.
            batch_size: examples of a batch.

        Raises:
            UsageError: the answers have no probabilities, such as numbers.
            FptkitError: the inputs cannot be read or prepared.
        """
        self._check_classes()
        kind, found = self._classes_of(inputs, batch_size)
        rows = [chances(torch.from_numpy(each)).numpy() for each in found]
        if isinstance(kind, TokenClasses):
            return rows
        each = np.stack(rows)
        return each[..., 1].reshape(len(each), -1) if kind.answers else each

    def _classes_of(self, inputs: Given, batch_size: int) -> tuple[Classes | TokenClasses, list[NDArray[np.float32]]]:
        """Logits of each example in the form of classes."""
        outputs = [each for _, rows in self.outputs(inputs, batch_size=batch_size) for each in rows]
        kind, found = as_classes(self.task.output, outputs)
        return kind, [each.numpy() for each in found]

    def answers(self, inputs: Given, *, batch_size: int = BATCH) -> Iterator[tuple[str, dict[str, Any]]]:
        """Name and answer of each example, in the words and units of the data.

        Args:
            inputs: see the class.
            batch_size: examples of a batch.

        Raises:
            FptkitError: the inputs cannot be read or prepared.
        """
        for given, rows in self.outputs(inputs, batch_size=batch_size):
            yield from zip(given.names, self._answers(given, rows), strict=True)

    def embed(self, inputs: Given, *, batch_size: int = BATCH) -> Any:
        """The token vectors that the head reads: what the frozen body makes of the inputs.

        Shapes: (N, D), or (N, R, D) if the task reads R tokens; for tagging a list with (T, D) for each example.

        Args:
            inputs: see the class.
            batch_size: examples of a batch.

        Raises:
            FptkitError: the inputs cannot be read or prepared.
        """
        rows = [each for _, some in self.vectors(inputs, batch_size=batch_size) for each in some]
        if self.task.output.each_token:
            return rows
        found: NDArray[np.float32] = np.stack(rows)
        return found[:, 0] if self.one_vector else found

    @property
    def one_vector(self) -> bool:
        """Whether the head reads one vector of each example."""
        return not self.task.output.each_token and self.task.output.tokens == 1

    def vectors(
        self, inputs: Given, *, batch_size: int = BATCH
    ) -> Iterator[tuple[NamedBatch, list[NDArray[np.float32]]]]:
        """The vectors of `embed`, by batch: (R, D) for each example.

        Args:
            inputs: see the class.
            batch_size: examples of a batch.

        Raises:
            FptkitError: the inputs cannot be read or prepared.
        """
        for given, rows in self._through(self._read_tokens, inputs, batch_size):
            yield given, [row.numpy() for row in rows]

    def evaluate(
        self,
        split: str | None = None,
        *,
        source: Given = None,
        inputs: Given = None,
        labels: Any = None,
        batch_size: int | None = None,
    ) -> Evaluation:
        """Evaluate on labelled examples; exactly one of split, source and inputs is given.

        Opening a test is counted in the run folder, before it starts.

        Args:
            split: a split of the run's data, which must still be there: ``train``, ``validation``, ``test`` for all
                test splits, or the name of one of them.
            source: labelled files in the format of the training data.
            inputs: examples in memory, see the class.
            labels: their labels as the data write them, a sequence, or a mapping of one for each target column.
            batch_size: examples of a batch; None: that of the recipe's evaluations, which a split always has.

        Raises:
            UsageError: arguments do not go together, there are no labels, or the run folder cannot be written.
            DataError: the data of the split are gone or changed.
            FptkitError: the examples cannot be read or prepared.
        """
        if sum(given is not None for given in (split, source, inputs)) != 1:
            raise UsageError("evaluate: give exactly one of split, source and inputs")
        if split is not None:
            return evaluate_split(self, split)
        size = batch_size or self.loaded.recipe.train.evaluation_batch_size
        if source is not None:
            return evaluate_source(self, source, batch_size=size)
        return evaluate_inputs(self, inputs, labels, batch_size=size)

    def outputs(self, inputs: Given, *, batch_size: int = BATCH) -> Iterator[tuple[NamedBatch, list[Tensor]]]:
        """What the head gives, by batch: one tensor for each example, without padding, on the CPU."""
        return self._through(self.module, inputs, batch_size)

    def _through(
        self, compute: Callable[..., Tensor], inputs: Given, batch_size: int
    ) -> Iterator[tuple[NamedBatch, list[Tensor]]]:
        each_token = self.task.output.each_token
        for given in self.batches(inputs, batch_size=batch_size):
            batch = given.batch.to(self.device)
            with torch.inference_mode():
                found = compute(batch.inputs, batch.lengths).float().cpu()
            lengths = given.batch.lengths
            if each_token and lengths is not None:
                yield given, [row[:length] for row, length in zip(found, lengths.tolist(), strict=True)]
            else:
                yield given, list(found)

    def _read_tokens(self, inputs: Any, lengths: Tensor | None) -> Tensor:
        hidden, encoded = self.module.hidden(inputs, lengths)
        return self.module.head.read(hidden, encoded)

    def _answers(self, given: NamedBatch, rows: Sequence[Tensor]) -> list[dict[str, Any]]:
        if (self.task.preparation is None or given.examples is None) and self._plain:
            return [_plain_answer(self.classes, row) for row in rows]
        return answers_of(self.task, given, rows)

    @property
    def _plain(self) -> bool:
        """Whether answers without a preparation have the form of `_plain_answer`, as in earlier versions."""
        return isinstance(self.task.output, (Classes, Values, TokenClasses))

    def _check_classes(self) -> None:
        """Raise if the answers have no probabilities.

        Raises:
            UsageError: they are numbers, or another kind without.
        """
        output = self.task.output
        if not output.has_probabilities:
            what = "numbers" if isinstance(output, (Values, TokenValues)) else f"answers of the kind '{output.name}'"
            raise UsageError(f"{self.folder}: it predicts {what}, which have no probabilities; leave them out")


def _named(kind: Classes | TokenClasses, best: NDArray[Any]) -> NDArray[Any]:
    """Names of classes, or their numbers if they have none."""
    return np.array(kind.names)[best] if kind.names else best


def load(
    run: str | Path,
    *,
    device: str = "auto",
    plugin_files: Sequence[str | Path] = (),
    weights: str | None = None,
) -> TrainedModel:
    """Load what a run trained. The training data need not exist any more.

    Args:
        run: the run folder, a folder from ``fptkit pull``, or a delta file from ``fptkit export``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        plugin_files: plugin files, in addition to those that the run used; of a pulled folder and a delta file, all
            that it needs, since code that comes with them is never executed.
        weights: where the backbone's weights are, such as ``path:FOLDER``, instead of where the recipe says. They must
            be the same weights.

    Raises:
        UsageError: there is no run, or one that has not ended; or a shared run needs a plugin file.
        CheckpointError: its files are damaged, or the frozen part is another one than in training.
        FptkitError: the model cannot be built, for example since its weights are not available.

    Example:
        >>> import fptkit, numpy
        >>> result = fptkit.run("bit_xor_gpt2", profile="smoke", output="runs/mine", quiet=True)
        >>> model = fptkit.load("runs/mine")
        >>> inputs = numpy.zeros((3, model.task.max_tokens, model.task.input.width))
        >>> model.predict_proba(inputs).shape[0], model.embed(inputs).shape[0]
        (3, 3)
    """
    place = Path(run)
    with opened(place) as saved:
        loaded = saved.recipe(plugin_files, weights)
        task = SavedTask(read_preparation(saved.folder, loaded.registry))
        origin, tensors = read_model_files(saved.folder, MODEL)
        built = build(loaded.recipe, loaded.registry, choose_device(device), task=task, measure=False)
        module = built.model
        _check_frozen(place, module, origin)
        restore_trained(module, tensors["model"], origin=place)
        return TrainedModel(place, loaded, module.eval(), task, origin, weights)


def _check_frozen(folder: Path, module: CrossModalModel, origin: dict[str, Any]) -> None:
    """Raise if the frozen part is not the one that the tensors were trained with.

    Raises:
        CheckpointError: it is not; the error has both digests.
    """
    before, proof = origin.get("frozen") or {}, FreezeProof(module)
    if not proof.matches(str(before.get("digest"))):
        raise CheckpointError(
            f"{folder}: its tensors were trained with the frozen part of {before.get('backbone')} "
            f"{before.get('weights')}, digest {before.get('digest')}; the one built here has digest {proof.digest}. "
            f"{proof.advice(str(before.get('digest')))}"
        )


def _plain_answer(classes: Sequence[str], row: Tensor) -> dict[str, Any]:
    """The answer for one example whose task has no words for it."""
    if not classes:
        return {f"value_{place}": value for place, value in enumerate(row.flatten().tolist())}
    best = row.softmax(-1).max(-1)
    names = np.array(classes)[best.indices.numpy()].tolist()
    return {"class": names, "probability": best.values.tolist()}
