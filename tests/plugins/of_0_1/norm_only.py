from torch import nn

from fptkit import Backbone, BackboneSpec, ParameterRole, hookimpl, keep_tokens


class Norm(Backbone):
    """The smallest backbone: it does not mix tokens."""

    width, causal, blocks = 32, True, 1

    def __init__(self, options, *, positions, seed, pinned):
        super().__init__()
        self.norm = nn.LayerNorm(self.width)

    def forward(self, tokens, lengths=None, keep=None):
        return keep_tokens(self.norm(tokens), keep)

    def parameter_roles(self):
        return {name: ParameterRole("norm", block=0) for name, _ in self.named_parameters()}


@hookimpl
def fptkit_backbones():
    return [BackboneSpec(name="norm_only", summary="one layer norm", target=Norm)]
