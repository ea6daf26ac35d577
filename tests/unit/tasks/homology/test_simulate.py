"""Simulated families against the theory of the process that makes them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import integrate, linalg, stats

from fptkit.errors import UsageError
from fptkit.tasks.homology.evolution import Chance, Evolution, Sequences, descend, geometric, poisson, yule_tree
from fptkit.tasks.homology.options import SimulatedOptions
from fptkit.tasks.homology.simulate import SPLITS, SimulatedFamilies, simulate
from fptkit.tasks.homology.substitution import (
    LG_AMINO_ACIDS,
    gamma_rates,
    lg_frequencies,
    lg_jump_chain,
    lg_rate_matrix,
)

SMALL = SimulatedOptions(folds=6, members_per_family=(4, 8), length=(40, 60))


def evolution(
    indels: float = 0.0, mean: float = 2.0, shortest: int = 1, rates: tuple[float, ...] = (1.0,)
) -> Evolution:
    return Evolution(np.array(rates), indels, mean, shortest)


def equal_sequences(count: int, length: int) -> Sequences:
    """Sequence k consists of residue k, so that residues identify their sequence."""
    residues = np.repeat(np.arange(count, dtype=np.uint8), length)
    return Sequences(residues, np.zeros_like(residues), np.arange(count + 1) * length)


def digest(data: SimulatedFamilies) -> str:
    parts = (data.letters, *(part.astype("<i8") for part in (data.offsets, data.folds, data.families, data.splits)))
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()[:16]


# --- the substitution process -------------------------------------------------------------------------------------


def test_the_rate_matrix_is_a_reversible_process_of_rate_one() -> None:
    rates, frequencies = lg_rate_matrix(), lg_frequencies()
    flow = frequencies[:, None] * rates
    np.testing.assert_allclose(rates.sum(1), 0, atol=1e-14)
    np.testing.assert_allclose(flow, flow.T, atol=1e-16)  # detailed balance
    np.testing.assert_allclose(frequencies @ rates, 0, atol=1e-15)
    assert frequencies.sum() == pytest.approx(1, abs=1e-15)
    assert -flow.diagonal().sum() == pytest.approx(1, abs=1e-14)
    assert (rates - np.diag(rates.diagonal()) >= 0).all()


def test_exchangeabilities_are_those_of_the_paper() -> None:
    """Numbers at the corners of the table and its extremes, each read in lg.dat of PAML."""
    shares = lg_rate_matrix() / lg_frequencies()
    place = LG_AMINO_ACIDS.index
    known = {"RA": 0.425093, "VY": 0.249313, "VA": 2.547870, "IV": 10.649107, "YF": 7.803902, "TS": 6.472279,
             "CE": 0.003499, "GI": 0.008705, "DN": 5.076149, "KR": 6.326067, "PF": 0.094464}  # fmt: skip
    scale = shares[place("R"), place("A")] / known["RA"]
    for (one, other), expected in known.items():
        assert shares[place(one), place(other)] / scale == pytest.approx(expected, rel=1e-12)
    off = shares[~np.eye(20, dtype=bool)] / scale
    assert (off.max(), off.min()) == pytest.approx((10.649107, 0.003499))


@pytest.mark.parametrize("distance", [0.02, 0.5, 3.0])
def test_substitutions_follow_the_matrix_exponential(distance: float) -> None:
    sites = 200_000
    chance = Chance(1)
    before = lg_jump_chain().ancestral(chance.floats(sites)).astype(np.uint8)
    after = evolution().substitute(before, np.full(sites, distance), chance)
    expected = sites * lg_frequencies()[:, None] * linalg.expm(lg_rate_matrix() * distance)
    counts = np.bincount(before.astype(int) * 20 + after, minlength=400).reshape(20, 20)
    likely = expected > 5
    score = ((counts - expected)[likely] ** 2 / expected[likely]).sum()
    assert stats.chi2.sf(score, likely.sum() - 1) > 1e-4
    assert abs(counts[~likely].sum() - expected[~likely].sum()) < 5 * np.sqrt(expected[~likely].sum() + 1)


def test_a_branch_has_its_length_in_substitutions() -> None:
    """On a short branch the fraction of changed sites is the branch length, times each site's rate."""
    sites = 400_000
    chance = Chance(2)
    for rate in (0.5, 2.0):
        process = evolution(rates=(rate,))
        start = process.ancestors([sites], chance)
        changed = (process.along(start, np.array([0.01]), chance).residues != start.residues).mean()
        assert changed == pytest.approx(0.01 * rate, abs=5 * np.sqrt(0.01 * rate / sites) + 1e-4)


def test_a_branch_of_no_length_changes_nothing() -> None:
    start = evolution().ancestors([50, 60], Chance(3))
    after = evolution(0.3).along(start, np.zeros(2), Chance(4))
    np.testing.assert_array_equal(after.residues, start.residues)
    np.testing.assert_array_equal(after.offsets, start.offsets)


def test_the_process_stays_at_equilibrium() -> None:
    chance = Chance(5)
    process = evolution(0.1)
    sequences = process.ancestors([100] * 1000, chance)
    for _ in range(3):
        sequences = process.along(sequences, np.full(1000, 0.8), chance)
    counts = np.bincount(sequences.residues, minlength=20)
    assert stats.chisquare(counts, lg_frequencies() * counts.sum()).pvalue > 1e-4


def test_the_ends_of_the_uniform_range_are_safe() -> None:
    chain = lg_jump_chain()
    states = np.arange(20)
    for extreme in (0.0, 2.0**-53, 1 - 2.0**-53):
        drawn = chain.jump(states, np.full(20, extreme))
        assert ((drawn >= 0) & (drawn < 20)).all()
        assert 0 <= chain.ancestral(np.array([extreme]))[0] < 20
    assert (chain.jump(states, np.zeros(20)) == 0).all()


@pytest.mark.parametrize("shape", [0.3, 1.0, 4.0])
def test_gamma_rates_are_the_means_of_equal_slices(shape: float) -> None:
    rates = gamma_rates(shape, 4)
    gamma = stats.gamma(shape, scale=1 / shape)
    cuts = gamma.ppf(np.linspace(0, 1, 5))
    means = [4 * integrate.quad(lambda q: gamma.ppf(q), k / 4, (k + 1) / 4, limit=200)[0] for k in range(4)]
    np.testing.assert_allclose(rates, means, rtol=1e-4)
    assert ((rates > cuts[:-1]) & (rates < cuts[1:])).all()


@pytest.mark.parametrize("shape", [0.3, 1.0, 4.0])
def test_gamma_moments(shape: float) -> None:
    assert gamma_rates(shape, 7).mean() == pytest.approx(1, abs=1e-8)
    variances = [gamma_rates(shape, count).var() for count in (1, 4, 16, 200)]
    assert variances == sorted(variances)
    assert variances[0] == pytest.approx(0, abs=1e-12)
    assert variances[-1] == pytest.approx(1 / shape, rel=0.06)


# --- chance -------------------------------------------------------------------------------------------------------


def test_chance_is_pcg64_and_nothing_else() -> None:
    raw = np.random.PCG64(7).random_raw(3)
    assert Chance(7).floats(3).tolist() == [int(number) // 2**11 / 2**53 for number in raw]
    draws = [Chance(0).integer(3, 5) for _ in range(2)] + [Chance(seed).integer(3, 5) for seed in range(60)]
    assert draws[0] == draws[1]
    assert set(draws) == {3, 4, 5}
    assert sorted(Chance(1).order(50)) == list(range(50))


@pytest.mark.parametrize("mean", [0.0, 0.01, 1.0, 12.0])
def test_poisson_numbers(mean: float) -> None:
    uniforms = (np.arange(20_000) + 0.5) / 20_000  # evenly spread: counts are exact to one draw
    counts = np.bincount(poisson(np.full(20_000, mean), uniforms))
    np.testing.assert_allclose(counts, 20_000 * stats.poisson.pmf(np.arange(len(counts)), mean), atol=1.01)


def test_poisson_of_extreme_numbers_ends() -> None:
    assert poisson(np.array([0.0, 50.0]), np.array([1 - 2.0**-53] * 2)).tolist()[0] == 0


def test_a_very_long_branch_forgets_its_start() -> None:
    start = np.zeros(10_000, np.uint8)
    after = evolution().substitute(start, np.full(10_000, 1e6), Chance(9))
    assert stats.chisquare(np.bincount(after, minlength=20), lg_frequencies() * 10_000).pvalue > 1e-4


@pytest.mark.parametrize("mean", [1.0, 1.5, 6.0])
def test_geometric_numbers(mean: float) -> None:
    uniforms = (np.arange(20_000) + 0.5) / 20_000
    numbers = geometric(mean, uniforms)
    counts = np.bincount(numbers)
    np.testing.assert_allclose(counts, 20_000 * stats.geom.pmf(np.arange(len(counts)), 1 / mean), atol=1.01)
    assert numbers.mean() == pytest.approx(mean, rel=1e-3)


# --- insertions and deletions -------------------------------------------------------------------------------------


def test_insertions_and_deletions_come_as_often_and_as_long_as_asked() -> None:
    sites, rate, distance, mean = 300_000, 0.1, 0.2, 3.0
    start = Sequences(np.zeros(sites, np.uint8), np.zeros(sites, np.uint8), np.array([0, sites]))
    process = evolution(rate, mean)
    chance = Chance(6)
    starts = -np.expm1(-rate / 2 * distance) * sites  # of deletions, and as many insertions
    deleted = process._deleted(start, np.flatnonzero(chance.floats(sites) < starts / sites), chance)
    assert deleted.sum() == pytest.approx(starts * mean, rel=0.05)
    after = process.insert_and_delete(start, np.full(sites, distance), chance)
    assert len(after.residues) == pytest.approx(sites, abs=6 * np.sqrt(2 * starts * 2 * mean**2))
    inserted = np.count_nonzero(after.residues)  # the start is all residue 0, so these are new
    assert inserted == pytest.approx(starts * mean * (1 - lg_frequencies()[0]), rel=0.06)


def test_a_deletion_ends_with_its_sequence() -> None:
    start = equal_sequences(20, 50)
    process = evolution(0.5, 10.0)
    deleted = process._deleted(start, np.array([49, 99, 120]), Chance(0))
    assert set(np.flatnonzero(deleted) // 50) == {0, 1, 2}
    assert deleted[[49, 99, 120]].all()
    assert not deleted[[0, 48, 50, 98, 100, 119]].any()


def test_residues_stay_with_their_sequence() -> None:
    start = equal_sequences(20, 50)
    after = evolution(0.5, 3.0).insert_and_delete(start, np.full(1000, 0.2), Chance(8))
    assert len(set(after.lengths)) > 3
    for owner in range(20):
        own = after.residues[after.offsets[owner] : after.offsets[owner + 1]]
        assert (own == owner).mean() > 0.5
    assert after.offsets[-1] == len(after.residues) == len(after.categories)


def test_no_sequence_is_cut_below_the_shortest() -> None:
    process = evolution(0.5, 5.0, shortest=45)
    sequences = equal_sequences(20, 50)
    for seed in range(5):
        sequences = process.insert_and_delete(sequences, np.full(len(sequences.residues), 0.5), Chance(seed))
        assert sequences.lengths.min() >= 45


def test_sites_keep_their_rates() -> None:
    process = evolution(0.0, rates=(0.0, 1.0, 5.0))
    start = process.ancestors([3000], Chance(1))
    after = process.along(start, np.array([0.3]), Chance(2))
    np.testing.assert_array_equal(after.categories, start.categories)
    changed = [(after.residues != start.residues)[start.categories == category].mean() for category in range(3)]
    assert changed[0] == 0
    assert changed[0] < changed[1] < changed[2]


# --- trees --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tips", [1, 2, 3, 17])
def test_a_tree_has_its_tips_at_its_height(tips: int) -> None:
    tree = yule_tree(tips, 2.5, Chance(tips))
    depth = [0.0]
    for node in range(1, len(tree.parents)):
        assert tree.parents[node] < node
        depth.append(depth[tree.parents[node]] + tree.lengths[node])
    inner = set(tree.parents[1:])
    assert tree.tips == [node for node in range(len(depth)) if node not in inner]
    assert len(tree.tips) == tips
    np.testing.assert_allclose([depth[tip] for tip in tree.tips], 2.5)
    assert tree.parents.count(0) == min(tips, 2)


def test_trees_have_the_shapes_and_times_of_the_yule_process() -> None:
    chance = Chance(11)
    trees = [yule_tree(4, 1.0, chance) for _ in range(1500)]
    sides = [
        sum(tree.parents.count(node) for node in range(len(tree.parents)) if tree.parents[node] == 0) for tree in trees
    ]
    balanced = np.mean([side == 4 for side in sides])
    assert balanced == pytest.approx(1 / 3, abs=5 * np.sqrt(2 / 9 / 1500))
    first = [min(length for node, length in enumerate(tree.lengths) if tree.parents[node] == 0)
             for tree in (yule_tree(3, 1.0, chance) for _ in range(1500))]  # fmt: skip

    def below(share: np.ndarray) -> np.ndarray:
        """P(W2 / (W2 + W3) < share) for waiting times of rates 2 and 3."""
        return 1 - 3 / (3 + 2 * share / (1 - share))

    assert stats.kstest(first, below).pvalue > 1e-4


def test_descendants_come_tree_by_tree() -> None:
    tips = descend(equal_sequences(3, 30), [2, 1, 4], 0.0, evolution(), Chance(0))
    np.testing.assert_array_equal(tips.residues, np.repeat([0, 0, 1, 2, 2, 2, 2], 30))


def test_distance_between_tips_is_twice_the_height() -> None:
    """Two tips of a tree of two are 2 h apart, so their identity is that of the matrix exponential at 2 h."""
    process = evolution()
    height = 0.4
    start = process.ancestors([20_000], Chance(0))
    one, other = descend(start, [2], height, process, Chance(1)).residues.reshape(2, -1)
    expected = lg_frequencies() @ linalg.expm(lg_rate_matrix() * 2 * height).diagonal()
    assert (one == other).mean() == pytest.approx(expected, abs=5 * 0.5 / np.sqrt(20_000))


# --- families -----------------------------------------------------------------------------------------------------


def test_the_same_options_give_the_same_data() -> None:
    """Pinned: made by this code; any change of the data under the same seed must be a stated one."""
    assert digest(simulate(SMALL)) == "a050945b3f6fa95b"
    assert digest(simulate(SMALL.model_copy(update={"seed": 1}))) != digest(simulate(SMALL))


@pytest.fixture(scope="module")
def default() -> SimulatedFamilies:
    return simulate(SimulatedOptions())


def test_the_default_data_are_pinned(default: SimulatedFamilies) -> None:
    assert digest(default) == "4acfd7b169ca7501"


def test_the_default_data_are_as_promised(default: SimulatedFamilies) -> None:
    options = SimulatedOptions()
    lengths = np.diff(default.offsets)
    assert np.percentile(lengths, 2.5) > 50
    assert np.percentile(lengths, 97.5) < 200
    per_fold = np.bincount(default.folds[default.splits == 0])
    assert len(per_fold) == options.folds
    assert per_fold.max() > 4 * per_fold.min() > 0  # unequal, as in reality
    for number, (least, most) in enumerate([(2500, 6000), (150, 800), (200, 1000), (200, 1000), (200, 1000)]):
        labels = default.folds[default.splits == number]
        assert least < len(labels) < most
        assert np.bincount(labels).max() / len(labels) <= 0.06
    assert set(map(chr, default.letters.tolist())) == set(LG_AMINO_ACIDS)


def test_splits_are_apart_at_their_level(default: SimulatedFamilies) -> None:
    names = dict(zip(SPLITS, range(5), strict=True))
    part = {name: default.splits == number for name, number in names.items()}
    seen = {level: set(getattr(default, level)[part["train"]]) for level in ("folds", "superfamilies", "families")}

    def labels(split: str, level: str) -> set[int]:
        return set(getattr(default, level)[part[split]])

    for split in SPLITS:
        assert labels(split, "folds") <= seen["folds"]
    assert not labels("test_fold_holdout", "superfamilies") & seen["superfamilies"]
    assert labels("test_superfamily_holdout", "superfamilies") <= seen["superfamilies"]
    assert not labels("test_superfamily_holdout", "families") & seen["families"]
    for split in ("test_family_holdout", "validation"):
        assert labels(split, "families") <= seen["families"]
    others = [labels(split, "families") for split in ("test_fold_holdout", "test_superfamily_holdout")]
    assert not others[0] & others[1]
    records = [record for split in SPLITS for record in default.records(split)]
    assert len(records) == len(default.folds) == len({record.identifier for record in records})


def test_each_level_has_one_parent(default: SimulatedFamilies) -> None:
    for low, high in (("families", "superfamilies"), ("superfamilies", "folds")):
        pairs = set(zip(getattr(default, low).tolist(), getattr(default, high).tolist(), strict=True))
        assert len(pairs) == len({child for child, _ in pairs}) == 1 + max(child for child, _ in pairs)


def test_relatives_are_the_more_alike_the_nearer() -> None:
    """Without insertions and deletions all members of a fold are aligned as they are."""
    data = simulate(SimulatedOptions(folds=8, members_per_family=(6, 8), length=(90, 90), indels_per_substitution=0))
    letters = data.letters.reshape(-1, 90)
    identity = np.array([(letters == row).mean(1) for row in letters])
    same = {level: labels[:, None] == labels for level, labels in
            [("family", data.families), ("superfamily", data.superfamilies), ("fold", data.folds)]}  # fmt: skip
    np.fill_diagonal(same["family"], False)
    off = ~np.eye(len(letters), dtype=bool)
    family = identity[same["family"]].mean()
    superfamily = identity[same["superfamily"] & (data.families[:, None] != data.families)].mean()
    fold = identity[same["fold"] & ~same["superfamily"]].mean()
    unrelated = identity[off & ~same["fold"]].mean()
    assert family > superfamily + 0.03 > fold + 0.06
    assert fold > unrelated + 0.03
    assert unrelated == pytest.approx((lg_frequencies() ** 2).sum(), abs=0.01)


def test_too_few_of_something_is_an_error_that_says_what() -> None:
    with pytest.raises(UsageError, match="test_fold_holdout would be empty; raise folds, superfamilies_per_fold"):
        simulate(SMALL.model_copy(update={"superfamilies_per_fold": (1, 1)}))
    with pytest.raises(UsageError, match="test_superfamily_holdout"):
        simulate(SMALL.model_copy(update={"families_per_superfamily": (1, 1)}))
    with pytest.raises(UsageError, match="validation, test_family_holdout"):
        simulate(SMALL.model_copy(update={"members_per_family": (1, 1)}))


def test_a_family_keeps_a_member_in_train() -> None:
    data = simulate(
        SMALL.model_copy(update={"members_per_family": (2, 3), "family_hold_out": 0.45, "validation": 0.39})
    )
    whole = np.isin(data.splits, [SPLITS.index("test_fold_holdout"), SPLITS.index("test_superfamily_holdout")])
    for family in np.unique(data.families[~whole]):
        assert (data.splits[data.families == family] == 0).any()
