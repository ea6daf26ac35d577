from typing import Literal

import torch
from pydantic import Field

from fptkit import GeneratedTask, Options, SampledEvaluation, TaskProtocol, TaskSpec, Values, Vectors, hookimpl


class MeanOptions(Options):
    protocol: Literal["clean", "sampled"] = Field(default="clean", description="how it is scored")


class Mean(GeneratedTask):
    def __init__(self, options, *, seed, pinned):
        super().__init__(options, seed=seed)
        self.input, self.output, self.max_tokens = Vectors(2), Values(1), 8
        self.protocol = options.protocol
        if options.protocol == "sampled":
            self.sampled_evaluation = SampledEvaluation(batches=2)

    def draw(self, count, generator):
        tokens = torch.randn((count, 8, 2), generator=generator)
        return tokens, tokens.mean((1, 2))[:, None]


CLEAN = TaskProtocol(
    name="clean",
    summary="validation and test drawn once and evaluated whole",
    splits=(("validation", "1,024 examples"), ("test", "1,024 examples")),
)
SAMPLED = TaskProtocol(
    name="sampled", summary="two batches an evaluation", faults=(("D6", "an evaluation averages 2 batches"),)
)


@hookimpl
def fptkit_tasks():
    return [TaskSpec(name="mean", summary="the mean", target=Mean, options=MeanOptions, protocols=(CLEAN, SAMPLED))]
