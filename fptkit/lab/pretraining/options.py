"""The keys of pretraining recipes such as ``recipes/pretrain_*.yaml``. Light: no torch, no numpy."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Self

from fptkit.options import Decides, Options
from fptkit.specs import limits

SaveDtype = Literal["bfloat16", "float32"]
SAVE_DTYPE = "dtype of the exported weights"


class LanguageData(Options):
    """The text to train on."""

    path: str = Field(description="training text, UTF-8: a .txt, .txt.xz or .txt.gz file")
    validation_path: str | None = Field(
        None, description="held-out text in the same format; by default the end of the training text"
    )
    validation_share: float = Field(
        0.02, gt=0, lt=0.5, description="fraction of the text held out for validation if there is no validation_path"
    )
    document_separator: str = Field(
        "<|endoftext|>", min_length=1, description="text between two documents; becomes a separate token"
    )
    summary: Annotated[str, Decides.NOTHING] = Field("", description="what the text is, for the model card")
    licence: Annotated[str, Decides.NOTHING] = Field("", description="licence of the text, for the model card")


class TokenizerOptions(Options):
    """The byte-level BPE that is trained on the text."""

    vocabulary: int = Field(
        4096, ge=257, le=65536, description="vocabulary size: the separator, 256 bytes and the learnt merges"
    )
    sample_bytes: int = Field(
        64_000_000,
        ge=1,
        le=limits.CORPUS,
        description="bytes of training text, evenly spaced over it, from which merges are learnt",
    )


class LanguageModelOptions(Options):
    """Sizes of the GPT-2."""

    blocks: int = Field(4, ge=1, le=limits.BLOCKS, description="number of transformer blocks")
    width: int = Field(256, ge=1, le=limits.WIDTH, description="width of the token vectors; a multiple of heads")
    heads: int = Field(4, ge=1, le=limits.HEADS, description="attention heads of each block")
    positions: int = Field(
        1024, ge=2, le=limits.LENGTH, description="longest input in tokens (rows of the position table)"
    )
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="dropout probability of embeddings, attention weights and residual branches in training",
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class LengthMix(Options):
    """Sequence lengths and how often a step uses each."""

    model_config = ConfigDict(allow_inf_nan=False)

    tokens: tuple[Annotated[int, Field(ge=1, le=limits.LENGTH)], ...] = Field(
        max_length=limits.WEIGHT_SOURCES, description="sequence lengths in tokens"
    )
    weights: tuple[float, ...] = Field(
        max_length=limits.WEIGHT_SOURCES, description="relative number of steps at each length; same count as tokens"
    )

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if not self.tokens or len(self.tokens) != len(self.weights):
            raise ValueError(
                f"{len(self.tokens)} lengths but {len(self.weights)} weights; one weight per length is needed"
            )
        if min(self.tokens) < 1 or min(self.weights) < 0 or sum(self.weights) <= 0:
            raise ValueError("lengths must be at least 1, weights at least 0 and not all 0")
        return self


class PretrainTrain(Options):
    """How to train: warm-up, constant, linear cooldown to zero. The cooldown's start may depend on the clock."""

    model_config = ConfigDict(allow_inf_nan=False)

    optimizer: Literal["muon", "adamw"] = Field(
        "muon", description="optimizer of the matrices in the blocks; all other parameters are trained with AdamW"
    )
    muon_learning_rate: float = Field(0.02, gt=0, description="learning rate of Muon, for an update of spectral norm 1")
    adamw_learning_rate: float = Field(3e-3, gt=0, description="learning rate of AdamW")
    weight_decay: float = Field(
        0.05, ge=0, description="decoupled weight decay of the matrices in the blocks, multiplied by the learning rate"
    )
    gradient_clip: float = Field(1.0, ge=0, description="upper limit on the norm of the gradient; 0 for no limit")
    batch_tokens: int = Field(
        4096, ge=1, le=limits.BATCH_TOKENS, description="tokens per step; a multiple of every sequence length"
    )
    sequence_lengths: LengthMix = Field(
        LengthMix(tokens=(256, 512, 1024), weights=(0.45, 0.35, 0.2)),
        description="sequence lengths before the cooldown",
    )
    cooldown_sequence_lengths: LengthMix = Field(
        LengthMix(tokens=(256, 512, 1024), weights=(0.15, 0.3, 0.55)), description="sequence lengths in the cooldown"
    )
    max_steps: Annotated[int | None, Decides.LENGTH] = Field(
        None, ge=1, le=limits.STEPS, description="total number of steps, cooldown included"
    )
    max_seconds: Annotated[float | None, Decides.LENGTH] = Field(
        None,
        gt=0,
        description="total wall-clock seconds, approximately: the cooldown starts when its fraction of them is left",
    )
    warmup_steps: int = Field(
        100, ge=0, le=limits.STEPS, description="steps in which the learning rates rise from zero"
    )
    cooldown_share: float = Field(
        0.6, ge=0, lt=1, description="fraction of all steps in which the learning rates fall to zero"
    )
    validate_every: int = Field(250, ge=1, le=limits.STEPS, description="steps between two validations")
    validation_tokens: int = Field(
        65_536,
        ge=1,
        le=limits.CORPUS,
        description="held-out tokens evaluated at each validation in training; all of them at the end",
    )
    checkpoint_every: Annotated[int, Decides.NOTHING] = Field(
        250, ge=1, le=limits.STEPS, description="steps between two checkpoints"
    )
    log_every: Annotated[int, Decides.NOTHING] = Field(
        50, ge=1, le=limits.STEPS, description="steps between two lines of progress"
    )
    seed: int = Field(0, ge=0, le=limits.SEED, description="seed of the initial weights and the batches")
    threads: Annotated[int | None, Decides.NOTHING] = Field(
        None, ge=1, le=limits.THREADS, description="CPU threads; by default PyTorch's default"
    )
    compile: bool = Field(
        False,
        description="compile the blocks with torch.compile if there is a C++ compiler: slower start, then faster",
    )
    precision: Literal["auto", "bfloat16", "float32"] = Field(
        "auto",
        description="dtype of the matrix products; auto is bfloat16 if the CPU has instructions for it",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.max_steps is None and self.max_seconds is None:
            raise ValueError("set max_steps, max_seconds or both; otherwise training never ends")
        for length in {*self.sequence_lengths.tokens, *self.cooldown_sequence_lengths.tokens}:
            if self.batch_tokens % length:
                raise ValueError(f"batch_tokens {self.batch_tokens} is not a multiple of the sequence length {length}")
        return self


NextTokenRecipe = TypeVar("NextTokenRecipe", "PretrainRecipe", "SyntheticRecipe")
"""A recipe that trains a GPT-2 to predict the next token."""


def _check_lengths(recipe: NextTokenRecipe) -> NextTokenRecipe:
    """Raise ValueError if a sequence is longer than the position table."""
    train, positions = recipe.train, recipe.model.positions
    longest = max(*train.sequence_lengths.tokens, *train.cooldown_sequence_lengths.tokens)
    if longest > positions:
        raise ValueError(f"a sequence length of {longest} is longer than model.positions {positions}")
    return recipe


class PretrainRecipe(Options):
    """A pretraining on text: data, tokeniser, model, training."""

    kind: Literal["language"] = Field("language", description="next-token prediction on text")
    data: LanguageData = Field(description="the text to train on")
    tokenizer: TokenizerOptions = Field(default_factory=TokenizerOptions, description="tokeniser trained on the text")
    model: LanguageModelOptions = Field(default_factory=LanguageModelOptions, description="sizes of the model")
    train: PretrainTrain = Field(description="how to train")
    save_dtype: SaveDtype = Field("bfloat16", description=SAVE_DTYPE)

    _lengths_fit = model_validator(mode="after")(_check_lengths)


ExampleSize = Annotated[int, Field(ge=1, le=4096)]
"""A size of the examples of a procedure."""


class SyntheticData(Options):
    """A source of symbols without meaning: the control for "language matters".

    Source: Wang et al. 2023 (arXiv 2310.00771): independent symbols, and one-step Markov chains whose transition
    probabilities are a softmax of random numbers, with 100 states. The default values are ours. The other sources
    generate procedures, see `fptkit.lab.pretraining.procedures`.
    """

    source: Literal["markov", "iid", "brackets", "stack", "automaton", "recall", "bit_memory"] = Field(
        "markov",
        description="markov: each symbol depends on the previous one by a random transition matrix; iid: independent; "
        "brackets: nested brackets of several types; stack: traces of a stack and of sorting; automaton: rows of a "
        "cellular automaton; recall: copies, and values looked up by key; bit_memory: strings of bits, then one of "
        "them masked and then complete",
    )
    vocabulary: int = Field(
        100,
        ge=2,
        le=4096,
        description="number of symbols; for brackets the number of types, for stack and recall that of values; not for "
        "automaton and bit_memory",
    )
    temperature: float = Field(
        0.5,
        ge=0.05,
        allow_inf_nan=False,
        description="for markov: a row of the transition matrix is the softmax of normal numbers divided by this; low "
        "values make the next symbol nearly certain",
    )
    zipf_exponent: float = Field(
        1.0,
        ge=0,
        le=8,
        description="for iid: the symbol of rank r has a probability proportional to r to the power of minus this; 0: "
        "uniform",
    )
    length: tuple[ExampleSize, ExampleSize] = Field(
        (8, 32),
        description="smallest and largest size of an example: for stack the operations or the values to sort, for "
        "automaton the cells of a row, for recall the symbols to copy or the keys, for bit_memory the bits of a string",
    )
    depth: ExampleSize = Field(16, description="for brackets and stack: largest number of open brackets or values")
    rows: ExampleSize = Field(8, description="for automaton: rows of an example; for bit_memory: strings of bits")
    rule: int = Field(110, ge=0, le=255, description="for automaton: its number in Wolfram's numbering")
    seed: int = Field(
        0,
        ge=0,
        le=limits.SEED,
        description="seed of the transition matrix and of the held-out symbols; weights and sequences use train.seed",
    )
    held_out_tokens: int = Field(
        65_536, ge=2, le=limits.BATCH_TOKENS, description="symbols generated for validation, never trained on"
    )

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        least, most = self.length
        if least > most:
            raise ValueError(f"length [{least}, {most}] starts above its end; give the smaller number first")
        if self.source == "automaton" and least < 3:  # a cell and its two neighbours
            raise ValueError(f"a row of {least} cells has no cell with two neighbours; set length to [3, ...] or more")
        if self.source == "recall" and most > self.vocabulary:
            raise ValueError(f"length up to {most} needs as many different keys, but vocabulary is {self.vocabulary}")
        return self

    def identity(self) -> dict[str, Any]:
        """The options that decide the symbols of this source, to compare with those of a checkpoint."""
        own = {"length", "depth", "rows", "rule"}
        # Checkpoints of earlier versions have these two sources only, and none of the later options.
        return self.model_dump(exclude=own if self.source in ("markov", "iid") else None)


class SyntheticRecipe(Options):
    """A pretraining on symbols from a random source: data, model, training."""

    kind: Literal["synthetic"] = Field(description="next-symbol prediction on a random source")
    data: SyntheticData = Field(default_factory=SyntheticData, description="the source of the symbols")
    model: LanguageModelOptions = Field(default_factory=LanguageModelOptions, description="sizes of the model")
    train: PretrainTrain = Field(description="how to train")
    save_dtype: SaveDtype = Field("bfloat16", description=SAVE_DTYPE)

    _lengths_fit = model_validator(mode="after")(_check_lengths)


class TaskPretraining(Options):
    """Keys of a pretraining on a task in addition to those of a run, such as ``task``, ``backbone`` and ``train``."""

    kind: Literal["task"] = Field(description="training of all weights on a task")
    save_dtype: SaveDtype = Field("bfloat16", description=SAVE_DTYPE)
