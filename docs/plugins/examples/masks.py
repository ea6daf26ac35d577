"""Masks: which pixels of an image are brighter than its mean? A dense answer: a class for every pixel."""

import torch
from torch.nn.functional import pixel_unshuffle

from fptkit import Classes, GeneratedTask, Grid, TaskSpec, hookimpl

SIDE, PATCH = 8, 4
TOKENS = (SIDE // PATCH) ** 2


class Masks(GeneratedTask):
    input, max_tokens = Grid(size=(SIDE, SIDE), channels=1), SIDE * SIDE
    output = Classes(2, tokens=TOKENS, per_token=PATCH * PATCH)  # the pixels of each patch, row by row

    def draw(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        images = torch.rand((count, SIDE, SIDE, 1), generator=generator)
        masks = (images > images.mean((1, 2), keepdim=True))[:, None, :, :, 0].float()  # (B, 1, H, W)
        patches = pixel_unshuffle(masks, PATCH).flatten(2).mT  # (B, T, PATCH * PATCH)
        return images, patches.long()


@hookimpl
def fptkit_tasks() -> list[TaskSpec]:
    return [TaskSpec(name="masks", summary="which pixels are brighter than the mean?", target=Masks)]
