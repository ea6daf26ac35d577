"""Launchers: their options, how one is chosen, and what travels to workers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fptkit.errors import UsageError
from fptkit.lab.studies.job import carried_environment
from fptkit.lab.studies.launchers import base
from fptkit.lab.studies.launchers.base import LauncherOptions, share_processors
from fptkit.lab.studies.launchers.choose import make_launcher
from fptkit.lab.studies.launchers.slurm import parse_parameters


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("partition=gpu,timeout_min=60", {"partition": "gpu", "timeout_min": 60}),
        (" cluster = local , constraint=a100&x=y", {"cluster": "local", "constraint": "a100&x=y"}),
        ("name=²,comment=٣", {"name": "²", "comment": "٣"}),  # digits, but of no whole number in ASCII
        ("name=" + "7" * 5000, {"name": "7" * 5000}),
    ],
)
def test_slurm_parameters_are_read(text: str, found: dict[str, str | int]) -> None:
    assert parse_parameters(text) == found


@pytest.mark.parametrize("text", ["partition", "=gpu", "partition=", "partition=gpu,60"])
def test_wrong_slurm_parameters_are_told(text: str) -> None:
    with pytest.raises(UsageError, match="expected name=value, such as partition=gpu"):
        parse_parameters(text)


@pytest.mark.parametrize(
    ("options", "devices", "processors", "memory_mib", "expected"),
    [
        (LauncherOptions(), 0, 8, 64_000, (8, 1)),
        (LauncherOptions(), 0, 8, 8_000, (3, 2)),  # memory for three
        (LauncherOptions(), 0, 8, 1_000, (1, 8)),
        (LauncherOptions(threads=4), 0, 8, 64_000, (2, 4)),
        (LauncherOptions(workers=3), 0, 8, 64_000, (3, 2)),
        (LauncherOptions(workers=20), 0, 8, 64_000, (20, 1)),
        (LauncherOptions(workers=3, threads=5), 0, 8, 64_000, (3, 5)),
        (LauncherOptions(), 2, 8, 64_000, (2, 4)),  # a GPU each
        (LauncherOptions(workers=4), 2, 8, 64_000, (4, 2)),
    ],
)
def test_processors_are_shared_out(
    monkeypatch: pytest.MonkeyPatch,
    options: LauncherOptions,
    devices: int,
    processors: int,
    memory_mib: int,
    expected: tuple[int, int],
) -> None:
    monkeypatch.setattr(base, "available_processors", lambda: processors)
    monkeypatch.setattr(base, "_memory_mib", lambda: memory_mib)
    assert share_processors(options, devices=devices) == expected


@pytest.mark.parametrize(("name", "module"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"pip install 'fptkit\[{name}\]'"):
        make_launcher(LauncherOptions(name), tmp_path)  # type: ignore[arg-type]


def test_slurm_parameters_of_another_launcher_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="use it with --launcher slurm"):
        make_launcher(LauncherOptions("local", slurm={"partition": "gpu"}), tmp_path)


def test_an_unknown_slurm_parameter_is_told(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    with pytest.raises(UsageError, match="partitoin"):
        make_launcher(LauncherOptions("slurm", slurm={"cluster": "local", "partitoin": "gpu"}), tmp_path)


def test_a_machine_without_slurm_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="--launcher slurm"):
        make_launcher(LauncherOptions("slurm"), tmp_path)


def test_variables_that_tell_where_things_are_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FPTKIT_PLUGINS", "mine")
    monkeypatch.setenv("SECRET", "x")
    carried = carried_environment()
    assert carried["FPTKIT_PLUGINS"] == "mine"
    assert "FPTKIT_DATA" in carried
    assert "SECRET" not in carried
