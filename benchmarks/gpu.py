"""How fast training steps are on one GPU, and what they still wait for: at most 8 minutes on an H100 or H200.

    python benchmarks/gpu.py --json gpu.json
    python benchmarks/gpu.py --official DIR     # DIR: a checkout of kzl/universal-computation
    python benchmarks/gpu.py --dry-run          # tiny, on any CPU: does it run?

For GPT-2 base and large and SmolLM2 (where its plugin is installed) with random weights, on batches of 16 x 64 and
16 x 1,024 tokens (CIFAR-10, simulated, in patches of 4 x 4 and of 1 x 1 pixels), it measures

- recorded: steps as a run takes them, repeated as CUDA graphs; usual: the same steps without them; official: the
  official code, for GPT-2 base. They take turns with the step's matrix products alone, and all figures are medians over
  the rounds. The share is the rate of a step divided by that of its products.
- kernels of a step and the calls that launch them, as torch's profiler counts them, recorded and usual (on a CPU:
  operators).
- waits of a usual step and of an evaluation of the validation split, as ``torch.cuda.set_sync_debug_mode`` counts them.
- peak memory of ours and of the official code, by torch's allocator.

Nothing that takes longer than ``--seconds`` is begun; what is left out is named.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from official import official_step
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from fptkit.engine.facts import environment
from fptkit.errors import FptkitError
from fptkit.freezing.counts import gradient_pass
from fptkit.lab.benchmarking.prepare import Prepared, prepare
from fptkit.lab.benchmarking.products import ProductsAlone, largest, products_of, rate_of, rates_for, wait_for
from fptkit.recipe.load import LoadedRecipe, load_recipe
from fptkit.registry import load_plugins

WARM_UP = 3
"""Steps before anything is measured: the first is watched, the second recorded, the third repeated."""

SECONDS = 480.0
"""Default of ``--seconds``."""


@dataclass(frozen=True)
class Case:
    """A body and a number of tokens.

    Args:
        body: its name in the table.
        recipe: name of the recipe.
        patch: side of a patch, in pixels; the images have 32 x 32.
        settings: overrides for random weights of its size.
        examples: of a batch.
        official: whether the official code can do it.
    """

    body: str
    recipe: str
    patch: int
    settings: tuple[str, ...]
    examples: int = 16
    official: bool = False

    @property
    def name(self) -> str:
        """As the table has it."""
        return f"{self.body} {self.examples} x {(32 // self.patch) ** 2}"

    def load(self, images: int, *further: str) -> LoadedRecipe:
        """The recipe.

        Args:
            images: of the training split.
            further: more overrides.
        """
        data = (
            "task.source=simulated",
            f"task.simulated.train={images}",
            f"task.simulated.validation={max(images // 4, 10)}",
            "task.simulated.test=10",
            f"task.patch_size={self.patch}",
        )
        train = (f"train.batch_size={self.examples}", "precision=auto", "backbone.weights=random")
        return load_recipe(self.recipe, overrides=(*data, *train, *self.settings, *further))


BODIES = {
    "gpt2": ("cifar10_gpt2", ("backbone.size=base", "backbone.dropout=0.1")),
    "gpt2 large": ("cifar10_gpt2", ("backbone.size=large", "backbone.dropout=0.1")),
    "smollm2": ("cifar10_smollm2", ()),
}

CASES = [
    Case(body, recipe, patch, settings, official=body == "gpt2")
    for body, (recipe, settings) in BODIES.items()
    for patch in (4, 1)
]

DRY_CASES = [Case("gpt2 nano", "cifar10_gpt2", 8, ("backbone.size=nano", "backbone.dropout=0.1"), examples=2)]


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Args:
        rounds: turns of all contenders.
        steps: in each turn.
        images: of the training split.
    """

    rounds: int = 5
    steps: int = 10
    images: int = 640


def measure(case: Case, effort: Effort, official: Path | None, further: tuple[str, ...] = ()) -> dict[str, Any]:
    """Measure one row of the table.

    Raises:
        FptkitError: it cannot be built, or does not fit into memory.
    """
    _forget_peak()
    prepared = prepare(case.load(effort.images, *further))
    graphs, numbers = prepared.trainer.training_step.graphs, iter(range(10**9))
    for _ in range(WARM_UP):
        prepared.step(next(numbers))
    found: dict[str, Any] = {
        "case": case.name,
        "precision": prepared.built.precision,
        "recorded_shapes": graphs.count,
        "peak_mib": _peak_mib(),
        "kernels": {"recorded": kernels_of(lambda: prepared.step(next(numbers)))} if graphs.count else {},
    }
    with graphs.paused():
        found["kernels"]["usual"] = kernels_of(lambda: prepared.step(next(numbers)))
        found["waits"] = {
            "step": waits_of(lambda: prepared.step(next(numbers)), prepared.device),
            "evaluation": waits_of(lambda: _evaluate(prepared), prepared.device),
        }
        products = largest(products_of(lambda: prepared.step(next(numbers))))
    contenders = _ours(prepared, effort.steps, numbers)
    if official is not None and case.official:
        contenders["official"] = _official(case, prepared, official, effort.steps)
    rates = {
        name: ProductsAlone(products, dtype, prepared.device)
        for name, dtype in rates_for(prepared.built.precision).items()
    }
    first = prepared.batches.batch(0).to(prepared.device)
    flops = gradient_pass(prepared.built.model, prepared.built.task, first).flops
    return {**found, "flops": flops, **_rounds(contenders, rates, effort, rate_of(prepared.built.precision))}


def _ours(prepared: Prepared, steps: int, numbers: Iterator[int]) -> dict[str, Callable[[], float]]:
    graphs = prepared.trainer.training_step.graphs

    def seconds() -> float:
        return _seconds(lambda: prepared.step(next(numbers)), steps, prepared.device)

    def usual() -> float:
        with graphs.paused():
            return seconds()

    return {**({"recorded": seconds} if graphs.count else {}), "usual": usual}


def _official(case: Case, prepared: Prepared, folder: Path, steps: int) -> Callable[[], float]:
    settings = {"task": "cifar10", "patch_size": case.patch, "batch_size": case.examples}
    device = prepared.device
    step = official_step(
        folder, settings, lambda number: prepared.batches.batch(number).to(device), "eager", device=str(device)
    )
    for number in range(WARM_UP):
        step(number)
    return lambda: _seconds(lambda: step(0), steps, device)


def _rounds(
    contenders: dict[str, Callable[[], float]], rates: dict[str, ProductsAlone], effort: Effort, own: str
) -> dict[str, Any]:
    """Let all take turns; seconds of a step of each contender, and the rates of the products, by round."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    measured: dict[str, list[float]] = {name: [] for name in rates}
    for _ in range(effort.rounds):
        for name, take in contenders.items():
            seconds[name].append(take())
        for name, products in rates.items():
            measured[name].append(products.rate())
    return {"seconds": seconds, "matrix_rates": measured, "rate": own, "peak_mib_of_all": _peak_mib()}


def _seconds(step: Callable[[], object], steps: int, device: torch.device) -> float:
    """Seconds of a step, as the mean over some in a row."""
    wait_for(device)
    started = time.perf_counter()
    for _ in range(steps):
        step()
    wait_for(device)
    return (time.perf_counter() - started) / steps


def kernels_of(work: Callable[[], object]) -> dict[str, int]:
    """Kernels that a device runs for some work, copies included, and the calls that launch them; a graph is one call.

    Without a GPU, the operators of the CPU, and no calls.
    """
    on_gpu = torch.cuda.is_available()
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as seen:
        work()
        if on_gpu:
            torch.cuda.synchronize()
    kind, events = DeviceType.CUDA if on_gpu else DeviceType.CPU, seen.events() or []
    return {
        "kernels": sum(event.device_type == kind for event in events),
        "launches": sum(_launches(event.name) for event in events),
    }


def _launches(name: str) -> bool:
    """Whether an event is a call of CUDA's libraries that gives the device work."""
    return name.startswith("cu") and ("Launch" in name or (name.startswith("cudaMem") and name.endswith("Async")))


def waits_of(work: Callable[[], object], device: torch.device) -> dict[str, int] | None:
    """Where the host waits for the GPU during some work, and how often; None without a GPU."""
    if device.type != "cuda":
        work()
        return None
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    places: dict[str, int] = {}
    for one in seen:
        if "called a synchronizing CUDA operation" in str(one.message):
            place = f"{one.filename}:{one.lineno}"
            places[place] = places.get(place, 0) + 1
    return places


def _evaluate(prepared: Prepared) -> None:
    trainer = prepared.trainer
    trainer.evaluate(prepared.built, trainer._prepared.validation_batches(0))
    prepared.built.model.train()


def _forget_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak_mib() -> float | None:
    return round(torch.cuda.max_memory_allocated() / 2**20, 1) if torch.cuda.is_available() else None


def print_row(row: dict[str, Any]) -> None:
    """Print one row of the table."""
    rate = statistics.median(row["matrix_rates"][row["rate"]])
    gflop, speed = f"{row['flops'] / 1e9:,.0f} GFLOP a step", f"products {rate / 1e12:.2f} T/s"
    print(f"{row['case']} tokens in {row['precision']}: {gflop}, {speed}")
    usual = statistics.median(row["seconds"]["usual"])
    for name, seconds in row["seconds"].items():
        middle = statistics.median(seconds)
        line = f"  {name:9} {middle * 1e3:9.2f} ms ({min(seconds) * 1e3:.2f} to {max(seconds) * 1e3:.2f})"
        if name != "official":
            work = row["kernels"][name]
            line += f"  {row['flops'] / middle / rate:.0%} of the products' rate, "
            line += f"{work['kernels']} kernels in {work['launches']} launches"
        print(f"{line}, {usual / middle:.2f} x usual")
    waits = {what: None if places is None else sum(places.values()) for what, places in row["waits"].items()}
    print(f"  waits: {waits}; peak {row['peak_mib']} MiB, with all contenders {row['peak_mib_of_all']} MiB", flush=True)


@contextlib.contextmanager
def _left_out(case: Case, left_out: dict[str, str]) -> Iterator[None]:
    try:
        yield
    except FptkitError as err:
        left_out[case.name] = str(err).splitlines()[0]
        print(f"{case.name}: left out: {left_out[case.name]}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, metavar="DIR", help="checkout of kzl/universal-computation")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all single measurements to this file")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="begin no case after this; default: 480")
    parser.add_argument("--rounds", type=int, default=Effort.rounds, help=f"default: {Effort.rounds}")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="override of our recipes")
    parser.add_argument("--dry-run", action="store_true", help="a tiny case on the CPU, to see whether it runs")
    given = parser.parse_args(arguments)
    if not given.dry_run and not torch.cuda.is_available():
        parser.error("torch finds no GPU here; --dry-run runs a tiny case on the CPU")
    effort = Effort(1, 1, 100) if given.dry_run else Effort(given.rounds)
    device = "cpu" if given.dry_run else "cuda"
    started, rows, left_out = time.perf_counter(), [], dict[str, str]()
    for case in DRY_CASES if given.dry_run else CASES:
        if time.perf_counter() - started > given.seconds:
            left_out[case.name] = f"after {given.seconds:.0f} s"
            print(f"{case.name}: left out: {left_out[case.name]}", flush=True)
            continue
        with _left_out(case, left_out):
            rows.append(measure(case, effort, given.official, (f"device={device}", *given.set)))
            print_row(rows[-1])
    if given.json:
        gpu = torch.cuda.get_device_name() if device == "cuda" else None
        machine = {**environment(load_plugins()), "gpu": gpu, "cuda": torch.version.cuda, "torch": torch.__version__}
        found = {"machine": machine, "effort": asdict(effort), "dry_run": given.dry_run, "rows": rows}
        given.json.write_text(json.dumps({**found, "left_out": left_out}, indent=1) + "\n")


if __name__ == "__main__":
    main()
