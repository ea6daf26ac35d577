"""Time per epoch of a linear probe with the feature cache: the first, which computes the features, and later ones.

    python benchmarks/feature_cache.py
    python benchmarks/feature_cache.py --examples 1024 --length 512 1999 --epochs 21 --threads 2

ListOps through GPT-2 base with random weights, `output_only`. It times the computation of the training features
together with the first epoch's steps, and the mean of the later epochs, in the engine's own loop; the cache starts
empty.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from fptkit.engine.events import Event, FeaturesComputed, RunStarted, StepsDone
from fptkit.engine.run import RunRequest, run
from fptkit.recipe.load import load_recipe

RECIPE = """
task: {{name: listops, length: [{shortest}, {longest}], train_size: {examples}, validation_size: 2, test_size: 2}}
encoder: {{name: symbols}}
backbone: {{name: random, like: gpt2, size: base, positions: {longest}, dropout: 0.0}}
freezing: {{name: output_only}}
head: {{readout: last}}
train:
  batch_size: {batch_size}
  evaluation_batch_size: {batch_size}
  max_steps: {steps}
  validate_every: {steps}
  log_every: {per_epoch}
  patience: null
  learning_rate: 1e-3
threads: {threads}
"""


class Clock:
    """Records when training features are computed and when epochs end.

    Args:
        examples: number of training examples.
    """

    def __init__(self, examples: int) -> None:
        self.examples = examples
        self.started = 0.0
        self.computing = 0.0
        self.epochs: list[float] = []
        self._last = 0.0

    def handle(self, event: Event) -> None:
        """See `fptkit.engine.events.Listener`."""
        now = time.perf_counter()
        match event:
            case RunStarted():
                self.started = now
            case FeaturesComputed(done) if done <= self.examples:
                self.computing = now - self.started
                self._last = now
            case FeaturesComputed():
                self._last = now
            case StepsDone():
                self.epochs.append(now - self._last)
                self._last = now


def main() -> None:
    """Run the benchmark and print the two times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--length", type=int, nargs=2, default=(512, 600), metavar=("FEWEST", "MOST"))
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=51)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    per_epoch = -(-given.examples // given.batch_size)
    text = RECIPE.format(
        shortest=given.length[0],
        longest=given.length[1],
        examples=given.examples,
        batch_size=given.batch_size,
        steps=per_epoch * given.epochs,
        per_epoch=per_epoch,
        threads=given.threads,
    )
    clock = Clock(given.examples)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FPTKIT_CACHE"] = str(Path(folder, "cache"))
        recipe = Path(folder, "probe.yaml")
        recipe.write_text(text, encoding="utf-8")
        request = RunRequest(load_recipe(str(recipe)), Path(folder, "run"), listeners=[clock], open_test=False)
        summary = run(request)
    first, later = clock.computing + clock.epochs[0], sum(clock.epochs[1:]) / len(clock.epochs[1:])
    print(f"{summary['device']}, {summary['threads']} threads, {summary['precision']}; {given.examples} examples")
    print(f"first epoch        {first:10.3f} s, of which computing features {clock.computing:.3f} s")
    print(f"later epochs, mean {later:10.5f} s, {1e3 * later / per_epoch:.3f} ms per step")
    print(f"ratio              {first / later:10.0f}")


if __name__ == "__main__":
    main()
