"""The plain baseline of ``steps.py``: a straightforward program with transformers and torch.

`transformers.GPT2Model` with eager attention in float32 and its own dropout of 0.1 everywhere, the same parameters
trained as with the policy ``fpt``, a `DataLoader` that gathers single examples, an attention mask, all tokens through
all blocks, Adam, and the loss copied from the device at each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import GPT2Config, GPT2Model

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


class PlainTransformer(nn.Module):
    """Encoder, GPT-2 base with random weights, output layer; all but norms, positions, encoder and output frozen."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        if not isinstance(task.input, (Vectors, Symbols)):
            raise SystemExit(f"the plain baseline supports vectors and symbols, not {type(task.input).__name__}")
        config = GPT2Config(attn_implementation="eager", use_cache=False)
        width = config.n_embd
        kind = task.input
        self.encoder = nn.Embedding(kind.count, width) if isinstance(kind, Symbols) else nn.Linear(kind.width, width)
        self.body = GPT2Model(config)
        self.head = nn.Linear(width, task.output.width)
        self.output = task.output
        for name, parameter in self.body.named_parameters():
            parameter.requires_grad = "ln_" in name or "wpe" in name

    def forward(self, batch: Batch) -> Tensor:
        """Return the logits of a batch, in the shape that the task's loss expects."""
        mask = torch.arange(batch.inputs.shape[1]) < batch.lengths[:, None]
        hidden = self.body(inputs_embeds=self.encoder(batch.inputs), attention_mask=mask.long()).last_hidden_state
        read = batch.lengths[:, None] + torch.arange(-self.output.tokens, 0)
        kept = hidden[torch.arange(len(hidden))[:, None], read]
        return self.output.arrange(self.head(kept))


def plain_step(task: Task, batch_size: int) -> Callable[[int], None]:
    """Return a function that does one training step; it ignores its argument, the step's number."""
    model = PlainTransformer(task).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = _endless(
        DataLoader(Examples(task.split("train")), batch_size, shuffle=True, collate_fn=gather, drop_last=True)
    )
    losses: list[float] = []

    def step(number: int) -> None:
        batch = next(batches)
        loss = task.loss(model(batch), batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())

    return step


def _endless(loader: DataLoader[Batch]) -> Iterator[Batch]:
    while True:
        yield from loader
