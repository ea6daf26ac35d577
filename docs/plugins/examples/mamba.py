"""Mamba: a backbone of small selective state-space layers, in plain torch. Its weights are random.

Source: Gu and Dao 2023, arXiv:2312.00752; here without its fused kernels.
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from fptkit import Backbone, BackboneSpec, Options, ParameterRole, hookimpl, keep_tokens


class MambaOptions(Options):
    width: int = Field(default=64, ge=1, description="D, numbers per token")
    layers: int = Field(default=2, ge=1, description="layers, each with a norm before it")
    state: int = Field(default=8, ge=1, description="N, numbers that a feature remembers")


class Layer(nn.Module):
    def __init__(self, width: int, state: int) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(width), nn.Linear(width, 2 * width)
        self.conv, self.select = nn.Conv1d(width, width, 4, groups=width, padding=3), nn.Linear(width, 2 * state)
        self.step, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.A_log = nn.Parameter(torch.arange(1.0, state + 1).log().repeat(width, 1))  # (D, N)

    def forward(self, tokens: Tensor) -> Tensor:
        x, gate = self.mix(self.norm(tokens)).chunk(2, -1)
        x = functional.silu(self.conv(x.mT)[..., : tokens.shape[1]].mT)  # only earlier tokens
        write, read = self.select(x)[:, :, None].chunk(2, -1)  # (B, T, 1, N): the token decides what is remembered
        step = functional.softplus(self.step(x))[..., None].float()  # (B, T, D, 1)
        decay, update = (-step * self.A_log.float().exp()).exp(), step * write * x[..., None]  # (B, T, D, N)
        memory, outputs = torch.zeros_like(decay[:, 0]), []
        for t in range(tokens.shape[1]):
            memory = decay[:, t] * memory + update[:, t]
            outputs.append((memory * read[:, t]).sum(-1))
        change: Tensor = self.out((torch.stack(outputs, 1).to(x.dtype) + x) * functional.silu(gate))
        return tokens + change


class Mamba(Backbone):
    causal = True  # padding is on the right: no real token sees it

    def __init__(self, options: MambaOptions, *, positions: int, seed: int, pinned: str | None = None) -> None:
        super().__init__()
        self.width, self.blocks, self.max_positions = options.width, options.layers, None
        self.layers = nn.Sequential(*(Layer(options.width, options.state) for _ in range(options.layers)))

    def forward(self, tokens: Tensor, lengths: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        return keep_tokens(self.layers(tokens), keep)

    def parameter_roles(self) -> dict[str, ParameterRole]:
        names = [name for name, _ in self.named_parameters()]  # layers.0.norm.bias ...
        return {n: ParameterRole("norm" if ".norm." in n else "recurrent", int(n.split(".")[1])) for n in names}


@hookimpl
def fptkit_backbones() -> list[BackboneSpec]:
    return [BackboneSpec(name="mamba", summary="selective state-space layers", target=Mamba, options=MambaOptions)]
