"""Speed, memory and cost of a run."""

from __future__ import annotations

from collections.abc import Iterator

from fptkit.lab.reporting import wording
from fptkit.lab.reporting.document import Section, Table, row
from fptkit.lab.reporting.single_run.read import RunFiles


def speed(files: RunFiles) -> Section:
    """Steps, examples and tokens per second, memory, operations and the machine."""
    facts = [fact for fact in _facts(files) if fact[1]]
    table = Table("Of the training steps, without evaluation.", row("what", "value"), tuple(row(*one) for one in facts))
    return Section("speed", "Speed and cost", tables=(table,) if facts else ())


def _facts(files: RunFiles) -> Iterator[tuple[str, str]]:
    summary = files.summary
    seconds, steps = summary.get("seconds") or 0.0, summary.get("steps") or 0
    examples = summary.get("examples_per_second") or 0.0
    yield "training time", f"{wording.duration(seconds)} for {wording.counted(steps, 'step')}" if seconds else ""
    yield "steps per second", f"{steps / seconds:.3g}" if seconds else ""
    yield "examples per second", f"{examples:,.3g}" if examples < 1000 else f"{examples:,.0f}"
    if (tokens := files.preparation.get("max_tokens")) and examples:
        yield (
            "tokens per second",
            f"{wording.amount(tokens * examples)}, for examples of {tokens:,} raw tokens, the longest",
        )
    if flops := summary.get("flops_per_step"):
        whole = f"{wording.amount(flops, 'FLOP')} in a step, {wording.amount(flops * steps, 'FLOP')} in all"
        yield "operations", f"{whole}, {wording.amount(flops * steps / seconds, 'FLOP')}/s" if seconds else whole
    if memory := summary.get("peak_memory_mib"):
        yield "peak memory", f"{memory:,.0f} MiB"
    count = summary.get("processes") or 1
    together = f", {wording.counted(count, 'process')[:-1] + 'es' if count > 1 else ''}".rstrip(", ")
    yield "machine", f"{summary.get('device')}, {wording.counted(summary.get('threads', 1), 'thread')}{together}"
    yield "precision", f"frozen weights in {summary.get('precision')}{', compiled' if summary.get('compiled') else ''}"
