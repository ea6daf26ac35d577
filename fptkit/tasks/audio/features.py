"""Audio features as tokens: the log energy in mel bands, frame by frame, or the samples themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fptkit.errors import UsageError

LOWEST_HZ = 60.0
"""Lower edge of the bands by default; lower frequencies are hum and rumble, not speech."""
FLOOR = 1e-8
"""Added to every energy, so that the logarithm of silence is finite."""


def mel_of(hertz: Tensor) -> Tensor:
    """Convert frequencies from hertz to mel. Source: O'Shaughnessy 1987; the formula of HTK."""
    return 2595 * torch.log10(1 + hertz / 700)


def mel_filters(*, bands: int, window: int, sample_rate: int, lowest_hz: float = LOWEST_HZ) -> Tensor:
    """Return triangular mel filters of equal width in mel; each falls to 0 at the peaks of its neighbours.

    Shapes: -> (window // 2 + 1, bands), frequencies of the transform by bands; peaks are 1.

    Args:
        bands: number of filters, from ``lowest_hz`` to half the sample rate.
        window: samples per frame.
        sample_rate: samples per second.
        lowest_hz: lower edge of the first filter.

    Raises:
        UsageError: a band is so narrow that it has no frequency of the transform.
    """
    frequencies = torch.arange(window // 2 + 1, dtype=torch.float64) * sample_rate / window
    ends = mel_of(torch.tensor([lowest_hz, sample_rate / 2], dtype=torch.float64))
    edges = 700 * (10 ** (torch.linspace(float(ends[0]), float(ends[1]), bands + 2, dtype=torch.float64) / 2595) - 1)
    rising = (frequencies[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies[:, None]) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rising, falling).clamp(min=0)
    if bool((empty := ~filters.any(0)).any()):
        band = int(empty.nonzero()[0])
        raise UsageError(
            f"task.bands: {bands} bands are too many for a window of {window} samples, since band {band} has no "
            "frequency; lower bands or raise window_ms"
        )
    return filters.float()


@dataclass(frozen=True)
class LogMel:
    """Log-mel features of clips, as tokens.

    Args:
        window: samples per frame.
        hop: samples from one frame to the next.
        bands: number of mel bands.
        frames_per_token: consecutive frames per token.
        max_frames: frames after which longer clips are cut.
        sample_rate: samples per second.
        lowest_hz: lower edge of the bands.
    """

    window: int
    hop: int
    bands: int
    frames_per_token: int
    max_frames: int
    sample_rate: int
    lowest_hz: float = LOWEST_HZ

    @property
    def width(self) -> int:
        """F, numbers per token."""
        return self.bands * self.frames_per_token

    @property
    def max_tokens(self) -> int:
        """T, tokens of the longest clip."""
        return -(-self.max_frames // self.frames_per_token)

    @cached_property
    def _filters(self) -> Tensor:
        return mel_filters(bands=self.bands, window=self.window, sample_rate=self.sample_rate, lowest_hz=self.lowest_hz)

    def log_energies(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """Return the logarithm of the energy in each band of each frame.

        A clip shorter than a frame is padded with silence; an incomplete last frame is dropped. Each clip is
        transformed alone, so that its features do not depend on the others, not even by rounding.

        Shapes: clips (S,) each -> (frames, bands) each.
        """
        return [self._log_energy(clip[: self.window + (self.max_frames - 1) * self.hop]) for clip in clips]

    def tokens(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """Return the tokens of clips: log energies, standardised over each clip, with frames concatenated.

        Standardisation removes a clip's loudness but not the relative strength of its bands. The last token is padded
        with zeros if frames are missing.

        Shapes: clips (S,) each -> (T, F) each.
        """
        return [self._arranged(frames) for frames in self.log_energies(clips)]

    def _log_energy(self, clip: Tensor) -> Tensor:
        clip = torch.nn.functional.pad(clip, (0, max(self.window - len(clip), 0)))
        transformed = torch.stft(
            clip,
            n_fft=self.window,
            hop_length=self.hop,
            window=torch.hann_window(self.window),
            center=False,
            return_complex=True,
        )
        return torch.log(transformed.abs().square().T @ self._filters + FLOOR)

    def _arranged(self, frames: Tensor) -> Tensor:
        """Convert one clip's log energies (frames, bands) to tokens (T, F)."""
        # A completely silent clip has deviation 0 and becomes zeros.
        frames = (frames - frames.mean()) / frames.std(correction=0).clamp(min=1e-3)
        missing = -len(frames) % self.frames_per_token
        return torch.nn.functional.pad(frames, (0, 0, 0, missing)).reshape(-1, self.width)


@dataclass(frozen=True)
class RawPatches:
    """The samples of clips as tokens, with mean 0 and standard deviation 1 over each clip.

    Args:
        patch: samples per token.
        max_samples: samples after which longer clips are cut.
    """

    patch: int
    max_samples: int

    @property
    def width(self) -> int:
        """F, numbers per token."""
        return self.patch

    @property
    def max_tokens(self) -> int:
        """T, tokens of the longest clip."""
        return -(-self.max_samples // self.patch)

    def tokens(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """Return the tokens of clips; the last one of each is padded with zeros.

        Shapes: clips (S,) each -> (T, F) each.
        """
        return [self._arranged(clip[: self.max_samples]) for clip in clips]

    def _arranged(self, clip: Tensor) -> Tensor:
        clip = clip - clip.mean()
        scaled = clip / deviation if (deviation := clip.std(correction=0)) > 0 else clip
        return torch.nn.functional.pad(scaled, (0, -len(scaled) % self.patch)).reshape(-1, self.patch)
