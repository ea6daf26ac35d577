"""A plugin brings a head, loss, metric, optimizer, schedule and transform: each is used, shown and checked like a
built-in, and its mistakes are named."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.shell_completion import ShellComplete
from command_line import fptkit
from whole_runs import Recorder, assert_same, metrics, start

from fptkit.cli.main import cli
from fptkit.errors import FptkitError, Interrupted, PluginError, RecipeError
from fptkit.interfaces import TokenClasses
from fptkit.lab.studies.address import address_of
from fptkit.options import Options
from fptkit.recipe.load import load_recipe
from fptkit.registry import load_plugins
from fptkit.specs import HeadSpec
from fptkit.testing import check_head

PLUGIN = """
from dataclasses import replace

import torch
from pydantic import Field
from torch import nn

import fptkit
from fptkit import ArraySplit, Classes, Vectors


class Waves(fptkit.Task):
    def __init__(self, options, *, seed, pinned):
        self.input, self.output, self.max_tokens = Vectors(4), Classes(2), 6

    def split(self, name):
        waves = torch.randn(24, 6, 4, generator=torch.Generator().manual_seed(len(name)))
        return ArraySplit(waves, (waves.mean((1, 2)) > 0).long(), vectors=True)


class Gated(fptkit.Head):
    def __init__(self, options, *, output, width, hidden, dropout):
        super().__init__(output, width, readout="gated", hidden=hidden, dropout=dropout)
        self.gate = nn.Parameter(torch.randn(width))

    def read(self, hidden, lengths):
        if lengths is None:
            return hidden.mean(1, keepdim=True) * self.gate.sigmoid()
        real = torch.arange(hidden.shape[1]) < lengths[:, None]
        return (hidden * real[:, :, None]).sum(1, keepdim=True) / lengths[:, None, None] * self.gate.sigmoid()


class HingeOptions(fptkit.Options):
    margin: float = Field(default=1.0, gt=0, description="margin")


def hinge(options, *, output):
    def each(logits, targets):
        right = logits.gather(1, targets[:, None])
        rest = logits.scatter(1, targets[:, None], -torch.inf).amax(1)
        return (options.margin - right[:, 0] + rest).relu()

    return each


class Share:
    higher_is_better, chance = True, 0.25

    def __init__(self, options, *, output):
        self.reset()

    def reset(self):
        self.right = self.all = 0

    def to(self, device):
        return self

    def update(self, predictions, targets):
        self.right += int((predictions.argmax(-1) == targets).sum())
        self.all += len(targets)

    def compute(self):
        return self.right / self.all


class Lion(torch.optim.Optimizer):
    def __init__(self, groups):
        super().__init__(groups, {"lr": 1e-3, "drawn": 0.0})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["drawn"] += 0.1
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                state["count"] = state.get("count", 0) + 1
                mean = state.setdefault("mean", torch.zeros_like(parameter))
                parameter.sub_((0.9 * mean + parameter.grad).sign() * group["lr"] / state["count"] ** 0.1)
                mean.mul_(0.99).add_(parameter.grad, alpha=0.01 + group["drawn"] / 1000)


def lion(options, *, groups):
    return Lion(groups)


class Halving(fptkit.Schedule):
    def __init__(self, options, *, steps):
        self.share = 1.0

    def factor(self, step):
        return self.share

    def validated(self, *, improved):
        self.share *= 0.5

    def state(self):
        return {"share": self.share}

    def restore(self, state):
        self.share = state.get("share", 1.0)


def jitter(options, *, input):
    return lambda batch, generator: replace(
        batch, inputs=batch.inputs + torch.randn(batch.inputs.shape, generator=generator) / 10
    )


@fptkit.hookimpl
def fptkit_tasks():
    return [fptkit.TaskSpec(name="waves", summary="a mean", target=Waves)]


@fptkit.hookimpl
def fptkit_heads():
    return [fptkit.HeadSpec(name="gated", summary="a gated mean", target=Gated, accepts=("classes",))]


@fptkit.hookimpl
def fptkit_losses():
    return [fptkit.LossSpec(name="hinge", summary="hinge", target=hinge, options=HingeOptions, accepts=("classes",))]


@fptkit.hookimpl
def fptkit_metrics():
    return [
        fptkit.MetricSpec(
            name="share", summary="share of right ones", target=Share, accepts=("classes",), higher_is_better=True,
            least=0, most=1,
        )
    ]


@fptkit.hookimpl
def fptkit_optimizers():
    return [fptkit.OptimizerSpec(name="lion", summary="sign of momentum", target=lion)]


@fptkit.hookimpl
def fptkit_schedules():
    return [fptkit.ScheduleSpec(name="halving", summary="halved by each validation", target=Halving)]


@fptkit.hookimpl
def fptkit_transforms():
    return [fptkit.TransformSpec(name="jitter", summary="noise", target=jitter, accepts=("vectors",))]
"""

RECIPE = """
plugins: [parts.py]
task: {name: waves}
backbone: {name: random, blocks: 1, width: 16, heads: 2, size: nano, dropout: 0.1}
head: {readout: gated}
loss: {name: hinge, margin: 2.0}
metrics: [share, mcc]
optimizer: lion
transforms: [jitter]
train: {batch_size: 8, max_steps: 12, validate_every: 4, log_every: 2, patience: null, metric: share,
        schedule: {name: halving}}
threads: 1
"""

PLURALS = {
    "heads": "gated",
    "losses": "hinge",
    "metrics": "share",
    "optimizers": "lion",
    "schedules": "halving",
    "transforms": "jitter",
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "parts.py").write_text(PLUGIN)
    (tmp_path / "parts.yaml").write_text(RECIPE)
    return tmp_path / "parts.yaml"


def test_they_train_and_a_resumed_run_equals_an_uninterrupted_one(recipe: Path, tmp_path: Path) -> None:
    whole = start(recipe, tmp_path / "whole")
    assert whole["selection"] == {"metric": "share", "higher_is_better": True}
    parts = whole["training_parts"]
    assert {key: one["name"] for key, one in parts.items() if isinstance(one, dict)} == {
        "head": "gated",
        "loss": "hinge",
        "optimizer": "lion",
        "schedule": "halving",
    }
    assert [(one["name"], one["chance"]) for one in parts["metrics"]] == [("share", 0.25), ("mcc", 0.0)]
    assert parts["transforms"] == [{"name": "jitter"}]
    assert (whole["readout"], whole["schedule"]) == ("gated", "halving")
    assert whole["metrics"]["test"]["test"].keys() == {"loss", "accuracy", "share", "mcc"}
    assert set(whole["plugins"][0]["components"]) >= {"optimizer 'lion'", "metric 'share'", "head 'gated'"}
    assert [line["learning_rate"] for line in metrics(tmp_path / "whole") if line["split"] == "train"] == pytest.approx(
        [1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4, 2.5e-4]
    )
    with pytest.raises(Interrupted):
        start(recipe, tmp_path / "parts", listener=Recorder(6))
    start(recipe, tmp_path / "parts", resume=True)
    assert_same(tmp_path / "parts", tmp_path / "whole")
    again = start(tmp_path / "whole" / "recipe.yaml", tmp_path / "again")
    assert again["metrics"] == whole["metrics"]


@pytest.mark.parametrize(("plural", "name"), PLURALS.items())
def test_they_are_listed_and_shown(recipe: Path, plural: str, name: str) -> None:
    plugin = str(recipe.with_name("parts.py"))
    rows = {row["name"]: row for row in json.loads(fptkit("list", plural, "--json", "--plugin", plugin).stdout)}
    assert rows[name]["plugin"] == plugin
    noun = plural.removesuffix("es") if plural == "losses" else plural.removesuffix("s")
    assert name in fptkit("show", noun, name, "--plugin", plugin).stdout
    own = [word for word, row in rows.items() if row["plugin"] == "builtin"]
    completed = ShellComplete(cli, {}, "fptkit", "_X").get_completions(["show", noun], own[0][:2])
    assert own[0] in [item.value for item in completed]


def test_they_keep_their_promises(recipe: Path) -> None:
    done = fptkit("plugins", "--check", "parts", "--json", "--plugin", str(recipe.with_name("parts.py")))
    checked = json.loads(done.stdout)
    assert {one["result"] for one in checked} == {"ok"}, checked
    assert len({one["component"] for one in checked}) == len(PLURALS) + 2


@pytest.mark.parametrize(
    ("given", "path", "message"),
    [
        ("loss=hinje", "loss.name", "unknown loss 'hinje'. Did you mean 'hinge'?"),
        ("loss={name: hinge, margin: 0}", "loss.margin", "expected a number > 0"),
        ("metrics=[share, shar]", "metrics[1].name", "unknown metric 'shar'. Did you mean 'share'?"),
        ("metrics=[share, share]", "metrics[1]", "metric 'share' is given twice"),
        ("metrics=share", "metrics", "expected a list of names, or sections"),
        ("optimizer.momentum=1", "optimizer", "unknown key 'momentum'"),
        ("train.schedule={name: halvin}", "train.schedule.name", "unknown schedule 'halvin'. Did you mean 'halving'?"),
        ("train.adam_epsilon=1e-3", "train.adam_epsilon", "is a setting of the optimizer of recipes that name none"),
        ("schedule=halving", "train.schedule", "is given twice, here and as schedule"),
        ("readout=gated", "head.readout", "is given twice, here and as readout"),
        ("head.readout={name: gated, x: 1}", "head.readout", "unknown key 'x'"),
        ("train.schedule={name: linear, warmup_steps: 12}", "train.schedule", "warmup_steps must be below"),
    ],
)
def test_faults_are_located(recipe: Path, given: str, path: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(recipe), overrides=[given])
    assert [problem.path for problem in caught.value.problems] == [path]
    assert caught.value.problems[0].message.startswith(message), caught.value.problems[0].message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "loss=huber",
            "loss: huber accepts answers of the kind values and token_values, but those of the task are .*hinge",
        ),
        ("metrics=[r2]", "metrics: r2 accepts answers of the kind values"),
        ("head.readout=all", "readout: all accepts answers of the kind token_classes"),
        ("transforms=[flip]", "transforms: flip accepts grid, but the inputs of task waves are vectors; .*jitter"),
        ("train.metric=f1", "train.metric: this run has no metric 'f1', only accuracy, share, mcc, loss"),
        ("head.readout=first", "head.readout first: the backbone random is causal"),
        ("optimizer=muon", "optimizer muon: no matrix with a role of attention, feed_forward, recurrent trains"),
    ],
)
def test_what_does_not_fit_is_an_error_before_training(recipe: Path, tmp_path: Path, given: str, message: str) -> None:
    with pytest.raises(FptkitError, match=message) as caught:
        start(recipe, tmp_path / "run", given)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("wrong", "right", "message"),
    [
        ("return Lion(groups)", "return Lion(groups[:0] or [groups[0]['params'][0]])", "give it all parameters"),
        ("return Lion(groups)", "return None", "expected a torch.optim.Optimizer"),
        ("return self.share", "return -1.0", "factor at step 0 is -1.0, expected a number >= 0"),
        ("higher_is_better, chance = True", "higher_is_better, chance = False", "make them equal"),
        ("return (options.margin", "return 1 + 0 * logits #", "give the loss of each answer"),
        ("class Gated(fptkit.Head)", "class Gated(nn.Module)", "head 'gated'"),
        ("return hidden.mean(1, keepdim=True)", "return hidden[:, :2]", r"gave shape \(8, 2, 2\), expected \(8, 2\)"),
        ("return lambda batch, generator: replace(\n        batch, ", "return lambda batch, generator: dict(\n        ",
         "transform 'jitter': it returned .*, expected a fptkit.Batch"),
    ],
)  # fmt: skip
def test_mistakes_are_named(recipe: Path, tmp_path: Path, wrong: str, right: str, message: str) -> None:
    assert wrong in PLUGIN
    recipe.with_name("parts.py").write_text(PLUGIN.replace(wrong, right, 1))
    with pytest.raises(PluginError, match=f"(?s){message}"):
        start(recipe, tmp_path / "run")


def test_a_recipe_that_names_none_has_the_address_it_had(tmp_path: Path) -> None:
    def address(**more: Any) -> str:
        task = {"name": "bit_xor"}
        return address_of(load_recipe({"task": task, **more}).recipe, "0")

    assert address() == address(optimizer=None, metrics=[], transforms=[], train={"metric": None})
    given = [{"optimizer": "adamw"}, {"metrics": ["f1"]}, {"loss": "focal"}, {"train": {"metric": "loss"}}]
    assert len({address(), *(address(**one) for one in given)}) == 5


@pytest.mark.parametrize(
    ("wrong", "right", "component", "message"),
    [
        ("* real[:, :, None]", "", "head 'gated'", "an example alone differs from the same in a padded batch"),
        ("* self.gate.sigmoid()", "", "head 'gated'", "no gradient reaches gate"),
        ("right[:, 0] + rest", "right[:, 0].mean() + rest", "loss 'hinge'", "depends on the other answers"),
        ('state.get("count", 0) + 1', "vars(self).setdefault('n', []).append(1) or len(self.n)", "optimizer 'lion'",
         "restored from a checkpoint it continues differently"),
        ('* group["lr"]', "* 0.01", "optimizer 'lion'", "a learning rate of 0 changes parameters"),
        ('return {"share": self.share}', "return {}", "schedule 'halving'", "restored from its state"),
        ("self.all += len(targets)", "self.all += 1", "metric 'share'", "two batches give"),
        ("self.right = self.all = 0", "self.right = getattr(self, 'right', 0); self.all = 1", "metric 'share'", "anew"),
        (".argmax(-1)", ".argmin(-1)", "metric 'share'", "is its direction right"),
        (", generator=generator)", ")", "transform 'jitter'", "the same state of the generator gives another batch"),
    ],
)  # fmt: skip
def test_broken_promises_are_found(wrong: str, right: str, component: str, message: str, recipe: Path) -> None:
    assert wrong in PLUGIN
    file = recipe.with_name("parts.py")
    file.write_text(PLUGIN.replace(wrong, right))
    checked = json.loads(fptkit("plugins", "--check", "parts", "--json", "--plugin", str(file)).stdout)
    (failed,) = [one for one in checked if one["result"] == "failed"]
    assert failed["component"] == component
    assert message in failed["reason"]


def test_options_of_a_component_that_is_given_by_name_can_be_set(recipe: Path) -> None:
    def load(*overrides: str) -> Any:
        return load_recipe(str(recipe), overrides=overrides).recipe

    found = load("optimizer=sgd", "optimizer.momentum=0.5", "head.readout=attention", "head.readout.queries=3")
    assert (found.optimizer.name, found.optimizer.options.momentum) == ("sgd", 0.5)
    assert (found.readout.name, found.readout.options.queries) == ("attention", 3)
    assert load("optimizer={name: sgd, nesterov: true}", "optimizer=sgd").optimizer.options.nesterov is True
    assert load("optimizer={name: sgd, momentum: 0.5}", "optimizer=rmsprop").optimizer.options.momentum == 0
    assert load("loss=null").loss is None


CRF = Path(__file__).parents[2] / "docs" / "plugins" / "examples" / "crf.py"


def test_the_crf_of_the_documentation_gives_marginals() -> None:
    """Against the sum over all sequences of classes; and it keeps the promises of heads."""
    (spec,) = [entry.spec for entry in load_plugins([CRF], selection="").entries(HeadSpec) if entry.spec.name == "crf"]
    head = spec.resolve()(Options(), output=TokenClasses(3), width=2, hidden=(), dropout=0.0)
    torch.nn.init.normal_(head.transitions, generator=torch.Generator().manual_seed(0))
    scores = torch.randn((2, 5, 3), generator=torch.Generator().manual_seed(1))
    found = head.marginals(scores, torch.tensor([5, 3])).exp()
    for row, length in enumerate((5, 3)):
        expected = torch.zeros(length, 3)
        for classes in itertools.product(range(3), repeat=length):
            total = sum(scores[row, t, k] for t, k in enumerate(classes))
            total = total + sum(head.transitions[pair] for pair in itertools.pairwise(classes))
            expected[range(length), classes] += total.exp()
        torch.testing.assert_close(found[row, :length], expected / expected[0].sum())
    check_head(
        lambda output, width: spec.resolve()(Options(), output=output, width=width, hidden=(4,), dropout=0.0),
        output=TokenClasses(3),
    )
