"""Simulated protein families: a fallback (stand-in) if no protein data are available.

A fold has an ancestral sequence; superfamilies, families and members descend from it along random trees, level by
level. Amino acids are replaced by the LG process (`fptkit.tasks.homology.substitution`). Each site has a fixed rate, so
that a conserved core remains even between superfamilies. Segments are inserted and deleted
(`fptkit.tasks.homology.evolution`). Unlike real proteins, simulated ones have no structure, no selection for function,
no differences in composition between folds and no domain shuffling. Results on them are not comparable with published
ones.

The same options give the same data on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fptkit.errors import UsageError
from fptkit.tasks.homology.evolution import Bytes, Chance, Evolution, descend
from fptkit.tasks.homology.options import SimulatedOptions
from fptkit.tasks.homology.records import Record
from fptkit.tasks.homology.substitution import LG_AMINO_ACIDS, Integers, gamma_rates

SPLITS = ("train", "validation", "test_fold_holdout", "test_superfamily_holdout", "test_family_holdout")
_TRAIN, _VALIDATION, _FOLD, _SUPERFAMILY, _FAMILY = range(len(SPLITS))


@dataclass(frozen=True)
class SimulatedFamilies:
    """N labelled sequences with their splits.

    Args:
        letters: (S,) ASCII codes of the amino acids of all sequences, concatenated.
        offsets: (N + 1,) start of each sequence, then the end of the last.
        folds: (N,) fold labels.
        superfamilies: (N,) superfamily labels, unique across folds.
        families: (N,) family labels, unique across superfamilies.
        splits: (N,) index into `SPLITS`.
    """

    letters: Bytes
    offsets: Integers
    folds: Integers
    superfamilies: Integers
    families: Integers
    splits: Integers

    def records(self, split: str) -> list[Record]:
        """Return the sequences of one split, in random order."""
        text = self.letters.tobytes().decode("ascii")
        return [
            Record(
                text[self.offsets[number] : self.offsets[number + 1]],
                int(self.folds[number]),
                int(self.superfamilies[number]),
                int(self.families[number]),
                f"simulated_{number}",
            )
            for number in np.flatnonzero(self.splits == SPLITS.index(split))
        ]


def simulate(options: SimulatedOptions) -> SimulatedFamilies:
    """Simulate the families and split them as TAPE does.

    ``test_fold_holdout`` holds one complete superfamily of each fold that has several. ``test_superfamily_holdout``
    holds one complete family of each other superfamily that has several. ``test_family_holdout`` and ``validation``
    hold random members of the remaining families; each of these has at least one member in ``train``.

    Raises:
        UsageError: a split would be empty.
    """
    chance = Chance(options.seed)
    evolution = Evolution(
        gamma_rates(options.gamma_shape, options.gamma_categories),
        options.indels_per_substitution,
        options.mean_indel_length,
        max(1, options.length[0] // 2),
    )
    fold_ancestors = evolution.ancestors([chance.integer(*options.length) for _ in range(options.folds)], chance)
    superfamily_counts = [chance.integer(*options.superfamilies_per_fold) for _ in range(options.folds)]
    superfamily_fold = np.repeat(np.arange(options.folds), superfamily_counts)
    family_counts = [chance.integer(*options.families_per_superfamily) for _ in superfamily_fold]
    family_superfamily = np.repeat(np.arange(len(superfamily_fold)), family_counts)

    family_split = _hold_out_whole(superfamily_counts, family_counts, chance)
    member_counts = [
        chance.integer(*(options.members_per_family if split == _TRAIN else options.held_out_members))
        for split in family_split
    ]
    families = np.repeat(np.arange(len(member_counts)), member_counts)
    splits = _hold_out_members(family_split[families], families, options, chance)

    sequences = descend(fold_ancestors, superfamily_counts, options.fold_distance, evolution, chance)
    sequences = descend(sequences, family_counts, options.superfamily_distance, evolution, chance)
    sequences = descend(sequences, member_counts, options.family_distance, evolution, chance)

    order = chance.order(len(sequences))
    sequences, families, splits = sequences.take(order), families[order], splits[order]
    superfamilies = family_superfamily[families]
    codes = np.frombuffer(LG_AMINO_ACIDS.encode(), np.uint8)
    return SimulatedFamilies(
        codes[sequences.residues], sequences.offsets, superfamily_fold[superfamilies], superfamilies, families, splits
    )


def _hold_out_whole(superfamily_counts: Sequence[int], family_counts: Sequence[int], chance: Chance) -> Integers:
    """The split of each family, after entire families and superfamilies are held out."""
    first_family = np.concatenate([[0], np.cumsum(family_counts)])
    split = np.full(first_family[-1], _TRAIN)
    first = 0
    for count in superfamily_counts:
        held_out = first + chance.integer(0, count - 1) if count > 1 else -1
        for superfamily in range(first, first + count):
            begin, end = first_family[superfamily], first_family[superfamily + 1]
            if superfamily == held_out:
                split[begin:end] = _FOLD
            elif end - begin > 1:
                split[begin + chance.integer(0, int(end - begin) - 1)] = _SUPERFAMILY
        first += count
    return split


def _hold_out_members(splits: Integers, families: Integers, options: SimulatedOptions, chance: Chance) -> Integers:
    """The split of each member, after random members of training families are held out.

    Each family gives the same fraction, rounded up or down at random, so that the proportions of folds do not change.

    Args:
        splits: (N,) splits so far.
        families: (N,) ascending.
    """
    first = np.searchsorted(families, families)
    sizes = np.bincount(families)[families]
    ranks = np.empty(len(families), np.int64)  # in a random order of each family
    ranks[np.lexsort((chance.floats(len(families)), families))] = np.arange(len(families)) - first
    share = (ranks + chance.floats(int(families[-1]) + 1)[families]) / sizes
    training = (splits == _TRAIN) & (ranks < sizes - 1)  # the last one stays in train
    splits = splits.copy()
    splits[training & (share < options.family_hold_out + options.validation)] = _VALIDATION
    splits[training & (share < options.family_hold_out)] = _FAMILY
    counts = np.bincount(splits, minlength=len(SPLITS))
    if not counts.all():
        empty = ", ".join(name for name, count in zip(SPLITS, counts, strict=True) if count == 0)
        raise UsageError(
            f"simulated families: {empty} would be empty; raise folds, superfamilies_per_fold, "
            "families_per_superfamily or members_per_family"
        )
    return splits
