from torch import nn

from fptkit import Backbone, Encoder, FreezingPolicySpec, FreezingRule, ParameterRole, Vectors, keep_tokens
from fptkit.testing import check_backbone, check_encoder, check_listener, trained_roles


class Scaled(nn.Module):
    def __init__(self, width_in, width):
        super().__init__()
        self.norm, self.map = nn.LayerNorm(width_in), nn.Linear(width_in, width)

    def forward(self, inputs):
        return self.map(self.norm(inputs))


class Norm(Backbone):
    width, causal, blocks = 32, True, 1

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(self.width)

    def forward(self, tokens, lengths=None, keep=None):
        return keep_tokens(self.norm(tokens), keep)

    def parameter_roles(self):
        return {name: ParameterRole("norm", block=0) for name, _ in self.named_parameters()}


class Steps:
    def __init__(self):
        self.seen = []

    def handle(self, event):
        self.seen.append(type(event).__name__)


def test_encoder():
    check_encoder(lambda: Scaled(3, 16), input=Vectors(3), width=16)


def test_backbone():
    check_backbone(lambda positions: Norm())


def test_listener():
    listener = Steps()
    check_listener(listener)
    assert listener.seen[0] == "RunStarted"
    assert listener.seen[-1] == "RunEnded"


def test_policy():
    rules = (FreezingRule(role="output"), FreezingRule(role="norm", learning_rate_multiplier=0.1))
    spec = FreezingPolicySpec(name="slow", summary="output, and slowly the norms", rules=rules)
    assert trained_roles(spec) == {"output": 1.0, "norm": 0.1}
