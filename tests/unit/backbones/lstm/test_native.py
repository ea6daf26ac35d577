"""How the compiled recurrence is built and loaded, and what happens if it is unavailable."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fptkit.backbones.lstm import native
from fptkit.backbones.lstm.build import build_lstm
from fptkit.backbones.lstm.options import LstmOptions
from fptkit.backbones.lstm.recurrence import Norms, recur
from fptkit.errors import UsageError
from fptkit.numerics import compiler


@pytest.fixture
def untried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a process that did not use the kernel yet, on a machine that never compiled it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compiler._library_or_reason.cache_clear()
    yield
    compiler._library_or_reason.cache_clear()


@pytest.fixture
def elsewhere(untried: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with no programs but those in the folder."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    return tmp_path


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_without_a_compiler_the_torch_loop_is_used(elsewhere: Path) -> None:
    backbone = build_lstm(LstmOptions(layers=1, width=8), positions=1, seed=0)
    assert backbone.notes == (
        "recurrence: a Python loop over time steps, about twice as slow as the compiled one, since no C++ compiler "
        "was found ($CXX, g++, clang++, c++)",
    )
    assert backbone(torch.randn(2, 3, 8)).shape == (2, 3, 8)


def test_a_compiler_that_fails_is_quoted_once(elsewhere: Path) -> None:
    program(elsewhere / "g++", f"echo run >> {elsewhere}/runs; echo 'g++: out of luck' >&2; exit 1")
    backbone = build_lstm(LstmOptions(layers=1, width=8), positions=1, seed=0)
    assert "/g++ fails: g++: out of luck" in backbone.notes[0]
    tried = (elsewhere / "runs").read_text()
    backbone(torch.randn(2, 3, 8))
    assert (elsewhere / "runs").read_text() == tried


def test_a_compiler_that_writes_nonsense_is_no_compiler(elsewhere: Path) -> None:
    script = '[ "$1" = --version ] && exit; while [ "$1" != -o ]; do shift; done; echo nonsense > "$2"'
    program(elsewhere / "g++", script)
    with pytest.raises(native.NoKernel, match=r"recurrence\.cpp compiled by .*/g\+\+ cannot be written or loaded"):
        native.load_kernel()


def test_compiled_is_requested_but_unavailable(elsewhere: Path) -> None:
    with pytest.raises(UsageError, match=r"backbone.loop 'compiled' is not available: no C\+\+ compiler"):
        build_lstm(LstmOptions(layers=1, width=8, loop="compiled"), positions=1, seed=0)


def test_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPTKIT_KERNELS", "off")
    backbone = build_lstm(LstmOptions(layers=1, width=8), positions=1, seed=0)
    assert backbone.notes[0].endswith("since FPTKIT_KERNELS=off turns compiled kernels off")
    with pytest.raises(UsageError, match="is not available: FPTKIT_KERNELS=off turns compiled kernels off"):
        build_lstm(LstmOptions(layers=1, width=8, loop="compiled"), positions=1, seed=0)


def test_the_compiled_loop_refuses_other_dtypes() -> None:
    if not compiler.commands("C++"):
        pytest.skip("no C++ compiler here")
    backbone = build_lstm(LstmOptions(layers=1, width=8, loop="compiled"), positions=1, seed=0).double()
    with pytest.raises(native.NoKernel, match=r"not for torch.float64 on cpu"):
        backbone(torch.randn(2, 3, 8, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("inner", "columns"), [(3, 5), (4, 32), (2, 70)])
def test_panels_hold_every_weight_once(dtype: torch.dtype, inner: int, columns: int) -> None:
    weight = torch.arange(1, inner * columns + 1).view(inner, columns).to(dtype)
    made = native.panels(weight)
    if dtype == torch.bfloat16:  # (panels, pairs, 32, 2), two neighbours of the inner axis side by side
        assert made.shape == (-(-columns // 32), -(-inner // 2), 32, 2)
    else:
        assert made.shape == (-(-columns // 32), inner, 32)
    for row in range(inner):
        for column in range(columns):
            panel, place = divmod(column, 32)
            found = made[panel, row // 2, place, row % 2] if dtype == torch.bfloat16 else made[panel, row, place]
            assert found == weight[row, column]
    assert int((made != 0).sum()) == inner * columns


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_source_without_the_instructions_of_this_cpu(
    dtype: torch.dtype, untried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiler.commands("C++"):
        pytest.skip("no C++ compiler here")
    torch.manual_seed(0)
    monkeypatch.setattr(native, "RECURRENCE", replace(native.RECURRENCE, tunings=("",)))
    weight = (torch.rand(4 * 37, 37) - 0.5).to(dtype).requires_grad_()
    norms = Norms(*(torch.rand(size) for size in (4 * 37, 4 * 37, 37, 37)))
    made = {}
    for loop in ("compiled", "torch"):
        inputs = torch.linspace(-2, 2, 7 * 5 * 4 * 37).sin().view(7, 5, 4 * 37).requires_grad_()
        output = recur(inputs, weight, torch.rand(4 * 37, generator=torch.Generator().manual_seed(1)), norms, loop=loop)
        weight.grad = None
        (output * output.detach().cos()).sum().backward()
        assert weight.grad is not None
        made[loop] = (output.detach(), inputs.grad, weight.grad.float())
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    for ours, expected in zip(made["compiled"], made["torch"], strict=True):
        assert ours is not None
        assert float((ours - expected).abs().max()) < tolerance * max(1.0, float(expected.abs().max()))


def test_the_source_compiles_without_a_warning(tmp_path: Path) -> None:
    commands = compiler.commands("C++")
    if not commands:
        pytest.skip("no C++ compiler here")
    options = ("-fsyntax-only", "-Wall", "-Wextra", "-Werror")
    done = subprocess.run(
        [*commands[0], *native.RECURRENCE.options, *options, str(native.RECURRENCE.path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
