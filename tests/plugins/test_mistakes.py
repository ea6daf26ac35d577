"""Mistakes of plugin authors: each is named with the plugin, the place and a remedy, and none ends in a traceback.

One complete plugin works; each mistake changes a piece of it, and is run by the command line.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import NamedTuple

import pytest
from command_line import Done, fptkit

PLUGIN = """
import torch
from pydantic import Field
from torch import nn

import fptkit
from fptkit import ArraySplit, Batch, Classes, ParameterRole, Vectors, keep_tokens


class TaskOptions(fptkit.Options):
    level: float = Field(default=0.5, description="level of the mean")


class Waves(fptkit.Task):
    def __init__(self, options, *, seed, pinned):
        self.input, self.output, self.max_tokens = Vectors(4), Classes(2), 6

    def split(self, name):
        waves = torch.randn(24, 6, 4, generator=torch.Generator().manual_seed(len(name)))
        return Examples(waves, (waves.mean((1, 2)) > 0).long(), vectors=True)

    def loss(self, logits, batch):
        return super().loss(logits, batch)

    def metrics(self):
        return super().metrics()


class Examples(ArraySplit):
    def batch(self, indices, generator):
        return super().batch(indices, generator)


class Scaled(nn.Module):
    def __init__(self, options, *, input, width):
        super().__init__()
        self.map = nn.Linear(input.width, width)

    def forward(self, inputs):
        return self.map(inputs)


class Mixing(fptkit.Backbone):
    width, causal, blocks = 8, True, 1

    def __init__(self, options, *, positions, seed, pinned):
        super().__init__()
        self.norm, self.map = nn.LayerNorm(8), nn.Linear(8, 8)

    def forward(self, tokens, lengths=None, keep=None):
        return keep_tokens(tokens + self.map(self.norm(tokens)), keep)

    def parameter_roles(self):
        kinds = {"norm": "norm", "map": "feed_forward"}
        return {name: ParameterRole(kinds[name.split(".")[0]], block=0) for name, _ in self.named_parameters()}


class Follower:
    def __init__(self, options, *, folder):
        self.folder = folder

    def handle(self, event):
        pass


def prepare(options, *, backbone, seed):
    return backbone


@fptkit.hookimpl
def fptkit_tasks():
    return [fptkit.TaskSpec(name="waves", summary="s", target=Waves, options=TaskOptions)]


@fptkit.hookimpl
def fptkit_encoders():
    return [fptkit.EncoderSpec(name="scaled", summary="s", target=Scaled, accepts=("vectors",))]


@fptkit.hookimpl
def fptkit_backbones():
    return [fptkit.BackboneSpec(name="mixing", summary="s", target=Mixing)]


@fptkit.hookimpl
def fptkit_freezing_policies():
    rules = (fptkit.FreezingRule(role="input"), fptkit.FreezingRule(role="output"))
    return [fptkit.FreezingPolicySpec(name="ends", summary="s", rules=rules, prepare=prepare)]


@fptkit.hookimpl
def fptkit_listeners():
    return [fptkit.ListenerSpec(name="follower", summary="s", target=Follower)]
"""

RECIPE = """
task: {name: waves}
encoder: {name: scaled}
backbone: {name: mixing}
freezing: {name: ends}
train: {batch_size: 8, max_steps: 2, validate_every: 2, log_every: 1, patience: null, seed: 1}
precision: float32
device: cpu
plugins: [author.py]
listeners: [{name: follower}]
"""


class Mistake(NamedTuple):
    """A change of the plugin, and what the error must say.

    Args:
        old: a piece of the plugin.
        new: what the author wrote instead.
        said: texts of the error, in any order; the place, the remedy and what is wrong among them.
        status: exit status: 1 a failed run, 2 nothing was run.
    """

    old: str
    new: str
    said: tuple[str, ...]
    status: int = 1


LOSS = "return super().loss(logits, batch)"
METRICS = "return super().metrics()"
SPLIT = "return Examples(waves, (waves.mean((1, 2)) > 0).long(), vectors=True)"
BATCH = "return super().batch(indices, generator)"
ENCODE = "return self.map(inputs)"
MIX = "return keep_tokens(tokens + self.map(self.norm(tokens)), keep)"
ROLES = 'return {name: ParameterRole(kinds[name.split(".")[0]], block=0) for name, _ in self.named_parameters()}'
DECLARED = "self.input, self.output, self.max_tokens = Vectors(4), Classes(2), 6"
OPTION = 'level: float = Field(default=0.5, description="level of the mean")'
TARGET = 'name="waves", summary="s", target=Waves'

LINE = "at author.py:"
"""The author's line, in errors that have one."""

MISTAKES: dict[str, Mistake] = {
    # while the plugin loads: nothing is run
    "import raises": Mistake("\nclass Waves", "\n1 / 0\nclass Waves", (LINE, "ZeroDivisionError", "1 / 0"), 2),
    "import exits": Mistake("\nclass Waves", "\nraise SystemExit(0)\nclass Waves", (LINE, "SystemExit"), 2),
    "import raises KeyboardInterrupt": Mistake(
        "\nclass Waves", "\nraise KeyboardInterrupt\nclass Waves", (LINE, "KeyboardInterrupt"), 2
    ),
    "syntax": Mistake("class Waves", "class class Waves", ("author.py", "SyntaxError", "line 14"), 2),
    "missing package": Mistake(
        "import torch\n", "import torch\nimport no_such_package\n", (LINE, "no_such_package"), 2
    ),
    "unknown hook": Mistake("def fptkit_tasks", "def fptkit_taks", ("fptkit_taks", "the hooks are", "fptkit_tasks"), 2),
    "hook raises": Mistake("    rules = (", "    rules = [][0], (", (LINE, "IndexError"), 2),
    "hook returns a record": Mistake(
        'return [fptkit.BackboneSpec(name="mixing", summary="s", target=Mixing)]',
        'return fptkit.BackboneSpec(name="mixing", summary="s", target=Mixing)',
        ("fptkit_backbones returned BackboneSpec", "expected a list"),
        2,
    ),
    "default is not allowed": Mistake(
        OPTION, 'level: float = Field(default="high", description="level")', ("task 'waves'", "level", "'high'"), 2
    ),
    "target cannot be imported": Mistake(
        TARGET, 'name="waves", summary="s", target="no_such_module:Waves"', ("task 'waves'", "no_such_module"), 2
    ),
    "target is missing": Mistake(
        TARGET, 'name="waves", summary="s", target="json:Waves"', ("task 'waves'", "'json' has no 'Waves'"), 2
    ),
    "extra is quoted": Mistake(
        TARGET,
        'name="waves", summary="s", extra="wavelib", target="no_such_module:Waves"',
        ("task 'waves'", "pip install wavelib"),
        2,
    ),
    # while the parts are built
    "constructor raises": Mistake(
        DECLARED, f"{DECLARED}; self.size", (LINE, "Waves.__init__", "AttributeError", "size")
    ),
    "constructor raises OSError": Mistake(
        DECLARED, f"{DECLARED}; open('no/such.npy')", (LINE, "task 'waves'", "FileNotFoundError")
    ),
    "constructor exits": Mistake(DECLARED, f"{DECLARED}; exit(0)", (LINE, "task 'waves'", "called sys.exit(0)")),
    "other signature": Mistake(
        "def __init__(self, options, *, input, width)",
        "def __init__(self, options, width)",
        ("encoder 'scaled'", LINE, "it is called with (options, *, input, width)"),
        2,
    ),
    "no declaration": Mistake(DECLARED, "pass", ("Waves: 'input' is None", LINE), 2),
    "not a task": Mistake("class Waves(fptkit.Task)", "class Waves", ("not a subclass of fptkit.Task", LINE), 2),
    "not a backbone": Mistake(
        "class Mixing(fptkit.Backbone)", "class Mixing(nn.Module)", ("not a subclass of fptkit.Backbone", LINE), 2
    ),
    "no width": Mistake(
        "width, causal, blocks = 8, True, 1", "causal, blocks = True, 1", ("does not set 'width'", LINE), 2
    ),
    "encoder is no module": Mistake(
        "class Scaled(nn.Module)", "class Scaled(dict)", ("encoder 'scaled'", "not a torch module", LINE), 2
    ),
    "prepare returns nothing": Mistake(
        "    return backbone\n", "    pass\n", ("freezing policy 'ends'", "prepare returned a NoneType", LINE), 2
    ),
    "prepare raises": Mistake(
        "    return backbone\n", "    return backbone.layers\n", (LINE, "freezing policy 'ends'")
    ),
    # splits and batches
    "split returns nothing": Mistake(
        SPLIT, "pass", ("split train", "returned None", "expected a fptkit.Split", LINE), 2
    ),
    "test split is missing": Mistake(
        "        waves = torch",
        "        {'train': 1, 'validation': 1}[name]\n        waves = torch",
        (LINE, "Waves.split", "KeyError: 'test'", "split test"),
    ),
    "test split is empty": Mistake(
        SPLIT,
        "n = 0 if name == 'test' else 24\n        return Examples(waves[:n], torch.zeros(n).long(), vectors=True)",
        ("split test", "no example", LINE),
    ),
    "example fails": Mistake(
        BATCH, f"assert 17 not in indices, 'no file'\n        {BATCH}", (LINE, "AssertionError: no file", "example 17")
    ),
    "label out of range": Mistake(
        SPLIT,
        "labels = torch.zeros(24).long(); labels[5] = 2\n        return Examples(waves, labels, vectors=True)",
        ("a target is not below 2: 2", "example 5", LINE),
    ),
    "batch is a tuple": Mistake(BATCH, "return 1, 2", ("expected a fptkit.Batch, got a tuple", "author.py")),
    "StopIteration": Mistake(BATCH, "return next(iter(()))", (LINE, "StopIteration", "Examples.batch")),
    "GeneratorExit": Mistake(BATCH, "raise GeneratorExit", (LINE, "GeneratorExit")),
    # loss and metrics
    "loss raises": Mistake(LOSS, "return logits.nothing", (LINE, "Waves.loss", "AttributeError")),
    "loss raises in training": Mistake(
        LOSS,
        f"self.calls = getattr(self, 'calls', 0) + 1; assert self.calls < 3, 'later'\n        {LOSS}",
        (LINE, "AssertionError: later", "split train, training step 2"),
    ),
    "loss exits": Mistake(LOSS, "raise SystemExit", (LINE, "Waves.loss called sys.exit()", "must not end the process")),
    "loss raises KeyboardInterrupt": Mistake(LOSS, "raise KeyboardInterrupt", (LINE, "raised KeyboardInterrupt")),
    "loss recurses": Mistake(LOSS, "return self.loss(logits, batch)", (LINE, "RecursionError", "endlessly")),
    "loss is no tensor": Mistake(LOSS, "return 1.0", ("loss() returned 1.0", "expected a scalar tensor", LINE), 2),
    "loss is no scalar": Mistake(
        LOSS, "return logits.sum(-1)", ("loss() returned a tensor of shape (8,)", "mean", LINE), 2
    ),
    "loss is detached": Mistake(LOSS, f"{LOSS}.detach()", ("without a gradient", "detach()", LINE), 2),
    "loss is not finite": Mistake(LOSS, f"{LOSS} / 0", ("loss() is inf on the first batch", LINE), 2),
    "metrics is a list": Mistake(METRICS, "return ['accuracy']", ("metrics() returns", "mapping", LINE), 2),
    "metrics raises": Mistake(METRICS, "return {'f1': 1 / 0}", (LINE, "Waves.metrics", "ZeroDivisionError")),
    "metric is a class": Mistake(
        METRICS, "return {'accuracy': fptkit.Accuracy}", ("metric 'accuracy'", "update()", LINE), 2
    ),
    "best metric is unknown": Mistake(
        DECLARED, f"{DECLARED}; self.best_metric = 'f1'", ("unknown best_metric 'f1'", LINE), 2
    ),
    # outputs and roles
    "forward raises": Mistake(MIX, f"tokens.nothing\n        {MIX}", (LINE, "backbone 'mixing'", "Mixing.forward")),
    "forward gives float16": Mistake(MIX, f"{MIX}.half()", ("returned torch.float16", "float16 overflows", LINE), 2),
    "forward ignores keep": Mistake(MIX, "return tokens", ("expected (8, 1, 8)", "keep_tokens", LINE), 2),
    "forward gives a tuple": Mistake(MIX, f"{MIX}, None", ("returned a tuple", LINE), 2),
    "encoder has another width": Mistake(ENCODE, f"{ENCODE}[..., 1:]", ("encoder 'scaled'", "(1, 6, 7)", LINE), 2),
    "encoder gives float64": Mistake(ENCODE, f"{ENCODE}.double()", ("encoder 'scaled'", "torch.float64", LINE), 2),
    "unknown role": Mistake('"feed_forward"', '"mlp"', ("unknown role 'mlp'", "Roles are", LINE), 2),
    "unknown block": Mistake("block=0", "block=3", ("block 3", "there are 1", LINE), 2),
    "block is text": Mistake("block=0", "block='0'", ("block '0'", "expected an index", LINE), 2),
    "roles are names": Mistake(
        ROLES,
        "return {name: 'norm' for name, _ in self.named_parameters()}",
        ("'norm.weight' has 'norm'", "ParameterRole", LINE),
        2,
    ),
    "roles are missing": Mistake(ROLES, "return None", ("parameter_roles() returned None", "mapping", LINE), 2),
    "a parameter without a role": Mistake(
        ROLES, f"{ROLES[:-1]} if 'bias' not in name}}", ("without a role", "bias"), 2
    ),
    "warning as an error": Mistake(
        LOSS,
        f"import warnings; warnings.warn('old')\n        {LOSS}",
        (LINE, "UserWarning: old", "Warnings are errors"),
    ),
}


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FPTKIT_PLUGINS", "")
    Path("r.yaml").write_text(RECIPE, encoding="utf-8")


def carried_out(plugin: str, *arguments: str) -> Done:
    Path("author.py").write_text(plugin, encoding="utf-8")
    return fptkit(*(arguments or ("run", "r.yaml", "--output", "o", "--quiet")))


@pytest.mark.usefixtures("_here")
def test_without_a_mistake_it_runs() -> None:
    assert carried_out(PLUGIN)[::2] == (0, "")
    (plugin,) = json.loads(Path("o/summary.json").read_text())["plugins"]
    assert plugin["name"] == "author"
    assert plugin["components"][0] == "task 'waves'"


def test_there_are_forty() -> None:
    assert len(MISTAKES) >= 40


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(name: str) -> None:
    mistake = MISTAKES[name]
    assert PLUGIN.count(mistake.old) >= 1, "the piece is not in the plugin"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = carried_out(PLUGIN.replace(mistake.old, mistake.new, 1))
    assert "Traceback" not in done.stderr
    assert done.returncode == mistake.status, done.stderr
    for said in ("author.py", *mistake.said):
        assert said in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) <= 6, done.stderr
    if mistake.status == 1:
        assert json.loads(Path("o/summary.json").read_text())["status"] == "failed"
