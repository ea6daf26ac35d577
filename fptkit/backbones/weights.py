"""The earlier path of `fptkit.sources.weights`, kept for code that opened weights by it."""

from fptkit.sources.weights import WeightFolder, open_config, open_weights, packaged_weights

__all__ = ["WeightFolder", "open_config", "open_weights", "packaged_weights"]
