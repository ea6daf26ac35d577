"""How long a run takes on a machine of an assumed speed. Light: imports nothing heavy.

A large model is limited by multiplying matrices, a small one by starting operations: a step takes at least the time
that its several hundred operations need to start one after the other. The defaults are assumptions, not measurements,
and everything that prints hours prints them too. ``fptkit bench RECIPE`` measures a machine.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """What a run computes.

    Args:
        steps: training steps.
        flops_per_step: floating-point operations of a step, forward and backward.
        evaluation_flops: floating-point operations of all evaluations together.
        in_turn: of a step: groups of operations that must wait for one another, see `Speed.in_turn_s`.
    """

    steps: int
    flops_per_step: float
    evaluation_flops: float = 0.0
    in_turn: int = 0


@dataclass(frozen=True)
class Speed:
    """Assumed speed of a machine.

    Args:
        tflops: sustained rate of matrix products, in 10^12 floating-point operations per second. 10 is half of the peak
            of an NVIDIA A100 in float32, 19.5.
        step_s: least duration of a step in seconds.
        in_turn_s: least duration in seconds of a layer of an LSTM at one token, forward and backward.

    Source: A100 Tensor Core GPU datasheet, NVIDIA 2020, for the peak; the other two are ours.
    """

    tflops: float = 10.0
    step_s: float = 0.02
    in_turn_s: float = 2e-4

    def seconds(self, work: Work) -> float:
        """Duration of a run in seconds, without reading data and weights."""
        rate = self.tflops * 1e12
        least = max(self.step_s, work.in_turn * self.in_turn_s)
        return work.steps * max(work.flops_per_step / rate, least) + work.evaluation_flops / rate

    def assumption(self, *, recurrent: bool) -> str:
        """What is assumed, in words; ``recurrent``: with what holds for LSTMs only."""
        lstm = f", and in an LSTM at least {1000 * self.in_turn_s:g} ms for each token and layer" if recurrent else ""
        return f"assuming {self.tflops:g} TFLOP/s and at least {1000 * self.step_s:g} ms for a step{lstm}"


ASSUMED = Speed()
"""What is assumed unless something else is given."""


def shown_hours(seconds: float) -> str:
    """Format a duration in hours with two significant digits; below one minute, as such."""
    hours = seconds / 3600
    if hours < 1 / 60:
        return "< 0.02"
    return f"{hours:,.0f}" if hours >= 9.95 else f"{hours:.1f}" if hours >= 0.995 else f"{hours:.2f}"
