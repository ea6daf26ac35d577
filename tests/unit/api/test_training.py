"""`fptkit.train`: the engine's loop on a user's own module and loaders."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fptkit.api.training import train
from fptkit.engine.events import Event, StepsDone, Validated
from fptkit.errors import DataError, DivergedError, FreezingError, Interrupted, PluginError, RecipeError, UsageError
from fptkit.interfaces import Accuracy

PIECES = 24


def data(seed: int = 0, count: int = PIECES) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 4, generator=generator)
    return TensorDataset(inputs, (inputs[:, 0] + inputs[:, 1] > 0).long())


def loaders(**options: Any) -> tuple[DataLoader[Any], DataLoader[Any]]:
    return DataLoader(data(), batch_size=8, shuffle=True, **options), DataLoader(data(1), batch_size=16)


def network(dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(dropout), nn.Linear(6, 2))


OPTIONS: dict[str, Any] = {
    "max_steps": 12,
    "validate_every": 4,
    "log_every": 2,
    "patience": None,
    "learning_rate": 0.05,
    "quiet": True,
}


def state(module: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def test_it_is_a_plain_loop_with_adamw() -> None:
    """Batches in their order, no clipping: the same as ten lines of torch, up to the last bit."""
    batches = [(x, y) for x, y in DataLoader(data(), batch_size=8)]
    module, reference = network(), network()
    result = train(module, batches, batches, **{**OPTIONS, "clip_norm": None, "validate_every": 12})
    optimizer = torch.optim.AdamW(reference.parameters(), lr=0.05, weight_decay=0, fused=True)
    for step in range(12):
        x, y = batches[step % len(batches)]
        optimizer.zero_grad()
        nn.functional.cross_entropy(reference(x), y).backward()
        optimizer.step()
    for ours, theirs in zip(module.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    with torch.no_grad():
        logits = torch.cat([reference(x) for x, _ in batches])
    targets = torch.cat([y for _, y in batches])
    assert result.metrics["accuracy"] == pytest.approx(float((logits.argmax(-1) == targets).double().mean()))
    assert result.metrics["loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, targets)), rel=1e-5)
    assert (result.steps, result.best_step, result.ended_by) == (12, 12, "steps")
    assert not module.training


def test_the_best_step_is_restored() -> None:
    """With a rate that ruins the model, an early step is the best, and its tensors are those that come back."""
    module = network()
    result = train(module, *loaders(), best_metric="loss", **{**OPTIONS, "learning_rate": 3.0, "validate_every": 1})
    losses = [row["loss"] for row in result.history]
    assert len(losses) == 12
    assert result.best_step == 1 + losses.index(min(losses))
    x, y = data(1).tensors
    assert float(nn.functional.cross_entropy(module(x), y).detach()) == pytest.approx(min(losses), rel=1e-5)


def test_early_stopping_ends_it() -> None:
    result = train(network(), *loaders(), **{**OPTIONS, "learning_rate": 1e-9, "patience": 2, "validate_every": 1})
    assert (result.steps, result.ended_by) == (3, "patience")


def test_only_matching_parameters_train() -> None:
    module = network()
    before = state(module)
    result = train(module, *loaders(), trained=["3.*"], **OPTIONS)
    after = state(module)
    assert result.trained == ("3.weight", "3.bias")
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, True, False, False]
    assert [parameter.requires_grad for parameter in module.parameters()] == [False, False, True, True]


def test_without_patterns_requires_grad_decides() -> None:
    module = network()
    module[0].weight.requires_grad_(False)
    assert train(module, *loaders(), **OPTIONS).trained == ("0.bias", "3.weight", "3.bias")
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(FreezingError, match="nothing would train"):
        train(module, *loaders(), **OPTIONS)


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.layers = nn.ModuleList([nn.ModuleDict({"mix": nn.Linear(4, 4), "norm": nn.LayerNorm(4)}) for _ in "ab"])
        self.head = nn.Linear(4, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = self.inner(inputs)
        for layer in self.layers:
            hidden = layer["norm"](hidden + layer["mix"](hidden))
        return self.head(hidden)


ROLES = {
    "inner.*": "input",
    "layers.{block}.mix.*": "attention",
    "layers.{block}.norm.*": "norm",
    "head.*": "output",
}


@pytest.mark.parametrize(
    ("policy", "trained"),
    [
        ("output_only", {"head"}),
        ("output_norm", {"head", "layers.0.norm", "layers.1.norm"}),
        ("fpt_last_attention", {"inner", "head", "layers.0.norm", "layers.1.norm", "layers.1.mix"}),
        ("full", {"inner", "head", "layers.0.norm", "layers.1.norm", "layers.0.mix", "layers.1.mix"}),
    ],
)
def test_a_policy_selects_by_role_and_block(policy: str, trained: set[str]) -> None:
    result = train(Blocks(), *loaders(), policy=policy, roles=ROLES, **{**OPTIONS, "max_steps": 1})
    assert {name.rpartition(".")[0] for name in result.trained} == trained


def test_a_parameter_without_a_role_stays_frozen() -> None:
    result = train(
        Blocks(), *loaders(), policy="output_only", roles={"head.*": "output"}, **{**OPTIONS, "max_steps": 1}
    )
    assert result.trained == ("head.weight", "head.bias")


def test_a_stopped_training_resumes_bit_for_bit(tmp_path: Path) -> None:
    """The order of a shuffling loader, dropout and the optimizer's state are those of an uninterrupted training."""
    whole = network(dropout=0.3)
    at_once = train(whole, *loaders(), **OPTIONS)

    class Stop:
        def handle(self, event: Event) -> None:
            if isinstance(event, StepsDone) and event.step == 6:
                signal.raise_signal(signal.SIGINT)

    stopped = network(dropout=0.3)
    with pytest.raises(Interrupted) as caught:
        train(stopped, *loaders(), output=tmp_path / "run", listeners=[Stop()], **OPTIONS)
    assert caught.value.step < 12
    torch.manual_seed(99)  # the caller's generator does not matter
    again = network(dropout=0.3)
    resumed = train(again, *loaders(), output=tmp_path / "run", resume=True, **OPTIONS)
    for ours, theirs in zip(state(again), state(whole), strict=True):
        assert torch.equal(ours, theirs)
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in at_once.history]
    assert train(network(), *loaders(), output=tmp_path / "run", resume=True, **OPTIONS).steps == 12


def test_a_loader_with_a_generator_and_one_without_a_length_resume_too(tmp_path: Path) -> None:
    class NoLength:
        def __init__(self) -> None:
            self.inner = loaders()[0]

        def __iter__(self) -> Any:
            return iter(self.inner)

    for number, make in enumerate([lambda: loaders(generator=torch.Generator())[0], NoLength]):
        whole = network()
        train(whole, make(), loaders()[1], **OPTIONS)
        again = network()
        for steps in (8, 12):
            options = {**OPTIONS, "max_steps": steps}
            again = network()
            train(again, make(), loaders()[1], output=tmp_path / str(number), resume=True, **options)
        assert all(torch.equal(a, b) for a, b in zip(state(again), state(whole), strict=True))


def test_the_seed_decides_the_order_and_leaves_the_callers_generator() -> None:
    def trained(seed: int) -> list[torch.Tensor]:
        module = network()
        torch.manual_seed(5)
        train(module, *loaders(), seed=seed, **OPTIONS)
        assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(5)))
        return state(module)

    assert all(torch.equal(a, b) for a, b in zip(trained(1), trained(1), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(trained(1), trained(2), strict=True))


def test_mappings_become_keyword_arguments_and_accumulation_changes_only_rounding() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.inner = nn.Linear(4, 2)

        def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            return self.inner(torch.cat([left, right], 1))

    batches = [{"left": x[:, :1], "right": x[:, 1:], "labels": y} for x, y in DataLoader(data(), batch_size=8)]
    modules = [Named(), Named()]
    for module, accumulate in zip(modules, (1, 4), strict=True):
        train(module, batches, batches, accumulate=accumulate, **OPTIONS)
    torch.testing.assert_close(state(modules[0]), state(modules[1]), rtol=1e-4, atol=1e-6)


def test_own_loss_metrics_and_listeners() -> None:
    events: list[Event] = []

    class Listener:
        def handle(self, event: Event) -> None:
            events.append(event)

    result = train(
        network(),
        *loaders(),
        loss=lambda outputs, targets: nn.functional.cross_entropy(outputs, targets, label_smoothing=0.1),
        metrics=lambda: {"right": Accuracy()},
        listeners=[Listener()],
        **OPTIONS,
    )
    assert set(result.metrics) == {"loss", "right"}
    assert [event.step for event in events if isinstance(event, Validated)] == [4, 8, 12]
    assert "<table>" in result._repr_html_()


def test_numbers_are_scored_by_the_mean_square() -> None:
    x = data().tensors[0]
    batches = [(x, x[:, :1] * 2)]
    result = train(nn.Linear(4, 1), batches, batches, **OPTIONS)
    assert set(result.metrics) == {"loss"}


def test_nothing_is_left_without_an_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    train(network(), *loaders(), **OPTIONS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"learning_rat": 1}, RecipeError, "Did you mean 'learning_rate'"),
        ({"max_steps": "3"}, RecipeError, "expected an integer"),
        ({"batch_size": 3}, UsageError, "does not support batch_size"),
        ({"trained": ["9.*"]}, FreezingError, "'9.*' matches no parameter"),
        ({"trained": "3.*"}, UsageError, "give a list of patterns"),
        ({"trained": []}, FreezingError, "nothing would train"),
        ({"policy": "output_only"}, UsageError, "belong together"),
        ({"policy": "output_only", "roles": {"3.*": "outputs"}}, FreezingError, "unknown role 'outputs'"),
        ({"policy": "output_only", "roles": {"9.*": "output"}}, FreezingError, "matches no parameter"),
        ({"policy": "output_norm", "roles": {"3.*": "output"}}, FreezingError, "touches no parameter"),
        ({"policy": "output_only", "roles": ROLES, "trained": ["3.*"]}, UsageError, "not both"),
        ({"resume": True}, UsageError, "resume needs output"),
        ({"loss": lambda outputs, targets: outputs.sum(-1)}, PluginError, "return the mean over the examples"),
        ({"loss": "cross_entropy"}, UsageError, "give a function of outputs and targets"),
        ({"best_metric": "f1"}, PluginError, "unknown best_metric 'f1'"),
        (
            {"loss": lambda outputs, targets: outputs.sum() * torch.inf},
            DivergedError,
            "the loss or gradient of step 1 is not finite",
        ),
    ],
)
def test_wrong_arguments(change: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        train(network(), *loaders(), **{**OPTIONS, **change})


X, Y = torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("batches", "error", "text"),
    [
        ([], DataError, "train_loader has no batches"),
        (iter([(X, Y)]), UsageError, "cannot be read again"),
        ([X], DataError, "batch 1: it is of type Tensor; give pairs"),
        ([(X, Y[:2])], DataError, "have 3, 2 rows"),
        ([(X, None)], DataError, "targets a tensor"),
        ([(X.numpy(), Y)], DataError, "inputs must be a tensor"),
        (3, UsageError, "train_loader is of type int"),
    ],
)
def test_wrong_loaders(batches: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        train(network(), batches, [(X, Y)], **OPTIONS)


def test_something_else_than_a_module() -> None:
    with pytest.raises(UsageError, match="module is of type int"):
        train(3, [(X, Y)], [(X, Y)], **OPTIONS)  # type: ignore[arg-type]


def test_loaders_with_workers_resume_and_end_them(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = network()
    train(whole, *loaders(num_workers=1), **OPTIONS)
    for steps in (4, 12):
        again = network()
        train(again, *loaders(num_workers=1), output=tmp_path, resume=True, **{**OPTIONS, "max_steps": steps})
    assert all(torch.equal(a, b) for a, b in zip(state(again), state(whole), strict=True))
    assert "Exception" not in capfd.readouterr().err


def test_an_empty_validation_loader_and_a_module_that_returns_a_tuple() -> None:
    with pytest.raises(DataError, match="validation_loader has no batches"):
        train(network(), [(X, Y)], [], **OPTIONS)

    class Pair(nn.Linear):
        def forward(self, input: torch.Tensor) -> Any:
            return super().forward(input), None

    with pytest.raises(PluginError, match="returned a value of type tuple"):
        train(Pair(4, 2), [(X, Y)], [(X, Y)], **OPTIONS)


def test_a_folder_of_another_training_is_refused(tmp_path: Path) -> None:
    train(network(), *loaders(), output=tmp_path, **OPTIONS)
    with pytest.raises(UsageError, match="holds a training already"):
        train(network(), *loaders(), output=tmp_path, **OPTIONS)
    with pytest.raises(UsageError, match="differs in learning_rate"):
        train(network(), *loaders(), output=tmp_path, resume=True, **{**OPTIONS, "learning_rate": 0.1})
    with pytest.raises(UsageError, match="the parameters that train"):
        train(network(), *loaders(), output=tmp_path, resume=True, trained=["3.*"], **OPTIONS)


def test_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    train(network(), *loaders(), **{**OPTIONS, "quiet": False})
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("step 4/12  validation: loss ")
    assert "(best so far)" in said.err
