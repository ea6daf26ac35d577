"""Options of the task ``remote_homology``; light, so that listings and recipe checks load no numbers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from fptkit.options import ONE_OR_MORE, ONE_OR_MORE_SCHEMA, Options, source_check

SOURCES = "tape, path:DIR, simulated"


def _ascending(span: tuple[int, int]) -> tuple[int, int]:
    if span[0] > span[1]:
        raise ValueError(f"expected [smallest, largest], got [{span[0]}, {span[1]}]")
    return span


Source = Annotated[str, AfterValidator(source_check(SOURCES))]
Sources = Annotated[tuple[Source, ...], ONE_OR_MORE, ONE_OR_MORE_SCHEMA]
Span = Annotated[tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]], AfterValidator(_ascending)]


class SimulatedOptions(Options):
    """How simulated protein families are made; see `fptkit.tasks.homology.simulate`.

    Distances are expected substitutions per site from an ancestor to each of its descendants one level down; two
    members of a family are thus up to twice ``family_distance`` apart.
    """

    seed: int = Field(default=0, ge=0, description="draws the families; the run's own seed does not change the data")
    folds: int = Field(default=48, ge=2, description="number of folds, the classes")
    superfamilies_per_fold: Span = Field(default=(2, 5), description="smallest and largest number in a fold")
    families_per_superfamily: Span = Field(default=(2, 5), description="smallest and largest number in a superfamily")
    members_per_family: Span = Field(default=(6, 24), description="smallest and largest number of a family's sequences")
    held_out_members: Span = Field(
        default=(2, 5), description="the same for families that are held out whole, or in a held-out superfamily"
    )
    length: Span = Field(default=(60, 120), description="shortest and longest ancestor of a fold, in residues")
    fold_distance: float = Field(default=3.0, ge=0, description="substitutions per site, fold to superfamily")
    superfamily_distance: float = Field(default=1.5, ge=0, description="substitutions per site, superfamily to family")
    family_distance: float = Field(default=1.5, ge=0, description="substitutions per site, family to member")
    gamma_shape: float = Field(
        default=1.4, gt=0, le=100, description="alpha of the gamma-distributed rates among sites; small is uneven"
    )
    gamma_categories: int = Field(default=16, ge=1, le=200, description="rate categories the gamma is cut into")
    indels_per_substitution: float = Field(
        default=0.03, ge=0, le=0.5, description="insertions and deletions, half each, per expected substitution"
    )
    mean_indel_length: float = Field(
        default=2.0, ge=1, le=20, description="mean of their geometric length, in residues"
    )
    family_hold_out: float = Field(
        default=0.1, gt=0, lt=0.5, description="share of the remaining members in the family hold-out"
    )
    validation: float = Field(default=0.08, gt=0, lt=0.4, description="share of the remaining members in validation")


class RemoteHomologyOptions(Options):
    """Options of the task ``remote_homology``."""

    protocol: Literal["clean", "fpt2021"] = Field(
        default="clean",
        description="clean: separate validation, all three hold-outs whole, padding masked, long sequences cropped; "
        "fpt2021: as the paper's code, faults D6 to D9 included",
    )
    source: Sources = Field(
        default=("tape",),
        min_length=1,
        description=f"where the data come from, the first available is taken; any of {SOURCES}",
    )
    max_length: int = Field(
        default=1024,
        ge=1,
        description="residues kept of a longer sequence: its first ones; none is skipped. Under fpt2021 nothing is "
        "cropped, but a batch with a longer sequence is skipped whole",
    )
    simulated: SimulatedOptions = Field(
        default=SimulatedOptions(), description="how the source 'simulated' makes its families"
    )
