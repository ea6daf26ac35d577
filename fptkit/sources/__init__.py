"""Sources of data and weights: ordered lists of sources, downloads, data sets, weights, restricted pickles."""

from fptkit.sources.choice import Choice, Unavailable, choose, data_folder, shown_folder

__all__ = ["Choice", "Unavailable", "choose", "data_folder", "shown_folder"]
