"""Log-mel tokens against a naive transform in NumPy and another library's filter bank."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fptkit_spoken_digits.features import FLOOR, LogMel, mel_filters

from fptkit.errors import UsageError

USUAL = LogMel(window=256, hop=80, bands=40, frames_per_token=2, max_frames=117, sample_rate=8000)


def tokens_of(samples: torch.Tensor) -> torch.Tensor:
    return USUAL.tokens([samples])[0]


def energies_of(samples: torch.Tensor) -> torch.Tensor:
    return USUAL.log_energies([samples])[0]


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed)) * 0.1


@pytest.mark.parametrize(("bands", "window", "sample_rate"), [(40, 256, 8000), (64, 1024, 16000), (13, 200, 8000)])
def test_filters_are_those_of_transformers(bands: int, window: int, sample_rate: int) -> None:
    from transformers.audio_utils import mel_filter_bank

    expected = mel_filter_bank(
        num_frequency_bins=window // 2 + 1,
        num_mel_filters=bands,
        min_frequency=60.0,
        max_frequency=sample_rate / 2,
        sampling_rate=sample_rate,
        norm=None,
        mel_scale="htk",
    )
    np.testing.assert_allclose(mel_filters(bands=bands, window=window, sample_rate=sample_rate), expected, atol=1e-6)


def test_too_many_bands_are_an_error() -> None:
    with pytest.raises(UsageError, match="200 bands are too many for a window of 256 samples"):
        mel_filters(bands=200, window=256, sample_rate=8000)


@pytest.mark.parametrize("samples", [256, 335, 336, 1000, 4001])
def test_log_energies_are_those_of_a_naive_transform(samples: int) -> None:
    given = noise(samples).double().numpy()
    count = 1 + (samples - 256) // 80
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(256) / 256)
    basis = np.exp(-2j * np.pi * np.outer(np.arange(129), np.arange(256)) / 256)
    filters = mel_filters(bands=40, window=256, sample_rate=8000).double().numpy()
    expected = np.stack(
        [
            np.log((np.abs(basis @ (hann * given[80 * frame : 80 * frame + 256])) ** 2) @ filters + FLOOR)
            for frame in range(count)
        ]
    )
    np.testing.assert_allclose(energies_of(torch.from_numpy(given).float()), expected, rtol=1e-3, atol=1e-3)


def test_a_tone_is_strongest_in_its_band() -> None:
    time = torch.arange(4000) / 8000
    for hertz in (300.0, 1000.0, 2500.0):
        strongest = energies_of(torch.sin(2 * torch.pi * hertz * time)).mean(0).argmax()
        edges = np.linspace(2595 * np.log10(1 + 60 / 700), 2595 * np.log10(1 + 4000 / 700), 42)
        centre = edges[int(strongest) + 1]
        assert abs(centre - 2595 * np.log10(1 + hertz / 700)) < edges[1] - edges[0]


def test_tokens_are_frames_side_by_side_and_normalised() -> None:
    samples = noise(256 + 80 * 6)  # 7 frames: the fourth token is half filled
    tokens = tokens_of(samples)
    frames = energies_of(samples)
    normalised = (frames - frames.mean()) / frames.std(correction=0)
    assert tokens.shape == (4, 80)
    torch.testing.assert_close(tokens[0, :40], normalised[0])
    torch.testing.assert_close(tokens[2, 40:], normalised[5])
    assert bool((tokens[3, 40:] == 0).all())


def test_loudness_does_not_count() -> None:
    samples = noise(3000)
    torch.testing.assert_close(tokens_of(3 * samples), tokens_of(samples), atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("samples", [1, 100, 255])
def test_a_clip_shorter_than_a_frame_is_one_token(samples: int) -> None:
    assert tokens_of(noise(samples)).shape == (1, 80)


def test_silence_is_zeros() -> None:
    tokens = tokens_of(torch.zeros(2000))
    assert bool((tokens.abs() < 1e-2).all())


def test_of_a_long_clip_the_first_frames_are_used() -> None:
    tokens = tokens_of(noise(80_000))
    assert tokens.shape == (USUAL.max_tokens, 80) == (59, 80)
    torch.testing.assert_close(tokens, tokens_of(noise(80_000)[: 256 + 116 * 80]))


def test_clips_made_together_are_those_made_alone() -> None:
    clips = [noise(100 + 37 * number, seed=number) for number in range(150)]
    for together, clip in zip(USUAL.tokens(clips), clips, strict=True):
        torch.testing.assert_close(together, tokens_of(clip), atol=1e-4, rtol=1e-4)
