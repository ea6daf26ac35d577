"""What fptkit brings itself, through the same hooks as any plugin."""

from __future__ import annotations

from pathlib import Path

from fptkit.hookspecs import hookimpl
from fptkit.specs import (
    BackboneSpec,
    EncoderSpec,
    FreezingPolicySpec,
    FreezingRule,
    Protocol,
    RecipeFolderSpec,
    TaskSpec,
)

_FPT = "Lu et al. 2021, arXiv 2103.05247"

_SAMPLED = "an evaluation averages 25 batches of {} the training batch size, no incomplete one, never the whole split"


def _drawn_anew(validation: str, test: str) -> tuple[Protocol, ...]:
    """The protocols of a bit task, with the sizes of its clean splits."""
    return (
        Protocol(
            name="clean",
            summary="validation and test drawn once, whatever the run's seed, and evaluated whole; test opened once",
            splits=(
                ("train", "endless, drawn anew for each batch"),
                ("validation", f"{validation} examples (validation_size)"),
                ("test", f"{test} examples (test_size)"),
            ),
        ),
        Protocol(
            name="fpt2021",
            summary="as the paper's code: evaluated on 25 batches that are drawn anew each time",
            splits=(
                ("train", "endless, drawn anew for each batch"),
                ("validation", "endless: 25 batches drawn anew for each evaluation"),
                ("test", "endless: 25 batches drawn anew"),
            ),
            faults=(("D6", "an evaluation averages 25 new batches, so that no two figures rest on the same examples"),),
        ),
    )


def _image_protocols(train: str, validation: str, whole: str) -> tuple[Protocol, ...]:
    """The protocols of an image task, with the sizes of its data set; both have 10,000 test images."""
    return (
        Protocol(
            name="clean",
            summary="a tenth of the training data, drawn once class by class, chooses the step; test opened once",
            splits=(
                ("train", f"{train} images"),
                ("validation", f"{validation} of the training images, the same in every run"),
                ("test", "10,000 images"),
            ),
        ),
        Protocol(
            name="fpt2021",
            summary="as the paper's code: no validation split, 25 test batches an evaluation",
            splits=(
                ("train", f"{whole} images"),
                ("validation", "the test images"),
                ("test", "10,000 images, 25 batches an evaluation"),
            ),
            faults=(
                ("D5", "no validation split: the step is chosen on the test images"),
                ("D6", "an evaluation averages 25 batches of the test images, no incomplete one, never all of them"),
            ),
        ),
    )


@hookimpl
def fptkit_backbones() -> list[BackboneSpec]:
    return [
        BackboneSpec(
            name="attention_layer",
            summary="one attention layer, trained from nothing: the control for 'a pretrained model helps'",
            target="fptkit.backbones.plain.build:build_attention_layer",
            options="fptkit.backbones.plain.options:AttentionLayerOptions",
            source="Tan et al. 2024, arXiv 2406.16964, LLM2Attn",
        ),
        BackboneSpec(
            name="bert",
            summary="BERT, a bidirectional encoder, with weights from the hub, a folder, or drawn at random",
            target="fptkit.backbones.huggingface.build:build_bert",
            options="fptkit.backbones.huggingface.options:BertOptions",
            source="Devlin et al. 2019; google-bert/bert-base-uncased",
            licence="Apache-2.0",
        ),
        BackboneSpec(
            name="gpt2",
            summary="GPT-2 with weights from the hub, a folder, the package, or drawn at random",
            target="fptkit.backbones.gpt2_build:build_gpt2",
            options="fptkit.backbones.options:Gpt2Options",
            source="Radford et al. 2019; openai-community/gpt2",
            licence="MIT",
        ),
        BackboneSpec(
            name="huggingface",
            summary="any model of the library transformers that can be driven by token vectors, such as Llama",
            target="fptkit.backbones.huggingface.build:build_huggingface",
            options="fptkit.backbones.huggingface.options:HuggingFaceOptions",
            source="huggingface/transformers, AutoModel",
        ),
        BackboneSpec(
            name="longformer",
            summary="Longformer: windowed attention, for long sequences; no token has global attention",
            target="fptkit.backbones.huggingface.build:build_longformer",
            options="fptkit.backbones.huggingface.options:LongformerOptions",
            source="Beltagy et al. 2020; allenai/longformer-base-4096",
            licence="Apache-2.0",
        ),
        BackboneSpec(
            name="lstm",
            summary="a layer-norm LSTM, drawn at random or from a folder: the recurrent model of the comparison",
            target="fptkit.backbones.lstm.build:build_lstm",
            options="fptkit.backbones.lstm.options:LstmOptions",
            source=_FPT + ", Table 1; Ba et al. 2016",
        ),
        BackboneSpec(
            name="none",
            summary="no sequence model: each token goes to the head by itself, with its position and a norm",
            target="fptkit.backbones.plain.build:build_none",
            options="fptkit.backbones.plain.options:NoBackboneOptions",
            source="Tan et al. 2024, arXiv 2406.16964, w/o LLM",
        ),
        BackboneSpec(
            name="random",
            summary="an architecture with random weights: the control for 'pretraining helps'",
            target="fptkit.backbones.random:build_random",
            options="fptkit.backbones.options:RandomOptions",
            source=_FPT + ", Table 2",
        ),
        BackboneSpec(
            name="t5_encoder",
            summary="the encoder of T5, with relative positions",
            target="fptkit.backbones.huggingface.build:build_t5_encoder",
            options="fptkit.backbones.huggingface.options:T5EncoderOptions",
            source="Raffel et al. 2020; google-t5/t5-base",
            licence="Apache-2.0",
        ),
        BackboneSpec(
            name="vit",
            summary="any vision transformer of timm, with weights from the hub, a folder, the package, or random",
            target="fptkit.backbones.vit.build:build_vit",
            options="fptkit.backbones.vit.options:VitOptions",
            source="Dosovitskiy et al. 2021; huggingface/pytorch-image-models",
            licence="Apache-2.0",
        ),
    ]


@hookimpl
def fptkit_encoders() -> list[EncoderSpec]:
    return [
        EncoderSpec(
            name="conv_stem",
            summary="strided convolutions over tokens or over a grid, then a linear map",
            target="fptkit.encoders.conv_stem:ConvStem",
            options="fptkit.encoders.options:ConvStemOptions",
            accepts=("vectors", "grid"),
            source="Xiao et al. 2021; Radford et al. 2022",
        ),
        EncoderSpec(
            name="linear",
            summary="one linear map for every token vector, optionally with hidden layers",
            target="fptkit.encoders.linear:LinearEncoder",
            options="fptkit.encoders.options:LinearOptions",
            accepts=("vectors",),
            source=_FPT,
        ),
        EncoderSpec(
            name="mixed",
            summary="several named inputs one after another, each through an encoder of its own",
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
            source="Nie et al. 2023",
        ),
        EncoderSpec(
            name="patches2d",
            summary="one linear map of each patch of a grid, such as an image",
            target="fptkit.encoders.patches:Patches2d",
            options="fptkit.encoders.options:Patches2dOptions",
            accepts=("grid",),
            source=_FPT,
        ),
        EncoderSpec(
            name="symbols",
            summary="an embedding of discrete symbols, optionally with hidden layers",
            target="fptkit.encoders.symbols:SymbolEncoder",
            options="fptkit.encoders.options:SymbolOptions",
            accepts=("symbols",),
            source=_FPT,
        ),
    ]


@hookimpl
def fptkit_tasks() -> list[TaskSpec]:
    return [
        TaskSpec(
            name="bit_memory",
            summary="recall which of several bit strings comes back masked",
            target="fptkit.tasks.bits:BitMemory",
            options="fptkit.tasks.options:BitMemoryOptions",
            source=_FPT + "; Miconi et al. 2018",
            protocols=_drawn_anew(validation="256", test="1,024"),
        ),
        TaskSpec(
            name="bit_xor",
            summary="the bitwise XOR of two bit strings",
            target="fptkit.tasks.bits:BitXor",
            options="fptkit.tasks.options:BitXorOptions",
            source=_FPT,
            protocols=_drawn_anew(validation="1,024", test="4,096"),
        ),
        TaskSpec(
            name="cifar10",
            summary="what a colour photograph of 32 x 32 pixels shows, in patches of 4 x 4",
            target="fptkit.tasks.images.task:Cifar10",
            options="fptkit.tasks.images.options:Cifar10Options",
            source="Krizhevsky 2009; " + _FPT,
            licence="none stated",
            protocols=_image_protocols("45,000", "5,000", "50,000"),
        ),
        TaskSpec(
            name="cifar10_lra",
            summary="CIFAR-10 in grey, one pixel a token: 1,024 tokens",
            target="fptkit.tasks.images.task:Cifar10Lra",
            options="fptkit.tasks.images.options:Cifar10LraOptions",
            source="Long Range Arena, Tay et al. 2020; Krizhevsky 2009",
            licence="none stated",
            protocols=_image_protocols("45,000", "5,000", "50,000"),
        ),
        TaskSpec(
            name="listops",
            summary="the value of a nested expression of minimum, maximum, median and sum over digits",
            target="fptkit.tasks.listops.task:ListOps",
            options="fptkit.tasks.listops.options:ListOpsOptions",
            source="Nangia & Bowman 2018, arXiv 1804.06028; Long Range Arena, Tay et al. 2020, arXiv 2011.04006",
            licence="generated by fptkit; Long Range Arena's generator: Apache 2.0",
            protocols=(
                Protocol(
                    name="clean",
                    summary="brackets kept, nothing cut unless asked for; own validation split; evaluated whole",
                    splits=(
                        ("train", "96,000 expressions of 501 to 1,999 symbols (train_size, length)"),
                        ("validation", "2,000 (validation_size), none of them in another split"),
                        ("test", "2,000 (test_size), none of them in another split"),
                    ),
                ),
                Protocol(
                    name="fpt2021",
                    summary="as the paper's code: brackets dropped, 512 symbols, figures of the validation data",
                    splits=(
                        ("train", "that of clean, without brackets, each expression 512 symbols"),
                        ("validation", "that of clean, prepared in the same way"),
                        ("test", "the validation data once more"),
                    ),
                    faults=(
                        ("D1", "every bracket is dropped: the nesting is lost, and with it, in general, the value"),
                        (
                            "D2",
                            "cut at 512 symbols, which most expressions exceed; shorter ones are filled up to 512, and "
                            "the read-out is at the last filling symbol",
                        ),
                        (
                            "D4",
                            "ids came from a set and differed from process to process; random ids cannot be repeated, "
                            "so fixed ones are used here, which changes no figure but by chance",
                        ),
                        ("D6", _SAMPLED.format("once")),
                        ("D7", "the reported figure is one of the validation data, on which the step was chosen"),
                    ),
                ),
            ),
        ),
        TaskSpec(
            name="mnist",
            summary="which digit an image of 28 x 28 pixels shows, in patches of 4 x 4",
            target="fptkit.tasks.images.task:Mnist",
            options="fptkit.tasks.images.options:MnistOptions",
            source="LeCun et al. 1998; " + _FPT,
            licence="CC BY-SA 3.0, as Keras states it",
            protocols=_image_protocols("54,000", "6,000", "60,000"),
        ),
        TaskSpec(
            name="remote_homology",
            summary="the fold of a protein from its amino acids, at three distances from the training families",
            target="fptkit.tasks.homology.task:RemoteHomology",
            options="fptkit.tasks.homology.options:RemoteHomologyOptions",
            source="TAPE, Rao et al. 2019; SCOP 1.75, Hou et al. 2018",
            protocols=(
                Protocol(
                    name="clean",
                    summary="padding masked, long sequences cropped, three hold-outs evaluated whole and opened once",
                    splits=(
                        ("train", "12,312 sequences of TAPE"),
                        ("validation", "736"),
                        ("test_fold_holdout", "718, superfamilies never seen in training"),
                        ("test_superfamily_holdout", "1,254, families never seen"),
                        ("test_family_holdout", "1,272, members never seen"),
                    ),
                ),
                Protocol(
                    name="fpt2021",
                    summary="as the paper's code: figures of the validation data, long batches skipped, padding read",
                    splits=(
                        ("train", "12,312 sequences of TAPE, less those in skipped batches"),
                        ("validation", "736, less those in skipped batches"),
                        ("test", "the validation data once more; the hold-outs are not used"),
                    ),
                    faults=(
                        ("D6", _SAMPLED.format("4 times")),
                        ("D7", "the reported figure is one of the validation data, on which the step was chosen"),
                        (
                            "D8",
                            "a batch that holds one sequence above 1,024 residues is skipped whole; the accuracy is "
                            "then multiplied by 0.9739",
                        ),
                        (
                            "D9",
                            "padding is read as tokens, and the read-out is at the last position even where that is "
                            "padding; 1,200 outputs for 1,195 folds",
                        ),
                    ),
                ),
            ),
        ),
    ]


@hookimpl
def fptkit_freezing_policies() -> list[FreezingPolicySpec]:
    output, norm, encoder = FreezingRule(role="output"), FreezingRule(role="norm"), FreezingRule(role="input")
    # Recurrent and rotary backbones have no position table, and are trained by the same policies.
    position = FreezingRule(role="position", required=False)
    attention, feed_forward = FreezingRule(role="attention"), FreezingRule(role="feed_forward")
    last_attention = FreezingRule(role="attention", blocks=(-1,))
    fpt = (encoder, output, norm, position)
    unfreezing = _FPT + ", unfreezing on CIFAR-10"
    return [
        FreezingPolicySpec(
            name="fpt",
            summary="input, output, norms and positions train; attention, feed-forward, recurrent stay frozen",
            rules=fpt,
            source=_FPT,
        ),
        FreezingPolicySpec(
            name="fpt_attention",
            summary="fpt and the attention of every block",
            rules=(*fpt, attention),
            source=unfreezing,
        ),
        FreezingPolicySpec(
            name="fpt_feed_forward",
            summary="fpt and the feed-forward of every block",
            rules=(*fpt, feed_forward),
            source=unfreezing,
        ),
        FreezingPolicySpec(
            name="fpt_feed_forward_attention",
            summary="fpt, feed-forward and attention of every block",
            rules=(*fpt, feed_forward, attention),
            source=unfreezing,
        ),
        FreezingPolicySpec(
            name="fpt_feed_forward_last_attention",
            summary="fpt, the feed-forward of every block and the attention of the last",
            rules=(*fpt, feed_forward, last_attention),
            source=unfreezing,
        ),
        FreezingPolicySpec(
            name="fpt_last_attention",
            summary="fpt and the attention of the last block",
            rules=(*fpt, last_attention),
            source=unfreezing,
        ),
        FreezingPolicySpec(
            name="frozen_norm",
            summary="input, output and positions train; norms stay frozen too",
            rules=(encoder, output, position),
            source=_FPT + ", frozen layer norm",
        ),
        FreezingPolicySpec(
            name="output_only",
            summary="only the output layer trains: a linear probe on the frozen features",
            rules=(output,),
            source=_FPT + ", section 3.8",
        ),
        FreezingPolicySpec(
            name="output_norm",
            summary="output and norms train",
            rules=(output, norm),
            source=_FPT + ", successive ablation",
        ),
        FreezingPolicySpec(
            name="output_norm_input",
            summary="output, norms and input train: fpt without positions",
            rules=(output, norm, encoder),
            source=_FPT + ", successive ablation",
        ),
        FreezingPolicySpec(
            name="full",
            summary="everything trains",
            rules=(FreezingRule(role="all"),),
            source=_FPT,
        ),
        FreezingPolicySpec(
            name="custom",
            summary="free form: what trains is what the recipe lists under train",
            rules=(),
            free_form=True,
        ),
    ]


@hookimpl
def fptkit_recipes() -> list[RecipeFolderSpec]:
    packaged = Path(__file__).parent / "recipes"
    checkout = Path(__file__).parent.parent / "recipes"
    return [
        RecipeFolderSpec(
            name="fptkit",
            summary="the experiments of the paper",
            folder=packaged if packaged.is_dir() else checkout,
        )
    ]
