"""The examples of ``docs/plugins/examples``: short, typed, within the contracts; what they compute is right."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fptkit.api.plugin_checks import check_plugins
from fptkit.cli import new
from fptkit.registry import load_plugins
from fptkit.specs import BackboneSpec, OptimizerSpec

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "docs" / "plugins" / "examples").glob("*.py"))


def component(name: str, record: Any) -> tuple[Any, Any]:
    """The target of an example's record, and its default options."""
    file = ROOT / "docs" / "plugins" / "examples" / f"{name}.py"
    (spec,) = [entry.spec for entry in load_plugins([file], selection="").entries(record) if entry.spec.name == name]
    return spec.resolve(), spec.options_model()()


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_short_and_keeps_the_contracts(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 60
    results = list(check_plugins(load_plugins([file], selection=""), file.stem))
    assert len(results) >= 2, "nothing but its import was checked"
    assert [one for one in results if one.result != "ok"] == []


def test_there_is_one_of_each_kind_that_the_pages_promise() -> None:
    assert {"mamba", "crf", "lion", "best"} <= {file.stem for file in EXAMPLES}


@pytest.mark.slow
def test_examples_and_templates_are_typed_strictly(tmp_path: Path) -> None:
    """By mypy, once over all of them. Its cache makes this a matter of seconds from the second time on."""
    for kind in new.KINDS:
        for path, text in new._files(f"my_{kind}", kind).items():
            # The modules of tests have the same name in each package: here they belong to it.
            target = tmp_path / f"fptkit_my_{kind}" / Path(path).relative_to(*Path(path).parts[:1])
            if path.endswith(".py"):
                target.parent.mkdir(exist_ok=True)
                target.write_text(text, encoding="utf-8")
    made = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.py"))
    assert len(made) > 3 * len(new.KINDS)
    cache = ROOT / ".mypy_cache" / "strict"
    command = [sys.executable, "-m", "mypy", "--strict", "--explicit-package-bases", "--config-file", os.devnull]
    command += ["--follow-imports", "silent", "--cache-dir", str(cache), *made, *map(str, EXAMPLES)]
    environment = {**os.environ, "MYPYPATH": f"{ROOT}{os.pathsep}{EXAMPLES[0].parent}"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr


def softplus(values: Any) -> Any:
    return np.log1p(np.exp(values))


def silu(values: Any) -> Any:
    return values / (1 + np.exp(-values))


def test_a_layer_of_mamba_is_the_sum_over_all_earlier_tokens() -> None:
    """Against the recurrence written out: each token's share, times all decays since."""
    build, options = component("mamba", BackboneSpec)
    torch.manual_seed(0)
    layer = build(options.model_copy(update={"width": 3, "state": 2}), positions=5, seed=0).layers[0].double()
    tokens = torch.randn(1, 5, 3, dtype=torch.float64)
    weights = {name: value.detach().numpy() for name, value in layer.state_dict().items()}

    def linear(name: str, values: Any) -> Any:
        return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    given = tokens[0].numpy()
    normed = (given - given.mean(1, keepdims=True)) / np.sqrt(given.var(1, keepdims=True) + 1e-5)
    x, gate = np.split(linear("mix", normed), 2, axis=1)
    padded = np.concatenate([np.zeros((3, 3)), x])
    kernel = weights["conv.weight"][:, 0].T
    x = silu(np.stack([(padded[t : t + 4] * kernel).sum(0) for t in range(5)]) + weights["conv.bias"])
    write, read = np.split(linear("select", x), 2, axis=1)
    step = softplus(linear("step", x))
    rate = np.exp(weights["A_log"])
    expected = np.zeros((5, 3))
    for t in range(5):
        for s in range(t + 1):
            decay = np.exp(-rate * step[s + 1 : t + 1].sum(0)[:, None])  # (D, N)
            expected[t] += (decay * write[s] * read[t]).sum(1) * step[s] * x[s]
    expected = given + linear("out", (expected + x) * silu(gate))
    np.testing.assert_allclose(layer(tokens)[0].detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_steps_of_lion() -> None:
    build, options = component("lion", OptimizerSpec)
    matrix = torch.nn.Parameter(torch.tensor([[1.0, -2.0]]))
    lion = build(options.model_copy(update={"weight_decay": 0.5}), groups=[{"params": [matrix], "lr": 0.1}])
    expected, momentum = np.array([1.0, -2.0]), np.zeros(2)
    for gradient in (np.array([1.0, -4.0]), np.array([-0.05, 3.0]), np.array([-0.2, 0.0])):
        expected = expected * (1 - 0.1 * 0.5) - 0.1 * np.sign(0.9 * momentum + 0.1 * gradient)
        momentum = 0.99 * momentum + 0.01 * gradient
        matrix.grad = torch.tensor(gradient[None], dtype=torch.float32)
        lion.step()
    np.testing.assert_allclose(matrix.detach().numpy()[0], expected, rtol=1e-5)
