"""Evolution of simulated protein sequences down trees, by substitutions, insertions and deletions on each branch.

All randomness comes from the raw 64-bit output of PCG64, which NumPy guarantees, so a seed gives the same sequences on
every machine. Numbers that pass through ``exp`` or ``log`` (branch lengths, event counts) may differ in the last bit
between maths libraries; a residue changes only if a draw falls into a gap of 1e-16.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fptkit.tasks.homology.substitution import Floats, Integers, lg_jump_chain

Bytes = NDArray[np.uint8]


class Chance:
    """Uniform random numbers from the raw output of PCG64.

    The methods of `numpy.random.Generator` may change between versions of NumPy; its bit generators may not (NEP 19).
    """

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def floats(self, count: int) -> Floats:
        """Return (count,) numbers in [0, 1), 53 bits each."""
        numbers: Floats = (self._bits.random_raw(count) >> np.uint64(11)) * 2.0**-53
        return numbers

    def integer(self, low: int, high: int) -> int:
        """Return an integer from ``low`` to ``high``, both included."""
        return low + int(self.floats(1)[0] * (high - low + 1))

    def order(self, count: int) -> Integers:
        """Return a random permutation of ``count`` indices."""
        return np.argsort(self.floats(count), kind="stable")


@dataclass(frozen=True)
class Sequences:
    """N concatenated sequences with S residues in total.

    Args:
        residues: (S,) indices into `LG_AMINO_ACIDS`.
        categories: (S,) rate category of each site.
        offsets: (N + 1,) start of each sequence, then the end of the last.
    """

    residues: Bytes
    categories: Bytes
    offsets: Integers

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Integers:
        return np.diff(self.offsets)

    def take(self, which: Integers) -> Sequences:
        """Return the sequences with these indices, in this order; an index may occur repeatedly."""
        lengths = self.lengths[which]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        sites = np.arange(offsets[-1]) + np.repeat(self.offsets[which] - offsets[:-1], lengths)
        return Sequences(self.residues[sites], self.categories[sites], offsets)

    @staticmethod
    def join(parts: Sequence[Sequences]) -> Sequences:
        """Concatenate sequences, in order."""
        return Sequences(
            np.concatenate([part.residues for part in parts]),
            np.concatenate([part.categories for part in parts]),
            np.concatenate([[0], np.cumsum(np.concatenate([part.lengths for part in parts]))]),
        )


@dataclass(frozen=True)
class Evolution:
    """The evolutionary process along a branch.

    Args:
        rates: (categories,) relative rate of each site category.
        indels_per_substitution: insertions plus deletions per expected substitution.
        mean_indel_length: mean of their geometric length distribution, in residues.
        shortest: deletions never make a sequence shorter than this many residues.
    """

    rates: Floats
    indels_per_substitution: float
    mean_indel_length: float
    shortest: int

    def ancestors(self, lengths: Sequence[int], chance: Chance) -> Sequences:
        """Draw sequences of these lengths at equilibrium; each site gets a random rate category."""
        offsets = np.concatenate([[0], np.cumsum(np.asarray(lengths, np.int64))])
        return Sequences(*self._fresh(int(offsets[-1]), chance), offsets)

    def _fresh(self, sites: int, chance: Chance) -> tuple[Bytes, Bytes]:
        residues = lg_jump_chain().ancestral(chance.floats(sites))
        categories = np.floor(chance.floats(sites) * len(self.rates))
        return residues.astype(np.uint8), categories.astype(np.uint8)

    def along(self, ancestors: Sequences, distances: Floats, chance: Chance) -> Sequences:
        """Evolve each sequence along its branch: substitutions, then insertions and deletions.

        Args:
            ancestors: N sequences.
            distances: (N,) branch lengths, in expected substitutions per site of average rate.
            chance: source of all randomness.
        """
        expected = np.repeat(distances, ancestors.lengths) * self.rates[ancestors.categories]
        residues = self.substitute(ancestors.residues, expected, chance)
        return self.insert_and_delete(Sequences(residues, ancestors.categories, ancestors.offsets), expected, chance)

    def substitute(self, residues: Bytes, expected: Floats, chance: Chance) -> Bytes:
        """Substitute amino acids by the LG process.

        Args:
            residues: (S,) indices into `LG_AMINO_ACIDS`.
            expected: (S,) branch length times rate of each site.
            chance: source of all randomness.
        """
        chain = lg_jump_chain()
        mean = np.minimum(expected * chain.event_rate, 100)  # after 100 events the start has no influence
        events = poisson(mean, chance.floats(len(residues)))
        residues = residues.copy()
        for number in range(int(events.max(initial=0))):
            hit = np.flatnonzero(events > number)
            residues[hit] = chain.jump(residues[hit], chance.floats(len(hit)))
        return residues

    def insert_and_delete(self, sequences: Sequences, expected: Floats, chance: Chance) -> Sequences:
        """Delete and insert segments of geometric length.

        On a branch, at most one deletion starts and at most one insertion follows at each site; fast sites, such as
        the loops of a protein, have more of both. A deletion ends at the latest with its sequence. A sequence that
        would become shorter than ``shortest`` keeps all its residues on this branch.

        Args:
            sequences: N sequences with S residues in total.
            expected: (S,) branch length times rate of each site.
            chance: source of all randomness.
        """
        if self.indels_per_substitution == 0 or not len(expected):
            return sequences
        probability = -np.expm1(-expected * self.indels_per_substitution / 2)
        keep = ~self._deleted(sequences, np.flatnonzero(chance.floats(len(expected)) < probability), chance)
        added = np.zeros(len(expected), np.int64)
        after = np.flatnonzero(chance.floats(len(expected)) < probability)
        added[after] = geometric(self.mean_indel_length, chance.floats(len(after)))

        copies = keep + added
        ends = np.cumsum(copies)
        source = np.repeat(np.arange(len(copies)), copies)
        fresh = np.arange(len(source)) - np.repeat(ends - copies, copies) >= np.repeat(keep, copies)
        residues, categories = sequences.residues[source], sequences.categories[source]
        residues[fresh], categories[fresh] = self._fresh(int(fresh.sum()), chance)
        return Sequences(residues, categories, np.concatenate([[0], ends])[sequences.offsets])

    def _deleted(self, sequences: Sequences, starts: Integers, chance: Chance) -> NDArray[np.bool_]:
        owner = np.searchsorted(sequences.offsets, starts, side="right") - 1
        sizes = geometric(self.mean_indel_length, chance.floats(len(starts)))
        stops = np.minimum(starts + sizes, sequences.offsets[owner + 1])
        depth = np.zeros(len(sequences.residues) + 1, np.int64)
        np.add.at(depth, starts, 1)
        np.add.at(depth, stops, -1)
        deleted = np.cumsum(depth[:-1]) > 0
        left = sequences.lengths - np.add.reduceat(deleted, sequences.offsets[:-1], dtype=np.int64)
        return deleted & np.repeat(left >= self.shortest, sequences.lengths)


def poisson(mean: Floats, uniforms: Floats) -> Integers:
    """Draw (N,) Poisson numbers by inversion.

    Args:
        mean: (N,) means, at most 700, since ``exp(-mean)`` is 0 beyond that.
        uniforms: (N,) uniform numbers in [0, 1).
    """
    counts = np.zeros(len(mean), np.int64)
    term = np.exp(-mean)
    reached = term.copy()
    open_ = np.flatnonzero(uniforms >= reached)
    number = 0
    while len(open_) and number < 2000:  # the limit ends the loop if rounding keeps the sum below a number close to 1
        number += 1
        term[open_] *= mean[open_] / number
        reached[open_] += term[open_]
        counts[open_] = number
        open_ = open_[uniforms[open_] >= reached[open_]]
    return counts


def geometric(mean: float, uniforms: Floats) -> Integers:
    """Draw (N,) geometric numbers >= 1 with this mean, by inversion.

    Args:
        mean: of the distribution, >= 1; numbers are limited to 50 times the mean.
        uniforms: (N,) uniform numbers in [0, 1).
    """
    longest = math.ceil(50 * mean)
    return 1 + np.searchsorted(1 - (1 - 1 / mean) ** np.arange(1, longest), uniforms, side="right")


@dataclass(frozen=True)
class Tree:
    """A rooted tree; node 0 is the root, parents come before children.

    Args:
        parents: parent of each node; -1 for the root.
        lengths: length of the branch that leads to each node; 0 for the root.
        tips: the nodes without children.
    """

    parents: list[int]
    lengths: list[float]
    tips: list[int]


def yule_tree(tips: int, height: float, chance: Chance) -> Tree:
    """Draw a pure-birth tree; the root splits immediately, and all tips are at distance ``height`` from it.

    Every lineage splits at the same rate; the last waiting time ends with what would be the next split. With one tip
    the tree is a single branch.

    Source: Yule 1925, Phil. Trans. R. Soc. B 213:21-87, conditioned on the number of tips.
    """
    parents, lengths, born = [-1], [0.0], [0.0]
    living: list[int] = []
    now = 0.0

    def split(node: int, into: int) -> None:
        for _ in range(into):
            living.append(len(parents))
            parents.append(node)
            lengths.append(0.0)
            born.append(now)

    split(0, 2 if tips > 1 else 1)
    while True:
        now -= math.log1p(-float(chance.floats(1)[0])) / len(living)
        if len(living) >= tips:
            break
        node = living.pop(chance.integer(0, len(living) - 1))
        lengths[node] = now - born[node]
        split(node, 2)
    for node in living:
        lengths[node] = now - born[node]
    scale = height / now if now > 0 else 0.0
    return Tree(parents, [length * scale for length in lengths], sorted(living))


def descend(
    ancestors: Sequences, tips: Sequence[int], height: float, evolution: Evolution, chance: Chance
) -> Sequences:
    """Evolve each sequence down a random tree and return the sequences at the tips, tree by tree.

    All trees grow in parallel, one generation of nodes at a time, so that NumPy operates on long arrays.

    Args:
        ancestors: the sequence at the root of each tree.
        tips: number of tips of each tree.
        height: root-to-tip distance, in expected substitutions per site.
        evolution: the process along each branch.
        chance: source of all randomness.
    """
    parents: list[int] = []
    lengths: list[float] = []
    tip_nodes: list[int] = []
    generations: list[list[int]] = [[]]
    depth: list[int] = []
    for number in tips:
        tree = yule_tree(number, height, chance)
        base = len(parents)
        for node, (parent, length) in enumerate(zip(tree.parents, tree.lengths, strict=True)):
            depth.append(depth[base + parent] + 1 if parent >= 0 else 0)
            if depth[-1] == len(generations):
                generations.append([])
            generations[depth[-1]].append(base + node)
            parents.append(base + parent)
            lengths.append(length)
        tip_nodes += [base + tip for tip in tree.tips]

    place = np.empty(len(parents), np.int64)  # of a node in its generation
    grown = [ancestors]
    place[generations[0]] = np.arange(len(ancestors))
    for nodes in generations[1:]:
        above = grown[-1].take(place[[parents[node] for node in nodes]])
        grown.append(evolution.along(above, np.array([lengths[node] for node in nodes]), chance))
        place[nodes] = np.arange(len(nodes))
    starts = np.cumsum([0, *(len(part) for part in grown)])
    return Sequences.join(grown).take(np.array([starts[depth[node]] + place[node] for node in tip_nodes]))
