"""The image tasks ``mnist``, ``cifar10`` and ``cifar10_lra``: a picture cut into tokens, ten classes."""
