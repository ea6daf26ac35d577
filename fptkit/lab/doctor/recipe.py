"""Whether a recipe can run on this machine: what it needs from elsewhere, its memory, its time. Nothing is
downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fptkit.errors import FptkitError
from fptkit.lab.benchmarking.hours import ASSUMED, Speed
from fptkit.lab.caches import shown_size
from fptkit.lab.doctor import hardware, surroundings
from fptkit.lab.doctor.findings import Finding, Section
from fptkit.lab.prefetching.manifest import NO_NETWORK, Result, opened
from fptkit.lab.prefetching.needs import Loaded, missing_data_set, needs_of
from fptkit.lab.studies.progress import describe_seconds
from fptkit.recipe.load import LoadedRecipe
from fptkit.sources.activity import doing
from fptkit.sources.probe import without_network

if TYPE_CHECKING:
    from fptkit.lab.benchmarking.estimate import Estimate

LIBRARIES = 700 * 2**20
"""Bytes that Python and the libraries take besides what an estimate counts: 300 to 700 MiB, see
`fptkit.lab.benchmarking.estimate`."""


def examine_recipe(loaded: Loaded) -> Iterator[Section]:
    """Look at what a recipe or study needs and whether it is here; of a recipe, also estimate memory and time.

    Args:
        loaded: the checked recipe or study.
    """
    hub = surroundings.asked_hub()
    doing("importing torch")
    torch = Section("torch", tuple(hardware.torch()))
    yield torch
    if any(one.state == "fault" for one in torch.findings):
        return
    with without_network(NO_NETWORK):
        results = [opened(need) for need in needs_of(loaded.recipes)]
    doing("waiting for the hub")
    answer = hub()
    yield Section("model hub", tuple(answer))
    reached = not any(one.facts.get("problem") for one in answer)
    needs = tuple(_need(result, loaded.name, reached=reached) for result in results)
    yield Section("data and weights", needs or (Finding("needs", "nothing from elsewhere"),))
    if loaded.kind == "recipe":
        ((_, recipe),) = loaded.recipes
        yield Section("estimate", tuple(_estimated(recipe)))
    else:
        advice = f"fptkit study {loaded.name} --dry-run shows the runs; fptkit doctor RECIPE estimates one"
        yield Section("estimate", (Finding("study", f"{len(loaded.recipes)} cells", "note", advice),))


def _need(result: Result, name: str, *, reached: bool) -> Finding:
    """Whether data or weights are here, or a run can download them."""
    need, record = result.need, result.record or {}
    what = f"{need.kind} {need.name}"
    facts = {"state": result.state, "source": record.get("source"), "bytes": record.get("bytes")}
    fetch = f"fptkit data fetch {data_set}" if (data_set := missing_data_set(need, None)) else f"fptkit prefetch {name}"
    if result.state == "ok":
        place = f", {shown_size(record['bytes'])} in {record['place']}" if record["place"] else ""
        return Finding(what, f"{record['source']}{place}", facts=facts)
    downloads = reached and NO_NETWORK in result.problem and not data_set
    if result.state == "fallback" and downloads:
        text = f"not here; a run downloads it first, or else uses the fallback {record['source']}"
        return Finding(what, text, "note", f"to do it before: {fetch}", facts)
    if result.state == "fallback":
        text = f"a run uses the fallback {record['source']}, since {result.problem}"
        return Finding(what, text, "warning", f"for the first choice: {fetch}", facts)
    if downloads:
        return Finding(what, "not here; a run downloads it first", "note", f"to do it before: {fetch}", facts)
    return Finding(what, f"missing: {result.problem}", "fault", fetch, {**facts, "exit_code": 3})


def _estimated(loaded: LoadedRecipe) -> Iterator[Finding]:
    """Memory and time of a run, from its shapes."""
    from fptkit.lab.benchmarking.estimate import estimate

    doing("estimating memory and time")
    try:
        with without_network(NO_NETWORK):
            found = estimate(loaded)
    except FptkitError as err:
        reason = " ".join(str(err).split())
        if err.exit_code == 3:  # reported above: data or the config of weights are missing
            yield Finding("memory, time", f"not known: {reason}", "note")
        else:
            yield Finding("parts", reason, "fault", facts={"exit_code": err.exit_code})
        return
    except RuntimeError as err:  # torch's, if shapes of a model depend on numbers, which fake tensors lack
        yield Finding("memory, time", f"not known: {str(err).partition(chr(10))[0]}", "note", "use fptkit bench")
        return
    yield Finding("parameters", f"{found.parameters:,}, of which {found.trained:,} train")
    yield _memory(found)
    doing("multiplying matrices")
    yield _time(found, loaded)


def _memory(found: Estimate) -> Finding:
    """Whether the memory is enough."""
    total, available = _memory_of(found.device)
    needed = found.memory_bytes + LIBRARIES
    facts = {"bytes": needed, "total_bytes": total, "available_bytes": available}
    text = f"about {shown_size(needed)} on {found.device}, libraries included"
    if total is None or available is None:
        return Finding("memory", text, facts=facts)
    text += f"; {shown_size(available)} of {shown_size(total)} are available"
    advice = "lower train.batch_size, or raise train.accumulate, or set train.activation_checkpointing=true"
    if needed > total:
        return Finding("memory", f"{text}: too little", "fault", advice, facts)
    if needed > available:
        return Finding("memory", f"{text}: too little now", "warning", f"end other programs, or {advice}", facts)
    return Finding("memory", text, facts=facts)


def _memory_of(device: str) -> tuple[int | None, int | None]:
    """Memory of a device, and what of it is available."""
    if device != "cuda":
        return hardware.memory()
    import torch

    free, total = torch.cuda.mem_get_info()
    return total, free


def _time(found: Estimate, loaded: LoadedRecipe) -> Finding:
    """The least time of a run, at the measured rate of matrix products."""
    import torch

    from fptkit.lab.doctor.rates import matrix_rates

    name = "float32" if found.precision == "float32" else "bfloat16"  # 8-bit weights are multiplied in bfloat16
    rate = matrix_rates(torch.device(found.device), only=name)[name]
    advice = "fptkit bench measures real steps"
    if isinstance(rate, str):
        return Finding("time", f"not known: {name} products are not available: {rate}", "note", advice)
    speed = Speed(rate / 1e12, ASSUMED.step_s, ASSUMED.in_turn_s)
    seconds = min(speed.seconds(found.work), loaded.recipe.train.max_seconds or float("inf"))
    least = "less than a second" if seconds < 1 else f"at least {describe_seconds(seconds)}"
    text = f"{least} for {found.steps:,} steps, at {rate / 1e12:.3g} TFLOP/s in {name}"
    facts = {"seconds": seconds, "operations_per_second": rate, "precision": name}
    return Finding("time", text, facts=facts, advice=advice)
