"""Names and targets of fptkit's own encoders."""

from __future__ import annotations

from fptkit.hookspecs import hookimpl
from fptkit.specs import (
    FPT_PAPER,
    EncoderSpec,
)


@hookimpl
def fptkit_encoders() -> list[EncoderSpec]:
    return [
        EncoderSpec(
            name="conv_stem",
            summary="strided convolutions over tokens or over a grid, then a linear map",
            target="fptkit.encoders.conv_stem:ConvStem",
            options="fptkit.encoders.options:ConvStemOptions",
            accepts=("vectors", "grid"),
            reference="Xiao et al. 2021; Radford et al. 2022",
        ),
        EncoderSpec(
            name="features",
            summary="a linear map of its own for each cell of a grid, such as the columns of a table",
            target="fptkit.encoders.features:FeatureTokens",
            options="fptkit.encoders.options:FeatureOptions",
            accepts=("grid",),
            reference="Gorishniy et al. 2021 (FT-Transformer), section 3.3",
        ),
        EncoderSpec(
            name="linear",
            summary="one linear map for every token vector, optionally with hidden layers",
            target="fptkit.encoders.linear:LinearEncoder",
            options="fptkit.encoders.options:LinearOptions",
            accepts=("vectors",),
            reference=FPT_PAPER,
        ),
        EncoderSpec(
            name="mixed",
            summary="several named inputs as one sequence, each with its own encoder",
            target="fptkit.encoders.mixed:MixedEncoder",
            options="fptkit.encoders.options:MixedOptions",
            accepts=("mixed",),
        ),
        EncoderSpec(
            name="mlp",
            summary="a multi-layer perceptron for every token vector",
            target="fptkit.encoders.mlp:MlpEncoder",
            options="fptkit.encoders.options:MlpOptions",
            accepts=("vectors",),
        ),
        EncoderSpec(
            name="patches1d",
            summary="one linear map of each patch of neighbouring token vectors",
            target="fptkit.encoders.patches:Patches1d",
            options="fptkit.encoders.options:Patches1dOptions",
            accepts=("vectors",),
            reference="Nie et al. 2023",
        ),
        EncoderSpec(
            name="patches2d",
            summary="one linear map of each patch of a grid, such as an image",
            target="fptkit.encoders.patches:Patches2d",
            options="fptkit.encoders.options:Patches2dOptions",
            accepts=("grid",),
            reference=FPT_PAPER,
        ),
        EncoderSpec(
            name="symbols",
            summary="an embedding of discrete symbols, optionally with hidden layers",
            target="fptkit.encoders.symbols:SymbolEncoder",
            options="fptkit.encoders.options:SymbolOptions",
            accepts=("symbols",),
            reference=FPT_PAPER,
        ),
        EncoderSpec(
            name="word_embeddings",
            summary="the word embeddings that the backbone was pretrained with, frozen, for text",
            target="fptkit.encoders.words:WordEmbeddings",
            options="fptkit.encoders.options:WordOptions",
            accepts=("symbols",),
            reference="Radford et al. 2019",
        ),
    ]
