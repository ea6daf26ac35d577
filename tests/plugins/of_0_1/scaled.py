from torch import nn

from fptkit import EncoderSpec, hookimpl


class Scaled(nn.Module):
    def __init__(self, options, *, input, width):
        super().__init__()
        self.norm, self.map = nn.LayerNorm(input.width), nn.Linear(input.width, width)

    def forward(self, inputs):
        return self.map(self.norm(inputs))


@hookimpl
def fptkit_encoders():
    summary = "a linear map of normed tokens"
    return [EncoderSpec(name="scaled", summary=summary, target=Scaled, accepts=("vectors",))]
