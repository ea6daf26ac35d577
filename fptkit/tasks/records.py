"""Names, targets and protocols of fptkit's own tasks."""

from __future__ import annotations

from fptkit.hookspecs import hookimpl
from fptkit.specs import (
    FPT_PAPER,
    TaskProtocol,
    TaskSpec,
)

_SAMPLED = "each evaluation averages 25 batches of {}, never the complete split"
_CONTINUED = (
    "D20",
    "an evaluation continues where the one before it ended: nothing comes again before all had their turn",
)
_FLOAT32 = ("D21", "precision: auto means float32")


def _drawn_anew(validation: str, test: str) -> tuple[TaskProtocol, ...]:
    """The protocols of a bit task, with the sizes of its clean splits."""
    return (
        TaskProtocol(
            name="clean",
            summary="fixed validation and test splits, the same for all seeds, evaluated in full; test evaluated once",
            splits=(
                ("train", "endless: new examples for each batch"),
                ("validation", f"{validation} examples (validation_size)"),
                ("test", f"{test} examples (test_size)"),
            ),
        ),
        TaskProtocol(
            name="fpt2021",
            summary="as in the paper's code: each evaluation uses 25 new batches",
            splits=(
                ("train", "endless: new examples for each batch"),
                ("validation", "endless: 25 new batches for each evaluation"),
                ("test", "endless: 25 new batches"),
            ),
            faults=(
                ("D6", "each evaluation averages 25 new batches, so no two results use the same examples"),
                _FLOAT32,
            ),
        ),
    )


def _image_protocols(train: str, validation: str, whole: str) -> tuple[TaskProtocol, ...]:
    """The protocols of an image task, with the sizes of its data set; both have 10,000 test images."""
    return (
        TaskProtocol(
            name="clean",
            summary="validation on a fixed tenth of the training data, stratified by class; test evaluated once",
            splits=(
                ("train", f"{train} images"),
                ("validation", f"{validation} of the training images, the same in every run"),
                ("test", "10,000 images"),
            ),
        ),
        TaskProtocol(
            name="fpt2021",
            summary="as in the paper's code: no validation split, 25 test batches per evaluation",
            splits=(
                ("train", f"{whole} images"),
                ("validation", "the test images"),
                ("test", "10,000 images, 25 batches per evaluation"),
            ),
            faults=(
                ("D5", "no validation split: the step is chosen on the test images"),
                ("D6", "each evaluation averages 25 full batches of the test images, never all of them"),
                ("D19", "training leaves out the last incomplete batch of each epoch"),
                _CONTINUED,
                _FLOAT32,
            ),
        ),
    )


OWN_DATA = (
    TaskProtocol(
        name="clean",
        summary="the data's own splits, or drawn ones (option split); evaluated in full; test evaluated once",
        splits=(
            ("train", "all that is left; 70 % by default"),
            ("validation", "the data's own, or drawn: 15 % by default"),
            ("test", "the data's own, also several named test_NAME, or drawn: 15 % by default"),
        ),
    ),
)
"""The protocol of tasks with users' files."""


@hookimpl
def fptkit_tasks() -> list[TaskSpec]:
    return [
        TaskSpec(
            name="arrays",
            summary="your own arrays (npz, npy, safetensors, datasets): sequences, symbols, images, features",
            target="fptkit.tasks.arrays.task:Arrays",
            options="fptkit.tasks.arrays.options:ArraysOptions",
            reference=FPT_PAPER,
            licence="that of your data",
            protocols=OWN_DATA,
            files="fptkit.tasks.arrays.reader:files",
            preparation="fptkit.tasks.arrays.preparation:ArraysPreparation",
            look="fptkit.tasks.arrays.look:look",
        ),
        TaskSpec(
            name="audio",
            summary="your own recordings (WAV, FLAC, ...): predict a class, labels or numbers, from log-mel frames",
            target="fptkit.tasks.audio.task:Audio",
            options="fptkit.tasks.audio.options:AudioOptions",
            reference="log-mel frames as in Davis & Mermelstein 1980",
            licence="that of your data",
            protocols=OWN_DATA,
            files="fptkit.tasks.audio.reader:files",
            preparation="fptkit.tasks.audio.preparation:AudioPreparation",
            look="fptkit.tasks.audio.look:look",
        ),
        TaskSpec(
            name="bit_memory",
            summary="recall the one of several bit strings that is shown again with bits masked",
            target="fptkit.tasks.bits:BitMemory",
            options="fptkit.tasks.options:BitMemoryOptions",
            reference=FPT_PAPER + "; Miconi et al. 2018",
            protocols=_drawn_anew(validation="256", test="1,024"),
        ),
        TaskSpec(
            name="bit_xor",
            summary="the bitwise XOR of two bit strings",
            target="fptkit.tasks.bits:BitXor",
            options="fptkit.tasks.options:BitXorOptions",
            reference=FPT_PAPER,
            protocols=_drawn_anew(validation="1,024", test="4,096"),
        ),
        TaskSpec(
            name="cifar10",
            summary="classify colour photographs of 32 x 32 pixels, in patches of 4 x 4",
            target="fptkit.tasks.images.task:Cifar10",
            options="fptkit.tasks.images.options:Cifar10Options",
            preparation="fptkit.tasks.images.preparation:ImageTaskPreparation",
            reference="Krizhevsky 2009; " + FPT_PAPER,
            licence="none stated",
            protocols=_image_protocols("45,000", "5,000", "50,000"),
        ),
        TaskSpec(
            name="cifar10_lra",
            summary="CIFAR-10 in grey, one token per pixel: 1,024 tokens",
            target="fptkit.tasks.images.task:Cifar10Lra",
            options="fptkit.tasks.images.options:Cifar10LraOptions",
            preparation="fptkit.tasks.images.preparation:ImageTaskPreparation",
            reference="Long Range Arena, Tay et al. 2020; Krizhevsky 2009",
            licence="none stated",
            protocols=_image_protocols("45,000", "5,000", "50,000"),
        ),
        TaskSpec(
            name="images",
            summary="your own pictures of any size, in class folders or listed in a table: classes, labels or numbers",
            target="fptkit.tasks.own_images.task:Images",
            options="fptkit.tasks.own_images.options:ImagesOptions",
            reference="patches as in " + FPT_PAPER,
            licence="that of your data",
            protocols=OWN_DATA,
            files="fptkit.tasks.own_images.reader:files",
            preparation="fptkit.tasks.own_images.preparation:ImagesPreparation",
            look="fptkit.tasks.own_images.look:look",
        ),
        TaskSpec(
            name="listops",
            summary="the value of a nested expression of minimum, maximum, median and sum over digits",
            target="fptkit.tasks.listops.task:ListOps",
            options="fptkit.tasks.listops.options:ListOpsOptions",
            preparation="fptkit.tasks.listops.preparation:ListOpsPreparation",
            files="fptkit.tasks.listops.find:files",
            reference="Nangia & Bowman 2018, arXiv 1804.06028; Long Range Arena, Tay et al. 2020, arXiv 2011.04006",
            licence="generated by fptkit; Long Range Arena's generator: Apache 2.0",
            protocols=(
                TaskProtocol(
                    name="clean",
                    summary="brackets kept, no truncation by default; separate validation split; evaluated in full",
                    splits=(
                        ("train", "96,000 expressions of 501 to 1,999 symbols (train_size, length)"),
                        ("validation", "2,000 (validation_size), disjoint from the other splits"),
                        ("test", "2,000 (test_size), disjoint from the other splits"),
                    ),
                ),
                TaskProtocol(
                    name="fpt2021",
                    summary="as in the paper's code: brackets dropped, 512 symbols, results on the validation data",
                    splits=(
                        ("train", "as in clean, without brackets, each expression 512 symbols"),
                        ("validation", "as in clean, prepared in the same way"),
                        ("test", "the validation data again"),
                    ),
                    faults=(
                        ("D1", "all brackets are dropped: the nesting is lost, and usually the value with it"),
                        (
                            "D2",
                            "expressions are cut at 512 symbols, and most are longer; shorter ones are padded to 512 "
                            "and read out at the last padding symbol",
                        ),
                        (
                            "D4",
                            "symbol ids came from a set and differed between processes; fptkit uses fixed ids, since "
                            "random ones are not reproducible; this changes results only by chance",
                        ),
                        ("D6", _SAMPLED.format("the training batch size")),
                        ("D7", "results are reported on the validation data, which also chose the step"),
                        _CONTINUED,
                        _FLOAT32,
                    ),
                ),
            ),
        ),
        TaskSpec(
            name="mnist",
            summary="classify handwritten digits in images of 28 x 28 pixels, in patches of 4 x 4",
            target="fptkit.tasks.images.task:Mnist",
            options="fptkit.tasks.images.options:MnistOptions",
            preparation="fptkit.tasks.images.preparation:ImageTaskPreparation",
            reference="LeCun et al. 1998; " + FPT_PAPER,
            licence="CC BY-SA 3.0, as Keras states it",
            protocols=_image_protocols("54,000", "6,000", "60,000"),
        ),
        TaskSpec(
            name="remote_homology",
            summary="predict a protein's fold from its amino acids, at three distances from the training families",
            target="fptkit.tasks.homology.task:RemoteHomology",
            options="fptkit.tasks.homology.options:RemoteHomologyOptions",
            preparation="fptkit.tasks.homology.preparation:HomologyPreparation",
            files="fptkit.tasks.homology.find:files",
            reference="TAPE, Rao et al. 2019; SCOP 1.75, Hou et al. 2018",
            protocols=(
                TaskProtocol(
                    name="clean",
                    summary="padding masked, long sequences cropped, three hold-outs evaluated once and in full",
                    splits=(
                        ("train", "12,312 sequences of TAPE"),
                        ("validation", "736"),
                        ("test_fold_holdout", "718, superfamilies never seen in training"),
                        ("test_superfamily_holdout", "1,254, families never seen"),
                        ("test_family_holdout", "1,272, members never seen"),
                    ),
                ),
                TaskProtocol(
                    name="fpt2021",
                    summary="as in the paper's code: results on validation data, long batches skipped, padding read",
                    splits=(
                        ("train", "12,312 sequences of TAPE, less those in skipped batches"),
                        ("validation", "736, less those in skipped batches"),
                        ("test", "the validation data again; the hold-outs are not used"),
                    ),
                    faults=(
                        ("D6", _SAMPLED.format("4 times the training batch size")),
                        ("D7", "results are reported on the validation data, which also chose the step"),
                        (
                            "D8",
                            "a batch with any sequence above 1,024 symbols, <cls> and <sep> included, is skipped "
                            "entirely: 1,023 residues are too many; the accuracy is then multiplied by 0.9739",
                        ),
                        (
                            "D9",
                            "padding is read as tokens, and the read-out is at the last position even if that is "
                            "padding; 1,200 outputs for 1,195 folds",
                        ),
                        _CONTINUED,
                        _FLOAT32,
                        ("D22", "symbols are TAPE's 30, with <cls> before and <sep> after each sequence; clean has 27"),
                    ),
                ),
            ),
        ),
        TaskSpec(
            name="sequences",
            summary="your own sequences (FASTA, CSV, JSON lines): classes, numbers, or a label for each symbol",
            target="fptkit.tasks.sequences.task:Sequences",
            options="fptkit.tasks.sequences.options:SequenceOptions",
            licence="that of your data",
            protocols=OWN_DATA,
            files="fptkit.tasks.sequences.reader:files",
            preparation="fptkit.tasks.sequences.preparation:SequencePreparation",
            look="fptkit.tasks.sequences.look:look",
        ),
        TaskSpec(
            name="series",
            summary="your own time series (.ts, .tsv, .npz, CSV, Parquet): predict a class or numbers, or forecast",
            target="fptkit.tasks.series.task:make_series",
            options="fptkit.tasks.series.options:SeriesOptions",
            reference="patches of steps and windows as in Nie et al. 2023 (PatchTST)",
            licence="that of your data",
            protocols=OWN_DATA,
            files="fptkit.tasks.series.reader:files",
            preparation="fptkit.tasks.series.preparation:SeriesPreparation",
            look="fptkit.tasks.series.look:look",
        ),
        TaskSpec(
            name="table",
            summary="your own table (CSV, TSV, Parquet): predict one column, or several, from the others",
            target="fptkit.tasks.table.task:Table",
            options="fptkit.tasks.table.options:TableOptions",
            reference="one token per column as in Gorishniy et al. 2021 (FT-Transformer)",
            licence="that of your data",
            protocols=OWN_DATA,
            files="fptkit.tasks.table.reader:files",
            preparation="fptkit.tasks.table.preparation:TablePreparation",
            look="fptkit.tasks.table.look:look",
        ),
        TaskSpec(
            name="text",
            summary="your own texts (CSV, JSON lines, class folders) as tokens of the backbone's tokenizer, or bytes",
            target="fptkit.tasks.text.task:Text",
            options="fptkit.tasks.text.options:TextOptions",
            licence="that of your data",
            protocols=OWN_DATA,
            files="fptkit.tasks.text.reader:files",
            preparation="fptkit.tasks.text.preparation:TextPreparation",
            look="fptkit.tasks.text.look:look",
        ),
    ]
