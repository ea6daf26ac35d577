"""Records of the built-in backbones."""

from __future__ import annotations

from fptkit.hookspecs import hookimpl
from fptkit.specs import (
    FPT_PAPER,
    BackboneSpec,
)


@hookimpl
def fptkit_backbones() -> list[BackboneSpec]:
    return [
        BackboneSpec(
            name="attention_layer",
            summary="one attention layer, trained from scratch: the control for 'a pretrained model helps'",
            target="fptkit.backbones.plain.build:build_attention_layer",
            options="fptkit.backbones.plain.options:AttentionLayerOptions",
            reference="Tan et al. 2024, arXiv 2406.16964, LLM2Attn",
        ),
        BackboneSpec(
            name="bert",
            summary="BERT, a bidirectional encoder, with weights from the hub, a folder, or random",
            target="fptkit.backbones.huggingface.build:build_bert",
            options="fptkit.backbones.huggingface.options:BertOptions",
            reference="Devlin et al. 2019; google-bert/bert-base-uncased",
            licence="Apache-2.0",
        ),
        BackboneSpec(
            name="gpt2",
            summary="GPT-2 with weights from the hub, a folder, the package, or random",
            target="fptkit.backbones.gpt2_build:build_gpt2",
            options="fptkit.backbones.options:Gpt2Options",
            reference="Radford et al. 2019; openai-community/gpt2",
            licence="MIT",
        ),
        BackboneSpec(
            name="huggingface",
            summary="any model of the library transformers whose blocks run on token vectors, such as Llama or DINOv2",
            target="fptkit.backbones.huggingface.build:build_huggingface",
            options="fptkit.backbones.huggingface.options:HuggingFaceOptions",
            reference="huggingface/transformers, AutoModel",
        ),
        BackboneSpec(
            name="longformer",
            summary="Longformer: windowed attention, for long sequences; no token has global attention",
            target="fptkit.backbones.huggingface.build:build_longformer",
            options="fptkit.backbones.huggingface.options:LongformerOptions",
            reference="Beltagy et al. 2020; allenai/longformer-base-4096",
            licence="Apache-2.0",
        ),
        BackboneSpec(
            name="lstm",
            summary="a layer-norm LSTM, random or from a folder: the recurrent model of the comparison",
            target="fptkit.backbones.lstm.build:build_lstm",
            options="fptkit.backbones.lstm.options:LstmOptions",
            reference=FPT_PAPER + ", Table 1; Ba et al. 2016",
        ),
        BackboneSpec(
            name="none",
            summary="no sequence model: each token goes to the head separately, with its position and a norm",
            target="fptkit.backbones.plain.build:build_none",
            options="fptkit.backbones.plain.options:NoBackboneOptions",
            reference="Tan et al. 2024, arXiv 2406.16964, w/o LLM",
        ),
        BackboneSpec(
            name="random",
            summary="an architecture with random weights: the control for 'pretraining helps'",
            target="fptkit.backbones.random:build_random",
            options="fptkit.backbones.options:RandomOptions",
            reference=FPT_PAPER + ", Table 2",
        ),
        BackboneSpec(
            name="t5_encoder",
            summary="the encoder of T5, with relative positions",
            target="fptkit.backbones.huggingface.build:build_t5_encoder",
            options="fptkit.backbones.huggingface.options:T5EncoderOptions",
            reference="Raffel et al. 2020; google-t5/t5-base",
            licence="Apache-2.0",
        ),
        BackboneSpec(
            name="vit",
            summary="any vision transformer of timm, with weights from the hub, a folder, the package, or random",
            target="fptkit.backbones.vit.build:build_vit",
            options="fptkit.backbones.vit.options:VitOptions",
            reference="Dosovitskiy et al. 2021; huggingface/pytorch-image-models",
            licence="Apache-2.0",
        ),
    ]
