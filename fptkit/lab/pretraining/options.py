"""The pretraining recipes: what can be said in ``recipes/pretrain_*.yaml``. Light on purpose: no torch, no numpy."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator
from typing_extensions import Self

from fptkit.options import Decides, Options

SaveDtype = Literal["bfloat16", "float32"]
SAVE_DTYPE = "number format of the exported weights"


class LanguageData(Options):
    """Where the text comes from."""

    path: str = Field(description="training text, UTF-8: a .txt, .txt.xz or .txt.gz file")
    validation_path: str | None = Field(
        None, description="held-out text of the same form; none cuts it from the end of the training text"
    )
    validation_share: float = Field(
        0.02, gt=0, lt=0.5, description="share of the documents' bytes held out when there is no validation_path"
    )
    document_separator: str = Field(
        "<|endoftext|>", min_length=1, description="text between two documents; becomes one token of its own"
    )
    summary: Annotated[str, Decides.NOTHING] = Field("", description="what the text is, for the model card")
    licence: Annotated[str, Decides.NOTHING] = Field(
        "", description="terms the text may be used under, for the model card"
    )


class TokenizerOptions(Options):
    """The byte-level BPE that is trained on the text."""

    vocabulary: int = Field(
        4096, ge=257, le=65536, description="number of tokens: the separator, 256 bytes and the merges learnt"
    )
    sample_bytes: int = Field(
        64_000_000,
        ge=1,
        description="bytes of training text, taken in equal pieces all over it, that merges are learnt from",
    )


class LanguageModelOptions(Options):
    """Sizes of the GPT-2."""

    blocks: int = Field(4, ge=1, description="number of transformer blocks")
    width: int = Field(256, ge=1, description="width of the token vectors; a multiple of heads")
    heads: int = Field(4, ge=1, description="attention heads of each block")
    positions: int = Field(1024, ge=2, description="longest input in tokens (rows of the position table)")
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="dropout share on embeddings, attention weights and residual branches, while training",
    )

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class LengthMix(Options):
    """Sequence lengths and how often a step uses each."""

    tokens: tuple[int, ...] = Field(description="sequence lengths in tokens")
    weights: tuple[float, ...] = Field(description="relative number of steps at each length; same count as tokens")

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

    optimizer: Literal["muon", "adamw"] = Field(
        "muon", description="rule for the matrices of the blocks; all else is trained by AdamW in either case"
    )
    muon_learning_rate: float = Field(
        0.02, gt=0, description="learning rate of Muon, for an update of unit spectral norm"
    )
    adamw_learning_rate: float = Field(3e-3, gt=0, description="learning rate of AdamW")
    weight_decay: float = Field(
        0.05, ge=0, description="decoupled weight decay of the blocks' matrices, times learning rate"
    )
    gradient_clip: float = Field(1.0, ge=0, description="largest norm of the whole gradient; 0 does not clip")
    batch_tokens: int = Field(4096, ge=1, description="tokens in one step; a multiple of every sequence length")
    sequence_lengths: LengthMix = Field(
        LengthMix(tokens=(256, 512, 1024), weights=(0.45, 0.35, 0.2)), description="lengths before the cooldown"
    )
    cooldown_sequence_lengths: LengthMix = Field(
        LengthMix(tokens=(256, 512, 1024), weights=(0.15, 0.3, 0.55)), description="lengths during the cooldown"
    )
    max_steps: Annotated[int | None, Decides.LENGTH] = Field(None, ge=1, description="steps in all, cooldown included")
    max_seconds: Annotated[float | None, Decides.LENGTH] = Field(
        None,
        gt=0,
        description="wall-clock seconds in all, near enough: the cooldown begins when its share of them is left",
    )
    warmup_steps: int = Field(100, ge=0, description="steps in which the learning rates rise from zero")
    cooldown_share: float = Field(
        0.6, ge=0, lt=1, description="share of all steps in which the learning rates fall to zero"
    )
    validate_every: int = Field(250, ge=1, description="steps between two measurements on held-out text")
    validation_tokens: int = Field(
        65_536, ge=1, description="held-out tokens measured while training; all of them at the end"
    )
    checkpoint_every: Annotated[int, Decides.NOTHING] = Field(250, ge=1, description="steps between two checkpoints")
    log_every: Annotated[int, Decides.NOTHING] = Field(50, ge=1, description="steps between two lines of progress")
    seed: int = Field(0, ge=0, description="seed of the initial weights and of the batches")
    threads: Annotated[int | None, Decides.NOTHING] = Field(
        None, ge=1, description="processor threads; none leaves PyTorch's default"
    )
    compile: bool = Field(
        False,
        description="compile the blocks with torch.compile where there is a C++ compiler: slow to start, then faster",
    )
    precision: Literal["auto", "bfloat16", "float32"] = Field(
        "auto",
        description="arithmetic of the matrix products; auto is bfloat16 where the processor has the instructions",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.max_steps is None and self.max_seconds is None:
            raise ValueError("give max_steps, max_seconds or both, or training never ends")
        for length in {*self.sequence_lengths.tokens, *self.cooldown_sequence_lengths.tokens}:
            if self.batch_tokens % length:
                raise ValueError(f"batch_tokens {self.batch_tokens} is not a multiple of the sequence length {length}")
        return self


NextTokenRecipe = TypeVar("NextTokenRecipe", "PretrainRecipe", "SyntheticRecipe")
"""Recipes that train a GPT-2 to predict the next token."""


def _check_lengths(recipe: NextTokenRecipe) -> NextTokenRecipe:
    """Raise where a sequence is longer than the position table."""
    train, positions = recipe.train, recipe.model.positions
    longest = max(*train.sequence_lengths.tokens, *train.cooldown_sequence_lengths.tokens)
    if longest > positions:
        raise ValueError(f"a sequence length of {longest} is longer than model.positions {positions}")
    return recipe


class PretrainRecipe(Options):
    """One pretraining on text: data, tokeniser, model, training."""

    kind: Literal["language"] = Field("language", description="what is learnt: to predict the next token of a text")
    data: LanguageData = Field(description="where the text comes from")
    tokenizer: TokenizerOptions = Field(default_factory=TokenizerOptions, description="tokeniser trained on the text")
    model: LanguageModelOptions = Field(default_factory=LanguageModelOptions, description="sizes of the model")
    train: PretrainTrain = Field(description="how to train")
    save_dtype: SaveDtype = Field("bfloat16", description=SAVE_DTYPE)

    _lengths_fit = model_validator(mode="after")(_check_lengths)


class SyntheticData(Options):
    """A source of symbols without meaning: the control for "language matters".

    Source: Wang et al. 2023 (arXiv 2310.00771): independent symbols, and one-step Markov chains whose transition
    probabilities are a softmax of random numbers, with 100 states. Our values are our own choice.
    """

    source: Literal["markov", "iid"] = Field(
        "markov",
        description="markov: each symbol depends on the one before by a random transition matrix; iid: on none",
    )
    vocabulary: int = Field(100, ge=2, le=4096, description="number of symbols")
    temperature: float = Field(
        0.5,
        ge=0.05,
        allow_inf_nan=False,
        description="of markov: a row of the transition matrix is the softmax of normal numbers divided by this; low "
        "ones make the next symbol nearly certain",
    )
    zipf_exponent: float = Field(
        1.0,
        ge=0,
        le=8,
        description="of iid: the symbol of rank r has a probability proportional to r to the power of minus this; 0 is "
        "uniform",
    )
    seed: int = Field(0, ge=0, description="draws the transition matrix; train.seed draws weights and sequences")
    held_out_tokens: int = Field(65_536, ge=2, description="symbols drawn for validation, never trained on")


class SyntheticRecipe(Options):
    """One pretraining on symbols from a random source: data, model, training."""

    kind: Literal["synthetic"] = Field(description="what is learnt: to predict the next symbol of a random source")
    data: SyntheticData = Field(default_factory=SyntheticData, description="the source of the symbols")
    model: LanguageModelOptions = Field(default_factory=LanguageModelOptions, description="sizes of the model")
    train: PretrainTrain = Field(description="how to train")
    save_dtype: SaveDtype = Field("bfloat16", description=SAVE_DTYPE)

    _lengths_fit = model_validator(mode="after")(_check_lengths)


class TaskPretraining(Options):
    """What a pretraining on a task says besides the keys of a run: those are ``task``, ``backbone``, ``train`` ..."""

    kind: Literal["task"] = Field(description="what is learnt: the answers of a task, by all weights")
    save_dtype: SaveDtype = Field("bfloat16", description=SAVE_DTYPE)
