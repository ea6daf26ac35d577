"""The control that takes the order of tokens away: the order follows from the example alone, and from all of it."""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fptkit.encoders.mixed import MixedEncoder
from fptkit.encoders.options import MixedOptions, Patches2dOptions, SymbolOptions
from fptkit.encoders.patches import Patches2d
from fptkit.encoders.shuffle import example_numbers, shuffle_tokens
from fptkit.encoders.symbols import SymbolEncoder
from fptkit.interfaces import Classes, Grid, Inputs, Mixed, Symbols, Vectors, encode
from fptkit.model import CrossModalModel, Head
from fptkit.recipe.dump import dump_recipe
from fptkit.recipe.load import load_recipe

MODULUS = 2**64


def mix(number: int) -> int:
    """The finaliser of SplitMix64 on Python's own integers."""
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 % MODULUS
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB % MODULUS
    return number ^ (number >> 31)


GOLDEN = 0x9E3779B97F4A7C15


def order_by_hand(bits: Sequence[int], count: int, salt: int) -> list[int]:
    """The order of ``count`` tokens of an example whose raw numbers have these bit patterns, sign-extended."""
    number = sum(mix(pattern % MODULUS ^ mix(place * GOLDEN % MODULUS)) for place, pattern in enumerate(bits))
    number = number % MODULUS ^ mix(salt)
    keys = [mix((number + (token + 1) * GOLDEN) % MODULUS) >> 2 for token in range(count)]
    return sorted(range(count), key=keys.__getitem__)


def order_of(inputs: Inputs, lengths: Tensor | None = None, *, count: int, salt: int = 7) -> Tensor:
    """The original position of each token of the shuffled sequence: (B, count)."""
    size = (
        len(lengths)
        if lengths is not None
        else len(next(iter(inputs.values())) if isinstance(inputs, dict) else inputs)
    )
    places = torch.arange(count).float().expand(size, count)[:, :, None]
    return shuffle_tokens(places, lengths, inputs, lengths, salt=salt)[:, :, 0].long()


def test_the_mixing_by_hand_is_splitmix64() -> None:
    # The first numbers of the published generator with the seed 1234567 (java.util.SplittableRandom, Rosetta Code).
    state, drawn = 1234567, []
    for _ in range(3):
        state = (state + GOLDEN) % MODULUS
        drawn.append(mix(state))
    assert drawn == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_orders_are_those_made_by_hand() -> None:
    symbols = torch.randint(0, 50, (6, 11), generator=torch.Generator().manual_seed(0))
    expected = [order_by_hand(row, 11, salt=2**62 + 5) for row in symbols.tolist()]
    assert order_of(symbols, count=11, salt=2**62 + 5).tolist() == expected
    vectors = torch.randn(6, 5, 3, generator=torch.Generator().manual_seed(1))
    patterns = [[struct.unpack("<i", struct.pack("<f", x))[0] for x in row] for row in vectors.flatten(1).tolist()]
    assert order_of(vectors, count=5).tolist() == [order_by_hand(row, 5, salt=7) for row in patterns]


def test_every_token_is_kept_and_padding_stays() -> None:
    symbols = torch.randint(1, 50, (20, 12), generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([12, 1, 2, 7] * 5)
    orders = order_of(symbols, lengths, count=12).tolist()
    for order, length in zip(orders, lengths.tolist(), strict=True):
        assert sorted(order[:length]) == list(range(length))
        assert order[length:] == list(range(length, 12))
    assert any(order[:7] != list(range(7)) for order in orders)


KINDS = {
    "vectors": (Vectors(3), nn.Linear(3, 16)),
    "symbols": (Symbols(9), SymbolEncoder(SymbolOptions(), input=Symbols(9), width=16)),
    "grid": (Grid((8, 8), 2), Patches2d(Patches2dOptions(patch=2), input=Grid((8, 8), 2), width=16)),
    "mixed": (
        (mixed := Mixed({"image": Grid((4, 4)), "words": Symbols(9)}, {"words": 12})),
        MixedEncoder(MixedOptions(), input=mixed, width=16),
    ),
}


def examples(kind: Any, generator: torch.Generator, size: int = 5, tokens: int = 12) -> Inputs:
    if isinstance(kind, Mixed):
        return {name: examples(part, generator, size, tokens) for name, part in kind.parts.items()}
    if isinstance(kind, Symbols):
        return torch.randint(0, kind.count, (size, tokens), generator=generator)
    shape = (*kind.size, kind.channels) if isinstance(kind, Grid) else (tokens, kind.width)
    return torch.randn(size, *shape, generator=generator)


def changed(inputs: Inputs, change: Any) -> Inputs:
    """``change`` applied to the part that may be padded."""
    if isinstance(inputs, dict):
        return {**inputs, "words": change(inputs["words"])}
    return change(inputs)


@pytest.mark.parametrize("name", KINDS)
@torch.no_grad()
def test_neither_the_batch_nor_padding_changes_an_example(name: str) -> None:
    kind, encoder = KINDS[name]
    generator = torch.Generator().manual_seed(2)
    inputs = examples(kind, generator)
    lengths = None if name == "grid" else torch.tensor([12, 5, 7, 1, 12])

    def shuffled(inputs: Inputs, lengths: Tensor | None) -> Tensor:
        tokens, encoded_lengths = encode(encoder, inputs, lengths)
        return shuffle_tokens(tokens, encoded_lengths, inputs, lengths, salt=3)

    whole = shuffled(inputs, lengths)
    for row in range(5):
        one = {key: part[row : row + 1] for key, part in inputs.items()} if name == "mixed" else inputs[row : row + 1]
        if lengths is None:
            torch.testing.assert_close(shuffled(one, None)[0], whole[row])
            continue
        length = int(lengths[row])
        alone = shuffled(changed(one, lambda part, length=length: part[:, :length]), None)[0]
        torch.testing.assert_close(whole[row, : len(alone)], alone)
        noise = changed(one, lambda part: examples(_padded_kind(kind), generator, 1, 40))
        for key_noise, key_one in _pairs(noise, one):
            key_noise[:, :length] = key_one[:, :length]
        torch.testing.assert_close(shuffled(noise, torch.tensor([length]))[0, : len(alone)], alone)
    plain, _ = encode(encoder, inputs, lengths)
    assert not torch.equal(plain, whole)


def _padded_kind(kind: Any) -> Any:
    return kind.parts[kind.last] if isinstance(kind, Mixed) else kind


def _pairs(left: Inputs, right: Inputs) -> list[tuple[Tensor, Tensor]]:
    return [(left["words"], right["words"])] if isinstance(left, dict) else [(left, right)]


def test_every_part_of_a_mixed_input_counts() -> None:
    inputs = examples(KINDS["mixed"][0], torch.Generator().manual_seed(2))
    number = example_numbers(inputs, None)
    for name, part in inputs.items():
        other = part.clone()
        other.flatten(1)[:, -1] += 1
        assert (example_numbers({**inputs, name: other}, None) != number).all()
    swapped = dict(reversed(inputs.items()))
    assert (example_numbers(swapped, None) != number).all()


def test_every_bit_of_every_number_counts() -> None:
    vectors = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0))
    numbers = {int(example_numbers(vectors, None))}
    for place in range(12):
        for bit in range(32):
            other = vectors.clone().view(torch.int32)
            other.flatten()[place] ^= 1 << bit if bit < 31 else -(2**31)
            numbers.add(int(example_numbers(other.view(torch.float32), None)))
    assert len(numbers) == 1 + 12 * 32
    tokens_swapped = vectors[:, [1, 0, 2, 3]]
    assert example_numbers(tokens_swapped, None) != example_numbers(vectors, None)
    # A token of zeros is another example than none at all.
    assert example_numbers(torch.zeros(1, 3, 2), None) != example_numbers(torch.zeros(1, 2, 2), None)


def test_orders_are_drawn_evenly() -> None:
    """Examples that differ by one in their only number: as alike as two can be."""
    numbers = torch.arange(24_000)[:, None].expand(-1, 1)
    orders = order_of(numbers, count=4).tolist()
    found = Counter(map(tuple, orders))
    chi_squared = sum((count - 1000) ** 2 / 1000 for count in found.values())
    assert len(found) == math.factorial(4)
    assert chi_squared < 49.73  # 23 degrees of freedom: above it once in 1,000 fair draws
    # A neighbour's order tells nothing: one of 24 agrees by chance.
    agree = sum(one == other for one, other in pairwise(orders))
    assert 880 < agree < 1120  # 1,000 expected, standard deviation 31
    other_salt = order_of(numbers, count=4, salt=8).tolist()
    assert 880 < sum(one == other for one, other in zip(orders, other_salt, strict=True)) < 1120


class Sees(nn.Module):
    """A backbone that returns its tokens and records them."""

    width = 1

    def forward(self, tokens: Tensor, lengths: Any = None, keep: Any = None) -> Tensor:
        self.tokens = tokens
        return tokens if keep is None else tokens.gather(1, keep[:, :, None])


def model_of(shuffle_seed: int | None) -> CrossModalModel:
    head = Head(Classes(2), 1, readout="last")
    return CrossModalModel(nn.Identity(), Sees(), head, shuffle_seed=shuffle_seed)


@torch.no_grad()
def test_training_draws_new_orders_and_evaluation_keeps_them() -> None:
    model, inputs = model_of(5), torch.randn(8, 20, 1, generator=torch.Generator().manual_seed(0))

    def seen(seed: int) -> Tensor:
        torch.manual_seed(seed)
        model(inputs)
        return model.backbone.tokens

    model.eval()
    assert torch.equal(seen(0), seen(1))
    torch.testing.assert_close(seen(0).sort(dim=1).values, inputs.sort(dim=1).values)
    model.train()
    first, again, other = seen(0), seen(0), seen(1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    evaluated = model.eval()(inputs)
    model.train()(inputs)
    assert torch.equal(model.eval()(inputs), evaluated)
    model.shuffle_seed = 6
    assert not torch.equal(model(inputs), evaluated)


@torch.no_grad()
def test_left_out_it_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("tokens were shuffled")

    monkeypatch.setattr("fptkit.model.shuffle_tokens", never)
    monkeypatch.setattr(torch, "randint", never)
    inputs = torch.randn(8, 20, 1)
    model = model_of(None).train()
    model(inputs)
    assert model.backbone.tokens is inputs


@torch.no_grad()
def test_the_readout_stays_at_its_place() -> None:
    model, inputs = model_of(5).eval(), torch.randn(8, 20, 1, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([20, 3, 9, 20, 1, 6, 7, 8])
    logits = model(inputs, lengths)
    last = model.backbone.tokens[range(8), lengths - 1]
    assert torch.equal(logits, model.head.map(last))
    assert (last != inputs[range(8), lengths - 1]).any()


def test_the_resolved_recipe_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "once.yaml").write_text("task: {name: bit_xor}\nbackbone: {name: random}\nshuffle_tokens: true\n")
    (tmp_path / "again.yaml").write_text(dump_recipe(load_recipe(str(tmp_path / "once.yaml")).recipe))
    assert load_recipe(str(tmp_path / "again.yaml")).recipe.shuffle_tokens is True
