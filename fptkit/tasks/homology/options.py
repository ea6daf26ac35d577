"""Options of ``remote_homology``; in a module of their own so that listings and recipe checks do not import NumPy."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from fptkit.options import ONE_OR_MORE, ONE_OR_MORE_SCHEMA, Options, source_check
from fptkit.specs import limits

SOURCES = "tape, path:DIR, simulated"


def _ascending(span: tuple[int, int]) -> tuple[int, int]:
    if span[0] > span[1]:
        raise ValueError(f"expected [smallest, largest], got [{span[0]}, {span[1]}]")
    return span


Source = Annotated[str, AfterValidator(source_check(SOURCES))]
Sources = Annotated[tuple[Source, ...], ONE_OR_MORE, ONE_OR_MORE_SCHEMA]
Size = Annotated[int, Field(ge=1, le=limits.FAMILIES)]
Span = Annotated[tuple[Size, Size], AfterValidator(_ascending)]


class SimulatedOptions(Options):
    """Options of simulated protein families; see `fptkit.tasks.homology.simulate`.

    Distances are expected substitutions per site from an ancestor to each of its descendants one level down. Two
    members of a family therefore differ by up to twice ``family_distance``.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    seed: int = Field(
        default=0,
        ge=0,
        le=limits.SEED,
        description="seed of the families; the run's own seed does not change the data",
    )
    folds: int = Field(default=48, ge=2, le=limits.FAMILIES, description="number of folds, the classes")
    superfamilies_per_fold: Span = Field(default=(2, 5), description="smallest and largest number in a fold")
    families_per_superfamily: Span = Field(default=(2, 5), description="smallest and largest number in a superfamily")
    members_per_family: Span = Field(default=(6, 24), description="smallest and largest number of sequences per family")
    held_out_members: Span = Field(
        default=(2, 5), description="the same for families that are held out entirely or with their superfamily"
    )
    length: Span = Field(default=(60, 120), description="shortest and longest ancestor of a fold, in residues")
    fold_distance: float = Field(default=3.0, ge=0, le=100, description="substitutions per site, fold to superfamily")
    superfamily_distance: float = Field(
        default=1.5, ge=0, le=100, description="substitutions per site, superfamily to family"
    )
    family_distance: float = Field(default=1.5, ge=0, le=100, description="substitutions per site, family to member")
    gamma_shape: float = Field(
        default=1.4, gt=0, le=100, description="alpha of the gamma-distributed rates among sites; smaller: more uneven"
    )
    gamma_categories: int = Field(default=16, ge=1, le=200, description="rate categories of the discrete gamma")
    indels_per_substitution: float = Field(
        default=0.03, ge=0, le=0.5, description="insertions and deletions, half each, per expected substitution"
    )
    mean_indel_length: float = Field(
        default=2.0, ge=1, le=20, description="mean of the geometric length of insertions and deletions, in residues"
    )
    family_hold_out: float = Field(
        default=0.1, gt=0, lt=0.5, description="fraction of the remaining members in the family hold-out"
    )
    validation: float = Field(default=0.08, gt=0, lt=0.4, description="fraction of the remaining members in validation")

    @model_validator(mode="after")
    def _fits(self) -> SimulatedOptions:
        levels = (self.superfamilies_per_fold, self.families_per_superfamily, self.members_per_family, self.length)
        numbers = self.folds * math.prod(largest for _, largest in levels)
        limits.refuse_large(numbers, "folds, superfamilies, families, members and length")
        return self


class RemoteHomologyOptions(Options):
    """Options of the task ``remote_homology``."""

    protocol: Literal["clean", "fpt2021"] = Field(
        default="clean",
        description="clean: separate validation, all three hold-outs in full, padding masked, long sequences cropped; "
        "fpt2021: as in the paper's code, D6 to D9 and D20 to D22",
    )
    source: Sources = Field(
        default=("tape",),
        min_length=1,
        description=f"sources of the data, of which the first available one is used; any of {SOURCES}",
    )
    max_length: int = Field(
        default=1024,
        ge=1,
        le=limits.LENGTH,
        description="longer sequences are cropped to this many residues; under fpt2021 nothing is cropped, but a batch "
        "with a sequence that is longer, <cls> and <sep> included, is skipped",
    )
    simulated: SimulatedOptions = Field(default=SimulatedOptions(), description="options of the source 'simulated'")
