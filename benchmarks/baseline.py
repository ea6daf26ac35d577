"""The peers of ``steps.py``: straightforward programs with transformers and torch, as a user would write them today.

A model of transformers between a linear encoder and an output layer, the same parameters trained as with the policy
``fpt`` (norms, positions, encoder, output), a `DataLoader` that gathers single examples, an attention mask, all tokens
through all blocks, Adam, and the loss copied from the device at each step. `PEERS` has their differences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import AutoConfig, AutoModel, GPT2Config

from fptkit.interfaces import Batch, Split, Symbols, Task, Vectors
from fptkit.seeds import generator_for

EXAMPLES = 4096
"""Examples in the data set of an endless split."""


class Examples(Dataset[Batch]):
    """Single examples of a split, as batches of one."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __len__(self) -> int:
        return self.split.size or EXAMPLES

    def __getitem__(self, index: int) -> Batch:
        return self.split.batch([index], generator_for(index, "baseline"))


def gather(examples: list[Batch]) -> Batch:
    """Combine examples into one batch, padded with zeros to the longest."""
    inputs = [example.inputs[0] for example in examples]
    return Batch(
        inputs=nn.utils.rnn.pad_sequence(inputs, batch_first=True),
        targets=torch.cat([example.targets for example in examples]),
        lengths=torch.tensor([len(one) for one in inputs]),
    )


@dataclass(frozen=True)
class Peer:
    """One way to write the program.

    Args:
        attention: of transformers, ``eager`` or ``sdpa``.
        autocast: matrix products under autocast to bfloat16.
        compiled: the model is compiled by torch.compile.
        library: ``peft``: norms train by peft's LN tuning instead of by ``requires_grad``; ``fabric``: Lightning Fabric
            does the backward pass and autocast.
    """

    attention: str = "sdpa"
    autocast: bool = True
    compiled: bool = False
    library: str = ""


PEERS = {
    "eager": Peer("eager", autocast=False),  # as most code is written, and as the official code is
    "autocast": Peer(),
    "compiled": Peer(compiled=True),
    "peft": Peer(library="peft"),
    "fabric": Peer(library="fabric"),
}


class PlainTransformer(nn.Module):
    """Encoder, a body of transformers, output layer; all but norms, positions, encoder and output are frozen.

    Args:
        task: the task.
        peer: how it is written.
        config: of the body, with random weights; None: GPT-2 base.
    """

    def __init__(self, task: Task, peer: Peer, config: Any = None) -> None:
        super().__init__()
        if not isinstance(task.input, (Vectors, Symbols)):
            raise SystemExit(f"the peers support vectors and symbols, not {type(task.input).__name__}")
        config = config or GPT2Config(use_cache=False)
        width, kind = config.hidden_size, task.input
        self.encoder = nn.Embedding(kind.count, width) if isinstance(kind, Symbols) else nn.Linear(kind.width, width)
        self.body = AutoModel.from_config(config, attn_implementation=peer.attention)
        self.head = nn.Linear(width, task.output.width)
        self.output = task.output
        norms = [name for name, _ in self.body.named_modules() if "ln_" in name or "norm" in name]
        if peer.library == "peft":
            from peft import LNTuningConfig, get_peft_model

            self.body = get_peft_model(self.body, LNTuningConfig(target_modules=norms))
        for name, parameter in self.body.named_parameters():
            if peer.library != "peft" or "wpe" in name:
                parameter.requires_grad = "wpe" in name or name.rpartition(".")[0] in norms

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits of a batch, in the shape that the task's loss expects."""
        mask = torch.arange(inputs.shape[1]) < lengths[:, None]
        hidden = self.body(inputs_embeds=self.encoder(inputs), attention_mask=mask.long()).last_hidden_state
        read = lengths[:, None] + torch.arange(-self.output.tokens, 0)
        kept = hidden[torch.arange(len(hidden))[:, None], read]
        return self.output.arrange(self.head(kept))


def plain_step(task: Task, batch_size: int, peer: Peer = PEERS["eager"], config: Any = None) -> Callable[[int], None]:
    """Return a function that does one training step; it ignores its argument, the step's number.

    Args:
        task: the task.
        batch_size: examples of a step.
        peer: how the program is written.
        config: of the body, with random weights; None: GPT-2 base.

    Raises:
        ImportError: its library is not installed.
    """
    model: nn.Module = PlainTransformer(task, peer, config).train()
    optimizer: Any = torch.optim.Adam([one for one in model.parameters() if one.requires_grad], lr=1e-3)
    clip: Callable[[], object] = partial(nn.utils.clip_grad_norm_, list(model.parameters()), 1.0)
    backward: Callable[[Tensor], object] = Tensor.backward
    if peer.library == "fabric":
        try:
            from lightning.fabric import Fabric
        except ImportError:  # the same, installed alone
            from lightning_fabric import Fabric

        fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
        plain, (model, optimizer) = model, fabric.setup(model, optimizer)
        backward, clip = fabric.backward, partial(nn.utils.clip_grad_norm_, list(plain.parameters()), 1.0)
    if peer.compiled:
        model.compile()
    batches = _endless(
        DataLoader(Examples(task.split("train")), batch_size, shuffle=True, collate_fn=gather, drop_last=True)
    )
    losses: list[float] = []

    def step(number: int) -> None:
        batch = next(batches)
        with torch.autocast("cpu", torch.bfloat16, enabled=peer.autocast and peer.library != "fabric"):
            logits = model(batch.inputs, batch.lengths)
        loss = task.loss(logits.float(), batch)
        backward(loss)
        clip()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())

    return step


def smollm2_config(blocks: int) -> Any:
    """The config of SmolLM2 with some of its blocks.

    Raises:
        ImportError: fptkit-smollm2 is not installed.
    """
    from fptkit_smollm2.options import CONFIG

    return AutoConfig.for_model(**{**CONFIG, "num_hidden_layers": blocks, "use_cache": False})


def _endless(loader: DataLoader[Batch]) -> Iterator[Batch]:
    while True:
        yield from loader
