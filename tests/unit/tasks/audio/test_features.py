"""Log-mel frames and raw patches, against formulas in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fptkit.errors import UsageError
from fptkit.tasks.audio.features import FLOOR, LogMel, RawPatches, mel_filters

FEATURES = LogMel(window=400, hop=160, bands=20, frames_per_token=3, max_frames=50, sample_rate=16_000)


def naive_log_mel(samples: np.ndarray, features: LogMel) -> np.ndarray:
    """Frame by frame, frequency by frequency, band by band."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(features.window) / features.window)
    mel = lambda hertz: 2595 * np.log10(1 + hertz / 700)  # noqa: E731
    edges = np.linspace(mel(features.lowest_hz), mel(features.sample_rate / 2), features.bands + 2)
    edges = 700 * (10 ** (edges / 2595) - 1)
    frequencies = np.fft.rfftfreq(features.window, 1 / features.sample_rate)
    rows = []
    for start in range(0, len(samples) - features.window + 1, features.hop):
        energy = np.abs(np.fft.rfft(samples[start : start + features.window] * window)) ** 2
        row = []
        for low, peak, high in zip(edges, edges[1:], edges[2:], strict=False):
            weights = np.interp(frequencies, [low, peak, high], [0, 1, 0], left=0, right=0)
            row.append(np.log((energy * weights).sum() + FLOOR))
        rows.append(row)
    return np.array(rows)


def test_log_energies_against_the_formula() -> None:
    samples = np.random.default_rng(0).normal(size=3000)
    [found] = FEATURES.log_energies([torch.from_numpy(samples).float()])
    np.testing.assert_allclose(found.numpy(), naive_log_mel(samples, FEATURES), atol=1e-4)


def test_filters_against_librosas_formula_without_area_norm() -> None:
    # librosa.filters.mel(sr=8000, n_fft=256, n_mels=5, fmin=60, htk=True, norm=None): peaks lie between the edges.
    filters = mel_filters(bands=5, window=256, sample_rate=8000)
    assert filters.shape == (129, 5)
    assert float(filters.max()) <= 1
    inner = filters[8:100].sum(1)  # neighbouring triangles add up to 1 between the first and the last peak
    np.testing.assert_allclose(inner[(inner > 0.999)].numpy(), 1.0, atol=1e-6)
    assert float(inner[4:60].min()) > 0.999


@pytest.mark.parametrize("count", [1, 399, 400, 401, 560, 100_000])
def test_lengths(count: int) -> None:
    [tokens] = FEATURES.tokens([torch.randn(count, generator=torch.Generator().manual_seed(0))])
    frames = min(1 + max(count - 400, 0) // 160, 50)
    assert tokens.shape == (-(-frames // 3), 60)
    assert torch.isfinite(tokens).all()
    assert len(tokens) <= FEATURES.max_tokens


def test_a_clip_alone_equals_the_clip_among_others() -> None:
    clips = [torch.randn(n, generator=torch.Generator().manual_seed(n)) for n in (700, 3000, 20_000)]
    for clip, among in zip(clips, FEATURES.tokens(clips), strict=True):
        assert torch.equal(FEATURES.tokens([clip])[0], among)


def test_silence_is_zeros() -> None:
    assert not FEATURES.tokens([torch.zeros(1000)])[0].any()
    assert not RawPatches(10, 100).tokens([torch.full((25,), 0.3)])[0].any()


def test_raw_patches() -> None:
    samples = np.random.default_rng(0).normal(3, 2, size=25).astype(np.float32)
    [tokens] = RawPatches(10, 20).tokens([torch.from_numpy(samples)])
    kept = samples[:20]
    np.testing.assert_allclose(tokens.numpy(), ((kept - kept.mean()) / kept.std()).reshape(2, 10), atol=1e-5)
    [padded] = RawPatches(10, 100).tokens([torch.from_numpy(samples)])
    assert padded.shape == (3, 10)
    assert not padded[2, 5:].any()


def test_more_bands_than_frequencies() -> None:
    with pytest.raises(UsageError, match=r"task.bands: 100 bands are too many for a window of 64 samples"):
        mel_filters(bands=100, window=64, sample_rate=8000)
