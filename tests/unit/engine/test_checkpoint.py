"""Checkpoints hold the trained tensors only, come back bit for bit, and a damaged one is refused by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from fptkit.engine import checkpoint
from fptkit.engine.checkpoint import (
    Checkpoint,
    checkpoint_of,
    latest_checkpoint,
    load_checkpoint,
    restore_trained,
    save_checkpoint,
    trained_tensors,
)
from fptkit.engine.optimizer_state import pack_numbers, pack_optimizer, unpack_optimizer
from fptkit.errors import CheckpointError
from fptkit.files import is_sealed, sealed


def model_and_optimizer(steps: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[0].weight.requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01, fused=True)
    for _ in range(steps):
        train(model, optimizer)
    return model, optimizer


def train(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model(torch.ones(5, 3)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def names(model: nn.Module) -> dict[int, str]:
    return {id(parameter): name for name, parameter in model.named_parameters()}


def save(
    root: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    keep: set[int] = frozenset(),
    numbers: Any = None,
) -> Path:
    return save_checkpoint(
        root,
        step=step,
        trained=trained_tensors(model),
        optimizer=pack_optimizer(optimizer, names(model)),
        state={"step": step},
        parts={
            "frozen": {"digest": "d", "weights": "random"},
            "data": {"source": "s", "digest": "e"},
            "records": {"lines": 3, "digest": "f"},
            "optimizer_numbers": numbers or {},
        },
        keep_steps=keep,
    )


def checkpoint_with(packed: dict[str, torch.Tensor], folder: Path, numbers: Any = None) -> Checkpoint:
    return Checkpoint(folder, 1, {}, packed, {}, {}, {}, {}, numbers or {})


def test_exactly_the_trained_tensors_are_saved(tmp_path: Path) -> None:
    folder = save(tmp_path, *model_and_optimizer(2), step=2)
    assert load_file(folder / "trained.safetensors").keys() == {"0.bias", "1.weight", "1.bias"}
    assert load_file(folder / "optimizer.safetensors").keys() == {
        f"{name}/{state}" for name in ("0.bias", "1.weight", "1.bias") for state in ("step", "exp_avg", "exp_avg_sq")
    }


def test_going_on_equals_never_having_stopped(tmp_path: Path) -> None:
    model, optimizer = model_and_optimizer(3)
    folder = save(tmp_path, model, optimizer, step=3)
    fresh, fresh_optimizer = model_and_optimizer(0)
    saved = load_checkpoint(folder)
    restore_trained(fresh, saved.trained, origin=folder)
    unpack_optimizer(fresh_optimizer, saved, names(fresh))
    for _ in range(4):
        train(model, optimizer)
        train(fresh, fresh_optimizer)
    for left, right in zip(model.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(left, right)


def test_only_the_newest_and_the_kept_ones_stay(tmp_path: Path) -> None:
    model, optimizer = model_and_optimizer(1)
    for step, keep in ((1, set()), (2, {1}), (3, {1}), (4, {3})):
        save(tmp_path, model, optimizer, step, keep)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]
    assert latest_checkpoint(tmp_path) == checkpoint_of(tmp_path, 4)


def test_a_kill_between_the_renames_loses_nothing(tmp_path: Path) -> None:
    model, optimizer = model_and_optimizer(1)
    folder = save(tmp_path, model, optimizer, 7)
    folder.rename(tmp_path / ".step-00000007.old")  # the old one is away, the new one not yet there
    (tmp_path / ".step-00000007.part").mkdir()
    assert latest_checkpoint(tmp_path) == folder
    assert load_checkpoint(folder).step == 7
    save(tmp_path, model, optimizer, 7)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000007"]


def test_no_checkpoint() -> None:
    assert latest_checkpoint(Path("/nowhere/at/all")) is None


@pytest.mark.parametrize("file", ["trained.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("damage", ["truncated", "altered", "missing"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, file: str, damage: str) -> None:
    folder = save(tmp_path, *model_and_optimizer(1), step=1)
    path = folder / file
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(data[:-1])
    else:
        data[-1] ^= 1
        path.write_bytes(data)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"files": {}}', '{"format": 99, "files": {}}'])
def test_a_damaged_manifest_is_refused_by_name(tmp_path: Path, content: str) -> None:
    folder = save(tmp_path, *model_and_optimizer(1), step=1)
    (folder / "state.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"state\.json"):
        load_checkpoint(folder)


def test_tensors_of_another_model_are_refused(tmp_path: Path) -> None:
    model, _ = model_and_optimizer(0)
    tensors = {name: tensor.clone() for name, tensor in trained_tensors(model).items()}
    with pytest.raises(CheckpointError, match=r"differs: 1\.bias"):
        restore_trained(model, {name: t for name, t in tensors.items() if name != "1.bias"}, origin=tmp_path)
    with pytest.raises(CheckpointError, match=r"1\.bias has shape \(3,\)"):
        restore_trained(model, {**tensors, "1.bias": torch.ones(3)}, origin=tmp_path)


def altered(folder: Path, change: Callable[[dict[str, Any]], object], *, seal: bool) -> None:
    """Change ``state.json``: as anybody can with an editor, or with a digest that fits."""
    path = folder / "state.json"
    content = json.loads(path.read_text())
    change(content)
    del content["own_digest"]
    path.write_text(json.dumps(sealed(content) if seal else {**content, "own_digest": "0" * 64}))


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "another step": lambda content: content["state"].update(step=2),
    "step far on": lambda content: content.update(step=1_000_000),
    "step of text": lambda content: content.update(step="1"),
    "step negative": lambda content: content.update(step=-1),
    "files a list": lambda content: content.update(files=[1]),
    "files elsewhere": lambda content: content.update(files={"../trained.safetensors": "0"}),
    "digest a number": lambda content: content["files"].update({"trained.safetensors": 7}),
    "no tensors": lambda content: content.update(files={}),
    "no frozen part": lambda content: content.update(frozen=None),
    "frozen without digest": lambda content: content["frozen"].pop("digest"),
    "data a list": lambda content: content.update(data=["s"]),
    "data without source": lambda content: content["data"].pop("source"),
    "state of text": lambda content: content.update(state="x"),
    "no state": lambda content: content.pop("state"),
    "other optimizer tensors": lambda content: content["optimizer_tensors"].pop(),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("seal", [False, True])
def test_an_altered_state_is_refused_by_name(tmp_path: Path, change: str, seal: bool) -> None:
    folder = save(tmp_path, *model_and_optimizer(1), step=1)
    altered(folder, CHANGES[change], seal=seal)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    assert str(folder) in str(caught.value)
    assert seal or "state.json was altered" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda content: content.update(format=99), r"state\.json has format 99; this version reads format 1$"),
        (lambda content: content.pop("files"), r"state\.json lacks 'files', the digests"),
        (lambda content: content.update(step="1"), r"state\.json is damaged: step: input should be a valid integer"),
        (
            lambda content: content["frozen"].update(digest=7),
            r"damaged: frozen\.digest: input should be a valid string",
        ),
        (lambda content: content["state"].update(step=2), r"state\.json is of another step than step-00000001"),
        (lambda content: content["optimizer_tensors"].pop(), r"[^\w]optimizer\.safetensors has other tensors than"),
    ],
)
def test_an_altered_state_is_described(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], problem: str
) -> None:
    folder = save(tmp_path, *model_and_optimizer(1), step=1)
    altered(folder, change, seal=True)
    with pytest.raises(CheckpointError, match=problem):
        load_checkpoint(folder)


def test_the_state_need_not_repeat_the_step(tmp_path: Path) -> None:
    folder = save(tmp_path, *model_and_optimizer(1), step=1)
    altered(folder, lambda content: content.update(state={}), seal=True)
    assert load_checkpoint(folder).step == 1


def test_a_state_without_a_digest_is_of_an_earlier_version(tmp_path: Path) -> None:
    folder = save(tmp_path, *model_and_optimizer(1), step=1)
    path = folder / "state.json"
    content = json.loads(path.read_text())
    assert is_sealed(path)
    for key in ("own_digest", "optimizer_tensors", "optimizer_numbers", "records", "data"):
        del content[key]
    path.write_text(json.dumps(content))
    assert not is_sealed(path)
    found = load_checkpoint(folder)
    assert found.records == found.optimizer_numbers == found.data == {}


@pytest.mark.parametrize("name", ["trained", "optimizer"])
def test_garbage_with_a_digest_that_fits(tmp_path: Path, name: str) -> None:
    folder = save(tmp_path, *model_and_optimizer(1), step=1)
    (folder / f"{name}.safetensors").write_bytes(b"\xff" * 100)
    digest = hashlib.sha256(b"\xff" * 100).hexdigest()
    altered(folder, lambda content: content["files"].update({f"{name}.safetensors": digest}), seal=True)
    with pytest.raises(CheckpointError, match=rf"(?s){name}\.safetensors: not readable as a safetensors file.*intact"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda packed: {**packed, "0.weight/exp_avg": torch.ones(4, 3)}, "tensors of '0.weight', which this model"),
        (lambda packed: {**packed, "1.bias/exp_avg": torch.ones(3)}, r"exp_avg of 1\.bias .* shape \(3,\), .* \(2,\)"),
        (lambda packed: {key: packed[key] for key in packed if key != "1.bias/step"}, "for different parameters"),
    ],
)
def test_optimizer_tensors_of_another_model(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], problem: str
) -> None:
    model, optimizer = model_and_optimizer(1)
    packed = change(pack_optimizer(optimizer, names(model)))
    with pytest.raises(CheckpointError, match=problem):
        unpack_optimizer(optimizer, checkpoint_with(packed, tmp_path), names(model))


class Counting(torch.optim.Optimizer):
    """Remembers a number for each parameter and one in its group, and a tensor of another shape."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.1, "total": 0.0, "betas": (0.9, 0.99)})

    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            group["total"] += 0.1
            for parameter in group["params"]:
                state = self.state[parameter]
                state["count"] = state.get("count", 0) + 1
                state["rows"] = torch.full((1, 5), float(state["count"]))


def test_numbers_of_an_optimizer_come_back_as_they_were(tmp_path: Path) -> None:
    model, _ = model_and_optimizer(0)
    first, second = (Counting([p for p in model.parameters() if p.requires_grad]) for _ in range(2))
    for _ in range(3):
        first.step()
    packed, numbers = pack_optimizer(first, names(model)), pack_numbers(first, names(model))
    assert packed.keys() == {f"{name}/rows" for name in ("0.bias", "1.weight", "1.bias")}
    unpack_optimizer(second, checkpoint_with(packed, tmp_path, json.loads(json.dumps(numbers))), names(model))
    assert (second.param_groups[0]["total"], second.param_groups[0]["betas"]) == (
        first.param_groups[0]["total"],
        (0.9, 0.99),
    )
    assert [state["count"] for state in second.state.values()] == [3, 3, 3]
    assert torch.equal(second.state[model[1].bias]["rows"], torch.full((1, 5), 3.0))
    assert pack_numbers(model_and_optimizer(1)[1], names(model)) == {}


@pytest.mark.parametrize("change", [{"groups": []}, {"states": {"0.weight": {"count": 1}}}])
def test_numbers_of_another_optimizer_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    model, _ = model_and_optimizer(0)
    optimizer = Counting([p for p in model.parameters() if p.requires_grad])
    numbers = {**pack_numbers(optimizer, names(model)), **change}
    with pytest.raises(CheckpointError, match="the numbers of its optimizer are not those of this model's"):
        unpack_optimizer(optimizer, checkpoint_with({}, tmp_path, numbers), names(model))


def test_a_run_folder_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        save(tmp_path / "run" / "checkpoints", *model_and_optimizer(1), step=1)
    assert list(tmp_path.iterdir()) == []


def test_optimizer_state_is_copied_to_the_parameter_it_belongs_to(tmp_path: Path) -> None:
    model = nn.Module()
    for name in ("a/b", "a"):  # a name may hold the character that separates it from the state's
        model.register_parameter(name, nn.Parameter(torch.ones(2)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for parameter in model.parameters():
        parameter.grad = torch.ones(2)
    optimizer.step()
    packed = {
        key: torch.full_like(tensor, key.count("/")) for key, tensor in pack_optimizer(optimizer, names(model)).items()
    }
    unpack_optimizer(optimizer, checkpoint_with(packed, tmp_path), names(model))
    for tensor in packed.values():
        tensor.zero_()  # what was read is not what is trained on
    found = {name: optimizer.state[parameter]["exp_avg"].tolist() for name, parameter in model.named_parameters()}
    assert found == {"a/b": [2.0, 2.0], "a": [1.0, 1.0]}
    assert pack_optimizer(optimizer, names(model)).keys() == packed.keys()


def test_the_latest_is_that_of_the_highest_step_and_leftovers_go(tmp_path: Path) -> None:
    for name in ("step-99999999", "step-100000000", "step-00000007", ".step-00000007.old", "step-x", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "step-999999999").write_text("no folder")
    assert latest_checkpoint(tmp_path) == tmp_path / "step-100000000"
    assert not (tmp_path / ".step-00000007.old").exists()


def test_a_checkpoint_holds_what_was_saved_and_where(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    folder = save(tmp_path / "new" / "root", *model_and_optimizer(1), step=1, numbers={"total": 0.5})
    found = load_checkpoint(folder)
    assert (found.folder, found.step, found.state) == (folder, 1, {"step": 1})
    assert found.frozen == {"digest": "d", "weights": "random"}
    assert found.data == {"source": "s", "digest": "e"}
    assert (found.records, found.optimizer_numbers) == ({"lines": 3, "digest": "f"}, {"total": 0.5})


def test_every_file_of_a_checkpoint_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = []
    for name in ("write_bytes", "write_sealed"):
        write = getattr(checkpoint, name)
        monkeypatch.setattr(
            checkpoint,
            name,
            lambda path, content, *, flush=False, write=write: (
                flushed.append((path.name, flush)),
                write(path, content, flush=flush),
            ),
        )
    save(tmp_path, *model_and_optimizer(1), step=1)
    assert flushed == [("trained.safetensors", True), ("optimizer.safetensors", True), ("state.json", True)]
