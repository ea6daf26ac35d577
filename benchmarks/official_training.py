"""A whole training beside the official code: the losses of 300 steps, step by step.

    git clone https://github.com/kzl/universal-computation DIR && git -C DIR checkout 23b80fd1
    python benchmarks/official_training.py --official DIR

Both codes train two blocks of GPT-2's width, 768, on Bit XOR and on MNIST-shaped images, from the same weights, on the
same batches, in float32, without dropout. The official code does so in float64 as well: the difference between the two
is what rounding alone makes of a training, and no two implementations can agree better. Takes 4 minutes on one core.

Prints the largest differences, and writes the losses to ``tests/golden/official_losses.json``, which a test holds our
code to, and their plot to ``docs/results/``. ``--draw`` draws the plot again from the stored losses.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests" / "golden"))

PLOT = REPOSITORY / "docs" / "results" / "official_training.svg"
TITLES = {"bit_xor": "Bit XOR", "mnist": "MNIST-shaped images"}


def main() -> None:
    """Train with both codes, print the differences, write losses and plot."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--official", type=Path, metavar="DIR", help="checkout of the official code")
    given.add_argument("--draw", action="store_true", help="draw the stored losses; train nothing")
    arguments = parser.parse_args()

    import parity_cases as parity

    if arguments.official:
        parity.LOSSES.write_text(as_text(train(arguments.official)))
    stored = json.loads(parity.LOSSES.read_text())
    for name, losses in stored["losses"].items():
        print(name, " ".join(f"{key} {value:.1e}" for key, value in largest_differences(losses).items()))
    draw(stored["losses"])


def train(official: Path) -> dict[str, Any]:
    """The losses of both codes, in float32, and of the official code in float64 as well.

    Args:
        official: checkout of the official code.
    """
    import parity_cases as parity
    import torch
    from make_official import COMMIT, Official

    code, arm = Official(official), parity.Arm("gpt2")
    losses = {}
    for name, case in parity.LONG_CASES.items():
        theirs, _ = code.run(case, arm, steps=parity.LONG)
        exact, _ = code.run(case, arm, steps=parity.LONG, exact=True)
        with tempfile.TemporaryDirectory() as folder:
            ours = parity.run_ours(case, parity.our_backbone("gpt2"), Path(folder), arm, steps=parity.LONG)
        losses[name] = {"official": theirs.losses, "official_float64": exact.losses, "ours": ours.losses}
        print(f"{name}: {parity.LONG} steps, loss {theirs.losses[0]:.3f} to {theirs.losses[-1]:.3f}", flush=True)
    return {
        "about": "Losses of the official code and of ours, by step; see benchmarks/official_training.py.",
        "command": "python benchmarks/official_training.py --official DIR",
        "commit": COMMIT,
        "processor": processor(),
        "torch": torch.__version__,
        "losses": losses,
    }


def largest_differences(losses: dict[str, list[float]]) -> dict[str, float]:
    """The largest difference between two trainings at any step, for three pairs of them."""
    pairs = (("ours", "official"), ("official", "official_float64"), ("ours", "official_float64"))
    return {
        f"{one} - {other}": max(abs(a - b) for a, b in zip(losses[one], losses[other], strict=True))
        for one, other in pairs
    }


def draw(losses: dict[str, dict[str, list[float]]]) -> None:
    """Draw the losses, and below them their differences on a logarithmic axis."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "official_training", "font.size": 9})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(losses), figsize=(9, 5), sharex=True, squeeze=False)
    for column, (name, lines) in enumerate(losses.items()):
        above, below = axes[:, column]
        above.set_title(TITLES[name])
        above.plot(lines["official"], color="#b0b0b0", linewidth=3, label="official code")
        above.plot(lines["ours"], color="#1f4e9c", linewidth=0.8, label="fptkit")
        for label, one, other, colour in (
            ("official in float32 - in float64", "official", "official_float64", "#b0b0b0"),
            ("fptkit - official", "ours", "official", "#1f4e9c"),
        ):
            # A difference of zero has no place on the axis.
            apart = [max(abs(a - b), 1e-8) for a, b in zip(lines[one], lines[other], strict=True)]
            below.semilogy(apart, color=colour, linewidth=0.8, label=label)
        below.set(xlabel="step", ylim=(7e-9, 1e-5))
    axes[0, 0].set_ylabel("training loss")
    axes[1, 0].set_ylabel("difference of the loss (1e-8: none)")
    for row in axes:
        row[0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(PLOT, metadata={"Date": None})


def as_text(content: dict[str, Any]) -> str:
    """JSON with nine digits a number, enough for float32, and lists on one line each."""
    rounded = json.loads(json.dumps(content), parse_float=lambda text: float(f"{float(text):.9g}"))
    text = json.dumps(rounded, indent=1)
    return re.sub(r"\[[^\[\]{}]*\]", lambda found: " ".join(found[0].split()), text) + "\n"


def processor() -> str:
    """Model name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    main()
