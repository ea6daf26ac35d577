"""The examination of a machine: quick parts first, then what needs torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from fptkit.lab.doctor import hardware, surroundings
from fptkit.lab.doctor.findings import Finding, Section
from fptkit.registry import Registry
from fptkit.sources.activity import doing


def examine(registry: Registry) -> Iterator[Section]:
    """Look at this machine. Nothing is downloaded; the hub is asked whether it answers.

    Args:
        registry: its plugins.
    """
    hub = surroundings.asked_hub()
    yield _section("installation", surroundings.python)
    yield _section("packages", surroundings.packages)
    yield _section("terminal", surroundings.terminal)
    yield _section("plugins", lambda: surroundings.plugins(registry.plugins))
    yield _section("folders", surroundings.folders)
    yield _section("data sets", surroundings.data)
    doing("importing torch")
    torch = _section("torch", hardware.torch)
    yield torch
    if all(one.state != "fault" for one in torch.findings):
        yield from _with_torch()
    doing("waiting for the hub")
    yield _section("model hub", hub)


def _with_torch() -> Iterator[Section]:
    yield _section("processor", hardware.processor)
    yield _section("GPU", hardware.gpu)
    doing("looking for compiled kernels")
    yield _section("kernels", hardware.kernels)
    yield _section("precision", lambda: [hardware.precision()])
    doing("multiplying matrices")
    yield _section("matrix rates", _rates)


def _rates() -> Iterator[Finding]:
    from fptkit.lab.doctor import rates
    from fptkit.numerics.precision import choose_device

    return rates.findings(choose_device("auto"))


def _section(name: str, look: Callable[[], Iterable[Finding]]) -> Section:
    """The findings about a subject; a look that fails is a finding, too, and the others are still made."""
    found: list[Finding] = []
    try:
        found.extend(look())
    except Exception as err:  # what is examined may be broken in any way
        reason = " ".join(str(err).split()) or type(err).__name__
        found.append(Finding(name, f"cannot be examined: {reason}", "warning"))
    return Section(name, tuple(found))
