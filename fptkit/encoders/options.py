"""Options of the built-in encoders; in a module of their own so that listings and recipe checks do not import torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, model_validator

from fptkit.backbones.options import WeightEntries
from fptkit.options import Options
from fptkit.specs import EncoderSpec, limits

Count = Annotated[int, Field(ge=1, le=limits.WIDTH)]
Widths = Annotated[tuple[Count, ...], Field(max_length=limits.BLOCKS)]
Probability = Annotated[float, Field(ge=0, lt=1)]

_HIDDEN = "widths of hidden layers before the backbone"


class EncoderOptions(Options):
    """Options common to all encoders; base class for the options of your own encoders.

    Source of ``match_norm``: ours. Encoders are initialised independently of the backbone, whose blocks were trained
    on word embeddings of another scale.

    Example:
        >>> import fptkit, pydantic
        >>> class MyOptions(fptkit.EncoderOptions):
        ...     hidden: int = pydantic.Field(default=64, ge=1, description="width of the hidden layer")
        >>> MyOptions().match_norm
        False
    """

    match_norm: bool = Field(
        default=False,
        description="norm matching: multiply the encoder's output by a constant, so that its tokens start with the "
        "mean norm of the backbone's word embeddings",
    )


class LinearOptions(EncoderOptions):
    """Options of the encoder ``linear``.

    Source of the gain: kzl/universal-computation, ``universal_computation/fpt.py``. Its encoder has dropout 0.1, which
    the recipes' profile ``paper`` sets.
    """

    hidden: Widths = Field(default=(), description=_HIDDEN)
    dropout: Probability = Field(
        default=0.0, description="dropout probability of the output and of each hidden layer, in training"
    )
    orthogonal_gain: float = Field(
        default=1.41, gt=0, allow_inf_nan=False, description="gain of the orthogonal initialisation of the weights"
    )


class FeatureOptions(EncoderOptions):
    """Options of the encoder ``features``.

    Source of the gain: that of ``linear``.
    """

    orthogonal_gain: float = Field(
        default=1.41, gt=0, allow_inf_nan=False, description="gain of the orthogonal initialisation of each cell's map"
    )


class SymbolOptions(EncoderOptions):
    """Options of the encoder ``symbols``."""

    hidden: Widths = Field(
        default=(), description="widths of the embedding and of hidden layers after it; empty: an embedding of width D"
    )


class WordOptions(Options):
    """Options of the encoder ``word_embeddings``."""

    weights: WeightEntries | None = Field(
        default=None,
        description="checkpoints with the table; the first available one is used; null: that of the backbone's weights",
    )


class MlpOptions(EncoderOptions):
    """Options of the encoder ``mlp``; the default is one hidden layer with GELU, as in transformers.

    Source of activation and norm: Vaswani et al. 2017 and Hendrycks & Gimpel 2016, as used in GPT-2 and ViT.
    """

    hidden: Widths = Field(default=(256,), min_length=1, description="widths of the hidden layers")
    activation: Literal["gelu", "relu", "silu", "tanh"] = Field(
        default="gelu", description="activation function after each hidden layer"
    )
    norm: bool = Field(default=False, description="layer norm of each hidden layer, before its activation")
    dropout: Probability = Field(default=0.0, description="dropout probability after each hidden layer")


class Patches1dOptions(LinearOptions):
    """Options of the encoder ``patches1d``.

    Source of the default: Nie et al. 2023 (PatchTST), patches of 16.
    """

    patch: Count = Field(default=16, description="raw tokens per patch; one patch becomes one token")
    stride: Count | None = Field(
        default=None, description="raw tokens from one patch to the next, at most patch; null: patch, so no overlap"
    )

    @model_validator(mode="after")
    def _reads_every_token(self) -> Patches1dOptions:
        if self.step > self.patch:
            raise ValueError(
                f"stride {self.stride} is above patch {self.patch}: tokens between patches would never be read; "
                "lower it"
            )
        return self

    @property
    def step(self) -> int:
        """Raw tokens from one patch to the next."""
        return self.stride or self.patch


class Patches2dOptions(LinearOptions):
    """Options of the encoder ``patches2d``.

    Source of the default: Lu et al. 2021, section 3.1, patches of 4 x 4.
    """

    patch: Count | tuple[Count, Count] = Field(
        default=4, description="side of a patch in cells, or [rows, columns]; must divide the grid; one token per patch"
    )

    @property
    def sides(self) -> tuple[int, int]:
        """Rows and columns of a patch."""
        return (self.patch, self.patch) if isinstance(self.patch, int) else self.patch


class ConvStemOptions(EncoderOptions):
    """Options of the encoder ``conv_stem``.

    Source: Xiao et al. 2021, "Early convolutions help transformers see better", kernels of 3 with stride 2; without
    their batch norm, which would make examples depend on their batch.
    """

    channels: Widths = Field(default=(64, 128), min_length=1, description="output channels of each convolution")
    kernel: Count = Field(default=3, description="side of the kernels in cells, or their length in tokens")
    stride: Count = Field(default=2, description="stride of each convolution in cells or tokens, at most kernel")
    causal: bool = Field(
        default=False,
        description="causal convolutions: an encoded token does not depend on later raw tokens; for vectors only",
    )
    orthogonal_gain: float = Field(
        default=1.41,
        gt=0,
        allow_inf_nan=False,
        description="gain of the orthogonal initialisation of the linear map after the convolutions",
    )
    dropout: Probability = Field(default=0.0, description="dropout probability of the output, in training")

    @model_validator(mode="after")
    def _reads_everything(self) -> ConvStemOptions:
        if self.stride > self.kernel:
            raise ValueError(
                f"stride {self.stride} is above kernel {self.kernel}: inputs between kernels would never be read; "
                "lower it"
            )
        return self


class PartOptions(Options):
    """The encoder of one part of a mixed input, written like a recipe's ``encoder`` section."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = Field(min_length=1, description="encoder of the part; its options follow")

    @property
    def given(self) -> dict[str, Any]:
        """Options of the part's encoder, before validation."""
        return dict(self.model_extra or {})


def _check_builtin(part: PartOptions) -> PartOptions:
    """Validate the options of a built-in encoder with the recipe; a plugin's are validated when it is built."""
    from fptkit.encoders.records import fptkit_encoders

    spec = next((spec for spec in fptkit_encoders() if spec.name == part.name), None)
    if spec is not None:
        part_options(spec, part)
    return part


def part_options(spec: EncoderSpec, part: PartOptions) -> Options:
    """Validate the options of a part's encoder.

    Raises:
        ValueError: the encoder's options model rejects them, ``match_norm`` is set, or the encoder is ``mixed``.
    """
    try:
        options = spec.options_model().model_validate(part.given)
    except ValidationError as err:
        said = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'options'}: {e['msg']}" for e in err.errors())
        raise ValueError(f"encoder '{spec.name}': {said}") from err
    if getattr(options, "match_norm", False):
        raise ValueError(f"encoder '{spec.name}': set match_norm of the encoder mixed instead; it applies to all parts")
    if isinstance(options, MixedOptions):
        raise ValueError("a part cannot itself be mixed; list its parts with the others")
    return options


class MixedOptions(EncoderOptions):
    """Options of the encoder ``mixed``.

    Source of the learned vector of each part: the segment embeddings of Devlin et al. 2019 (BERT), also initialised
    with standard deviation 0.02.
    """

    parts: dict[str, Annotated[PartOptions, AfterValidator(_check_builtin)]] = Field(
        default_factory=dict,
        description="encoder of each part of the task's input as {name: ..., options}; default by kind: linear, "
        "symbols or patches2d",
    )
