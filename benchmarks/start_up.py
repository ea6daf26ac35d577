"""Processor time and memory from the command ``fptkit run`` to its first training step.

    python benchmarks/start_up.py                        this checkout
    python benchmarks/start_up.py --beside CHECKOUT      another checkout in turn with it, and the ratio

Each run is a process of its own. Processor time is user and system time of the process at the end of the first step;
memory is the peak of the entire process, up to its exit, as the operating system accounts it.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

RECIPE = ["run", "bit_xor_gpt2", "--profile", "smoke", "--quiet"]

CODE = """
import os, sys
from fptkit.engine.loop import Trainer
plain = Trainer.step

def step(self, *arguments, **options):
    Trainer.step = plain
    result = plain(self, *arguments, **options)
    used = os.times()
    print(used.user + used.system, file=sys.stderr)
    return result

Trainer.step = step
import fptkit.cli.main as cli
getattr(cli, "command", cli.main)()
"""


def measure(checkout: Path) -> tuple[float, float]:
    """Seconds of processor time to the first step, and MiB at the peak, of one run."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", CODE, *RECIPE, "--output", str(Path(folder, "run"))]
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        lines = process.stderr.read().split()
        _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the run failed: {' '.join(lines)}")
    return float(lines[0]), used.ru_maxrss / 2**10


def main() -> None:
    """Measure and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beside", type=Path, help="another checkout of fptkit")
    parser.add_argument("--runs", type=int, default=5, help="of each checkout, after one that is not counted")
    options = parser.parse_args()
    checkouts = {"here": Path(__file__).resolve().parent.parent}
    if options.beside:
        checkouts["beside"] = options.beside.resolve()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in checkouts}
    for number in range(options.runs + 1):
        for name, checkout in checkouts.items():
            figures = measure(checkout)
            if number:
                found[name].append(figures)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, {options.runs} runs, medians")
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in found.items()}
    for name, (seconds, mebibytes) in medians.items():
        print(f"{name}: {seconds:.2f} s to the first step, {mebibytes:,.0f} MiB at the peak")
    if options.beside:
        ratios = [here / beside for here, beside in zip(medians["here"], medians["beside"], strict=True)]
        print(f"here / beside: {ratios[0]:.2f} of the time, {ratios[1]:.2f} of the memory")


if __name__ == "__main__":
    main()
