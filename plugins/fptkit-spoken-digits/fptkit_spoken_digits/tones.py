"""Fallback (stand-in) data: chords of two tones, one per digit, by simulated speakers.

The pairs of tones are those of telephone keys. Six simulated speakers differ in pitch and vibrato; clips differ in
length, loudness, attack, decay and noise. It is a small but real audio task; results say nothing about speech.

Source of the frequencies: ITU-T Recommendation Q.23.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from fptkit_spoken_digits.clips import Clips

ROWS_HZ = (697.0, 770.0, 852.0, 941.0)
COLUMNS_HZ = (1209.0, 1336.0, 1477.0)
SPEAKERS = ("alto", "baritone", "bass", "soprano", "tenor", "treble")
_CHANCE = 20_230_823
"""Seed of the clips, which do not depend on a run's seed, so that runs are comparable."""


def frequencies(digit: int) -> tuple[float, float]:
    """Return the two tones of a digit's key in Hz; the key of zero is below that of eight."""
    place = 10 if digit == 0 else digit - 1
    return ROWS_HZ[place // 3], COLUMNS_HZ[place % 3]


def make_tones(*, takes: int, sample_rate: int) -> Clips:
    """Synthesise clips of every digit by every speaker.

    Args:
        takes: number of clips of each digit and speaker.
        sample_rate: samples per second; must be above twice the highest tone.
    """
    generator = torch.Generator().manual_seed(_CHANCE)
    audio, digits, speakers, numbers = [], [], [], []
    for speaker in SPEAKERS:
        pitch = _between(0.97, 1.03, generator)
        vibrato_hz, depth = _between(3.0, 8.0, generator), _between(0.0, 0.015, generator)
        for digit in range(10):
            for take in range(takes):
                clip = _chord(digit, pitch, vibrato_hz, depth, sample_rate, generator)
                audio.append(clip.numpy())
                digits.append(digit)
                speakers.append(speaker)
                numbers.append(take)
    return Clips(tuple(audio), np.array(digits, np.int64), tuple(speakers), np.array(numbers, np.int64))


def _chord(
    digit: int, pitch: float, vibrato_hz: float, depth: float, sample_rate: int, generator: torch.Generator
) -> Tensor:
    """Synthesise one clip, (samples,) float32.

    Args:
        digit: 0 to 9; decides the tones.
        pitch: factor on both tones.
        vibrato_hz: frequency of the vibrato.
        depth: amplitude of the vibrato, as a fraction of the pitch.
        sample_rate: samples per second.
        generator: the only source of randomness.
    """
    seconds = _between(0.25, 0.7, generator)
    time = torch.arange(int(seconds * sample_rate), dtype=torch.float64) / sample_rate
    swing = depth * torch.sin(2 * math.pi * vibrato_hz * time + _between(0, 2 * math.pi, generator))
    pitch *= _between(0.99, 1.01, generator)
    # The phase is the running sum of the frequency, which varies with the vibrato.
    phase = 2 * math.pi * torch.cumsum(pitch * (1 + swing), 0) / sample_rate
    low, high = frequencies(digit)
    tones = torch.sin(low * phase) + _between(0.5, 1.0, generator) * torch.sin(high * phase)
    envelope = torch.clamp(time / 0.03, max=1.0) * torch.exp(-_between(0.5, 4.0, generator) * time)
    noise = _between(0.05, 0.6, generator) * torch.randn(len(time), generator=generator, dtype=torch.float64)
    loudness = _between(0.05, 0.3, generator)
    return (loudness * (envelope * tones + noise)).clamp(-1, 1).float()


def _between(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))
