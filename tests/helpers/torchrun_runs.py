"""Runs that test_distributed.py and test_sharding.py start by torchrun, and what became of them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("torchrun_worker.py")

TRAIN = "max_steps: 20, validate_every: 10, log_every: 4, patience: null, learning_rate: 1e-2"
COMMON = """
backbone: {name: random, blocks: 2, width: 32, heads: 2, size: nano, dropout: 0}
precision: float32
threads: 1
"""
RECIPES = {
    # Vectors; an odd batch, in parts.
    "xor": "task: {name: bit_xor, bits: 3, validation_size: 40, test_size: 50}\n"
    f"train: {{batch_size: 9, accumulate: 3, evaluation_batch_size: 16, {TRAIN}}}\n{COMMON}",
    # Examples of different lengths; batches of few long or many short ones.
    "homology": "task: {name: remote_homology, source: [simulated], simulated: {folds: 2, length: [10, 60]}}\n"
    f"train: {{batch_size: 8, batch_tokens: 300, evaluation_batch_size: 7, {TRAIN}}}\n{COMMON}",
    # The last batch of an epoch holds one image only, so that the second process has none.
    "digits": "task: {name: mnist, source: [digits], patch_size: 4, train_size: 31}\n"
    f"train: {{batch_size: 6, evaluation_batch_size: 50, training_sample: 20, {TRAIN}}}\n{COMMON}",
    # Metrics that torchmetrics cannot put together across processes.
    "custom": "plugins: [ordered.py]\ntask: {name: ordered}\n"
    f"train: {{batch_size: 8, evaluation_batch_size: 9, {TRAIN}}}\n{COMMON}",
    # A trained encoder with a batch norm, and a last batch that leaves the second process without.
    "norm": "plugins: [normed.py]\ntask: {name: mnist, source: [digits], patch_size: 4, train_size: 31}\n"
    f"encoder: {{name: normed}}\ntrain: {{batch_size: 6, {TRAIN.replace('20', '10')}}}\n{COMMON}",
    # One process has a part more than the other one.
    "parts": "task: {name: bit_xor, bits: 3, validation_size: 30, test_size: 10}\n"
    f"train: {{batch_size: 3, accumulate: 3, evaluation_batch_size: 30, {TRAIN}}}\n{COMMON}",
    # Nearly all of it is in the blocks' matrices, and those are in bfloat16.
    "wide": "task: {name: bit_xor, bits: 3, validation_size: 16, test_size: 16}\n"
    f"train: {{batch_size: 4, {TRAIN}}}\n{COMMON.replace('32', '256').replace('float256', 'bfloat16')}",
    # Dropout: each process draws for its part.
    "dropout": "task: {name: bit_xor, bits: 3, validation_size: 40, test_size: 50}\n"
    f"train: {{batch_size: 8, checkpoint_every: 5, {TRAIN}}}\n{COMMON.replace('dropout: 0', 'dropout: 0.1')}",
}
SEEDS = "data_fraction: 0.9, seeds: {init: 1, order: 2, data: 3}"
RECIPES["apart"] = RECIPES["digits"].replace("train: {", f"train: {{{SEEDS}, ")
PLUGINS = {
    "ordered.py": '''
import torch
import torchmetrics
from fptkit import TaskSpec, hookimpl
from fptkit.tasks.bits import BitXor
from fptkit.tasks.options import BitXorOptions


class OrderSum(torchmetrics.Metric):
    """A sum that depends on the order of the batches; its state has no rule by which processes put it together."""

    def __init__(self):
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx=None)

    def update(self, predictions, targets):
        self.total = self.total / 3 + predictions.double().sum() + len(targets)

    def compute(self):
        return self.total


class Ordered(BitXor):
    def metrics(self):
        return torchmetrics.MetricCollection({**super().metrics(), "order": OrderSum()})


@hookimpl
def fptkit_tasks():
    return [TaskSpec(name="ordered", target=Ordered, options=BitXorOptions, summary="bits")]
''',
    "normed.py": """
import torch
from fptkit import EncoderSpec, hookimpl


class Normed(torch.nn.Module):
    def __init__(self, options, *, input, width):
        super().__init__()
        # A bias before the norm has no gradient but rounding errors, which Adam makes steps of.
        self.map, self.norm = torch.nn.Linear(input.width, width, bias=False), torch.nn.BatchNorm1d(width)

    def forward(self, inputs):
        return self.norm(self.map(inputs).transpose(1, 2)).transpose(1, 2)


@hookimpl
def fptkit_encoders():
    return [EncoderSpec(name="normed", target=Normed, accepts=("vectors",), summary="with a batch norm")]
""",
}

RECIPES["hungry"] = RECIPES["norm"].replace("normed", "hungry").replace("batch_size: 6", "batch_size: 8")
PLUGINS["hungry.py"] = '''
import os

import torch
from fptkit import EncoderSpec, hookimpl


class Hungry(torch.nn.Module):
    """In training, the second process has memory for HUNGRY_ROWS examples."""

    def __init__(self, options, *, input, width):
        super().__init__()
        self.map, self.norm = torch.nn.Linear(input.width, width, bias=False), torch.nn.BatchNorm1d(width)

    def forward(self, inputs):
        encoded = self.norm(self.map(inputs).transpose(1, 2)).transpose(1, 2)
        rows = int(os.environ["HUNGRY_ROWS"])
        if self.training and torch.is_grad_enabled() and os.environ.get("RANK") == "1" and len(inputs) > rows:
            raise torch.OutOfMemoryError(f"CUDA out of memory with {len(inputs)} rows")
        return encoded


@hookimpl
def fptkit_encoders():
    return [EncoderSpec(name="hungry", target=Hungry, accepts=("vectors",), summary="with a batch norm")]
'''


@dataclass(frozen=True)
class Ended:
    """How torchrun ended."""

    code: int
    output: str


def write_recipe(folder: Path, name: str, *, sharded: bool = False) -> Path:
    """Writes one of the recipes, with the plugins beside it."""
    for file, text in PLUGINS.items():
        (folder / file).write_text(text)
    path = folder / f"{name}{'-sharded' if sharded else ''}.yaml"
    path.write_text(RECIPES[name].replace("train: {", "train: {shard_frozen: always, " if sharded else "train: {"))
    return path


TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node={processes}")

ACCELERATE = (
    *("accelerate.commands.launch", "--multi_gpu", "--num_processes={processes}", "--num_machines=1"),
    *("--main_process_port=0", "--mixed_precision=no", "--dynamo_backend=no"),
)


def torchrun(
    folder: Path,
    *runs: dict[str, Any],
    command: Sequence[str] = (),
    processes: int = 2,
    launcher: Sequence[str] = TORCHRUN,
) -> Ended:
    """Starts the worker with runs, or the command line, in several processes, and waits for their end.

    Args:
        folder: to start them in.
        runs: see torchrun_worker.py.
        command: of fptkit, in place of runs.
        processes: how many.
        launcher: module and arguments of what starts them.
    """
    (folder / "runs.json").write_text(json.dumps(runs, default=str))
    what = ["-m", "fptkit", *command] if command else [str(WORKER), str(folder / "runs.json")]
    started = subprocess.Popen(
        [sys.executable, "-m", *(part.format(processes=processes) for part in launcher), *what],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = started.communicate(timeout=300)
    except BaseException:
        started.terminate()  # torchrun ends its processes, by force after 30 seconds
        started.wait(60)
        raise
    return Ended(started.returncode, output)


def exit_codes(output: str) -> set[int]:
    """Of the processes that failed, as torchrun reports them; one that was just leaving may have been ended by it."""
    codes = set(map(int, re.findall(r"exitcode\s+: (-?\d+)", output)))
    return codes - {-signal.SIGTERM}
