"""Audio features: those of fptkit's own task ``audio``, under the names of earlier versions of this package."""

from fptkit.tasks.audio.features import FLOOR, LOWEST_HZ, LogMel, mel_filters, mel_of

__all__ = ("FLOOR", "LOWEST_HZ", "LogMel", "mel_filters", "mel_of")
